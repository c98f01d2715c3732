"""How deep a classifier becomes readable: the area under accuracy over relative depth, and where it crosses a share."""

import math
from collections.abc import Iterable

import numpy as np

from analysis.statistics.effects import effect, effects
from analysis.statistics.intervals import Floats, Interval

_STEPS = 10
"""Points from one trained depth to the next at which a crossing is tested."""


def common_range(depths: Iterable[Floats]) -> tuple[float, float]:
    """Return the smallest and the largest relative depth that all of several models' trained `depths` span."""
    spans = [(float(of.min()), float(of.max())) for of in depths]
    return max(low for low, _ in spans), min(high for _, high in spans)


def areas(curves: Floats, depths: Floats, chance: float, low: float, high: float) -> Floats:
    """Return the area under (accuracy - chance) / (1 - chance) from `low` to `high`, as a table [templates, seeds].

    `curves` [templates, seeds, depths] holds accuracies, `depths` [depths] the trained layers' relative depths in
    rising order, which have to span the range. By the trapezoid rule and divided by the range: 0 is chance all along,
    1 is always right. Areas are linear in accuracies, so that differences of tables are paired areas.
    """
    at = np.unique([low, *depths[(depths > low) & (depths < high)], high])
    hats = np.stack([np.interp(at, depths, hat) for hat in np.eye(len(depths))])
    weights = np.trapezoid(hats, at, axis=1) / (high - low)
    found: Floats = ((curves - chance) / (1 - chance)) @ weights
    return found


def area(curves: Floats, depths: Floats, chance: float, low: float, high: float, confidence: float) -> Interval:
    """Return the interval of the mean of `areas`: over templates and seeds, or templates alone for one seed."""
    return effect(areas(curves, depths, chance, low, high), confidence)


def crossing(curves: Floats, depths: Floats, confidence: float, share: float = 0.75) -> Interval:
    """Return the first relative depth at which the mean of `curves` [templates, seeds, depths] crosses `share`.

    Between trained depths accuracy is interpolated. The interval holds the depths at which accuracy, by `effects`,
    may be `share`: the crossing of a rising curve is at such a depth (Fieller's (1954) inversion of a test, here of a
    test over templates and seeds, or over templates alone for one seed).

    Depths that were not trained are infinite: -inf is at or before the first trained depth, inf is after the last or
    never. So low = -inf reads "not shown to begin after the first", high = inf "not shown to be reached".
    """
    estimate = first_crossing(np.nanmean(curves, axis=(0, 1)), depths, share)
    found = _ends(curves, depths, depths, confidence, share)
    below, above = found[:, 2] < 0, found[:, 1] > 0
    low, high = -math.inf, math.inf

    def zero(left: int, end: int) -> float:
        """Where an end of the interval is zero, between depth `left` and the next."""
        at = np.linspace(depths[left], depths[left + 1], _STEPS)
        if depths[left] <= estimate <= depths[left + 1]:
            at = np.union1d(at, [estimate])
        line = _ends(curves, depths, at, confidence, share)[:, end]
        last = np.flatnonzero(line <= 0)[-1] if end == 1 else np.argmin(line < 0) - 1
        return float(np.interp(0, line[last : last + 2], at[last : last + 2]))

    if below[0]:
        low = math.inf if below.all() else zero(int(np.argmin(below)) - 1, 2)
    if above[-1]:
        high = -math.inf if above.all() else zero(len(depths) - 1 - int(np.argmin(above[::-1])), 1)
    return Interval(estimate, min(low, estimate), max(high, estimate))


def _ends(curves: Floats, depths: Floats, at: Floats, confidence: float, share: float) -> Floats:
    """The intervals of the mean of curves minus the share, at depths between those that were trained."""
    right = np.clip(np.searchsorted(depths, at), 1, len(depths) - 1)
    part = (at - depths[right - 1]) / (depths[right] - depths[right - 1])
    between = curves[..., right - 1] * (1 - part) + curves[..., right] * part
    return effects(np.moveaxis(between, -1, 0) - share, confidence)


def first_crossing(curve: Floats, depths: Floats, share: float) -> float:
    """Return the first relative depth at which a curve reaches `share`: -inf at or before the first depth, inf after
    the last or never."""
    reached = np.flatnonzero(curve >= share)
    if not len(reached):
        return math.inf
    first = int(reached[0])
    if first == 0:
        return -math.inf
    return float(np.interp(share, curve[first - 1 : first + 1], depths[first - 1 : first + 1]))
