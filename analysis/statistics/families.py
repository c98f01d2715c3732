"""Tests in families of cells, with adjusted p values."""

from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from analysis.statistics.cores import of_parts
from analysis.statistics.intervals import Floats

_FLIPS = 9999
_CHUNK = 500
"""Flips at a time: 500 x 10,000 cells are 40 MB."""


def max_t(differences: Floats, alternative: Literal["greater", "two-sided"]) -> Floats:
    """Return the adjusted p [cells] of mean `differences` [cells, templates] being above, or other than, zero.

    Differences are accuracies less chance, or of two arms; NaN is a template that the cell lacks. Each of 9,999 draws
    flips the signs of whole templates, in all cells at once, so that the cells' dependence stays. Of each draw counts
    the largest t, step by step down (Westfall & Young 1993, algorithm 2.8): the chance of any false positive in the
    family is kept wherever the true zeros are. Exact when a template's difference is as likely as its negative; with t
    as the statistic also close where it is not (Romano 1990).

    Of t, sum / root of the sum of squares is used, which has the same order and the same denominator in all draws.
    """
    filled = np.nan_to_num(differences)
    scale = np.sqrt((filled**2).sum(1))
    scaled = filled / np.where(scale > 0, scale, 1.0)[:, None]
    seen = _statistic(scaled.sum(1), alternative)
    order = np.argsort(-seen, kind="stable")
    seen, scaled = seen[order], scaled[order]

    def as_far(signs: Floats) -> Floats:
        drawn = _statistic(scaled @ signs.T, alternative)
        largest = np.maximum.accumulate(drawn[::-1])[::-1]
        counts: Floats = (largest >= seen[:, None] - 1e-9).sum(1)
        return counts

    flips = np.split(_signs(scaled.shape[1]), range(_CHUNK, _FLIPS, _CHUNK))
    counts = 1 + sum(of_parts(as_far, flips))
    adjusted = np.empty(len(seen))
    adjusted[order] = np.maximum.accumulate(counts / (_FLIPS + 1))
    return adjusted


def holm(p: Floats) -> Floats:
    """Return the p values [tests] adjusted by Holm's (1979) step-down procedure."""
    from statsmodels.stats.multitest import multipletests  # takes a second to import

    adjusted: npt.NDArray[np.float64] = multipletests(p, method="holm")[1]
    return adjusted


def _statistic(sums: Floats, alternative: Literal["greater", "two-sided"]) -> Floats:
    return sums if alternative == "greater" else np.abs(sums)


@lru_cache(maxsize=4)
def _signs(templates: int) -> Floats:
    """Signs [flips, templates]."""
    return np.random.default_rng(0).choice([-1.0, 1.0], size=(_FLIPS, templates))
