"""The interval of a ratio of two means over the same templates and seeds."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import elementwise

from analysis.statistics.effects import by_shape, effects
from analysis.statistics.intervals import Floats, Interval

FARTHEST = 10.0
"""Ends beyond this are given as this: the denominator may be as good as zero."""
_TOLERANCES = {"xatol": 1e-6, "xrtol": 1e-6}


def ratio(above: Floats, below: Floats, confidence: float) -> Interval:
    """Return the interval of the ratio of the means of one pair of tables; see `ratios`."""
    return Interval(*ratios([above], [below], confidence)[0].tolist())


def ratios(above: Sequence[Floats], below: Sequence[Floats], confidence: float) -> Floats:
    """Return ratio, low and high [pairs, 3] of the means of tables [templates, seeds], with Fieller's (1954) interval:
    all ratios r for which the interval of the mean of `above` - r `below` holds zero.

    The interval of that mean is that of `effects`, so that it is over templates and seeds. The denominator has to be
    shown to be above zero, else the set of ratios is not an interval. NaN where the ratio is no number.
    """
    found = np.full((len(above), 3), np.nan)
    for same in by_shape(above):
        found[same] = _ratios(np.stack([above[i] for i in same]), np.stack([below[i] for i in same]), confidence)
    return found


def _ratios(above: Floats, below: Floats, confidence: float) -> Floats:
    """`ratios` of tables [pairs, templates, seeds]."""
    with np.errstate(divide="ignore", invalid="ignore"):
        estimates = np.nanmean(above, axis=(1, 2)) / np.nanmean(below, axis=(1, 2))
    scales = np.nanmax(np.abs(below), axis=(1, 2))
    scales[scales == 0] = 1.0

    def bound(r: Floats, pair: npt.NDArray[Any], *, end: int) -> Floats:
        """An end of the interval of the mean of `above` - r `below`, in units that do not matter to its sign."""
        at = pair.astype(np.intp)
        tables = (above[at] - r[:, None, None] * below[at]) / (scales[at] * (1 + np.abs(r)))[:, None, None]
        interval: Floats = effects(tables, confidence)[:, end]
        return interval

    found = np.stack([estimates, estimates, estimates], axis=1)
    known = np.flatnonzero(np.isfinite(estimates))
    slopes = (np.nanmean(below, axis=(1, 2)) / (scales * (1 + np.abs(estimates))))[known]
    for end, limit in ((1, -FARTHEST), (2, FARTHEST)):
        # Twice as far as the end would be if the interval of the mean kept its width.
        reach = 2 * bound(estimates[known], known, end=end) / slopes
        outer = np.clip(estimates[known] + reach, -FARTHEST, FARTHEST)
        inside = bound(outer, known, end=end) * np.sign(limit) >= 0
        outer[inside] = limit
        beyond = inside.copy()
        beyond[inside] = bound(outer[inside], known[inside], end=end) * np.sign(limit) >= 0
        found[known[beyond], end] = limit
        rest, outer = known[~beyond], outer[~beyond]
        init = (estimates[rest], outer) if limit > 0 else (outer, estimates[rest])
        root = elementwise.find_root(partial(bound, end=end), init, args=(rest,), tolerances=_TOLERANCES)
        found[rest[root.success], end] = root.x[root.success]
    return found
