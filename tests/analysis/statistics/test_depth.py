"""Areas and crossings over depth: exact cases and coverage."""

import math

import numpy as np
import pytest

from analysis.statistics.depth import area, areas, common_range, crossing
from analysis.statistics.effects import effects
from simulations.depths import DEPTHS, NEVER, RISING
from simulations.truth import Truth, curves

FLAT = np.array([0.2, 0.4, 0.6, 0.8])


def _same(shares: list[float], templates: int = 24, seeds: int = 1) -> np.ndarray:
    return np.tile(shares, (templates, seeds, 1))


def test_the_area_of_a_line_is_its_middle() -> None:
    table = areas(_same([0.5, 0.6, 0.7, 0.8]), FLAT, 0.5, 0.2, 0.8)
    assert table == pytest.approx(np.full((24, 1), 0.3))
    # Half of the range, from 0.3 on: accuracy from 0.55 to 0.7.
    assert areas(_same([0.5, 0.6, 0.7, 0.8]), FLAT, 0.5, 0.3, 0.6)[0, 0] == pytest.approx(0.25)
    found = area(_same([1.0] * 4), FLAT, 0.5, 0.2, 0.8, 0.95)
    assert found.estimate == 1
    assert found.low < 0.9


def test_the_common_range_is_what_all_models_span() -> None:
    assert common_range([np.array([0.1, 0.9]), np.array([0.25, 0.5, 1.0])]) == (0.25, 0.9)


def test_a_crossing_lies_between_trained_depths() -> None:
    noise = np.random.default_rng(0).normal(0, 0.02, (24, 3, 1))
    found = crossing(np.array([0.5, 0.6, 0.8, 1.0]) + noise, FLAT, 0.95)
    assert found.estimate == pytest.approx(0.55, abs=0.02)
    assert 0.53 < found.low < found.estimate < found.high < 0.57


@pytest.mark.parametrize(("shares", "estimate"), [([0.5, 0.5, 0.5, 0.6], math.inf), ([0.9, 0.95, 1.0, 1.0], -math.inf)])
def test_a_crossing_outside_the_trained_depths_is_censored(shares: list[float], estimate: float) -> None:
    spread = np.random.default_rng(0).choice([-0.05, 0.05], size=(24, 1, 1))
    assert crossing(np.clip(shares + spread, 0, 1), FLAT, 0.95) == (estimate, estimate, estimate)


def test_a_curve_that_may_or_may_not_reach_the_share_has_an_open_end() -> None:
    wide = np.resize([-0.3, 0.3], (24, 1, 1))
    found = crossing(np.clip(np.array([0.5, 0.6, 0.65, 0.7]) + wide, 0, 1), FLAT, 0.95)
    assert found.estimate == found.high == math.inf
    assert 0.2 < found.low < 0.8


@pytest.mark.parametrize("seeds", [1, 3])
def test_areas_and_crossings_cover(seeds: int) -> None:
    truth = Truth(0.5, template_sd=1.0, seed_sd=0.5, seeds=seeds)
    random = np.random.default_rng(seeds)
    drawn, means = curves(RISING, truth, 600, random)
    tables = np.stack([areas(of, DEPTHS, 0.5, 0.2, 0.9) for of in drawn])
    true = np.array([areas(of[None, None], DEPTHS, 0.5, 0.2, 0.9)[0, 0] for of in means])
    found = effects(tables, 0.95)
    covered = np.mean((found[:, 1] <= true) & (true <= found[:, 2]))
    assert 0.93 - 0.027 <= covered <= 0.98 + 0.02
    held = []
    for one, mean in zip(drawn[:60], means[:60], strict=True):
        interval = crossing(one, DEPTHS, 0.95)
        held.append(interval.low <= np.interp(0.75, mean, DEPTHS) <= interval.high)
    assert np.mean(held) >= 0.86


def test_never_is_within_the_interval_of_a_curve_that_stays_below() -> None:
    drawn, _ = curves(NEVER, Truth(0.5, template_sd=1.0, seeds=3), 40, np.random.default_rng(0))
    assert np.mean([crossing(one, DEPTHS, 0.95).high == math.inf for one in drawn]) >= 0.9
