"""Controls beside their plain partners, and the criterion of shuffled labels."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from analysis.data.results import Results, read_results
from analysis.outcomes.controls import COLUMNS, controls
from analysis.outcomes.emergence import judge
from tests.simulated import Plan, Point, Truth, write_study

CHOICE = {"plain": 1.0, "random_words": 0.6, "swapped_tokens": 1.0, "shuffled_labels": 0.5}


def _truth(point: Point) -> Truth:
    return Truth(choice=CHOICE[point.arm] if point.tier != "symbolic" or point.arm == "shuffled_labels" else 1.0)


PLAN = Plan(
    models={"alpha": 4},
    depths=(0.5, 1.0),
    pairs=("multiply/add",),
    weights=(0.0, 0.5),
    arms=tuple(CHOICE),
    truth=_truth,
)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return read_results(write_study(tmp_path_factory.mktemp("results") / "arms", PLAN))


@pytest.fixture(scope="module")
def compared(results: Results) -> pd.DataFrame:
    return controls(results)


def test_every_arm_is_compared_with_the_plain_cell_on_every_tier(compared: pd.DataFrame) -> None:
    assert list(compared.columns) == COLUMNS
    assert compared.groupby(["arm", "layer"]).size().to_dict() == {
        (arm, layer): 4 for arm in CHOICE if arm != "plain" for layer in (1, 3)
    }


def test_a_planted_difference_is_found_with_its_sign_where_it_was_planted(compared: pd.DataFrame) -> None:
    random = compared[compared["arm"] == "random_words"].set_index(["tier", "layer"])
    assert (random.loc["story", "difference_low"] > 0.2).all()
    assert (random.loc["symbolic", "difference"] == 0).all()
    assert (random.loc["symbolic", "difference_high"] > 0).all()
    swapped = compared[compared["arm"] == "swapped_tokens"]
    assert (swapped["difference"] == 0).all()
    assert set(compared["plain_choice"]) == {1.0}


def test_answers_that_do_not_differ_have_an_interval_about_zero(compared: pd.DataFrame) -> None:
    assert (compared["answers_difference"] == 0).all()
    assert (compared["answers_difference_low"] < 0).all()


def test_without_a_finished_partner_there_is_no_comparison(tmp_path: Path) -> None:
    plan = replace(PLAN, unfinished={"alpha|L1|multiply-add|w=0.5|s0": ("failed", "killed")}, per_class=8)
    assert set(controls(read_results(write_study(tmp_path / "alone", plan)))["layer"]) == {3}


def test_a_study_without_arms_has_an_empty_frame(tmp_path: Path) -> None:
    plan = replace(PLAN, arms=("plain",), per_class=8)
    found = controls(read_results(write_study(tmp_path / "plain", plan)))
    assert found.empty
    assert list(found.columns) == COLUMNS


# Shuffled labels


def test_plain_cells_are_emergent_where_shuffled_labels_are_at_chance(results: Results) -> None:
    judged = judge(results)
    plain = judged[judged["arm"] == "plain"]
    assert set(plain["outcome"]) == {"emergent"}
    assert (plain["shuffled_layer"] == plain["layer"]).all()
    assert (plain["shuffled_choice_low"] < 0.5).all()
    assert judged.loc[judged["arm"] != "plain", "shuffled_choice"].isna().all()


def test_a_cell_is_not_emergent_where_shuffled_labels_do_the_same(tmp_path: Path) -> None:
    def truth(point: Point) -> Truth:
        return Truth(choice=0.5 if point.arm == "shuffled_labels" and point.tier != "semantic" else 1.0)

    plan = replace(PLAN, arms=("plain", "shuffled_labels"), truth=truth)
    judged = judge(read_results(write_study(tmp_path / "same", plan)))
    plain = judged[judged["arm"] == "plain"].set_index("tier")
    assert set(plain.loc["semantic", "outcome"]) == {"partial"}
    assert (
        plain.loc["semantic", "missed"].iloc[0].startswith("shuffled labels at L1 do the same: choice accuracy 100 %")
    )
    assert set(plain.drop("semantic")["outcome"]) == {"emergent"}


def test_the_nearest_finished_shuffled_cell_stands_in(tmp_path: Path) -> None:
    missing = {"alpha|L1|multiply-add|w=0.5|shuffled_labels|s0": ("missing", "")}
    results = read_results(write_study(tmp_path / "near", replace(PLAN, unfinished=missing, per_class=8)))
    plain = judge(results).query("arm == 'plain'")
    assert set(plain["shuffled_layer"]) == {3}


def test_shuffled_labels_of_other_wordings_are_no_control(tmp_path: Path) -> None:
    both = ("symbolic", "semantic")
    kept = "alpha|L3|multiply-add|w=0.5|shuffled_labels|symbolic+semantic|s0"
    missing = {
        f"alpha|L{layer}|multiply-add|w=0.5|shuffled_labels{said}|s0": ("missing", "")
        for layer in (1, 3)
        for said in ("", "|symbolic+semantic")
    }
    missing.pop(kept)
    plan = replace(PLAN, wordings=(("symbolic",), both), unfinished=missing, per_class=8)
    judged = judge(read_results(write_study(tmp_path / "wordings", plan))).query("arm == 'plain'")
    assert judged[judged["wordings"] == "symbolic"]["shuffled_choice"].isna().all()
    assert set(judged[judged["wordings"] == "symbolic+semantic"]["shuffled_layer"]) == {3}
    assert set(judged[judged["transfer"]]["tier"]) == {"semantic", "construction", "story"}
    assert not judged[(judged["wordings"] == "symbolic+semantic") & judged["transfer"]]["tier"].eq("semantic").any()
