"""One row of results: how often a procedure was right or wrong under one truth."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from simulations.truth import Floats, Truth

Kind = Literal["coverage", "false positives", "power"]


@dataclass(frozen=True)
class Outcome:
    """The rate at which a procedure did something, of so many draws from one truth."""

    procedure: str
    kind: Kind
    truth: Truth
    note: str
    nominal: float
    """What the rate should be, or at most be for false positives; NaN for power."""
    rate: float
    draws: int
    truth_below: float = math.nan
    """How often the truth lay below the interval."""
    truth_above: float = math.nan
    width: float = math.nan
    """The intervals' median width."""

    @property
    def error(self) -> float:
        """The Monte Carlo standard error of the rate."""
        return math.sqrt(self.rate * (1 - self.rate) / self.draws)


def covered(procedure: str, truth: Truth, intervals: Floats, true: Floats | float, note: str = "") -> Outcome:
    """Return how often 95 % `intervals` [draws, 3] hold what is `true`."""
    below, above = float(np.mean(true < intervals[:, 1])), float(np.mean(true > intervals[:, 2]))
    width = float(np.median(intervals[:, 2] - intervals[:, 1]))
    return Outcome(procedure, "coverage", truth, note, 0.95, 1 - below - above, len(intervals), below, above, width)


def false_positives(
    procedure: str, truth: Truth, found: npt.NDArray[np.bool_], nominal: float, note: str = ""
) -> Outcome:
    """Return how often something was `found` [draws] that is not there."""
    return Outcome(procedure, "false positives", truth, note, nominal, float(found.mean()), len(found))


def power(procedure: str, truth: Truth, found: npt.NDArray[np.bool_], note: str = "") -> Outcome:
    """Return how often something was `found` [draws] that is there."""
    return Outcome(procedure, "power", truth, note, math.nan, float(found.mean()), len(found))
