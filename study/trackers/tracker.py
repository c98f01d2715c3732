"""What a tracker takes: runs, which are units, with their curves and figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Run:
    """One unit, as trackers show it."""

    study: str
    unit: str
    """Id of the unit."""
    kind: str
    label: str
    folder: str
    """Name of the unit's folder of results, which no other unit has."""
    parameters: Mapping[str, str | float | bool]
    """What the unit is and its settings, by dotted name."""


@dataclass(frozen=True)
class Point:
    """The losses of one training step."""

    step: int
    """From 1."""
    time: float
    """Seconds since 1970."""
    losses: Mapping[str, float]
    """By name, nats."""


@dataclass(frozen=True)
class Outcome:
    """What a finished unit has."""

    curve: Sequence[Point]
    """All steps; empty where the unit trains nothing."""
    figures: Mapping[str, float]
    """By name, such as `choice/unseen/story`."""
    started: float
    ended: float
    """Seconds since 1970, both."""


class Tracker(Protocol):
    """A place where runs are shown. All of its methods may raise whatever its library raises."""

    @property
    def place(self) -> str:
        """Where the runs are, in words for people."""

    def is_finished(self, run: Run) -> bool:
        """Whether the run is there with its outcome, so that it is not to be written again."""

    def add(self, run: Run, point: Point) -> None:
        """Add a point of a unit that is training. A step that is there already is left as it is."""

    def finish(self, run: Run, outcome: Outcome) -> None:
        """Write all that is not there yet of a finished unit, each step once."""

    def fail(self, run: Run, reason: str) -> None:
        """Note that the unit failed, where the tracker has a place for that."""

    def close(self) -> None:
        """Leave the runs that are not finished so that another process can go on with them."""
