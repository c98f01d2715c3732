"""The interval of a level: a share or a mean in [0, 1] of one cell, over the population of templates."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special

Floats = npt.NDArray[np.float64]


class Interval(NamedTuple):
    """A point estimate with its two-sided interval."""

    estimate: float
    low: float
    high: float


def bounds(name: str, interval: Interval | None) -> dict[str, float]:
    """Return an interval as columns `name`, `name_low` and `name_high`; NaN where there is none."""
    estimate, low, high = interval or (math.nan, math.nan, math.nan)
    return {name: estimate, f"{name}_low": low, f"{name}_high": high}


def columns(name: str, intervals: Floats) -> dict[str, Floats]:
    """Return `intervals` [rows, 3] as columns `name`, `name_low` and `name_high`."""
    return dict(zip((name, f"{name}_low", f"{name}_high"), intervals.T, strict=True))


def interval_of(row: "Mapping[Any, Any] | pd.Series[Any]", name: str) -> Interval:
    """Return the interval that `bounds` or `columns` wrote into a row."""
    return Interval(row[name], row[f"{name}_low"], row[f"{name}_high"])


def level(values: Floats, confidence: float) -> Interval:
    """Return the interval of one cell's mean of `values` [templates]; see `levels`."""
    return Interval(*levels(values, confidence).tolist())


def levels(values: Floats, confidence: float) -> Floats:
    """Return estimate, low and high [..., 3] of the means of `values` [..., templates], each value in [0, 1].

    A value is a template's share of right prompts, or its mean probability; NaN is a template that the cell lacks. The
    interval holds over the population of templates, for the cell's own seed.

    Half a template at 0 and half a one at 1 are added to the sample, as in Jeffreys' interval, and the Beta
    distribution with the mean and the variance of a mean under Dirichlet weights (Rubin 1981, the Bayesian bootstrap)
    gives the quantiles. For templates that are all or nothing this is Jeffreys' interval exactly (Brown, Cai &
    DasGupta 2001), for others Korn & Graubard's (1998) idea with an effective number of templates. No sample of n
    templates bounds a level better than n of n do, so low is at most Clopper & Pearson's (alpha/2)^(1/n) and high at
    least its complement: 24 of 24 templates give a bound of 86 % at 95 %, and 90 % needs 36.

    Where templates hardly differ and have many prompts, the added template makes intervals wider than they need be: it
    stands for the templates that are unlike those drawn.
    """
    there = ~np.isnan(values)
    n = there.sum(-1)
    filled = np.where(there, values, 0.0)
    sums = filled.sum(-1)
    mean = (sums + 0.5) / (n + 1)
    squares = np.where(there, (filled - mean[..., None]) ** 2, 0.0).sum(-1) + (mean**2 + (1 - mean) ** 2) / 2
    variance = squares / ((n + 1) * (n + 2))
    size = mean * (1 - mean) / variance - 1
    tail = (1 - confidence) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        estimate, exact = sums / n, tail ** (1 / n)
    low = np.minimum(special.betaincinv(size * mean, size * (1 - mean), tail), exact)
    high = np.maximum(special.betaincinv(size * mean, size * (1 - mean), 1 - tail), 1 - exact)
    return np.stack(np.broadcast_arrays(estimate, np.minimum(low, estimate), np.maximum(high, estimate)), axis=-1)
