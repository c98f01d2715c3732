"""The report of results that a stranger made: their text shows as text, and nothing is written elsewhere."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest
import vl_convert
from markdown_it import MarkdownIt

from analysis.page.embedded import VEGA_LITE, drawing_library
from analysis.report import write_report
from study.commands.report import main
from study.results.finished import list_files
from tests.page_data import held, inflated
from tests.simulated import Plan, write_study

pytestmark = pytest.mark.slow

TEXT = "<img src=x onerror=alert(1)></script><b>b</b> | [x](javascript:x) *a* `c` _u_ &lt; $y$ <!-- all cells -->"
LINES = f"```\n\n<script>alert(1)</script>\n\n# {TEXT}\n\n![x](../x.png)\n\n*x*\n"
PLAIN = ("one/two", "three/four")


class Structure(HTMLParser):
    """The tags of a page with the names of their attributes, its text, and its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.text, self.scripts, self._in = "", list[str](), ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        if tag in ("th", "td"):
            # Whether a cell is a name, a number or words is told from its text.
            tag, names = "cell", [name for name in names if name not in ("class", "scope")]
        self.tags.append((tag, tuple(names)))
        self._in = tag

    def handle_endtag(self, tag: str) -> None:
        self._in = ""

    def handle_data(self, data: str) -> None:
        if self._in == "script":
            self.scripts.append(data)
        elif self._in != "style":
            self.text += data


def results(folder: Path, pairs: tuple[str, ...], text: str, lines: str) -> Path:
    """A study whose class tokens, and all text that is not a name, a stranger has written."""
    failed = {f"alpha|L1|{pairs[1].replace('/', '-')}|w=0.5|s0": ("failed", f"RuntimeError: {text}")}
    plan = Plan({"alpha": 4}, (0.5, 1.0), pairs, (0.0, 0.5), per_class=12, unfinished=failed, predictors=lambda _: {})
    write_study(folder, plan)

    def described(study: dict[str, Any]) -> None:
        study["models"]["alpha"] |= {"licence": text, "source": {"hub": text}, "note": text}
        study["config"] |= {"note": lines, "further": [text]}

    change(folder / "study.json", described)
    for file in folder.glob("*/*/done.json"):
        change(file, lambda done: done.update(machine=text, versions={"python": text}))
    return folder


def change(file: Path, how: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(file.read_text())
    how(content)
    file.write_text(json.dumps(content))


def signed(folder: Path) -> Path:
    """Write of every unit which files it has now, since a stranger can do that too."""
    for file in folder.glob("*/*/done.json"):
        files = list_files(other for other in file.parent.iterdir() if other != file)
        change(file, lambda done, files=files: done.update(files=files))  # type: ignore[misc]
    return folder


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same report of plain names and of a stranger's."""
    tmp = tmp_path_factory.mktemp("strangers")
    plain = results(tmp / "results" / "plain", PLAIN, "text", "lines\n")
    assert write_report(plain, tmp / "plain" / "r.md") == []
    hostile = results(tmp / "results" / "hostile", ("=1+1/<b>x<b>", "NA/null"), TEXT, LINES)
    assert write_report(hostile, tmp / "hostile" / "r.md") == []
    return tmp / "plain" / "r.md", tmp / "hostile" / "r.md"


def test_the_page_has_the_same_elements_whatever_the_text(reports: tuple[Path, Path]) -> None:
    plain, hostile = (Structure(report.with_suffix(".html").read_text()) for report in reports)
    assert plain.tags == hostile.tags
    # Source and note of a model, licence, machine, versions, reason of a failure, and twice the configuration.
    assert words(hostile.text).count(words(TEXT)) == 8
    assert {"=1+1/<b>x<b>", "NA/null"} <= set(hostile.text.split())


def test_the_markdown_has_the_same_elements_whatever_the_text(reports: tuple[Path, Path]) -> None:
    reader = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    plain, hostile = (Structure(reader.render(report.read_text())) for report in reports)
    assert plain.tags == hostile.tags
    assert words(TEXT) in words(hostile.text)


def test_only_the_scripts_of_the_page_can_run_in_it(reports: tuple[Path, Path]) -> None:
    text = reports[1].with_suffix(".html").read_text()
    page = Structure(text)
    scheme, data, library, script = page.scripts
    assert inflated(library) == drawing_library()
    scripts = (scheme, script, drawing_library())
    hashes = {f"'sha256-{base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()}'" for one in scripts}
    (policy,) = re.findall(r"script-src ([^;]*)", text)
    assert len(hashes) == 3
    assert set(policy.split()) == {*hashes, "'unsafe-eval'"}
    assert isinstance(json.loads(inflated(data), parse_constant=pytest.fail), dict)


def test_charts_know_the_names_as_they_are(reports: tuple[Path, Path]) -> None:
    tables, charts = held(Structure(reports[1].with_suffix(".html").read_text()).scripts[1])
    assert ",'=1+1/<b>x<b>," in tables["depth"]
    depth = charts["depth"]
    assert json.dumps([f"alpha · {pair}" for pair in ("=1+1/<b>x<b>", "NA/null")]) in json.dumps(depth)
    assert not {"pair", "series"} & set(depth["data"]["format"]["parse"])
    svg = vl_convert.vegalite_to_svg({**depth, "data": {**depth["data"], "values": tables["depth"]}}, VEGA_LITE)
    assert "pair: =1+1/" in svg
    assert "'=1+1" not in svg
    assert "NA/null" in svg


TIERS = {"symbolic": "NA", "semantic": "null", "construction": "nan", "story": "1"}
"""Names that are taken for something else where a table's types are guessed."""


def test_names_that_look_like_something_else_are_names_everywhere(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "results", Plan({"true": 4}, (0.5,), ("None/inf",), (0.5,), per_class=8))

    def described(study: dict[str, Any]) -> None:
        study["config"]["data"] = {"file": "x.jsonl"}
        study["config"]["decisions"]["primary_tier"] = "nan"
        for unit in study["units"]:
            retiered(unit)

    def retiered(unit: dict[str, Any]) -> None:
        unit["tiers"] = list(TIERS.values())
        unit["wordings"] = unit["wordings"] and [TIERS[tier] for tier in unit["wordings"]]

    change(folder / "study.json", described)
    for file in folder.glob("*/*/unit.json"):
        change(file, retiered)
    for file in folder.glob("*/*/*.parquet"):
        rows = pd.read_parquet(file)
        rows.assign(**({"tier": rows["tier"].map(TIERS)} if "tier" in rows else {})).to_parquet(file, index=False)
    write_report(signed(folder), tmp_path / "r.md")
    page = Structure((tmp_path / "r.html").read_text())
    _, charts = held(page.scripts[1])
    (panels,) = (part["facet"]["sort"] for part in charts["depth"]["vconcat"])
    assert [title.partition("\n")[0] for title in panels] == list(TIERS.values())
    assert not {"tier", "panel", "model", "pair"} & set(charts["depth"]["data"]["format"]["parse"])
    table = (tmp_path / "r" / "table_outcomes.csv").read_text()
    assert all(f",{tier}," in table for tier in TIERS.values())
    heads = ["model", "class tokens", "layer", "depth", "w", *TIERS.values()]
    assert f"{''.join(heads)} true None/inf L1 0.50 0.5 " in words(page.text)
    text = (tmp_path / "r.md").read_text()
    assert "| Cell | NA | null | nan | 1 |" in text
    assert "A class token that is trained into a layer on NA prompts is read there" in text
    by = "by 100 % in true at 0.50"
    assert f"that no training saw: on NA {by}, not shown to be above chance; on null, nan and 1 {by}." in text


@pytest.mark.filterwarnings("ignore:Glyph")
def test_a_drawing_is_whole_whatever_signs_a_name_has(tmp_path: Path) -> None:
    plan = Plan({"alpha": 4}, (0.5,), ("a\x1b[1m-->/<b>&\x01",), (0.0, 0.5), per_class=8, watched=True)
    write_report(write_study(tmp_path / "results", plan), tmp_path / "r.md")
    drawings = list((tmp_path / "r").glob("*.svg"))
    assert len(drawings) > 3
    for drawing in drawings:
        assert ElementTree.fromstring(drawing.read_bytes()).tag == "{http://www.w3.org/2000/svg}svg"


def test_dollar_signs_in_a_name_are_no_formula(tmp_path: Path) -> None:
    plan = Plan({"alpha": 4}, (0.5,), ("$\\frac{$/$x_1$", "a/b"), (0.5,), per_class=8, swapped=True)
    write_report(write_study(tmp_path / "results", plan), tmp_path / "r.md")
    drawing = (tmp_path / "r" / "depth.svg").read_text()
    assert ">alpha · $\\frac{$/$x_1$</text>" in drawing
    axes = [file.read_text() for file in (tmp_path / "r").glob("*.svg")]
    assert len(axes) == 4
    assert not any("10^{" in text or "mathdefault" in text for text in axes)


HOSTILE = [
    *("a/../../escaped", "ROOT/escaped", "../escaped", "a\\..\\escaped", "a\0b", "m" * 300, "<b>x</b>", "=1+1"),
    *("x\ny", "\ud800"),
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_model_whose_name_leads_elsewhere_is_named_and_nothing_is_written_there(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = name.replace("ROOT", str(tmp_path))
    folder = write_study(tmp_path / "results", Plan({"alpha": 4}, (0.5,), ("multiply/add",), (0.5,), per_class=8))
    for file in (folder / "study.json", *folder.glob("*/*/unit.json")):
        text = file.read_text().replace('"model": "alpha"', f'"model": {json.dumps(name)}')
        file.write_text(text.replace('{"alpha":', f"{{{json.dumps(name)}:"))
    signed(folder)
    there = set(tmp_path.rglob("*"))
    out = tmp_path / "in" / "side" / "report.md"
    assert main(["--results", str(folder), "--out", str(out)]) in (1, 2)
    told = capsys.readouterr().err
    assert "which is no name of a file" in told or "is not a study's description" in told
    assert "Traceback" not in told
    assert all(file.is_relative_to(tmp_path / "in") for file in set(tmp_path.rglob("*")) - there)
    assert all(re.fullmatch(r"[\w.]+", file.name) for file in out.parent.rglob("*"))
