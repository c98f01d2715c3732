"""Families, verdicts against a margin, and effects pooled over clusters."""

from functools import partial

import numpy as np
import pytest

from analysis.statistics.effects import effect, effects
from analysis.statistics.equivalence import Verdict, equivalent, not_inferior
from analysis.statistics.families import holm, max_t
from analysis.statistics.intervals import Interval
from analysis.statistics.pooling import pooled, wild_cluster_p
from simulations.truth import Truth, arms, family


def test_one_cell_gets_the_exact_sign_flip_test() -> None:
    # All eight above: 1 of 256 flips is as far, 2 on both sides.
    cell = np.array([[0.1, 0.2, 0.3, 0.15, 0.05, 0.1, 0.25, 0.3]])
    assert max_t(cell, "greater")[0] == pytest.approx(1 / 256, abs=0.002)
    assert max_t(cell, "two-sided")[0] == pytest.approx(2 / 256, abs=0.003)
    assert max_t(-cell, "greater")[0] == 1


def test_cells_without_any_difference_and_missing_templates_are_taken() -> None:
    cells = np.array([[0.0] * 8, [0.2] * 8, [0.2] * 7 + [np.nan]])
    found = max_t(cells, "greater")
    assert found[0] == 1
    assert found[1] < found[2] < 0.05


def test_the_same_cell_twice_costs_nothing() -> None:
    cell = np.random.default_rng(0).normal(0.1, 0.2, (1, 24))
    assert max_t(np.vstack([cell, cell]), "two-sided") == pytest.approx(np.repeat(max_t(cell, "two-sided"), 2))


@pytest.mark.parametrize("planted", [0, 4])
def test_a_family_has_few_false_positives_where_templates_differ(planted: int) -> None:
    drawn = family(Truth(0.5, 0.2, template_sd=1.0), 8, planted, 300, np.random.default_rng(planted)) - 0.5
    wrong = [(max_t(cells, "greater")[planted:] <= 0.05).any() for cells in drawn]
    assert np.mean(wrong) <= 0.05 + 3 * (0.05 * 0.95 / 300) ** 0.5


def test_holm() -> None:
    assert holm(np.array([0.01, 0.04, 0.03])) == pytest.approx([0.03, 0.06, 0.06])


@pytest.mark.parametrize(
    ("low", "high", "same", "as_good"),
    [
        (-0.02, 0.02, Verdict.SHOWN, Verdict.SHOWN),
        (-0.02, 0.08, Verdict.UNDECIDED, Verdict.SHOWN),
        (-0.08, 0.02, Verdict.UNDECIDED, Verdict.UNDECIDED),
        (0.06, 0.08, Verdict.REFUTED, Verdict.SHOWN),
        (-0.08, -0.06, Verdict.REFUTED, Verdict.REFUTED),
    ],
)
def test_three_verdicts(low: float, high: float, same: Verdict, as_good: Verdict) -> None:
    asked = []

    def procedure(confidence: float) -> Interval:
        asked.append(confidence)
        return Interval((low + high) / 2, low, high)

    assert equivalent(procedure, 0.05) == same
    assert not_inferior(procedure, 0.05) == as_good
    assert asked == pytest.approx([0.9, 0.95])


def test_a_loss_as_large_as_the_margin_is_seldom_called_none() -> None:
    truth = Truth(0.9, -0.05, 1.0, 0.5, templates=48, prompts=4, seeds=3)
    (before, after), _ = arms(truth, 300, np.random.default_rng(3))
    verdicts = [not_inferior(partial(effect, table), 0.05) for table in after - before]
    assert np.mean([verdict == Verdict.SHOWN for verdict in verdicts]) <= 0.025 + 3 * (0.025 * 0.975 / 300) ** 0.5


def test_the_pooled_interval_holds_what_its_test_does_not_reject() -> None:
    values, models = np.random.default_rng(0).normal(0.1, 0.1, 16), np.repeat(np.arange(8), 2)
    found = pooled(values, models, 0.95)
    assert found.low < found.estimate < found.high
    assert wild_cluster_p(values, models, found.low - 1e-3) <= 0.05 < wild_cluster_p(values, models, found.low + 1e-3)
    assert wild_cluster_p(values, models, found.high + 1e-3) <= 0.05 < wild_cluster_p(values, models, found.high - 1e-3)


def test_two_clusters_bound_nothing() -> None:
    assert pooled(np.array([0.1, 0.12]), np.arange(2), 0.95)[1:] == (-1, 1)


def test_wild_clusters_cover_models_and_crossed_effects_cover_templates_too() -> None:
    models = np.arange(8)
    for deviation, least in ((0.0, 0.9), (1.0, 0.7)):
        truth = Truth(0.5, 0.05, deviation, 0.5 if deviation == 0 else 0.0, seeds=8)
        (before, after), _ = arms(truth, 200, np.random.default_rng(8))
        tables = after - before
        by_clusters = np.mean([wild_cluster_p(row, models, 0.05) > 0.05 for row in tables.mean(1)])
        found = effects(tables, 0.95)
        assert least <= by_clusters <= (0.99 if deviation == 0 else 0.9)
        assert np.mean((found[:, 1] <= 0.05) & (found[:, 2] >= 0.05)) >= 0.95 - 3 * (0.05 * 0.95 / 200) ** 0.5
