"""The report of a study that is still running: written again in a process of its own as units finish."""

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO

import psutil

from study.config.units import Cell, Unit

EVERY_SECONDS = 60.0
"""Least time between the starts of two reports."""
FIRST_SECONDS = 30.0
"""Least time before the first: a study of seconds has its report at its end."""
SHARE = 0.1
"""Largest share of the time in which a report is being written, since that takes a core from the units."""
NICENESS = 15
"""That of Ray's workers, with which it shares the cores."""
ENDING_SECONDS = 30.0
"""Time in which a report that is interrupted has to end."""


class GrowingReport:
    """Writes the report at `out` while units end. Each of its files is replaced whole, so that it can always be read.

    The first is written when a cell has ended, and all units of one of the sets `first` have: ids of the units that
    together give a first answer.
    """

    def __init__(self, results: Path, out: Path, first: Iterable[Collection[str]]) -> None:
        self._command = [sys.executable, "-m", "study", "report", "--results", str(results), "--out", str(out)]
        self._out, self._missing = out, [set(one) for one in first]
        self._words: IO[str]
        self._process: subprocess.Popen[bytes] | None = None
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
            # Told to a file, since a pipe that nobody empties would stop it; in a session of its own, so that Ctrl-C on
            # the terminal is not its end too.
            self._words = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed when the process has ended
            self._process = subprocess.Popen(
                self._command, stdout=subprocess.DEVNULL, stderr=self._words, start_new_session=True
            )
            with suppress(psutil.Error):
                psutil.Process(self._process.pid).nice(NICENESS)
        return said

    def end(self) -> None:
        """Interrupt a report that is being written; the one before it stands."""
        if self._process:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(ENDING_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._words.close()
            self._process = None

    def _answers(self) -> bool:
        return not self._missing or not all(self._missing)

    def _finish(self) -> str:
        if self._process is None or self._process.poll() is None:
            return ""
        code, self._process = self._process.returncode, None
        self._words.seek(0)
        errors = self._words.read()
        self._words.close()
        self._next = self._began + max(EVERY_SECONDS, (time.monotonic() - self._began) / SHARE)
        last = (errors.strip().splitlines() or [f"exit code {code}"])[-1]
        said = f"no report yet: {last}" if code not in (0, 1) else f"the report so far: {self._out.resolve()}"
        new = said not in self._told
        self._told.add(said)
        return said if new else ""
