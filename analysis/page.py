"""The report as one HTML page that needs no network: its text, sortable tables, and figures to zoom and point at."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import pandas as pd
import vl_convert
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import OptionsDict

from analysis.data.numbers import probability, share
from analysis.data.statistics import Interval
from analysis.drawing.description import Chart, Picture
from analysis.drawing.vega_lite_renderer import specification
from study.results.store import write_bytes

VEGA_LITE = "6.4"
LIBRARY = "window.vegaEmbed = vegaEmbed;"
"""What the page uses of Vega."""
CELLS = "<!-- all cells -->"
"""Where the Markdown has this line, the page has the table of all cells."""
PICTURE = re.compile(r"^!\[(?P<alt>.*)\]\(\S*?(?P<name>[^/\s]+)\.png\)\n\n\*(?P<caption>.*)\*$", re.MULTILINE)
PLACE = ["model", "pair", "layer", "depth", "weight"]
WHERE_SEVERAL = ["arm", "wordings", "seed", "status"]
"""Columns of the table of cells where there is more than one value."""
HEADS = {"pair": "class tokens", "weight": "w"}


@dataclass(frozen=True)
class Value:
    """What stands in a table's cell; `key` is what it is sorted by, where that is not the text."""

    text: str
    key: float | None = None


def write_page(markdown: Path, tiers: Sequence[str], pictures: Sequence[Picture]) -> None:
    """Write the report at `markdown`, with what lies in the folder beside it, as an HTML file of the same name."""
    folder = markdown.with_suffix("")
    tables = {file.stem: file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.csv"))}
    drawings = {file.stem: file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.svg"))}
    described = {picture.name: picture for picture in pictures if isinstance(picture, Chart)}
    charts = {name: specification(described[name]) for name in drawings if name in described}
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,
    )
    parser = MarkdownIt("commonmark", {"html": True}).enable("table")
    parser.add_render_rule("table_open", _table_open)
    parser.add_render_rule("table_close", _table_close)
    parser.add_render_rule("link_open", _link_open)

    def figure(found: re.Match[str]) -> str:
        source, caption = _data_uri(drawings[found["name"]]), parser.renderInline(found["caption"])
        values = {"name": found["name"], "alt": found["alt"], "source": source, "caption": caption}
        return templates.get_template("figure.html.j2").render(values, live=found["name"] in charts)

    text = PICTURE.sub(figure, markdown.read_text(encoding="utf-8"))
    text = text.replace(CELLS, templates.get_template("cells.html.j2").render(_cells(folder, tiers)))
    tokens = parser.parse(text)
    title, sections = _sections(tokens)
    page = templates.get_template("report.html.j2").render(
        title=title,
        sections=sections,
        body=parser.renderer.render(tokens, parser.options, {}),
        tables=_script(json.dumps(tables)),
        charts=_script(json.dumps(charts)),
        library=_script(vl_convert.javascript_bundle(LIBRARY, vl_version=VEGA_LITE)) if charts else "",
    )
    write_bytes(markdown.with_suffix(".html"), page.encode())


def _sections(tokens: list[Token]) -> tuple[str, list[tuple[str, str]]]:
    """The title, and the id and name of every section; every heading gets an id."""
    title, sections, taken = "", [], set[str]()
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
    """A link to a table or a drawing beside the report leads to the page's own copy."""
    target = str(tokens[index].attrs["href"])
    if ":" not in target and target.endswith((".csv", ".svg")):
        tokens[index].attrSet("data-file", Path(target).stem)
        tokens[index].attrSet("download", Path(target).name)
    return renderer.renderToken(tokens, index, options, environment)


def _table_open(*_: Any) -> str:
    return '<div class="table" role="region" aria-label="table" tabindex="0"><table>'


def _table_close(*_: Any) -> str:
    return "</table></div>\n"


def _data_uri(drawing: str) -> str:
    return "data:image/svg+xml," + quote(re.sub(r"\s+", " ", drawing), safe=" !$'()*+,-./:;=?@_~")


def _cells(folder: Path, tiers: Sequence[str]) -> dict[str, Any]:
    """One row a cell with a class loss: where it is, and how it came out on each tier."""
    units = pd.read_csv(folder / "table_units.csv", keep_default_na=False, na_values={"layer": "", "depth": ""})
    outcomes = pd.read_csv(folder / "table_outcomes.csv", keep_default_na=False)
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


def _script(text: str) -> str:
    """Text that cannot end the script element that it stands in."""
    return re.sub(r"<(?=/script|!--)", r"\\u003c", text, flags=re.IGNORECASE)
