"""Whether every report in reports/ is what `make report` makes from the rows in reports/data/."""

import re
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import pandas as pd
import pytest

from analysis.data.packing import pack
from analysis.report import write_report
from study.results.store import MANIFEST
from tests.page_data import inflated
from tests.simulated import Plan, write_study

pytestmark = pytest.mark.slow

REPORTS = Path(__file__).parents[2] / "reports"
PACKED = sorted(path.parent for path in (REPORTS / "data").glob(f"*/{MANIFEST}"))


def _text_of_page(page: Path) -> str:
    """Without drawings and the charts' library, which may change from version to version of what draws them.

    Data is as it was before it was compressed, for which systems may have other versions of zlib.
    """
    text = re.sub(r"""src="data:[^"]*"|'sha256-[^']*'""", "", page.read_text(encoding="utf-8"))
    text = re.sub(r'<script[^>]* id="library">.*?</script>|<script>.*?</script>', "", text, flags=re.DOTALL)
    return re.sub(r'(?<= id="data">)[^<]*', lambda data: inflated(data[0]), text)


def check_report(packed: Path, report: Path, again: Path) -> None:
    """Make the report again at `again` and compare: words and data to the byte, figures by their data and size."""
    write_report(packed, again)
    assert report.read_bytes() == again.read_bytes()
    assert _text_of_page(report.with_suffix(".html")) == _text_of_page(again.with_suffix(".html"))
    committed, made = report.with_suffix(""), again.with_suffix("")
    assert {file.name for file in committed.iterdir()} == {file.name for file in made.iterdir()}
    for file in made.glob("*.csv"):
        assert (committed / file.name).read_bytes() == file.read_bytes(), file.name
    for file in made.glob("*.parquet"):
        pd.testing.assert_frame_equal(pd.read_parquet(committed / file.name), pd.read_parquet(file))
    for file in (*made.glob("*.svg"), *made.glob("*.png")):
        assert _size(committed / file.name) == _size(file), file.name


def _size(drawing: Path) -> object:
    if drawing.suffix == ".png":
        return matplotlib.image.imread(drawing).shape
    found = re.search(r'viewBox="[^"]*"', drawing.read_text(encoding="utf-8"))
    assert found, drawing
    return found[0]


def test_every_report_has_its_rows() -> None:
    made = {page.stem for page in REPORTS.glob("*.md") if page.stem != "predictions"}
    assert {folder.name for folder in PACKED} == made > {"architecture_comparison"}


@pytest.mark.parametrize("packed", PACKED, ids=lambda path: path.name)
def test_the_committed_report_is_made_from_the_committed_rows(packed: Path, tmp_path: Path) -> None:
    check_report(packed, REPORTS / f"{packed.name}.md", tmp_path / f"{packed.name}.md")


def test_a_report_that_does_not_follow_from_its_rows_is_found(tmp_path: Path) -> None:
    plan = Plan(models={"alpha": 4}, depths=(0.5,), pairs=("multiply/add",), weights=(0.0, 0.5), per_class=12)
    pack(write_study(tmp_path / "results" / "tiny", plan), tmp_path / "data" / "tiny")
    report = tmp_path / "tiny.md"
    write_report(tmp_path / "data" / "tiny", report)
    check_report(tmp_path / "data" / "tiny", report, tmp_path / "again" / "tiny.md")
    data = tmp_path / "tiny" / "table_units.csv"
    data.write_text(data.read_text().replace("alpha", "beta"))
    with pytest.raises(AssertionError, match=r"table_units\.csv"):
        check_report(tmp_path / "data" / "tiny", report, tmp_path / "again" / "tiny.md")


def test_a_report_that_is_made_again_leaves_no_table_or_figure_of_other_rows(tmp_path: Path) -> None:
    two = Plan(models={"alpha": 4}, depths=(0.5,), pairs=("multiply/add",), weights=(0.0, 0.5), per_class=12)
    write_report(write_study(tmp_path / "two", two), tmp_path / "r.md")
    own = {file.name for file in (tmp_path / "r").iterdir()}
    assert {"cost.csv", "cost.svg"} <= own
    (tmp_path / "r" / "mine.csv").touch()
    (tmp_path / "r" / "table_mine.csv").touch()
    one = replace(two, weights=(0.5,))
    write_report(write_study(tmp_path / "one", one), tmp_path / "r.md")
    write_report(tmp_path / "one", tmp_path / "fresh.md")
    fresh = {file.name for file in (tmp_path / "fresh").iterdir()}
    assert {file.name for file in (tmp_path / "r").iterdir()} == {*fresh, "mine.csv", "table_mine.csv"}
    assert "cost.svg" not in fresh
