"""Ratios of two means over the same templates and seeds."""

import numpy as np
import pytest

from analysis.statistics.effects import effect
from analysis.statistics.ratios import FARTHEST, ratio
from simulations.truth import Truth, arms


def test_the_ends_are_where_the_interval_of_the_difference_just_holds_zero() -> None:
    random = np.random.default_rng(0)
    below = random.normal(0.8, 0.05, (30, 3))
    above = 0.3 * below + random.normal(0, 0.05, (30, 3))
    found = ratio(above, below, 0.95)
    assert found.estimate == pytest.approx(above.mean() / below.mean())
    assert found.low < 0.3 < found.high
    for end, outwards in ((found.low, -0.02), (found.high, 0.02)):
        within, outside = (effect(above - r * below, 0.95) for r in (end - outwards / 2, end + outwards / 2))
        assert within.low <= 0 <= within.high
        assert not outside.low <= 0 <= outside.high


def test_a_denominator_that_may_be_zero_has_no_end() -> None:
    random = np.random.default_rng(1)
    found = ratio(random.normal(0.3, 0.02, (20, 1)), random.normal(0.02, 0.2, (20, 1)), 0.95)
    assert FARTHEST in (-found.low, found.high)


def test_the_interval_covers_a_planted_ratio_as_often_as_it_says() -> None:
    random = np.random.default_rng(2)
    covered = []
    for seeds in (1, 3):
        (floor, moved), true = arms(Truth(0.1, 0.2, 1.0, 0.5, seeds=seeds), 60, random)
        (least, whole), most = arms(Truth(0.1, 0.7, 1.0, 0.5, seeds=seeds), 60, random)
        for above, below, wanted in zip(moved - floor, whole - least, true / most, strict=True):
            found = ratio(above, below, 0.95)
            covered.append(found.low <= wanted <= found.high)
    assert np.mean(covered) >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / len(covered))
