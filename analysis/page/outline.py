"""How the page is divided: its title and opening, and the sections that its contents name."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

from markdown_it.token import Token

from analysis.page.reader import own


@dataclass(frozen=True)
class Section:
    """A heading that the contents name, with those below it."""

    id: str
    name: str
    parts: list["Section"] = field(default_factory=list)


def outline(tokens: list[Token], taken: set[str], plain: Callable[[Token], str]) -> tuple[str, list[Section]]:
    """Return the title and the sections; every heading gets an id that is not `taken`.

    `plain` returns the text of a heading without its marks.
    """
    title, sections = "", list[Section]()
    for heading, inline in pairwise(tokens):
        if heading.type == "heading_open":
            name = plain(inline)
            slug = re.sub(r"\W+", "-", inline.content.lower()).strip("-")
            while slug in taken:
                slug += "-again"
            taken.add(slug)
            heading.attrSet("id", slug)
            if heading.tag == "h1":
                title = name
            elif heading.tag == "h2":
                sections.append(Section(slug, name))
            elif heading.tag == "h3" and sections:
                sections[-1].parts.append(Section(slug, name))
    return title, sections


def mark_opening(tokens: list[Token]) -> None:
    """Wrap the title and what stands before the first section, and mark its first wholly bold paragraph as the lead."""
    heads = [index for index, token in enumerate(tokens) if token.type == "heading_open" and token.tag in ("h1", "h2")]
    if not heads or tokens[heads[0]].tag != "h1":
        return
    end = heads[1] if len(heads) > 1 else len(tokens)
    for paragraph, inline in pairwise(tokens[heads[0] : end]):
        if paragraph.type == "paragraph_open" and _is_bold(inline):
            paragraph.attrJoin("class", "lead")
            break
    tokens.insert(end, own("</div>"))
    tokens.insert(heads[0], own('<div class="opening">'))


def _is_bold(inline: Token) -> bool:
    marks = [child for child in inline.children or [] if child.type != "text" or child.content]
    ends = [index for index, child in enumerate(marks) if child.type == "strong_close"]
    return bool(marks) and marks[0].type == "strong_open" and ends == [len(marks) - 1]
