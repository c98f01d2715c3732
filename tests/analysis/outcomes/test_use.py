"""Whether the exchange of states finds a use that was planted, and none where none was."""

import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from analysis.data.results import Results, read_results
from analysis.outcomes.use import DOSES, SHARES, doses, exchanges, is_used, shares
from tests.simulated import Plan, Point, Truth, write_study


def _truth(point: Point) -> Truth:
    if point.depth < 0.3:
        return Truth(ceiling=0.02)  # the whole state moves nothing there
    return Truth(used=0.6 if point.depth > 0.9 else 0.0)


PLAN = Plan(
    models={"alpha": 4},
    depths=(0.25, 0.5, 1.0),
    pairs=("multiply/add",),
    weights=(0.0, 0.5),
    seeds=(0, 1),
    truth=_truth,
    swapped=True,
)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return read_results(write_study(tmp_path_factory.mktemp("results") / "use", PLAN))


@pytest.fixture(scope="module")
def found(results: Results) -> pd.DataFrame:
    return shares(results, exchanges(results)).set_index(["weight", "layer", "tier", "subspace"]).sort_index()


def test_a_planted_use_has_its_share_of_the_ceiling_and_the_interval_holds_it(found: pd.DataFrame) -> None:
    row = found.loc[(0.5, 3, "symbolic", "class")]
    assert row["share"] == pytest.approx(0.6, abs=0.05)
    assert row["share_low"] < 0.6 < row["share_high"]
    assert is_used(row) is True
    assert row["seeds"] == 2


def test_where_nothing_was_planted_the_class_direction_does_no_more_than_a_random_one(found: pd.DataFrame) -> None:
    row = found.loc[(0.5, 1, "symbolic", "class")]
    assert row["moved_low"] < 0 < row["moved_high"]
    assert is_used(row) is False


def test_without_a_ceiling_nothing_can_be_told(found: pd.DataFrame) -> None:
    row = found.loc[(0.5, 0, "symbolic", "class")]
    assert not row["ceiling"]
    assert math.isnan(row["share"])
    assert is_used(row) is None


def test_the_model_without_a_class_loss_is_asked_at_the_same_layers(found: pd.DataFrame) -> None:
    assert set(found.loc[0.0].index.get_level_values("layer")) == {0, 1, 3}
    assert not found.loc[(0.0, 3, "symbolic", "class"), "moved_low"] > 0


def test_doses_are_means_over_templates_of_each_subspace_and_strength(results: Results) -> None:
    told = doses(results, exchanges(results))
    assert list(told.columns) == DOSES
    own = told[(told["weight"] == 0.5) & (told["layer"] == 3) & (told["tier"] == "symbolic")]
    assert set(own.loc[own["subspace"] == "class", "strength"]) == {0.5, 1, 2, 4, 8}
    by_name = own[own["strength"] == 1].set_index("subspace")["p"]
    assert by_name["full"] == pytest.approx(0.9, abs=0.05)
    assert by_name["none"] == pytest.approx(0.02, abs=0.01)
    units = [unit.id for unit in results.cells if unit.layer == 3]
    rows = pd.concat([results.rows["interchange"][unit] for unit in units]).astype({"tier": str, "subspace": str})
    full = rows[(rows["tier"] == "symbolic") & (rows["subspace"] == "full")]
    assert own.loc[own["subspace"] == "full", "prompts"].iloc[0] == len(full)


def test_a_study_without_exchanges_has_empty_frames_with_their_columns(tmp_path: Path) -> None:
    plan = Plan(models={"alpha": 4}, depths=(0.5,), pairs=("multiply/add",), per_class=12)
    places = exchanges(results := read_results(write_study(tmp_path / "none", plan)))
    assert list(shares(results, places).columns) == SHARES
    assert shares(results, places).empty
    assert doses(results, places).empty


def test_no_share_is_bounded_better_than_by_templates_that_all_move_or_all_do_not(results: Results) -> None:
    told = shares(results, exchanges(results))
    told = told[told["share"].notna()]
    exact = 0.025 ** (1 / told["samples"])
    assert (told["share_low"] <= exact + 1e-9).all()
    assert (told["share_high"] >= 1 - exact - 1e-9).all()
    unmoved = told[(told["weight"] == 0) & (told["subspace"] == "class")]
    assert len(unmoved)


def test_cells_that_did_not_fit_say_nothing_of_use(tmp_path: Path) -> None:
    unfit = replace(PLAN, truth=lambda point: replace(_truth(point), class_loss=2.0 if point.depth > 0.9 else 0.05))
    results = read_results(write_study(tmp_path / "unfit", unfit))
    told = shares(results, exchanges(results))
    assert set(told.loc[told["weight"] == 0.5, "layer"]) == {0, 1}
    assert set(told.loc[told["weight"] == 0, "layer"]) == {0, 1, 3}  # which trained no class
