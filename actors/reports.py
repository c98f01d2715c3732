"""Reports of running tasks, and whether tasks that wait may still start."""

import time
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Report:
    """The report that a task sends every few seconds."""

    host: str
    node: str
    """Ray's id of the node that it runs on."""
    pid: int
    shares: bool
    """Whether it works in the results folder, where its progress can be read directly."""
    notes: list[dict[str, Any]]
    """The progress of each of its units, as `study.pipeline.attempt` writes it."""
    quiet_seconds: float
    """Seconds since one of them last made progress."""
    log: str
    """The end of the log of the unit that wrote progress last."""


@dataclass(frozen=True)
class Heard:
    """The last report of a task, and how long ago it was received."""

    report: Report
    seconds_ago: float


class Reports:
    """A Ray actor to which tasks report, and from which the process that submitted them gets the reports.

    The ages of reports are measured by its own clock.
    """

    def __init__(self) -> None:
        self._last: dict[str, tuple[float, Report]] = {}
        self._closed = False

    def report(self, task: str, report: Report) -> None:
        self._last[task] = (time.monotonic(), report)

    def forget(self, task: str) -> None:
        self._last.pop(task, None)

    def heard(self) -> dict[str, Heard]:
        """Return the last report of each running task, by the task's id."""
        now = time.monotonic()
        return {task: Heard(report, now - at) for task, (at, report) in self._last.items()}

    def close(self) -> None:
        """Let no further task start."""
        self._closed = True

    def is_closed(self) -> bool:
        return self._closed
