"""The report as one HTML page that needs no network: its text, sortable tables, and figures to zoom and point at."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote, unquote

import jinja2
import pandas as pd
import vl_convert
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_block import StateBlock
from markdown_it.token import Token
from markdown_it.utils import OptionsDict

from analysis.data.files import from_csv
from analysis.data.numbers import probability, share
from analysis.drawing.description import Chart, Picture
from analysis.drawing.vega_lite_renderer import specification
from analysis.statistics.intervals import Interval
from study.results.files import write_bytes

TEMPLATES = Path(__file__).parent / "templates"
VEGA_LITE = "6.4"
LIBRARY = "window.vegaEmbed = vegaEmbed;"
"""What the page uses of Vega."""
CELLS = "<!-- all cells -->"
"""Where the Markdown has this line, the page has the table of all cells."""
OWN = "own_html"
"""Type of the tokens that hold HTML of the templates."""
OWN_LINE = re.compile(rf"<details(?: open)?><summary>[^<>]*</summary>|</details>|{CELLS}")
"""The lines of HTML that the Markdown has. No text of others can be one, since its `<` is written as `&lt;`."""
PICTURE = ["paragraph_open", "inline", "paragraph_close"] * 2
"""The tokens of a picture with its caption."""
PLACE = ["model", "pair", "layer", "depth", "weight"]
WHERE_SEVERAL = ["arm", "wordings", "seed", "status"]
"""Columns of the table of cells where there is more than one value."""
HEADS = {"pair": "class tokens", "weight": "w"}


@dataclass(frozen=True)
class Value:
    """What stands in a table's cell; `key` is what it is sorted by, where that is not the text."""

    text: str
    key: float | None = None


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
    'unsafe-eval'.
    """
    folder = markdown.with_suffix("")
    names = sorted([*(picture.name for picture in pictures), *(f"table_{name}" for name in tables)])
    files = {name: (folder / f"{name}.csv").read_text(encoding="utf-8") for name in names}
    drawings = {Path(name).stem: _data_uri(folder / name) for name in drawn}
    described = {picture.name: picture for picture in pictures if isinstance(picture, Chart)}
    charts = {name: specification(described[name]) for name in drawings if name in described}
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,
    )
    parser = _parser()
    renderer = cast(RendererHTML, parser.renderer)
    tokens = parser.parse(markdown.read_text(encoding="utf-8"))
    for index in reversed(range(len(tokens) - len(PICTURE) + 1)):
        if picture := _picture(tokens[index : index + len(PICTURE)]):
            name, alt, caption = picture
            values = {
                "name": name,
                "alt": renderer.renderInlineAsText([alt], parser.options, {}),
                "source": drawings[name],
                "caption": renderer.renderInline(caption, parser.options, {}),
            }
            figure = templates.get_template("figure.html.j2").render(values, live=name in charts)
            tokens[index : index + len(PICTURE)] = [_own(figure)]
    for token in tokens:
        if token.type == OWN and token.content == CELLS:
            token.content = templates.get_template("cells.html.j2").render(_cells(files, tables, tiers))
    title, sections = _sections(tokens, {"tables", "charts", "cells", *(f"figure-{name}" for name in drawings)})
    library = _script(drawing_library()) if charts else ""
    script = _script((TEMPLATES / "page.js").read_text(encoding="utf-8"))
    page = templates.get_template("report.html.j2").render(
        title=title,
        sections=sections,
        body=renderer.render(tokens, parser.options, {}),
        tables=_json(files),
        charts=_json(charts),
        library=library,
        script=script,
        hashes=[_hash(text) for text in (library, script) if text],
    )
    write_bytes(markdown.with_suffix(".html"), page.encode())


@cache
def drawing_library() -> str:
    """Return the JavaScript that draws charts; put together once in a process, which takes a second."""
    return vl_convert.javascript_bundle(LIBRARY, vl_version=VEGA_LITE)


def _parser() -> MarkdownIt:
    """Markdown without HTML, but for the lines that the report's template has."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    parser.block.ruler.before("html_block", OWN, _own_line, {"alt": ["paragraph", "reference", "blockquote"]})
    parser.add_render_rule(OWN, _own_content)
    parser.add_render_rule("table_open", _table_open)
    parser.add_render_rule("table_close", _table_close)
    parser.add_render_rule("link_open", _link_open)
    return parser


def _own_line(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Take a line that is one of the template's own HTML as it is; a rule of markdown-it."""
    line = state.src[state.bMarks[start] + state.tShift[start] : state.eMarks[start]]
    if state.is_code_block(start) or not OWN_LINE.fullmatch(line):
        return False
    if not silent:
        state.tokens.append(_own(line))
        state.line = start + 1
    return True


def _own(content: str) -> Token:
    return Token(OWN, "", 0, content=content)


def _own_content(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, environment: Any
) -> str:
    return f"{tokens[index].content}\n"


def _picture(tokens: Sequence[Token]) -> tuple[str, Token, list[Token]] | None:
    """The name of a picture, its image and what its caption consists of; None where the tokens are something else."""
    if [token.type for token in tokens] != PICTURE:
        return None
    image, caption = tokens[1].children or [], tokens[4].children or []
    if [token.type for token in image] != ["image"] or [caption[0].type, caption[-1].type] != ["em_open", "em_close"]:
        return None
    return Path(unquote(str(image[0].attrs["src"]))).stem, image[0], caption[1:-1]


def _sections(tokens: list[Token], taken: set[str]) -> tuple[str, list[tuple[str, str]]]:
    """The title, and the id and name of every section; every heading gets an id that is not `taken`."""
    title, sections = "", []
    for heading, inline in pairwise(tokens):
        if heading.type == "heading_open":
            slug = re.sub(r"\W+", "-", inline.content.lower()).strip("-")
            while slug in taken:
                slug += "-again"
            taken.add(slug)
            heading.attrSet("id", slug)
            if heading.tag == "h1":
                title = inline.content
            if heading.tag == "h2":
                sections.append((slug, inline.content))
    return title, sections


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


def _table_open(*_: Any) -> str:
    return '<div class="table" role="region" aria-label="table" tabindex="0"><table>'


def _table_close(*_: Any) -> str:
    return "</table></div>\n"


def _data_uri(drawing: Path) -> str:
    if drawing.suffix == ".png":
        return "data:image/png;base64," + base64.b64encode(drawing.read_bytes()).decode()
    text = re.sub(r"\s+", " ", drawing.read_text(encoding="utf-8"))
    return "data:image/svg+xml," + quote(text, safe=" !$'()*+,-./:;=?@_~")


def _cells(files: Mapping[str, str], tables: Mapping[str, pd.DataFrame], tiers: Sequence[str]) -> dict[str, Any]:
    """One row a cell with a class loss: where it is, and how it came out on each tier."""
    units, outcomes = (from_csv(files[f"table_{name}"].encode(), tables[name]) for name in ("units", "outcomes"))
    cells = units[(units["kind"] == "cell") & units["layer"].notna()]
    place = PLACE + [name for name in WHERE_SEVERAL if name in cells and cells[name].nunique() > 1]
    by_cell = {(row["unit"], row["tier"]): row for row in outcomes.to_dict("records")}
    rows = []
    for cell in cells.to_dict("records"):
        values = [_place(column, cell[column]) for column in place]
        found = [by_cell.get((cell["id"], tier)) for tier in tiers]
        values += [_outcome(row) if row else Value(cell["status"]) for row in found]
        rows.append((cell["id"], values))
    return {"head": [*(HEADS.get(column, column) for column in place), *tiers], "rows": rows, "tiers": len(tiers)}


def _place(column: str, value: Any) -> Value:
    if column == "layer":
        return Value(f"L{value:.0f}", value)
    return Value(f"{value:.2f}", value) if column == "depth" else Value(str(value))


def _outcome(row: dict[Any, Any]) -> Value:
    choice = Interval(*(float(row[f"choice{end}"]) for end in ("", "_low", "_high")))
    return Value(f"{share(choice)} {row['outcome']}, p\u00a0{probability(float(row['p']))}", choice.estimate)


def _json(content: Any) -> str:
    """JSON that cannot end the script element that it stands in. Raises ValueError where a number is none."""
    return json.dumps(content, allow_nan=False).replace("<", "\\u003c")


def _script(text: str) -> str:
    """A script that cannot end the element that it stands in."""
    return re.sub(r"<(?=/script|!--)", r"\\u003c", text, flags=re.IGNORECASE)


def _hash(script: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"
