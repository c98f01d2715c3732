"""Paired effects: exact cases, and coverage over templates and seeds."""

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.effects import effect, effects
from simulations.truth import Truth, arms, rare_differences

MEANS = ((0.5, 0.0), (0.5, 0.2), (0.75, -0.2), (0.9, -0.05), (0.97, 0.0), (0.97, -0.02))


@pytest.mark.parametrize("seeds", [1, 3])
def test_no_difference_anywhere_is_no_certainty(seeds: int) -> None:
    bound = 1 - 0.025 ** (1 / 24)
    assert effect(np.zeros((24, seeds)), 0.95) == pytest.approx((0, -bound, bound))


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_same_difference_everywhere_is_no_certainty(seeds: int) -> None:
    found = effect(np.full((24, seeds), 0.25), 0.95)
    assert found.estimate == pytest.approx(0.25)
    # As one template of 25 might be at either end of the range, 0.25 above and 0.75 below.
    assert 0.25 - found.low > 0.75 / 25
    assert found.high - 0.25 > 0.25 / 25


def test_seeds_that_part_widen_the_interval() -> None:
    templates = np.random.default_rng(0).normal(0, 0.1, (24, 3))
    apart = templates + np.array([-0.2, 0.0, 0.2])
    alike, parted = effect(templates, 0.95), effect(apart, 0.95)
    # Seeds alone: 0.2 / root 3, times t of 2 degrees of freedom, 4.3.
    assert parted.high - parted.estimate == pytest.approx(4.3 * 0.2 / math.sqrt(3), rel=0.1)
    assert alike.high - alike.estimate < 0.08


def test_templates_and_seeds_without_values_are_left_out() -> None:
    table = np.random.default_rng(0).normal(0.1, 0.1, (24, 3))
    padded = np.full((2, 26, 4), np.nan)
    padded[0, :24, :3] = table
    padded[1, 2:, 1:] = table
    assert effects(padded, 0.95) == pytest.approx(np.tile(effect(table, 0.95), (2, 1)))
    assert np.isnan(effects(np.full((1, 3, 2), np.nan), 0.95)).all()


def test_a_missing_value_of_an_additive_table_is_what_it_was() -> None:
    table = np.linspace(-0.2, 0.2, 24)[:, None] + np.array([-0.1, 0.0, 0.2])
    holed = table.copy()
    holed[3, 1] = np.nan
    assert effect(holed, 0.95) == pytest.approx(effect(table, 0.95), abs=1e-6)


def test_what_is_missing_is_filled_as_least_squares_of_templates_and_seeds_do() -> None:
    random = np.random.default_rng(0)
    table = random.normal(0, 0.1, (16, 3))
    there = random.random(table.shape) < 0.5
    there[np.arange(16), np.arange(16) % 3] = True
    at = np.arange(table.size)
    design = np.zeros((table.size, 19))
    design[at, at // 3] = design[at, 16 + at % 3] = 1
    fitted = design @ np.linalg.lstsq(design[there.ravel()], table[there], rcond=None)[0]
    wanted = np.where(there.ravel(), table.ravel(), fitted).mean()
    assert effect(np.where(there, table, np.nan), 0.95).estimate == pytest.approx(wanted, abs=1e-7)


def test_effects_of_one_seed_cover_where_a_few_templates_differ_wholly_and_others_a_little() -> None:
    """With the largest difference seen as the range, the least of these was 70 %."""
    random = np.random.default_rng(0)
    covered = []
    for templates, share in product((8, 24, 36, 54), (0.02, 0.05, 0.1)):
        drawn, true = rare_differences(share, templates, 2000, random)
        found = effects(drawn, 0.95)
        covered.append(np.mean((found[:, 1] <= true) & (true <= found[:, 2])))
    assert np.mean(covered) >= 0.93
    assert min(covered) >= 0.85


@pytest.mark.parametrize("seeds", [1, 3, 5])
def test_effects_cover(seeds: int) -> None:
    random = np.random.default_rng(seeds)
    covered = []
    for share, planted in MEANS:
        for template_sd in (0.0, 1.0):
            for seed_sd in (0.0, 0.5):
                (before, after), true = arms(Truth(share, planted, template_sd, seed_sd, seeds=seeds), 400, random)
                found = effects(after - before, 0.95)
                covered.append(np.mean((found[:, 1] <= true) & (true <= found[:, 2])))
    assert 0.93 <= np.mean(covered) <= 0.975
    assert min(covered) >= 0.93 - 3 * math.sqrt(0.05 * 0.95 / 400)


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 16, 0.05 / 64])
def test_where_seeds_alone_differ_the_half_width_is_students_at_any_confidence(alpha: float) -> None:
    offsets = np.array([-0.001, 0.0, 0.0015])
    table = offsets + np.random.default_rng(0).normal(0, 1e-7, (27, 1))
    found = effect(table, 1 - alpha)
    expected = stats.t.ppf(1 - alpha / 2, 2) * offsets.std(ddof=1) / np.sqrt(3)
    assert (found.high - found.low) / 2 == pytest.approx(expected, rel=0.06)
