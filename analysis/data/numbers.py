"""How numbers are written, everywhere the same."""

import math

from analysis.statistics.intervals import Interval


def probability(value: float | Interval) -> str:
    """0.98, or 0.98 [0.97, 0.99]."""
    if isinstance(value, Interval):
        return f"{value.estimate:.2f} [{value.low:.2f}, {value.high:.2f}]"
    return f"{value:.2f}"


def share(value: float | Interval) -> str:
    """98 %, or 98 % [97, 99]."""
    if isinstance(value, Interval):
        return f"{100 * value.estimate:.0f} % [{100 * value.low:.0f}, {100 * value.high:.0f}]"
    return f"{100 * value:.0f} %"


def signed_points(value: Interval) -> str:
    """A difference of accuracies in points: -1.0 [-3.1, +1.0]."""
    return signed(Interval(*(100 * part for part in value)), 1)


def signed_probability(value: Interval) -> str:
    """A difference of probabilities: +0.41 [+0.35, +0.47]."""
    return signed(value, 2)


def signed(value: Interval, decimals: int) -> str:
    """A difference with so many decimals: +12 [+4, +20]; alone where it has no interval."""
    # Adding 0.0 turns a rounded -0.0 into 0.0.
    estimate, low, high = (f"{round(part, decimals) + 0.0:+.{decimals}f}" for part in value)
    return estimate if math.isnan(value.low) else f"{estimate} [{low}, {high}]"
