"""The forecast of choice accuracy, against samples in which it follows from what is measured by a known rule."""

import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from analysis.data.results import read_results
from analysis.forecasting import fitted
from analysis.outcomes.forecast import (
    DEPTH,
    FEATURES,
    SHARE,
    Pair,
    depths_of,
    fit,
    held_out,
    left_out,
    read_forecasts,
    write_forecasts,
)

PACKED = Path(__file__).parents[3] / "reports/data"
SLOPES = {"probe_below": 3.0, "a_lin": 1.0}
TWO = list(SLOPES)


def sample(noise: float, architectures: int = 12, seed: int = 0) -> pd.DataFrame:
    """Places of a sample whose target follows from SLOPES, and from noise."""
    random = np.random.default_rng(seed)
    rows = [
        {"architecture": f"a{a}", "model": f"a{a}-{m}", "seed": 0, "pair": "x/y", "tier": tier, "layer": layer}
        | {"depth": (layer + 1) / 6, "depth_squared": ((layer + 1) / 6) ** 2}
        | {name: float(random.uniform(0, 1)) for name in ("probe_below", "a_lin", "noise")}
        for a in range(architectures)
        for m in range(2)
        for tier in ("one", "two", "three")
        for layer in range(5)
    ]
    frame = pd.DataFrame(rows)
    told = sum(slope * (frame[name] - 0.5) for name, slope in SLOPES.items())
    return frame.assign(target=told + noise * random.standard_normal(len(frame)))


def test_a_rule_without_noise_is_found_and_ranks_every_place() -> None:
    found = fit(sample(0.0), "planted", "none", [*TWO, "noise"])
    slopes = dict(zip(found.features, np.array(found.slopes) / found.spreads, strict=True))
    assert slopes == {name: pytest.approx(SLOPES.get(name, 0.0), abs=0.05) for name in [*TWO, "noise"]}
    assert found.rank > 0.99 > found.baseline_rank
    assert found.error < 0.01 < found.baseline_error
    assert (found.architectures, found.models, found.places) == (12, 24, 24 * 15)


def test_each_architecture_is_foretold_from_the_others_alone() -> None:
    cells = sample(0.5)
    columns = [*TWO, *DEPTH]
    told = left_out(cells, columns)
    changed = cells.copy()
    changed.loc[changed["architecture"] == "a3", "target"] += 100
    again = left_out(changed, columns)
    own = (cells["architecture"] == "a3").to_numpy()
    np.testing.assert_allclose(again[own], told[own])
    assert np.abs(again[~own] - told[~own]).min() > 0.1
    rest = cells[~own]
    plain = LinearRegression().fit(rest[columns], rest["target"]).predict(cells.loc[own, columns])
    np.testing.assert_allclose(told[own], plain, atol=0.02)  # but for the penalty


def test_a_forecast_from_accuracies_passes_through_chance_whatever_the_mean() -> None:
    cells = sample(0.3).assign(target=lambda rows: rows["target"] + 1)
    found = fit(cells, "planted", "none", TWO)
    chance = pd.DataFrame({"probe_below": [0.5], "a_lin": [0.5], "depth": [0.3], "chance": [0.5]})
    assert found.of(chance)["foretold"].item() == pytest.approx(0.5)
    one, other = (pd.DataFrame({"probe_below": [p], "a_lin": [p], "depth": [0.3], "chance": [0.5]}) for p in (0.8, 0.2))
    assert found.of(one)["foretold"].item() == pytest.approx(1 - found.of(other)["foretold"].item())


def test_the_band_holds_its_share_of_new_architectures() -> None:
    found, new = fit(sample(0.8, 30), "planted", "none", TWO), sample(0.8, 40, seed=1)
    told = found.of(new.assign(chance=0.5))
    true = 1 / (1 + np.exp(-new["target"]))
    held = ((told["foretold_low"] <= true) & (true <= told["foretold_high"])).mean()
    assert held == pytest.approx(SHARE, abs=0.05)
    assert ((told["foretold_low"] <= told["foretold"]) & (told["foretold"] <= told["foretold_high"])).all()


def test_an_architecture_with_more_places_weighs_no_more() -> None:
    cells = sample(0.5)
    many = pd.concat([cells, *[cells[cells["architecture"] == "a1"]] * 9])
    one, other = (fit(frame, "planted", "none", TWO) for frame in (cells, many))
    np.testing.assert_allclose(one.slopes, other.slopes, rtol=0.02, atol=0.002)


def test_areas_and_crossings_are_those_of_the_curve_and_of_its_band() -> None:
    rows = pd.DataFrame({"arm": "plain", "pair": "x/y", "tier": "one", "depth": [0.25, 0.5, 0.75]})
    rows = rows.assign(
        chance=0.5, foretold=[0.5, 0.7, 0.9], foretold_low=[0.4, 0.5, 0.6], foretold_high=[0.8, 0.9, 1.0]
    )
    (row,) = depths_of(rows.sample(frac=1, random_state=0)).to_dict("records")
    assert row["area"] == pytest.approx(((0 + 0.4) / 2 + (0.4 + 0.8) / 2) / 2)
    assert row["readable_from"] == pytest.approx(0.5 + 0.25 * 0.05 / 0.2)
    assert (row["readable_from_low"], row["readable_from_high"]) == (-math.inf, math.inf)
    assert row["area_low"] < row["area"] < row["area_high"]


def test_of_more_classes_accuracies_count_from_their_chance() -> None:
    found = fit(sample(0.3), "planted", "none", TWO)
    two = sample(0.3).head(20).assign(chance=0.5)
    four = two.assign(chance=0.25, **{name: 1 - 1.5 * (1 - two[name]) for name in TWO})
    above = [(found.of(rows)["foretold"] - rows["chance"]) / (1 - rows["chance"]) for rows in (two, four)]
    np.testing.assert_allclose(above[0].clip(-1 / 3), above[1])  # no accuracy is below 0


def test_forecasts_are_read_as_they_were_written(tmp_path: Path) -> None:
    found, alone = fit(sample(0.5), "planted", "abc", ["probe_below"]), fit(sample(0.5), "planted", "abc", DEPTH)
    write_forecasts({"plain": Pair(found, alone)}, tmp_path / "forecast.json")
    assert read_forecasts(tmp_path / "forecast.json") == {"plain": Pair(found, alone)}
    assert (alone.rank, alone.error) == (found.baseline_rank, found.baseline_error)


def test_every_arm_of_enough_architectures_says_how_well_its_forecast_held() -> None:
    cells = sample(0.3)
    few = cells[cells["architecture"].isin(["a0", "a1", "a2"])].assign(probe=0.5)
    table = held_out({"plain": cells, "lora_at": few})
    assert list(table["arm"]) == ["plain"]
    expected = fit(cells, "", "", FEATURES["plain"])
    assert table.loc[0, ["rank", "error"]].tolist() == [expected.rank, expected.error]
    assert held_out({"plain": cells.iloc[:0]}).empty


@pytest.mark.slow
def test_the_committed_forecasts_are_those_of_the_committed_rows() -> None:
    kept = read_forecasts()
    (study,) = {one.study for pair in kept.values() for one in pair}
    (commit,) = {one.rows for pair in kept.values() for one in pair}
    made = fitted(read_results(PACKED / study), commit)
    for arm, pair in kept.items():
        for one, other in zip(pair, made[arm], strict=True):
            told, again = asdict(one), asdict(other)
            names = [name for name, value in told.items() if isinstance(value, float | list) and name != "features"]
            assert {name: told.pop(name) for name in names} == {
                name: pytest.approx(again.pop(name), rel=1e-9) for name in names
            }
            assert told == again
