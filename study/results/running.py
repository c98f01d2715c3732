"""The units that run now, from the progress that their attempts write, and the time that is left."""

import os
import socket
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

SILENT_SECONDS = 120.0
"""A process that has written no progress for this long is not shown as running, nor is one whose progress is dated as
far in the future."""
WRITES_EVERY = 20.0
"""Seconds in which a process that lives has written progress, unless a step takes long."""


@dataclass(frozen=True)
class Process:
    """One process and the units that it runs, which are several for cells that train side by side."""

    host: str
    pid: int
    units: Sequence[str]
    """Ids of the units; the first is the one that wrote progress last, which the other fields describe."""
    label: str
    where: str
    """Part of the unit that runs, with its step: `stage 2 120/200`."""
    losses: str
    started: datetime | None
    """Time of the start; None if unknown."""
    written: float
    """Time at which it last wrote progress, in seconds since 1970."""

    @property
    def is_silent(self) -> bool:
        return abs(time.time() - self.written) > SILENT_SECONDS

    @property
    def has_ended(self) -> bool:
        """Whether it ran on this machine and is there no more. One that has just written is: it may be in a container
        that calls itself as this machine does, and counts processes by itself."""
        if self.pid <= 0 or self.host != socket.gethostname() or abs(time.time() - self.written) < WRITES_EVERY:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except (OSError, OverflowError):  # another user's, or the id of no process
            return False
        return False


def processes(notes: Iterable[dict[str, Any]]) -> list[Process]:
    """Return the notes of `Store.running` grouped by the process that wrote them, the newest first.

    A note that no attempt would write is left out.
    """
    groups: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for note in notes:
        groups[str(note.get("host")), str(note.get("pid"))].append(note)
    found = []
    for note, *others in groups.values():
        with suppress(TypeError, ValueError):
            found.append(_process(note, others))
    return found


def seconds_left(ended: Iterable[tuple[str, float]], left: Sequence[str], slots: int) -> float | None:
    """Return the estimated time that is left: the mean duration of each kind of unit, with all slots busy.

    `ended` are the kind and seconds of units that are done, `left` the kinds of those that are not. None until a unit
    of each kind that is left has finished.
    """
    means = mean_seconds(ended)
    return sum(means[which] for which in left) / slots if means.keys() >= set(left) else None


def mean_seconds(ended: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Return the mean seconds of each kind of unit that has finished."""
    seconds: dict[str, list[float]] = defaultdict(list)
    for which, spent in ended:
        seconds[which].append(spent)
    return {which: sum(spent) / len(spent) for which, spent in seconds.items()}


def duration(seconds: float) -> str:
    """Return a duration in words: `45 s`, `3 min`, `2 h 05 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"


def _process(note: dict[str, Any], others: list[dict[str, Any]]) -> Process:
    steps = f" {note['step']}/{note['steps']}" if note.get("steps") else ""
    losses = [f"{name.replace('_', ' ')} {note[name]:.3f}" for name in ("loss", "class_loss") if name in note]
    return Process(
        host=str(note.get("host", "?")),
        pid=int(note.get("pid", 0)),
        units=[one.get("id", "") for one in (note, *others)],
        label=note.get("label", "?") + (f" and {len(others)} more" if others else ""),
        where=f"{note.get('stage', '')}{steps}",
        losses=", ".join(losses),
        started=datetime.fromisoformat(note["started"]) if note.get("started") else None,
        written=note["written"],
    )
