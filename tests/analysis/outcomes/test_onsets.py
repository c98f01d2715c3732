"""When classifiers appear in training, and how far they spread over layers."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.data.results import read_results
from analysis.outcomes.onset import onsets, spreads, steps_of_onset
from tests.made_frames import made_rows, made_study
from tests.simulated import Plan, Point, Truth, write_study


def _truth(point: Point) -> Truth:
    return Truth(onset=20 if point.tier == "symbolic" else 40, choice=0.5 if point.tier == "story" else 1.0)


PLAN = Plan(
    models={"alpha": 10},
    depths=(0.5,),
    pairs=("multiply/add",),
    weights=(0.0, 0.5),
    truth=_truth,
    watched=True,
    per_class=16,
)


@pytest.mark.parametrize(
    ("choice", "p", "expected"),
    [
        ([0.5, 1, 1], [0.9, 0.9, 0.9], 20),
        ([1, 0.5, 1, 1], [0.9, 0.9, 0.9, 0.9], 30),
        ([1, 1, 1], [0.2, 0.4, 0.6], math.nan),
        ([0.5, 0.5, 1], [0.9, 0.9, 0.9], math.nan),
        ([], [], math.nan),
    ],
)
def test_onset_is_the_first_of_two_passing_evaluations(choice: list[float], p: list[float], expected: float) -> None:
    study = made_study({"alpha": 4}, layers=(1,), seeds=(0, 1))
    steps = 10 * np.arange(1, len(choice) + 1)
    watched = pd.DataFrame({"step": steps, "layer": 1, "tier": "story", "choice": choice, "p": p})
    elsewhere = watched.assign(layer=2, choice=1.0, p=1.0)
    always = pd.DataFrame({"step": [10, 20], "layer": 1, "tier": "story", "choice": 1.0, "p": 1.0})
    one, other = (cell.id for cell in study.plain)
    rows = made_rows("onset", {one: pd.concat([watched[::-1], elsewhere]), other: always})
    found = steps_of_onset(rows.chunks(), study)
    nothing = (math.nan, math.nan)
    last = steps[-1] if choice else math.nan
    assert found.get((one, "story"), nothing) == pytest.approx((expected, last), nan_ok=True)
    assert found[other, "story"] == (10, 20)


def test_the_planted_onset_is_found_and_a_cell_that_never_passes_is_censored(tmp_path: Path) -> None:
    found = onsets(read_results(write_study(tmp_path / "onset", PLAN))).set_index("tier")
    assert found["onset_step"].to_dict() == pytest.approx(
        {"symbolic": 20, "semantic": 40, "construction": 40, "story": math.nan}, nan_ok=True
    )
    assert set(found["last_step"]) == {60}


def test_training_that_was_not_watched_is_told_from_censoring(tmp_path: Path) -> None:
    plan = Plan(**{**vars(PLAN), "watched": False})
    found = onsets(read_results(write_study(tmp_path / "unwatched", plan)))
    assert found[["onset_step", "last_step"]].isna().all(axis=None)
    assert found["peak_layer"].notna().all()


def test_the_peak_is_the_trained_layer_and_the_width_counts_layers_with_half_of_it(tmp_path: Path) -> None:
    results = read_results(write_study(tmp_path / "spread", PLAN))
    (cell,) = results.cells
    spread = spreads(results)[cell.id, "symbolic"]
    assert (spread.layer, spread.half_width) == (4, pytest.approx(1 / 10))
