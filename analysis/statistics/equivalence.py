"""Verdicts on effects against a margin: shown, refuted, or undecided."""

from collections.abc import Callable
from enum import StrEnum

from analysis.statistics.intervals import Interval

Procedure = Callable[[float], Interval]
"""An interval as a function of its confidence, such as `partial(effect, table)`."""


class Verdict(StrEnum):
    """What an interval says of a claim."""

    SHOWN = "shown"
    REFUTED = "refuted"
    UNDECIDED = "undecided"


def equivalent(procedure: Procedure, margin: float, alpha: float = 0.05) -> Verdict:
    """Return whether the effect lies between -margin and +margin, by two one-sided tests at `alpha`.

    Schuirmann's (1987) TOST: shown when the interval of confidence 1 - 2 alpha lies inside the margins, refuted when it
    lies outside.
    """
    _, low, high = procedure(1 - 2 * alpha)
    if -margin < low and high < margin:
        return Verdict.SHOWN
    return Verdict.REFUTED if low > margin or high < -margin else Verdict.UNDECIDED


def not_inferior(procedure: Procedure, margin: float, alpha: float = 0.025) -> Verdict:
    """Return whether the effect is above -margin, by one-sided tests at `alpha` either way.

    Shown when the interval of confidence 1 - 2 alpha lies above -margin, refuted when it lies below.
    """
    _, low, high = procedure(1 - 2 * alpha)
    if low > -margin:
        return Verdict.SHOWN
    return Verdict.REFUTED if high < -margin else Verdict.UNDECIDED
