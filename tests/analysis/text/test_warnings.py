import json
import re
from dataclasses import replace
from pathlib import Path

from analysis.report import write_report
from analysis.text.warnings import RANDOM
from tests.simulated import Plan, write_study

FEW = Plan(models={"alpha": 4}, depths=(0.5,), pairs=("multiply/add",), weights=(0.0, 0.5), per_class=9)
WARNING = "the class token ' good' is also the answer"


def _report(results: Path, out: Path) -> str:
    write_report(results, out)
    return out.read_text()


def test_the_first_page_says_that_no_cell_can_be_emergent_with_so_few_templates(tmp_path: Path) -> None:
    text = _report(write_study(tmp_path / "few", FEW), tmp_path / "few.md").partition("## How it is decided")[0]
    tiers = "symbolic (5), semantic (9), construction (9), story (9)"
    assert f"No cell can be emergent on {tiers}: too few new templates (in brackets)" in text
    assert "36 are needed, or as many groups where there are few templates." in text


def test_nothing_is_said_where_there_are_enough(tmp_path: Path) -> None:
    results = write_study(tmp_path / "many", replace(FEW, per_class=54))
    assert "No cell can be emergent" not in _report(results, tmp_path / "many.md")


def test_a_report_on_random_weights_says_that_its_numbers_mean_nothing(uninterrupted: Path, tmp_path: Path) -> None:
    text = _report(uninterrupted, tmp_path / "smoke.md")
    assert f"| tiny-llama | {RANDOM} | 5 |" in text.partition("## Every cell")[0]
    assert RANDOM not in _report(write_study(tmp_path / "few", FEW), tmp_path / "few.md")


def test_warnings_of_units_are_told_with_the_number_of_units(tmp_path: Path) -> None:
    results = write_study(tmp_path / "warned", FEW)
    for file in (results / "cells").glob("*/done.json"):
        file.write_text(json.dumps({**json.loads(file.read_text()), "warnings": [WARNING]}))
    text = _report(results, tmp_path / "warned.md")
    assert f"| alpha | {WARNING} | 2 |" in text.partition("## Every cell")[0]


def test_a_stage_1_that_moved_a_model_far_on_a_neutral_text_is_a_warning(tmp_path: Path) -> None:
    results = write_study(tmp_path / "far", FEW)
    for moved, told in ((0.4, False), (5.0, True)):
        for file in (results / "reference").glob("*/done.json"):
            file.write_text(json.dumps({**json.loads(file.read_text()), "text_kl": {"stage1": moved}}))
        text = _report(results, tmp_path / "far.md")
        assert bool(re.search(r"\| alpha \| stage 1 moved .* by 5\.0 nats .* \| 1 \|", text)) == told
        assert ("stage 1 moved" in text) == told
