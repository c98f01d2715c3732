"""Reads the report's Markdown, in which there is no HTML but for the lines that its template has."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.renderer import RendererHTML
from markdown_it.rules_block import StateBlock
from markdown_it.token import Token
from markdown_it.utils import OptionsDict

CELLS = "<!-- all cells -->"
"""Where the Markdown has this line, the page has the table of all cells."""
OWN = "own_html"
"""Type of the tokens that hold HTML of the templates."""
OWN_LINE = re.compile(rf"<details(?: open)?><summary>[^<>]*</summary>|</details>|{CELLS}")
"""The lines of HTML that the Markdown has. No text of others can be one, since its `<` is written as `&lt;`."""
PICTURE = ["paragraph_open", "inline", "paragraph_close"] * 2
"""The tokens of a picture with its caption."""


def reader() -> MarkdownIt:
    """Return a parser and renderer of Markdown without HTML, but for the lines that the report's template has."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    parser.block.ruler.before("html_block", OWN, _own_line, {"alt": ["paragraph", "reference", "blockquote"]})
    parser.add_render_rule(OWN, _own_content)
    parser.add_render_rule("table_open", _table_open)
    parser.add_render_rule("table_close", _table_close)
    parser.add_render_rule("link_open", _link_open)
    return parser


def own(content: str) -> Token:
    """Return a token that is rendered as it is."""
    return Token(OWN, "", 0, content=content)


def picture_in(tokens: Sequence[Token]) -> tuple[str, Token, list[Token]] | None:
    """Return a picture's name, its image and what its caption consists of; None where the tokens are something else."""
    if [token.type for token in tokens] != PICTURE:
        return None
    image, caption = tokens[1].children or [], tokens[4].children or []
    if [token.type for token in image] != ["image"] or [caption[0].type, caption[-1].type] != ["em_open", "em_close"]:
        return None
    return Path(unquote(str(image[0].attrs["src"]))).stem, image[0], caption[1:-1]


def _own_line(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Take a line that is one of the template's own HTML as it is; a rule of markdown-it."""
    line = state.src[state.bMarks[start] + state.tShift[start] : state.eMarks[start]]
    if state.is_code_block(start) or not OWN_LINE.fullmatch(line):
        return False
    if not silent:
        state.tokens.append(own(line))
        state.line = start + 1
    return True


def _own_content(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, environment: Any
) -> str:
    return f"{tokens[index].content}\n"


def _link_open(
    renderer: RendererHTML, tokens: list[Token], index: int, options: OptionsDict, environment: dict[str, Any]
) -> str:
    """A link to a table beside the report leads to the page's own copy."""
    target = str(tokens[index].attrs["href"])
    if ":" not in target and target.endswith(".csv"):
        file = Path(unquote(target))
        tokens[index].attrSet("data-file", file.stem)
        tokens[index].attrSet("download", file.name)
    return renderer.renderToken(tokens, index, options, environment)


def _table_open(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, environment: Any
) -> str:
    label = escapeHtml(tokens[index].meta["label"])
    opening = renderer.renderToken(tokens, index, options, environment).strip()
    return f'<div class="table" role="group" aria-label="{label}" tabindex="0">{opening}'


def _table_close(*_: Any) -> str:
    return "</table></div>\n"
