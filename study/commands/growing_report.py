"""The report of a study that is still running: written again in a process of its own as units finish."""

import time
from collections.abc import Collection, Iterable
from pathlib import Path

from study.commands.beside import Beside
from study.config.units import Cell, Unit

EVERY_SECONDS = 60.0
"""Least time between the starts of two reports."""
FIRST_SECONDS = 30.0
"""Least time before the first: a study of seconds has its report at its end."""
SHARE = 0.1
"""Largest share of the time in which a report is being written, since that takes a core from the units."""


class GrowingReport:
    """Writes the report at `out` while units end. Each of its files is replaced whole, so that it can always be read.

    The first is written when a cell has ended, and all units of one of the sets `first` have: ids of the units that
    together give a first answer.
    """

    def __init__(self, results: Path, out: Path, first: Iterable[Collection[str]]) -> None:
        self._command = ["report", "--results", str(results), "--out", str(out)]
        self._out, self._missing = out, [set(one) for one in first]
        self._process: Beside | None = None
        self._began, self._next = 0.0, time.monotonic() + FIRST_SECONDS
        self._any_cell, self._news = False, False
        self._told: set[str] = set()

    def look(self, ended: Unit | None) -> str:
        """Note a unit that has ended, if one has, and begin a report when one is due. Returns what there is to say of
        those before: where the first stands, or why there is none."""
        if ended:
            for one in self._missing:
                one.discard(ended.id)
            self._any_cell |= isinstance(ended, Cell)
            self._news = True
        said = self._finish()
        due = self._news and self._any_cell and self._answers() and time.monotonic() >= self._next
        if due and not self._process:
            self._news, self._began = False, time.monotonic()
            self._process = Beside(*self._command)
        return said

    def end(self) -> None:
        """Interrupt a report that is being written; the one before it stands."""
        if self._process:
            self._process.interrupt()
            self._process = None

    def _answers(self) -> bool:
        return not self._missing or not all(self._missing)

    def _finish(self) -> str:
        if self._process is None or (code := self._process.code) is None:
            return ""
        last = self._process.last_line(errors=True) or f"exit code {code}"
        self._process = None
        self._next = self._began + max(EVERY_SECONDS, (time.monotonic() - self._began) / SHARE)
        said = f"no report yet: {last}" if code not in (0, 1) else f"the report so far: {self._out.resolve()}"
        new = said not in self._told
        self._told.add(said)
        return said if new else ""
