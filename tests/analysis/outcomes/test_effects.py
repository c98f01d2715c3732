"""Whether emergent classifiers are used: planted use is found, and none is found where none was planted."""

import math
from pathlib import Path

import pandas as pd
import pytest

from analysis.data.results import read_results
from analysis.outcomes.causal import COLUMNS, effects
from analysis.outcomes.emergence import emergent_where_trained, judge
from tests.simulated import Plan, Point, Truth, write_study


def _truth(point: Point) -> Truth:
    if point.depth < 0.3:
        return Truth(choice=0.5)
    return Truth(used=0.6 if point.depth > 0.9 or point.tier == "story" else 0.0)


PLAN = Plan(
    models={"alpha": 4},
    depths=(0.25, 0.5, 1.0),
    pairs=("multiply/add",),
    weights=(0.0, 0.5),
    truth=_truth,
    swapped=True,
)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    results = read_results(write_study(tmp_path_factory.mktemp("results") / "causal", PLAN))
    return effects(results, judge(results)).set_index(["layer", "tier"])


def test_only_cells_that_are_emergent_on_the_trained_wording_are_shown(found: pd.DataFrame) -> None:
    assert set(found.index.get_level_values("layer")) == {1, 3}
    assert set(found.reset_index()[COLUMNS].columns) == set(COLUMNS)


def test_planted_use_moves_verdicts_beyond_a_random_direction(found: pd.DataFrame) -> None:
    for key in ((3, "symbolic"), (1, "story")):
        row = found.loc[key]
        assert row["answers_moved_low"] > 0.4
        assert row["answers_moved_high"] < 0.75
        assert row["nll_swap_low"] > 0.5
        assert row["nll_random_high"] < 0.3


def test_a_swap_that_favours_the_other_operation_is_negative_towards_other(found: pd.DataFrame) -> None:
    assert found.loc[(3, "symbolic"), "towards_other_high"] < -1.5


def test_where_nothing_was_planted_the_swap_does_no_more_than_random(found: pd.DataFrame) -> None:
    row = found.loc[(1, "symbolic")]
    assert row["answers_moved_low"] <= 0


def test_what_later_layers_carry_is_counted_and_means_nothing_at_the_last_layer(found: pd.DataFrame) -> None:
    assert found.loc[(1, "story"), "carried"] == pytest.approx(0.6, abs=0.02)
    assert found.loc[(1, "symbolic"), "carried"] == 0
    assert found.loc[(1, "story"), "carried_random"] == 0
    assert math.isnan(found.loc[(3, "symbolic"), "carried"])


def test_emergent_where_trained_asks_for_every_trained_wording() -> None:
    rows = [
        ("a", "symbolic", False, "emergent"),
        ("a", "semantic", False, "partial"),
        ("b", "symbolic", False, "emergent"),
        ("b", "semantic", True, "none"),
    ]
    judged = pd.DataFrame(rows, columns=["unit", "tier", "transfer", "outcome"]).assign(arm="plain")
    assert set(emergent_where_trained(judged)["unit"]) == {"b"}


def test_a_study_without_interventions_has_an_empty_frame(tmp_path: Path) -> None:
    plan = Plan(**{**vars(PLAN), "swapped": False, "per_class": 8})
    results = read_results(write_study(tmp_path / "none", plan))
    assert list(effects(results, judge(results)).columns) == COLUMNS
    assert effects(results, judge(results)).empty
