"""Long tables are cut in the text, and say so."""

import re
from importlib import import_module
from pathlib import Path

import pandas as pd
import pytest

from analysis.report import write_report
from analysis.text import rows
from analysis.text.models_and_outcomes import MANY_MODELS, _of_all
from analysis.text.rows import Row, first_groups, first_rows
from tests.simulated import Plan, write_study

PLAN = Plan(models={"alpha": 8}, depths=(0.25, 0.5, 0.75, 1.0), pairs=("multiply/add", "river/copper"), per_class=8)


def test_the_first_rows_are_made_alone_and_all_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MOST_ROWS", 2)
    asked = []

    def row(number: int) -> list[str]:
        asked.append(number)
        return [str(number)]

    found = first_rows(range(5), row)
    assert (found, found.every, asked) == ([["0"], ["1"]], 5, [0, 1])
    frame = pd.DataFrame({"name": ["b", "b", "a", "c", None], "value": range(5)})
    groups = first_groups(frame, ["name"], lambda here: [str(here["value"].sum())])
    assert (groups, groups.every) == ([["1"], ["2"]], 4)


def test_a_table_that_is_cut_says_how_many_rows_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = write_study(tmp_path / "results" / "many", PLAN)
    monkeypatch.setattr(rows, "MOST_ROWS", 3)
    monkeypatch.setattr("analysis.text.models_and_outcomes.MOST_ROWS", 3)
    monkeypatch.setattr(import_module("analysis.page.cells"), "MOST_CELLS", 5)
    monkeypatch.setattr("analysis.page.MOST_BYTES", 5000)
    write_report(results, tmp_path / "many.md")
    text, page = (tmp_path / "many.md").read_text(), (tmp_path / "many.html").read_text()
    assert "<details><summary>alpha (16)</summary>" in text
    assert "*The first 3 of 16 rows; all are in the tables.*" in text
    assert len(re.findall(r"^\| multiply/add · L\d \(0\.\d\d\)", text, re.MULTILINE)) == 3
    assert len(pd.read_csv(tmp_path / "many" / "table_outcomes.csv")) == 16 * 4
    assert "The first 5 of 16 cells, of which the others are in the table as CSV." in page
    assert page.count('<tr id="cell-') == 5
    assert 'href="many/table_outcomes.csv"' in page  # where it lies beside the page, which does not hold it


def test_a_chart_shows_as_many_pairs_as_can_be_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis.figures.series.MOST_SERIES", 1)
    write_report(write_study(tmp_path / "results" / "pairs", PLAN), tmp_path / "pairs.md")
    assert set(pd.read_csv(tmp_path / "pairs" / "depth.csv")["pair"]) == {"multiply/add"}
    assert (
        "Figures show 1 of 2 pairs of class tokens (multiply/add), tables all." in (tmp_path / "pairs.md").read_text()
    )
    assert set(pd.read_csv(tmp_path / "pairs" / "table_means.csv")["pair"]) == {"multiply/add", "river/copper"}


def test_what_many_models_have_alike_is_one_row() -> None:
    alike: list[Row] = [[f"m{i}", "x/y", "x 1, y 2"] for i in range(MANY_MODELS + 1)]
    others: list[Row] = [[f"m{i}", "u/v", f"u {i}"] for i in range(MANY_MODELS + 1)]
    assert _of_all(alike + others) == [[f"all {MANY_MODELS + 1}", "x/y", "x 1, y 2"], *others]
    assert _of_all(alike[:-1]) == alike[:-1]  # of few models each is told
