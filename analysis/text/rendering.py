"""Renders the Markdown of a report from its template."""

from pathlib import Path
from typing import Any

import jinja2

from analysis.data import markdown

TEMPLATES = Path(__file__).parents[1] / "templates"


def rendered(template: str, **values: Any) -> str:
    """Return the template with the values, each of which is escaped for Markdown where it is inserted."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # Every value is escaped for Markdown, and then no more for HTML, which jinja2 does by itself.
        autoescape=True,
        finalize=markdown.escape,
    )
    for name in ("cell", "code", "in_tag", "path"):
        environment.filters[name] = getattr(markdown, name)
    return environment.get_template(template).render(values)
