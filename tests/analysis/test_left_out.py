"""A report never dies of one unit or one figure: it leaves it out, names it on its first page, and goes on."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import figures
from analysis.drawing.description import Picture
from study.commands.pack import main as pack
from study.commands.report import main as write_again
from tests.simulated import Plan, list_again, write_study

pytestmark = pytest.mark.slow

PLAN = Plan(
    models={"alpha": 4},
    depths=(0.5, 1.0),
    pairs=("multiply/add",),
    weights=(0.0, 0.5),
    per_class=12,
    predictors=lambda point: {},
    watched=True,
)
INNER, LAST, WITHOUT = "alpha|L1|multiply-add|w=0.5|s0", "alpha|L3|multiply-add|w=0.5|s0", "alpha|multiply-add|w=0|s0"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return write_study(tmp_path / "study", PLAN)


def rewrite(results: Path, label: str, name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Change a unit's rows as an older version of the program might have written them, with the right digests."""
    described = {file.parent: json.loads(file.read_text()) for file in results.glob("*/*/unit.json")}
    (folder,) = (folder for folder, unit in described.items() if unit["label"] == label)
    file = folder / f"{name}.parquet"
    change(pd.read_parquet(file)).to_parquet(file, index=False)
    list_again(folder)


def reported(results: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, list[str]]:
    """The exit code, the report, and the lines about what is left out."""
    out = results.parent / "report.md"
    code = write_again(["--results", str(results), "--out", str(out)])
    printed = capsys.readouterr().err
    assert "Traceback" not in printed
    assert out.with_suffix(".html").is_file()
    return code, out.read_text(), printed.splitlines()


def drawn(text: str) -> list[str]:
    """The names of the pictures of a report, in its order."""
    return re.findall(r"!\[.*\]\(report/(\w+)\.", text)


def first_page(text: str) -> str:
    return text[: text.index("## How it is decided")]


def test_nothing_is_said_where_nothing_is_left_out(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text, told = reported(results, capsys)
    assert (code, told) == (0, [])
    assert "Left out" not in text


def test_units_with_rows_that_are_no_figures_or_lack_a_column_are_left_out_and_named(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite(results, LAST, "lens", lambda rows: rows.assign(log_p=np.nan))
    rewrite(results, WITHOUT, "answers", lambda rows: rows.drop(columns="nll"))
    rewrite(results, "alpha|predictors|s0", "predictors", lambda rows: rows.assign(layer=rows["layer"].astype(str)))
    rewrite(results, "alpha|stage1|s0", "curves", lambda rows: rows.assign(loss=math.inf))
    code, text, told = reported(results, capsys)
    assert code == 1
    assert [line.partition(": ")[2] for line in told] == [
        "alpha|stage1|s0: curves: loss is not finite or missing in 60 of 60 rows",
        "alpha|predictors|s0: predictors: layer has values of the type large_string, not numbers",
        f"{WITHOUT}: answers: it has no column nll",
        next(line for line in told if LAST in line).partition(": ")[2],
    ]
    assert f"{LAST}: lens: log_p is not finite or missing in " in told[3]
    listed = first_page(text).split("Left out of this report:")[1].strip().split("\n\n")[0].splitlines()
    assert [line.replace("\\", "") for line in listed] == [f"- {line.partition(': ')[2]}" for line in told]
    assert "1 of 2 cells with a class loss finished (1 unreadable)" in text
    assert drawn(text) == ["depth", "order", "lens", "emergence_alpha"]  # what it costs is not known without w = 0
    assert pack([str(results), str(results.parent / "packed")]) == 1
    assert reported(results.parent / "packed", capsys)[:2] == (code, text)


def test_a_figure_that_cannot_be_described_is_left_out_and_the_others_are_there(
    results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> Picture:
        raise ZeroDivisionError("division by zero")

    assert drawn(reported(results, capsys)[1]) == ["depth", "order", "lens", "emergence_alpha", "cost"]
    for name in ("depth", "cost", "predictors", "evaluations"):
        monkeypatch.setattr(figures, name, fails)
    code, text, told = reported(results, capsys)
    assert code == 1
    names = ["depth", "order", "cost", "emergence", "predictors"]
    assert told == [f"left out: the figure {name}: ZeroDivisionError: division by zero" for name in names]
    assert [f"the figure {name}: ZeroDivisionError" in first_page(text) for name in names] == [True] * 5
    assert drawn(text) == ["lens"]
    assert "> **In one sentence.** A class token" in text
    assert "| Does it cost answers? | Right answers, " in text
    assert "No cell has finished" not in text


def test_a_figure_that_cannot_be_drawn_is_left_out_and_the_others_are_there(
    results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    depth = figures.depth

    def too_long(*about: object) -> list[Picture]:
        return [replace(chart, name="x" * 300) for chart in depth(*about)]  # type: ignore[arg-type]

    monkeypatch.setattr(figures, "depth", too_long)
    code, text, told = reported(results, capsys)
    assert code == 1
    assert len(told) == 2  # the order of matched pairs is drawn by it too
    assert all(line.startswith("left out: the figure xxx") for line in told)
    assert all("is no name of a file" in line for line in told)
    assert drawn(text) == ["lens", "emergence_alpha", "cost"]
