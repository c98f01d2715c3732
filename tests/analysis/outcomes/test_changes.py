"""What one change of a small model does, against simulated studies whose truth is known."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from analysis.data.results import Results, read_results
from analysis.outcomes import decide_study
from analysis.outcomes.changes import COLUMNS, overall, verdict
from analysis.report import write_report
from analysis.statistics.seeds import mean_over_seeds
from tests.simulated import Plan, Point, Truth, write_study

pytestmark = pytest.mark.slow

NURSERY = {"base": {"blocks": 4}, "changes": {"worse": {"tied": False}, "deep": {"blocks": 8}}}


def _truth(point: Point) -> Truth:
    """On construction the change `worse` names the class in 65 % of prompts, all others in 92 %."""
    if point.tier != "construction":
        return Truth()
    return Truth(choice=0.65 if point.model == "worse" else 0.92)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    plan = Plan(
        models={"base": 4, "worse": 4, "deep": 8},
        depths=(0.25, 0.75),
        pairs=("multiply/add",),
        weights=(0.0, 0.5),
        seeds=(0, 1, 2),
        truth=_truth,
        per_class=48,
    )
    root = write_study(tmp_path_factory.mktemp("changes") / "changes", plan)
    study = json.loads((root / "study.json").read_text())
    study["config"]["nursery"] = NURSERY
    (root / "study.json").write_text(json.dumps(study))
    return root


@pytest.fixture(scope="module")
def results(folder: Path) -> Results:
    return read_results(folder)


@pytest.fixture(scope="module")
def rows(results: Results) -> pd.DataFrame:
    return decide_study(results).changes


def test_a_planted_difference_is_found_where_it_was_planted_and_with_its_size(rows: pd.DataFrame) -> None:
    found = overall(rows).set_index(["change", "measure", "tier"])
    row = found.loc[("worse", "choice", "construction")]
    assert row["difference_low"] < -0.27 < row["difference_high"] < 0
    assert row["seeds"] == 3
    others = overall(rows)
    others = others[
        (others["measure"] == "choice") & ((others["change"] == "deep") | (others["tier"] != "construction"))
    ]
    assert {verdict(other) for _, other in others.iterrows()} == {"no difference shown"}


def test_a_change_is_paired_with_the_base_by_seed_and_nearest_depth(rows: pd.DataFrame, results: Results) -> None:
    outcomes = decide_study(results).outcomes
    outcomes = outcomes[outcomes["arm"] == "plain"]
    by_place = outcomes[outcomes["tier"] == "construction"].set_index(["model", "seed", "depth"])["choice"]
    deep = rows[(rows["change"] == "deep") & (rows["measure"] == "choice") & (rows["tier"] == "construction")]
    by_seed = deep[deep["seed"].notna() & deep["depth"].isna()].set_index("seed")["difference"]
    for seed in (0, 1, 2):
        expected = np.mean([by_place["deep", seed, depth] - by_place["base", seed, depth] for depth in (0.25, 0.75)])
        assert by_seed[seed] == pytest.approx(expected)


def test_where_no_changed_cell_has_finished_there_is_no_difference_and_a_report(folder: Path, tmp_path: Path) -> None:
    """As in the reports of a study that runs."""
    shutil.copytree(folder, tmp_path / "begun")
    for cell in (tmp_path / "begun" / "cells").iterdir():
        if not cell.name.startswith("base"):
            shutil.rmtree(cell)
    changes = decide_study(read_results(tmp_path / "begun")).changes
    assert changes.empty
    assert list(changes.columns) == COLUMNS
    assert write_report(tmp_path / "begun", tmp_path / "begun.md") == []


def test_the_interval_over_seeds_is_students_and_covers_the_truth_as_often_as_it_says() -> None:
    differences = np.array([0.1, 0.3, -0.1, 0.2])
    low, high = scipy.stats.t.interval(0.95, 3, differences.mean(), scipy.stats.sem(differences))
    found = mean_over_seeds(differences, 0.0, 0.95)
    assert (found.low, found.high) == pytest.approx((low, high))
    rng = np.random.default_rng(0)
    for between, errors in ((0.1, 0.0), (0.1, 0.05), (0.0, 0.1)):
        draws = rng.normal(0.2, np.hypot(between, errors), (4000, 3))
        intervals = [mean_over_seeds(draw, errors, 0.95) for draw in draws]
        covered = np.mean([interval.low <= 0.2 <= interval.high for interval in intervals])
        assert covered > 0.94


def test_seeds_that_agree_by_chance_are_no_certainty_and_one_seed_has_no_interval() -> None:
    same = mean_over_seeds(np.array([0.1, 0.1, 0.1]), 0.05, 0.95)
    assert same.low < 0 < same.high
    one = mean_over_seeds(np.array([0.3]), 0.01, 0.95)
    assert one.estimate == 0.3
    assert np.isnan(one.low)
    assert (
        verdict(pd.Series({"measure": "choice", "seeds": 1, "difference_low": 0.1, "difference_high": 0.2}))
        == "one seed"
    )


def test_the_report_has_the_section_with_its_sentences_table_and_figure(folder: Path, tmp_path: Path) -> None:
    write_report(folder, tmp_path / "r.md")
    text = (tmp_path / "r.md").read_text()
    section = text.partition("## What one change does")[2].partition("\n## ")[0]
    assert "- **worse** (tied: false): choice accuracy lower on construction (-2" in section
    assert "- **deep** (blocks: 8): no difference shown in" in section
    assert "intervals exclude zero; with no difference anywhere about" in section
    assert "![Difference of each change from the base" in section
    assert (tmp_path / "r" / "table_changes.csv").is_file()


def test_a_unit_that_held_no_model_after_stage_1_is_no_hindrance_to_the_table_of_models(
    folder: Path, tmp_path: Path
) -> None:
    """As a training from scratch, whose `held` is empty."""
    shutil.copytree(folder, tmp_path / "held")
    first = next((tmp_path / "held" / "stage1").glob("*/done.json"))
    first.write_text(json.dumps({**json.loads(first.read_text()), "held": {}}))
    write_report(tmp_path / "held", tmp_path / "r.md")
    assert "| base | " in (tmp_path / "r.md").read_text()


def test_a_study_without_a_nursery_has_neither_section_nor_table(tmp_path: Path) -> None:
    write_study(tmp_path / "plain", Plan(models={"alpha": 4}, depths=(0.5,), pairs=("multiply/add",), per_class=12))
    write_report(tmp_path / "plain", tmp_path / "r.md")
    assert "What one change does" not in (tmp_path / "r.md").read_text()
    assert not (tmp_path / "r" / "table_changes.csv").exists()
