"""What running tasks say of themselves while they run, and whether tasks that wait may still begin."""

import time
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Report:
    """What a task says every few seconds."""

    host: str
    node: str
    """The node that it runs on, by Ray's id."""
    pid: int
    shares: bool
    """Whether its notes stand in the results folder anyway."""
    notes: list[dict[str, Any]]
    """The progress of each of its units, as `study.notebook` writes it."""
    quiet_seconds: float
    """Since any of them last made progress."""
    log: str
    """The end of the log of the unit that spoke last."""


@dataclass(frozen=True)
class Heard:
    """The last report of a task, and how long ago it came."""

    report: Report
    seconds_ago: float


class Reports:
    """A Ray actor: tasks report to it, the program that submitted them asks it. Ages are by its own clock alone."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[float, Report]] = {}
        self._closed = False

    def report(self, task: str, report: Report) -> None:
        self._last[task] = (time.monotonic(), report)

    def forget(self, task: str) -> None:
        self._last.pop(task, None)

    def heard(self) -> dict[str, Heard]:
        """By task."""
        now = time.monotonic()
        return {task: Heard(report, now - at) for task, (at, report) in self._last.items()}

    def close(self) -> None:
        """No task begins any more."""
        self._closed = True

    def is_closed(self) -> bool:
        return self._closed
