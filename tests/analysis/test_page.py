"""The report as one HTML page."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from markdown_it import MarkdownIt

from analysis.data.results import read_results
from analysis.drawing.description import Drawing
from analysis.figures import describe_pictures
from analysis.outcomes import decide_study
from analysis.page import embedded
from analysis.report import write_report
from tests.drawn import pixels_of
from tests.page_data import held
from tests.simulated import Plan, Point, Truth, write_study

pytestmark = pytest.mark.slow


def _truth(point: Point) -> Truth:
    return Truth() if point.tier == "symbolic" or point.depth > 0.9 else Truth(choice=0.5)


PLAN = Plan(
    models={"alpha": 4, "beta": 6},
    depths=(0.5, 1.0),
    weights=(0.0, 0.5),
    truth=_truth,
    per_class=16,
    watched=True,
    swapped=True,
    unfinished={"alpha|L1|river-copper|w=0.5|s0": ("failed", "RuntimeError: gate </script><b> | 0.2")},
)
LARGE = Plan(
    models={name: 4 for name in ("alpha", "beta", "gamma", "delta", "epsilon", "zeta")},
    depths=(0.25, 0.5, 0.75, 1.0),
    pairs=("multiply/add",),
    weights=(0.0, 0.5),
    arms=("plain", "random_words", "shuffled_labels", "lora_below"),
    per_class=4,
    watched=True,
    swapped=True,
)
LOADS = {"src", "srcset", "poster", "data", "background"}


class Page(HTMLParser):
    """What a page consists of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.scripts: dict[str, str] = {}
        self.words: list[str] = []
        self._script: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.tags.append((tag, found))
        if tag in ("script", "style"):
            self._script = found.get("id", tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._script = None

    def handle_data(self, data: str) -> None:
        if self._script is None:
            self.words += data.split()
        else:
            self.scripts[self._script] = self.scripts.get(self._script, "") + data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tmp = tmp_path_factory.mktemp("page")
    assert write_report(write_study(tmp / "results" / "study", PLAN), tmp / "study.md") == []
    return tmp / "study.md"


@pytest.fixture(scope="module")
def page(report: Path) -> Page:
    return Page(report.with_suffix(".html").read_text())


def test_nothing_is_loaded_from_anywhere(page: Page) -> None:
    sources = [value for _, attributes in page.tags for name, value in attributes.items() if name in LOADS]
    assert len(sources) > 5
    assert all(source.startswith("data:") for source in sources)
    assert [link["href"] for link in page.all("link")] == ["data:,"]
    assert not re.search(r"url\(|@import", page.scripts["style"])
    assert not page.all("iframe") + page.all("object") + page.all("embed")
    (policy,) = [meta["content"] for meta in page.all("meta") if "http-equiv" in meta]
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "http" not in policy


def test_every_picture_is_in_it_with_its_alt_text(page: Page, report: Path) -> None:
    pictures = re.findall(r"!\[(.*)\]\([^)]*/(\w[^)/]*)\.svg\)", report.read_text())
    assert len(pictures) > 5
    assert [image["alt"] for image in page.all("img")] == [alt for alt, _ in pictures]
    assert [figure["id"] for figure in page.all("figure")] == [f"figure-{name}" for _, name in pictures]
    assert all(image["src"].startswith("data:image/svg+xml,<?xml") for image in page.all("img"))


def test_every_table_is_in_it_and_the_one_of_all_cells(page: Page, report: Path) -> None:
    tables = re.findall(r"(?:^\|.*\n)+", report.read_text(), flags=re.MULTILINE)
    assert len(page.all("table")) == len(tables) + 1


def test_every_cell_is_in_the_table_of_cells_once(page: Page, report: Path) -> None:
    units = [line.split(",") for line in (report.with_suffix("") / "table_units.csv").read_text().splitlines()]
    cells = [f"cell-{unit[1]}" for unit in units if unit[0] == "cell" and "|L" in unit[3]]
    assert len(cells) == 8
    assert [row["id"] for row in page.all("tr") if "id" in row] == cells


def test_the_text_is_that_of_the_markdown(page: Page, report: Path) -> None:
    text = re.sub(r"!\[.*\]\([^)]*\)|\]\([^)]*\)|<!--.*?-->|<[^>]*>", " ", report.read_text())
    words = set(re.findall(r"[\w.%+-]{3,}", re.sub(r"[*`|\\\[\]]", " ", text)))
    said = set(re.findall(r"[\w.%+-]{3,}", " ".join(page.words)))
    assert words - said - {"---", "yaml"} == {"&lt"} & words


def test_ids_are_unique_and_links_within_the_page_lead_somewhere(page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    inner = [link["href"][1:] for link in page.all("a") if link["href"].startswith("#")]
    assert len(inner) > 5
    assert set(inner) <= set(ids)


def test_data_in_it_is_what_lies_beside_the_report(page: Page, report: Path) -> None:
    files = {file.stem: file.read_text() for file in report.with_suffix("").glob("*.csv")}
    tables, charts = held(page.scripts["data"])
    assert tables == files
    linked = {link["data-file"] for link in page.all("a") if link.get("download", "").endswith(".csv")}
    assert linked <= set(files)
    assert {"depth", "cost", "use", "lens"} <= set(charts)
    shown = {figure["data-chart"]: figure["id"] for figure in page.all("figure") if "data-chart" in figure}
    assert shown == {name: f"figure-{name}" for name in charts}


def test_every_picture_is_a_chart_of_the_page_or_a_drawing(page: Page, report: Path) -> None:
    study = read_results(report.parent / "results" / "study")
    pictures, _ = describe_pictures(study, decide_study(study))
    drawings = {picture.name for picture in pictures if isinstance(picture, Drawing)}
    charts = set(held(page.scripts["data"])[1])
    assert {figure["id"].removeprefix("figure-") for figure in page.all("figure")} == {one.name for one in pictures}
    assert charts == {picture.name for picture in pictures} - drawings
    assert charts == {figure["data-chart"] for figure in page.all("figure") if "data-chart" in figure}


def test_fields_of_a_chart_are_columns_of_its_data(page: Page) -> None:
    tables, charts = held(page.scripts["data"])
    for name, chart in charts.items():
        text = json.dumps(chart)
        made = set(re.findall(r'"as": "(\w+)"', text))
        columns = set(tables[name].splitlines()[0].split(","))
        assert set(re.findall(r'"field": "(\w+)"', text)) <= columns | made, name


def test_it_is_small(report: Path) -> None:
    """Most of it is the library that draws charts."""
    assert report.with_suffix(".html").stat().st_size < 1e6


def test_the_page_of_a_study_of_96_cells_is_small(tmp_path: Path) -> None:
    results = write_study(tmp_path / "results" / "large", LARGE)
    write_report(results, tmp_path / "large.md")
    assert "96 of 96 cells with a class loss finished" in (tmp_path / "large.md").read_text()
    assert (tmp_path / "large.html").stat().st_size < 3e6
    drawings = [file.stat().st_size for file in (tmp_path / "large").iterdir() if file.suffix in (".svg", ".png")]
    assert len(drawings) > 10
    assert sum(drawings) < 1.5e6


def test_it_has_a_light_and_a_dark_scheme_and_print_is_light(page: Page) -> None:
    style = page.scripts["style"]
    colours = dict(re.findall(r"--(\w+): light-dark\((#\w+, #\w+)\)", style))
    assert {"paper", "ink", "soft", "accent"} <= set(colours)
    for scheme in (0, 1):
        paper, *others = (colours[name].split(", ")[scheme] for name in ("paper", "ink", "soft", "accent"))
        assert all(_contrast(paper, other) > 4.5 for other in others)
        assert _contrast(*(colours[name].split(", ")[scheme] for name in ("ink", "bar"))) > 4.5
    assert re.search(r"@media print \{\s*:root[^}]*color-scheme: light;", style)
    assert [button["id"] for button in page.all("button")] == ["scheme"]


def _contrast(one: str, other: str) -> float:
    """The ratio that the guidelines on accessible web content define."""
    dark, light = sorted(map(_luminance, (one, other)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_it_has_landmarks_and_a_link_that_skips_to_the_text(page: Page) -> None:
    assert [len(page.all(tag)) for tag in ("header", "nav", "main", "h1")] == [1, 1, 1, 1]
    assert page.all("a")[0] == {"class": "skip", "href": "#main"}
    assert page.all("main") == [{"id": "main"}]


def test_columns_that_name_a_row_are_its_heads(page: Page) -> None:
    names = [cell for cell in page.all("th") if cell.get("scope") == "row"]
    assert len(names) > 20
    assert all(cell["class"] == "name" for cell in names)
    assert re.search(r"\.name \{ position: sticky;", page.scripts["style"])
    assert re.search(r"thead th \{ position: sticky; top: 0;", page.scripts["style"])
    places = page.tags[page.tags.index(("table", {"id": "cells"})) :]
    heads = [attributes for tag, attributes in places[: places.index(("tbody", {}))] if tag == "th"]
    assert [head.get("class", "") for head in heads] == [*["name"] * 6, *[""] * 4]


def test_all_but_what_needs_a_script_is_there_without_one(page: Page, report: Path) -> None:
    text = re.sub(r"<script.*?</script>", "", report.with_suffix(".html").read_text(), flags=re.DOTALL)
    without = Page(text)
    assert without.words == page.words
    assert without.all("img") == page.all("img")
    assert all(image["src"].startswith("data:image/") for image in without.all("img"))
    assert [button for button in without.all("button") if "hidden" not in button] == []
    beside = report.parent
    links = [unquote(link["href"]) for link in without.all("a") if not link["href"].startswith("#")]
    assert len(links) > 5
    assert all((beside / link).is_file() for link in links)


def test_it_holds_nothing_of_an_earlier_report_in_the_same_place_and_large_pictures_as_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan(models={"alpha": 4}, depths=(0.5,), pairs=("multiply/add",), weights=(0.5,), per_class=8)
    out, beside = tmp_path / "r.md", tmp_path / "r"
    beside.mkdir()
    (beside / "where_gone.csv").write_text("x\n1\n")
    (beside / "where_gone.svg").write_text("<svg/>")
    results = write_study(tmp_path / "results", plan)
    write_report(results, tmp_path / "all.md")
    sizes = [file.stat().st_size for file in (tmp_path / "all").glob("*.svg")]
    monkeypatch.setattr("analysis.drawing.matplotlib_renderer.LARGEST_SVG", sum(sizes) / len(sizes))
    write_report(results, out)
    drawn = {name: suffix for name, suffix in re.findall(r"!\[.*\]\(r/(\w+)\.(svg|png)\)", out.read_text())}
    assert set(drawn.values()) == {"svg", "png"}
    assert all((beside / f"{name}.{suffix}").is_file() for name, suffix in drawn.items())
    assert all(pixels_of(beside, name).shape[1] > 500 for name in drawn)
    page = Page(out.with_suffix(".html").read_text())
    kinds = {"svg": "data:image/svg+xml,", "png": "data:image/png;base64,iVBOR"}
    assert [image["src"].startswith(kinds[drawn[name]]) for name, image in zip(drawn, page.all("img"), strict=True)]
    assert "where_gone" not in held(page.scripts["data"])[0]


def test_writing_it_again_gives_the_same_bytes(report: Path) -> None:
    before = report.with_suffix(".html").read_bytes()
    write_report(report.parent / "results" / "study", report)
    assert report.with_suffix(".html").read_bytes() == before


@pytest.mark.parametrize("name", ["st rep #1?%41", "(x) [y] größe a:b'\"&<c>"])
def test_every_figure_and_link_works_whatever_the_report_is_called(name: str, tmp_path: Path) -> None:
    plan = Plan(models={"tables": 4}, depths=(0.5,), pairs=("multiply/add",), weights=(0.0, 0.5), per_class=8)
    out = tmp_path / f"{name}.md"
    write_report(write_study(tmp_path / "results", plan), out)
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(out.read_text())
    links = [unquote(link) for link in re.findall(r'(?:href|src)="([^"]*)"', html)]
    assert len(links) == 22  # two of every picture, its drawing and its data, and those of tables
    assert len(links) > 2 * html.count("<img ") > 5
    assert [link for link in links if not (tmp_path / link).is_file()] == []
    page = Page(out.with_suffix(".html").read_text())
    assert len(page.all("figure")) == html.count("<img ")
    named = [link for link in page.all("a") if not link["href"].startswith("#")]
    assert len(named) == html.count("<a ")
    assert {link["data-file"] for link in named} <= {file.stem for file in (tmp_path / name).iterdir()}
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert "tables" not in ids  # the name of the model


def test_a_study_without_a_finished_cell_has_a_page(tmp_path: Path) -> None:
    labels = ["stage1", "reference", "multiply-add|w=0", "L1|multiply-add|w=0.5"]
    plan = Plan(
        models={"alpha": 4},
        depths=(0.5,),
        pairs=("multiply/add",),
        weights=(0.0, 0.5),
        unfinished={f"alpha|{label}|s0": ("missing", "") for label in labels},
    )
    write_report(write_study(tmp_path / "results" / "nothing", plan), tmp_path / "nothing.md")
    page = Page((tmp_path / "nothing.html").read_text())
    assert not page.all("img")
    assert len([row for row in page.all("tr") if "id" in row]) == 1


def test_the_library_of_charts_is_kept_and_made_again_where_what_is_kept_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path))
    made: list[str] = []

    def bundle(snippet: str, vl_version: str) -> str:
        made.append(vl_version)
        return f"made {len(made)}"

    monkeypatch.setattr(embedded.vl_convert, "javascript_bundle", bundle)
    library = embedded.drawing_library.__wrapped__
    assert [library(), library()] == ["made 1", "made 1"]
    (kept,) = (tmp_path / "pages").iterdir()
    kept.write_text(kept.read_text().replace("made 1", "made 0"))
    assert [library(), library()] == ["made 2", "made 2"]
