"""`study list`: the studies that have results."""

import json
from pathlib import Path

import pytest

from analysis.report import write_report
from study.commands.listing import main
from tests.simulated import Plan, write_study

PLAN = Plan(models={"alpha": 4}, depths=(0.5,), pairs=("multiply/add",), weights=(0.0, 0.5), per_class=12)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    write_study(tmp_path / "results" / "whole", PLAN)
    unfinished = {"alpha|L1|multiply-add|w=0.5|s0": ("failed", "RuntimeError: killed")}
    write_study(tmp_path / "results" / "part", Plan(**{**vars(PLAN), "unfinished": unfinished}))
    (tmp_path / "results" / "other").mkdir()
    (tmp_path / "results" / "broken").mkdir()
    (tmp_path / "results" / "broken" / "study.json").write_text("{")
    write_report(tmp_path / "results" / "whole", tmp_path / "reports" / "whole.md")
    return tmp_path / "results"


def test_it_lists_every_study_with_its_state_and_answer(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reports = results.parent / "reports"
    assert main([str(results), "--reports", str(reports), "--json"]) == 0
    said = capsys.readouterr()
    part, whole = json.loads(said.out)
    assert (part["name"], part["state"], whole["name"], whole["state"]) == ("part", "1 failed", "whole", "done")
    assert whole["done"] == whole["units"] == part["units"] == part["done"] + 1
    assert part["report"] is None
    assert whole["report"] == str(reports / "whole.md")
    sentence = (reports / "whole.md").read_text().split("> **In one sentence.** ")[1].split("\n")[0]
    assert whole["answer"] == sentence.replace("\\", "")
    assert "broken: " in said.err  # named, and no reason to leave out the others
    assert main([str(results), "--reports", str(reports)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["study", "units", "state", "last", "results"]
    assert lines[1].startswith("part")
    assert f"whole: {whole['answer']} ({reports / 'whole.md'})" in lines


def test_one_study_is_listed_by_its_own_folder(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(results / "part"), "--json"]) == 0
    (one,) = json.loads(capsys.readouterr().out)
    assert one["name"] == "part"


@pytest.mark.parametrize("folder", ["nowhere", "results/other"])
def test_where_there_is_none_it_says_what_to_name(
    results: Path, capsys: pytest.CaptureFixture[str], folder: str
) -> None:
    assert main([str(results.parent / folder)]) == 2
    assert "name the folder above results/NAME" in capsys.readouterr().err


def test_folders_of_one_study_have_reports_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two settings of a study have results and reports of other names, and the study's own name in both."""
    reports = tmp_path / "reports"
    for place, weights in (("short", (0.0, 0.5)), ("long", (0.0, 0.8))):
        write_study(tmp_path / "results" / place, Plan(**{**vars(PLAN), "weights": weights}))
        described = json.loads((tmp_path / "results" / place / "study.json").read_text())
        (tmp_path / "results" / place / "study.json").write_text(json.dumps({**described, "name": "same"}))
    write_report(tmp_path / "results" / "short", reports / "same.md")
    assert main([str(tmp_path / "results"), "--reports", str(reports), "--json"]) == 0
    long, short = json.loads(capsys.readouterr().out)
    assert (long["report"], long["answer"]) == (None, "")
    assert short["report"] == str(reports / "same.md")
    write_report(tmp_path / "results" / "long", reports / "of_the_long_one.md")
    assert main([str(tmp_path / "results"), "--reports", str(reports), "--json"]) == 0
    long, short = json.loads(capsys.readouterr().out)
    assert [one["report"] for one in (long, short)] == [str(reports / "of_the_long_one.md"), str(reports / "same.md")]
