"""The interval of a ratio of two means over the same templates and seeds."""

import math

import numpy as np

from analysis.statistics.effects import effect
from analysis.statistics.intervals import Floats, Interval

_STEPS = 20
"""Bisections of an end, which is then known to 2^-20 of the range."""
FARTHEST = 10.0
"""Ends beyond this are given as this: the denominator may be as good as zero."""


def ratio(above: Floats, below: Floats, confidence: float) -> Interval:
    """Return the ratio of the means of two tables [templates, seeds], with Fieller's (1954) interval: all ratios r for
    which the interval of the mean of `above` - r `below` holds zero.

    The interval of that mean is that of `effect`, so that it is over templates and seeds. The denominator has to be
    shown to be above zero, else the set of ratios is not an interval.
    """
    estimate = float(np.nanmean(above) / np.nanmean(below))
    if not math.isfinite(estimate):
        return Interval(math.nan, math.nan, math.nan)
    scale = float(np.nanmax(np.abs(below))) or 1.0

    def holds(r: float) -> bool:
        table = (above - r * below) / (scale * (1 + abs(r)))
        found = effect(table, confidence)
        return found.low <= 0 <= found.high

    def end(limit: float) -> float:
        inside, outside = estimate, limit
        if holds(limit):
            return limit
        for _ in range(_STEPS):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if holds(middle) else (inside, middle)
        return inside

    return Interval(estimate, end(-FARTHEST), end(FARTHEST))
