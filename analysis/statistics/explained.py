"""Whether a measurement of models explains an outcome of models that were left out, beyond what is known of them."""

from dataclasses import dataclass

import numpy as np

from analysis.statistics.intervals import Floats, Interval

PENALTY = 1.0
"""Of the ridge regression, on standardised columns."""
AT_ONCE = 250
"""Permutations that are computed together."""


@dataclass(frozen=True)
class Explained:
    """What a predictor adds to a baseline."""

    baseline: float
    """Q2 of the baseline: 1 - error / distance from the mean of the others, in groups that were left out."""
    increment: Interval
    """Q2 with the predictor, minus that of the baseline; the interval is over groups."""
    p: float
    """Of an increment as large, where groups have the predictor of another group."""


def explained(
    outcome: Floats, predictor: Floats, baseline: Floats, permutations: int, resamples: int, confidence: float
) -> Explained:
    """Return what `predictor` [groups, n] adds to `baseline` [groups, n, k] in explaining `outcome` [groups, n].

    Each group, such as an architecture, is predicted by a ridge regression on all others. Its place i is the same in
    every group: a tier, depth, size and seed. Under the null groups are exchangeable: p is the share of permutations
    that hand the predictor's rows from group to group and raise Q2 as much (one-sided). The interval is a percentile
    bootstrap of groups over their sums of squares, without fitting again.
    """
    groups = len(outcome)
    rng = np.random.default_rng(0)
    orders = np.stack([np.arange(groups), *(rng.permutation(groups) for _ in range(permutations))])
    base = _standardised(baseline.reshape(-1, baseline.shape[-1])).reshape(baseline.shape)
    moved = _standardised(predictor.reshape(-1, 1)).reshape(predictor.shape)
    sums = [_errors(outcome, moved, base, left_out, orders) for left_out in range(groups)]
    without, distance = (np.array([one[i] for one in sums]) for i in (0, 1))
    errors = np.stack([one[2] for one in sums])  # [groups, permutations]
    total = distance.sum()
    gains = (without.sum() - errors.sum(axis=0)) / total
    p = float((gains >= gains[0] - 1e-12).mean())
    weights = rng.multinomial(groups, np.full(groups, 1 / groups), size=resamples)
    drawn = (weights @ (without - errors[:, 0])) / (weights @ distance)
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Explained(float(1 - without.sum() / total), Interval(float(gains[0]), float(low), float(high)), p)


def _errors(
    outcome: Floats, predictor: Floats, baseline: Floats, left_out: int, orders: np.ndarray
) -> tuple[float, float, Floats]:
    """Return sums of squares of the group that is left out: the error of the baseline, the distance from the mean of
    the others, and the error with the predictor in each of the orders of groups."""
    kept = np.arange(len(outcome)) != left_out
    x, y = baseline[kept].reshape(-1, baseline.shape[-1]), outcome[kept].ravel()
    centre, level = x.mean(axis=0), y.mean()
    x, own, right = x - centre, baseline[left_out] - centre, outcome[left_out] - level
    inverse = np.linalg.inv(x.T @ x + PENALTY * np.eye(x.shape[1]))
    slopes = inverse @ x.T @ (y - level)
    residual, missed = y - level - x @ slopes, right - own @ slopes
    errors = []
    for start in range(0, len(orders), AT_ONCE):
        part = predictor[orders[start : start + AT_ONCE]]  # [orders, groups, n]
        z = part[:, kept].reshape(len(part), -1)
        z, mine = z - z.mean(axis=1, keepdims=True), part[:, left_out] - z.mean(axis=1, keepdims=True)
        # The coefficient of one more column of a ridge regression, by the Schur complement of its normal equations.
        shared = z @ x
        carried = shared @ inverse
        slope = (z @ residual) / ((z * z).sum(axis=1) - (carried * shared).sum(axis=1) + PENALTY)
        errors.append(((missed - slope[:, None] * (mine - carried @ own.T)) ** 2).sum(axis=1))
    return float((missed**2).sum()), float((right**2).sum()), np.concatenate(errors)


def _standardised(columns: Floats) -> Floats:
    """Return columns with mean 0 and standard deviation 1; those that are constant are 0."""
    spread = columns.std(axis=0)
    found: Floats = (columns - columns.mean(axis=0)) / np.where(spread > 0, spread, 1)
    return found
