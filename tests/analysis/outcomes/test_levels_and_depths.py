"""Levels over templates, means over seeds, and depths, against simulated studies whose truth is known."""

import math

import numpy as np
import pandas as pd
import pytest

from analysis.data.results import Results, read_results
from analysis.outcomes.depth import depths
from analysis.outcomes.levels import LEVELS, MEANS, levels, means
from tests.simulated import Plan, Point, Truth, write_study

CHOICE = {0.25: 0.5, 0.5: 0.6, 0.75: 0.9, 1.0: 1.0}


def _truth(point: Point) -> Truth:
    return Truth(choice=0.5 if point.tier == "story" else CHOICE[point.depth])


PLAN = Plan(
    models={"alpha": 4, "beta": 8},
    depths=tuple(CHOICE),
    pairs=("multiply/add",),
    weights=(0.0, 0.5),
    seeds=(0, 1, 2),
    truth=_truth,
    per_class=108,
)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return read_results(write_study(tmp_path_factory.mktemp("results") / "levels", PLAN))


@pytest.fixture(scope="module")
def found(results: Results) -> pd.DataFrame:
    return levels(results)


def test_a_level_is_the_mean_over_templates_of_prompts_of_both_operations(
    found: pd.DataFrame, results: Results
) -> None:
    assert list(found.columns) == LEVELS
    row = found[(found["tier"] == "symbolic") & (found["templates"] == "unseen")].iloc[0]
    cell = next(cell for cell in results.cells if cell.id == row["unit"])
    lens = results.rows["lens"][cell.id].astype({"tier": str, "seen": str, "template": str, "operation": str})
    lens = lens[(lens["layer"] == cell.layer) & (lens["tier"] == "symbolic") & (lens["seen"] == "nobody")]
    by_template = lens.groupby(["template", "operation"])["choice"].mean().groupby("template").mean()
    assert row["choice"] == pytest.approx(by_template.mean())
    assert row["samples"] == len(by_template) == lens["template"].nunique()
    assert row["prompts"] == len(lens)


def test_templates_that_were_trained_on_stand_apart(found: pd.DataFrame) -> None:
    kinds = found.groupby("tier")["templates"].agg(set)
    assert kinds["symbolic"] == {"seen", "unseen"}
    assert kinds["construction"] == kinds["story"] == {"unseen"}


def test_all_right_in_every_template_is_no_certainty(found: pd.DataFrame) -> None:
    rows = found[(found["choice"] == 1.0) & (found["templates"] == "unseen")]
    assert len(rows)
    exact = 0.025 ** (1 / rows["samples"])
    assert (rows["choice_low"] <= exact + 1e-9).all()
    assert (rows["choice_high"] == 1.0).all()


def test_a_mean_over_seeds_has_their_range_and_an_interval_that_holds_the_truth(
    found: pd.DataFrame, results: Results
) -> None:
    told = means(results, found)
    assert list(told.columns) == MEANS
    rows = told[told["templates"] == "unseen"]
    assert set(rows["seeds"]) == {3}
    assert (rows["lowest_seed"] <= rows["choice"] + 1e-9).all()
    assert (rows["choice"] <= rows["highest_seed"] + 1e-9).all()
    truth = np.where(rows["tier"] == "story", 0.5, rows["depth"].map(CHOICE))
    held = (rows["choice_low"] <= truth + 1e-9) & (truth <= rows["choice_high"] + 1e-9)
    assert held.mean() > 0.9


def test_cells_at_chance_are_not_above_it_and_good_ones_are_however_many_are_asked(found: pd.DataFrame) -> None:
    plain = found[found["templates"] == "unseen"]
    good = plain[(plain["depth"] >= 0.75) & (plain["tier"] != "story")]
    assert (good["p_above_chance"] < 0.01).all()
    chance = plain[(plain["depth"] == 0.25) | (plain["tier"] == "story")]
    assert (chance["p_above_chance"] < 0.05).mean() < 0.05


def test_the_crossing_and_the_area_are_those_of_the_planted_curve(results: Results) -> None:
    told = depths(results).set_index(["model", "tier"])
    row = told.loc[("beta", "construction")]
    assert row["crossing_low"] <= 0.625 <= row["crossing_high"]  # from 60 % at 0.5 to 90 % at 0.75
    truth = np.trapezoid([0.0, 0.2, 0.8, 1.0], [0.25, 0.5, 0.75, 1.0]) / 0.75
    assert row["area_low"] < truth < row["area_high"]
    assert row["area"] == pytest.approx(truth, abs=0.06)


def test_a_curve_that_never_gets_there_is_censored(results: Results) -> None:
    row = depths(results).set_index(["model", "tier"]).loc[("alpha", "story")]
    assert row["crossing"] == math.inf
    assert row["crossing_high"] == math.inf
