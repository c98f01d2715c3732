"""Levels: exact cases, and coverage where templates differ."""

import math

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.intervals import Interval, bounds, interval_of, level, levels
from simulations.truth import Truth, values


def test_all_right_is_no_certainty_but_the_exact_bound_over_templates() -> None:
    assert level(np.ones(24), 0.95) == pytest.approx((1, 0.025 ** (1 / 24), 1))
    assert level(np.zeros(24), 0.95) == pytest.approx((0, 0, 1 - 0.025 ** (1 / 24)))
    # 90 % needs 36 templates, all right.
    assert level(np.ones(35), 0.95).low < 0.9 < level(np.ones(36), 0.95).low


def test_templates_that_are_all_or_nothing_get_the_interval_of_jeffreys() -> None:
    found = level(np.repeat([0.0, 1.0], [6, 18]), 0.95)
    assert found == pytest.approx((0.75, *stats.beta.ppf([0.025, 0.975], 18.5, 6.5)))


def test_one_wrong_prompt_never_raises_the_bound() -> None:
    right = np.ones(24)
    wrong = np.where(np.arange(24) == 0, [[0.9], [0.75], [0.5], [0.0]], right)
    lows = levels(np.vstack([right, wrong]), 0.95)[:, 1]
    assert (np.diff(lows) <= 0).all()


def test_a_missing_template_is_none() -> None:
    assert levels(np.array([[0.5, 0.75, np.nan, 1.0]]), 0.95)[0] == pytest.approx(level(np.array([0.5, 0.75, 1]), 0.95))
    assert np.isnan(levels(np.full((1, 4), np.nan), 0.95)[0, 0])


def test_eight_templates_of_truth_90_percent_seldom_pass_for_more() -> None:
    truth = Truth(0.9, template_sd=math.inf, templates=8)
    drawn = values(truth, 4000, np.random.default_rng(1))
    # Counting prompts as independent, all that are entirely right would pass: 0.9^8 = 43 %.
    assert (drawn.mean(1) == 1).mean() == pytest.approx(0.43, abs=0.03)
    assert (levels(drawn, 0.95)[:, 1] >= 0.9).mean() <= 0.025


@pytest.mark.parametrize(("templates", "prompts"), [(24, 2), (48, 4)])
def test_levels_cover(templates: int, prompts: int) -> None:
    random = np.random.default_rng(2)
    covered = []
    for share in (0.5, 0.75, 0.9, 0.97):
        for deviation in (0.0, 0.5, 1.0, 2.0):
            found = levels(values(Truth(share, 0, deviation, 0, templates, prompts), 1000, random), 0.95)
            covered.append(np.mean((found[:, 1] <= share) & (share <= found[:, 2])))
    assert 0.93 <= np.mean(covered) <= 0.97
    assert min(covered) >= 0.93 - 3 * math.sqrt(0.05 * 0.95 / 1000)


def test_bounds_are_columns_and_back() -> None:
    assert interval_of(bounds("choice", Interval(0.5, 0.4, 0.6)), "choice") == Interval(0.5, 0.4, 0.6)
    assert all(math.isnan(value) for value in bounds("choice", None).values())
