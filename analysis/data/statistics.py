"""Intervals for proportions and means of prompts that share templates and operands."""

import math
from collections.abc import Mapping
from functools import lru_cache
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.stats

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[Any]


class Interval(NamedTuple):
    """A point estimate with its two-sided interval."""

    estimate: float
    low: float
    high: float


def wilson(p: float, n: float, confidence: float) -> Interval:
    """Wilson's score interval for a proportion p of n trials; n may be a fraction (an effective size)."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * float(np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)))
    # At p = 0 and 1 one end is p itself; rounding must not move it.
    return Interval(
        p,
        0.0 if p == 0 else max(0.0, centre - half),
        1.0 if p == 1 else min(1.0, centre + half),
    )


def balanced_accuracy(
    right: Floats,
    classes: Labels,
    templates: Labels,
    operands: Labels,
    confidence: float,
) -> Interval:
    """Mean over classes of the share that is right, with Wilson's interval on the effective sample size.

    All four arrays are [prompts]; `right` is 0 or 1.
    """
    p, residuals = _balanced(right, classes)
    return wilson(p, effective_size(p, residuals, classes, templates, operands, confidence), confidence)


def accuracy_of(rows: pd.DataFrame, column: str, confidence: float) -> Interval:
    """`balanced_accuracy` of a column of verdicts on prompts."""
    classes, templates, operands = (rows[name].to_numpy(str) for name in ("operation", "template", "operands"))
    return balanced_accuracy(rows[column].to_numpy(float), classes, templates, operands, confidence)


def effective_size(
    p: float, residuals: Floats, classes: Labels, templates: Labels, operands: Labels, confidence: float
) -> float:
    """n / deff · (z / t)², at most n (Korn & Graubard 1998); n at p = 0 or 1.

    deff is the clustered over the binomial variance. t stands for z because that variance is known from few clusters
    only: it has as many degrees of freedom as the fewer of templates and operand pairs, less one a class.
    """
    n, strata = len(residuals), len(np.unique(classes))
    if p in (0.0, 1.0):
        return float(n)
    variance = two_way_variance(residuals, strata, templates, operands)
    if variance <= 0:
        return float(n)
    groups = [len(np.unique(labels)) for labels in (templates, operands)]
    seen = min(groups) if groups[0] > strata else groups[1]  # with one template a class, operand pairs alone
    tail = (1 + confidence) / 2
    shrink = NormalDist().inv_cdf(tail) / float(scipy.stats.t.ppf(tail, max(seen - strata, 1)))
    return min(float(n), p * (1 - p) / variance * shrink**2)


def two_way_variance(residuals: Floats, strata: int, templates: Labels, operands: Labels) -> float:
    """Variance of a sum of residuals clustered by template and by operands (Cameron, Gelbach & Miller 2011).

    V_templates + V_operands - V_intersection, or the larger one-way variance where that is negative. Residuals are
    centred within `strata` classes, which costs as many degrees of freedom. With one template a class the variance
    between templates cannot be seen: then it is V_operands alone.
    """
    by_template, by_operands = _codes(templates), _codes(operands)
    v_operands = _one_way_variance(residuals, strata, by_operands)
    if by_template.max() + 1 <= strata:
        return v_operands
    v_templates = _one_way_variance(residuals, strata, by_template)
    both = _codes(by_template * (by_operands.max() + 1) + by_operands)
    variance = v_templates + v_operands - _one_way_variance(residuals, strata, both)
    return variance if variance >= 0 else max(v_templates, v_operands)


def clustered_mean(values: Floats, clusters: Labels, confidence: float, resamples: int, seed: int = 0) -> Interval:
    """Mean of `values` [prompts] with the percentile interval of a bootstrap that draws whole clusters."""
    codes = _codes(clusters)
    sums, counts = np.bincount(codes, values), np.bincount(codes)
    weights = resampling_weights(len(sums), resamples, seed)
    means = (weights @ sums) / (weights @ counts)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(np.mean(values)), float(low), float(high))


def paired_mean(differences: Floats, clusters: Labels, confidence: float, resamples: int) -> Interval:
    """Mean of paired differences of verdicts [prompts], each -1, 0 or 1, with its clustered interval.

    A bootstrap of differences that are all zero claims certainty; Wilson's bound for 0 of n stands in for it.
    """
    if not differences.any():
        bound = wilson(0.0, len(differences), confidence).high
        return Interval(0.0, -bound, bound)
    return clustered_mean(differences, clusters, confidence, resamples)


def over_seeds(differences: Floats, errors: Floats, confidence: float) -> Interval:
    """Mean of paired differences [seeds] with Student's t interval; its ends are NaN for one seed, which has no spread.

    The variance is that between seeds, or what `errors`, the differences' own standard errors, give where this is
    more: a few seeds that happen to agree are no certainty.
    """
    seeds, mean = len(differences), float(np.mean(differences))
    if seeds < 2:
        return Interval(mean, math.nan, math.nan)
    variance = max(float(np.var(differences, ddof=1)), float(np.mean(errors**2)))
    half = float(scipy.stats.t.ppf((1 + confidence) / 2, seeds - 1)) * math.sqrt(variance / seeds)
    return Interval(mean, mean - half, mean + half)


def bounds(name: str, interval: Interval | None) -> dict[str, float]:
    """An interval as columns `name`, `name_low` and `name_high`; NaN where there is none."""
    estimate, low, high = interval or (math.nan, math.nan, math.nan)
    return {name: estimate, f"{name}_low": low, f"{name}_high": high}


def interval_of(row: "Mapping[Any, Any] | pd.Series[Any]", name: str) -> Interval:
    """The interval that `bounds` wrote into a row."""
    return Interval(row[name], row[f"{name}_low"], row[f"{name}_high"])


def _balanced(right: Floats, classes: Labels) -> tuple[float, Floats]:
    """Balanced accuracy and each prompt's weighted residual from its class's mean."""
    codes = _codes(classes)
    counts = np.bincount(codes)
    means = np.bincount(codes, right) / counts
    return float(means.mean()), (right - means[codes]) / (counts[codes] * len(counts))


def _one_way_variance(residuals: Floats, strata: int, codes: npt.NDArray[np.intp]) -> float:
    sums = np.bincount(codes, residuals)
    return float(len(sums) / max(len(sums) - strata, 1) * np.sum(sums**2))


def _codes(labels: Labels) -> npt.NDArray[np.intp]:
    return np.unique(labels, return_inverse=True)[1]


@lru_cache(maxsize=8)
def resampling_weights(clusters: int, resamples: int, seed: int = 0) -> Floats:
    """How often each cluster is drawn, [resamples, clusters]."""
    draws = np.random.default_rng(seed).multinomial(clusters, np.full(clusters, 1 / clusters), size=resamples)
    return draws.astype(np.float64)
