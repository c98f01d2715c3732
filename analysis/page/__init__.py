"""The report as one HTML page that needs no network: its text, sortable tables, and figures to zoom and point at."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import jinja2
import pandas as pd
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token

from analysis.drawing.description import Chart, Picture
from analysis.drawing.vega_lite_renderer import specification
from analysis.page.cells import cells
from analysis.page.embedded import content_hash, data_uri, drawing_library, packed, packed_library, script
from analysis.page.outline import mark_opening, outline
from analysis.page.reader import CELLS, OWN, PICTURE, own, picture_in, reader
from analysis.page.tables import mark_tables
from study.results.files import write_bytes

TEMPLATES = Path(__file__).parents[1] / "templates"
MOST_BYTES = 3_000_000
"""Of the tables that a page holds, of which a fifth is left when they are compressed."""
TAKEN = ("main", "contents", "scheme", "data", "library", "cells", "told")
"""Ids that the page itself has."""


def write_page(
    markdown: Path,
    tiers: Sequence[str],
    pictures: Sequence[Picture],
    drawn: Sequence[str],
    tables: Mapping[str, pd.DataFrame],
) -> None:
    """Write the report at `markdown`, with what lies in the folder beside it, as an HTML file of the same name.

    `drawn` are the files of the pictures, `tables` those of the report, by name. The page's own scripts alone can run
    in it, by their hashes; the library that draws charts compiles their expressions, for which browsers ask for
    'unsafe-eval'. Tables as CSV, charts and the library are compressed; all else is there without any script.
    """
    folder = markdown.with_suffix("")
    names = [*(picture.name for picture in pictures), *(f"table_{name}" for name in tables)]
    names = sorted(name for name in names if (folder / f"{name}.csv").is_file())  # not those that are Parquet
    files = {name: (folder / f"{name}.csv").read_text(encoding="utf-8") for name in _smallest(folder, names)}
    drawings = {Path(name).stem: data_uri(folder / name) for name in drawn}
    described = {picture.name: picture for picture in pictures if isinstance(picture, Chart)}
    charts = {name: specification(described[name]) for name in drawings if name in described}
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,
    )
    parser = reader()
    renderer = cast(RendererHTML, parser.renderer)
    tokens = parser.parse(markdown.read_text(encoding="utf-8"))
    mark_tables(tokens)
    for index in reversed(range(len(tokens) - len(PICTURE) + 1)):
        if picture := picture_in(tokens[index : index + len(PICTURE)]):
            name, alt, caption = picture
            values = {
                "name": name,
                "alt": renderer.renderInlineAsText([alt], parser.options, {}),
                "source": drawings[name],
                "caption": renderer.renderInline(caption, parser.options, {}),
            }
            figure = templates.get_template("figure.html.j2").render(values, live=name in charts)
            tokens[index : index + len(PICTURE)] = [own(figure)]
    for token in tokens:
        if token.type == OWN and token.content == CELLS:
            token.content = templates.get_template("cells.html.j2").render(cells(tables, tiers))

    def plain(inline: Token) -> str:
        return renderer.renderInlineAsText(inline.children or [], parser.options, {})

    title, sections = outline(tokens, {*TAKEN, *(f"figure-{name}" for name in drawings)}, plain)
    mark_opening(tokens)
    own_scripts = [script((TEMPLATES / name).read_text(encoding="utf-8")) for name in ("scheme.js", "page.js")]
    hashed = [*own_scripts, drawing_library()] if charts else own_scripts
    page = templates.get_template("report.html.j2").render(
        title=title,
        sections=sections,
        body=renderer.render(tokens, parser.options, {}),
        data=packed(files, charts),
        library=packed_library() if charts else "",
        style=(TEMPLATES / "page.css").read_text(encoding="utf-8"),
        scheme=own_scripts[0],
        script=own_scripts[1],
        hashes=[content_hash(text) for text in hashed],
    )
    write_bytes(markdown.with_suffix(".html"), page.encode())


def _smallest(folder: Path, names: Sequence[str]) -> list[str]:
    """The smallest files, which have at most MOST_BYTES together; others are linked where they lie beside the page."""
    sizes = {name: (folder / f"{name}.csv").stat().st_size for name in names}
    kept, together = set(), 0
    for name in sorted(names, key=sizes.__getitem__):
        together += sizes[name]
        if together <= MOST_BYTES:
            kept.add(name)
    return [name for name in names if name in kept]
