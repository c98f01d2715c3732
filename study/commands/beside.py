"""A command of this program that runs in a process of its own beside a study's units."""

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from typing import IO

import psutil

NICENESS = 15
"""That of Ray's workers, with which it shares the cores."""
ENDING_SECONDS = 30.0
"""Time in which a process that is interrupted has to end."""


class Beside:
    """The process. Its standard input ends when `close` is called, or when this process ends."""

    def __init__(self, *command: str) -> None:
        # Told to files, since a pipe that nobody empties would stop it; in a session of its own, so that Ctrl-C on the
        # terminal is not its end too.
        self._said: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        self._errors: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "study", *command],
            stdin=subprocess.PIPE,
            stdout=self._said,
            stderr=self._errors,
            start_new_session=True,
        )
        with suppress(psutil.Error):
            psutil.Process(self._process.pid).nice(NICENESS)

    @property
    def code(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._process.poll()

    @property
    def written(self) -> int:
        """The number of bytes that it has printed."""
        return os.fstat(self._said.fileno()).st_size

    def close(self) -> None:
        """End its standard input."""
        if self._process.stdin:
            self._process.stdin.close()

    def last_line(self, errors: bool = False) -> str:
        """Return the last line that it printed, or wrote to standard error; empty where there is none."""
        file = self._errors if errors else self._said
        file.seek(0)
        return (file.read().strip().splitlines() or [""])[-1]

    def interrupt(self) -> None:
        """Interrupt it, wait until it has ended, and kill it if it does not."""
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
