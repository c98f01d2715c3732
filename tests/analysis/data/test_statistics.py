"""The statistics against independent computations, and their intervals against known truths."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats

from analysis.data.statistics import (
    Interval,
    balanced_accuracy,
    clustered_mean,
    effective_size,
    paired_mean,
    two_way_variance,
    wilson,
)


@pytest.mark.parametrize(("right", "n"), [(0, 10), (3, 17), (48, 96), (95, 96), (96, 96)])
def test_wilson_equals_scipy(right: int, n: int) -> None:
    theirs = scipy.stats.binomtest(right, n).proportion_ci(0.95, method="wilson")
    assert wilson(right / n, n, 0.95)[1:] == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_two_way_variance_equals_the_sum_over_pairs_that_share_a_cluster() -> None:
    rng = np.random.default_rng(3)
    n, strata = 60, 2
    templates, operands = rng.integers(0, 8, n), rng.integers(0, 15, n)
    residuals = rng.normal(size=n)

    def one_way(labels: np.ndarray) -> float:
        groups = len(set(labels.tolist()))
        together = sum(residuals[i] * residuals[j] for i in range(n) for j in range(n) if labels[i] == labels[j])
        return groups / (groups - strata) * float(together)

    both = templates * 100 + operands
    expected = one_way(templates) + one_way(operands) - one_way(both)
    assert expected > 0
    assert two_way_variance(residuals, strata, templates, operands) == pytest.approx(expected)


def test_a_negative_two_way_variance_becomes_the_larger_one_way_variance() -> None:
    # In a 3 x 3 crossing whose rows and columns sum to almost nothing the intersection varies most.
    residuals = np.array([1.2, -1, 0, -1.1, 1, 0, 0, 0, 0])
    templates, operands = np.repeat([0, 1, 2], 3), np.tile([0, 1, 2], 3)
    assert two_way_variance(residuals, 1, templates, operands) == pytest.approx(3 / 2 * (0.2**2 + 0.1**2))


def test_one_template_a_class_leaves_the_operand_clusters() -> None:
    rng = np.random.default_rng(5)
    residuals, operands = rng.normal(size=40), np.tile(np.arange(20), 2)
    sums = np.bincount(operands, residuals)
    expected = 20 / 18 * np.sum(sums**2)
    assert two_way_variance(residuals, 2, np.repeat([0, 1], 20), operands) == pytest.approx(expected)


def test_the_effective_size_is_never_above_the_number_of_prompts() -> None:
    residuals = np.tile([0.1, -0.1], 20) / 40
    alone = np.arange(40)
    assert effective_size(0.5, residuals, np.zeros(40), alone, alone, 0.95) == 40
    assert effective_size(1.0, np.zeros(40), np.zeros(40), alone, alone, 0.95) == 40


def test_prompts_that_move_with_their_template_count_as_few() -> None:
    templates = np.repeat(np.arange(8), 12)
    right = np.isin(templates, [0, 2, 3, 5]).astype(float)
    operands = np.tile(np.arange(12), 8)
    interval = balanced_accuracy(right, np.zeros(96), templates, operands, 0.95)
    independent = wilson(0.5, 96, 0.95)
    assert interval.estimate == 0.5
    assert interval.low < wilson(0.5, 8, 0.95).low + 0.02 < independent.low


def test_accuracy_is_balanced_over_classes() -> None:
    classes = np.array(["add"] * 30 + ["multiply"] * 10)
    right = (classes == "add").astype(float)
    alone = np.arange(40)
    assert balanced_accuracy(right, classes, alone, alone, 0.95).estimate == 0.5


def test_the_clustered_bootstrap_agrees_with_the_clustered_standard_error() -> None:
    rng = np.random.default_rng(11)
    clusters = np.repeat(np.arange(80), 4)
    values = rng.normal(size=80)[clusters] + 0.2 * rng.normal(size=320) + 1.0
    sums = np.bincount(clusters, values - values.mean())
    error = math.sqrt(np.sum(sums**2)) / len(values)
    interval = clustered_mean(values, clusters, 0.95, resamples=4000)
    assert interval.estimate == pytest.approx(values.mean())
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * error, rel=0.06)


def test_the_bootstrap_is_the_same_every_time_and_moves_with_its_seed() -> None:
    values = np.random.default_rng(1).normal(size=50)
    clusters = np.arange(50)
    first = clustered_mean(values, clusters, 0.95, 500)
    assert first == clustered_mean(values, clusters, 0.95, 500)
    assert first != clustered_mean(values, clusters, 0.95, 500, seed=1)


def test_equal_verdicts_do_not_claim_certainty() -> None:
    bound = wilson(0.0, 40, 0.95).high
    assert paired_mean(np.zeros(40), np.arange(40), 0.95, 100) == (0.0, -bound, bound)


# Coverage: operand pairs and templates have effects of their own, as in a study

STUDIES = 400
OPERANDS, PER_CLASS = 60, 96


def _coverage(interval: Callable[[np.random.Generator], tuple[Interval, float]], seed: int) -> float:
    rng = np.random.default_rng(seed)
    found = (interval(rng) for _ in range(STUDIES))
    return float(np.mean([low <= truth <= high for (_, low, high), truth in found]))


def _accuracy(rng: np.random.Generator, templates_a_class: int, p: float, spread: float) -> tuple[Interval, float]:
    """Two classes, each with its own templates; the truth is the mean over all templates and operands that could be.

    `spread` is the share of the variance that is between templates, and again between operand pairs.
    """
    classes = np.repeat([0, 1], PER_CLASS)
    templates = classes * templates_a_class + np.tile(np.arange(PER_CLASS) % templates_a_class, 2)
    operands = np.tile(rng.permutation(PER_CLASS) % OPERANDS, 2)
    latent = math.sqrt(spread) * rng.normal(size=2 * templates_a_class)[templates]
    latent += math.sqrt(spread) * rng.normal(size=OPERANDS)[operands]
    latent += math.sqrt(1 - 2 * spread) * rng.normal(size=2 * PER_CLASS)
    right = (latent < scipy.stats.norm.ppf(p)).astype(float)
    return balanced_accuracy(right, classes, templates, operands, 0.95), p


@pytest.mark.parametrize("templates_a_class", [4, 8])
@pytest.mark.parametrize(("p", "spread"), [(0.5, 0.0), (0.6, 0.05), (0.9, 0.1)])
def test_intervals_of_balanced_accuracy_cover_the_truth(templates_a_class: int, p: float, spread: float) -> None:
    assert _coverage(lambda rng: _accuracy(rng, templates_a_class, p, spread), seed=1) >= 0.93


def _difference(rng: np.random.Generator, gain: float) -> tuple[Interval, float]:
    """Paired verdicts of two models: the operands' effect is the same for both, `gain` more are right in the second."""
    operands = np.arange(2 * PER_CLASS) % OPERANDS
    latent = 0.5 * rng.normal(size=OPERANDS)[operands] + math.sqrt(0.75) * rng.normal(size=2 * PER_CLASS)
    first, second = (0.8 * latent + 0.6 * rng.normal(size=2 * PER_CLASS) for _ in range(2))
    bar = scipy.stats.norm.ppf([0.5, 0.5 + gain])
    differences = (second < bar[1]).astype(float) - (first < bar[0]).astype(float)
    return paired_mean(differences, operands, 0.95, 500), gain


@pytest.mark.parametrize("gain", [0.0, 0.1])
def test_intervals_of_paired_differences_cover_the_truth(gain: float) -> None:
    assert _coverage(lambda rng: _difference(rng, gain), seed=2) >= 0.93
