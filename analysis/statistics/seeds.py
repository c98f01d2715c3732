"""The interval of a mean over seeds alone, of a quantity that has no templates."""

import math

import numpy as np
from scipy import stats

from analysis.statistics.intervals import Floats, Interval


def mean_over_seeds(values: Floats, error: float, confidence: float) -> Interval:
    """Return the mean of `values` [seeds] with Student's t interval; its ends are NaN for one seed: it has no spread.

    `error` is the standard error of a single value: a few seeds that happen to agree are known no better than it
    allows.
    """
    count, mean = len(values), float(np.mean(values))
    if count < 2:
        return Interval(mean, math.nan, math.nan)
    variance = max(float(np.var(values, ddof=1)), error**2)
    half = float(stats.t.ppf((1 + confidence) / 2, count - 1)) * math.sqrt(variance / count)
    return Interval(mean, mean - half, mean + half)
