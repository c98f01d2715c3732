"""The processes that log the units of a run to trackers: `log` of a study."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from study.commands.beside import Beside
from study.config.names import TrackerName

SILENT_SECONDS = 120.0
"""A process that has logged nothing for this long at the end of the run hangs: a tracker's library may take half a
minute to begin on a machine with much else to do."""


class Tracking:
    """One process of `study track` for each tracker. None of them can fail or slow the run."""

    def __init__(self, trackers: Sequence[TrackerName], results: Path) -> None:
        self._running: dict[TrackerName, Beside] = {
            name: Beside("track", str(results), name, "--follow") for name in trackers
        }

    def look(self) -> str:
        """Return a line for each process that has failed since the last look."""
        return "\n".join(self._ended())

    def end(self) -> str:
        """Let the processes log what is left, and return a line for each: where the units are, or why they are not."""
        for process in self._running.values():
            process.close()
        lines = list(self._ended())
        heard, written = time.monotonic(), -1
        while self._running:
            lines += self._ended()
            now = sum(process.written for process in self._running.values())
            if now != written:
                heard, written = time.monotonic(), now
            if time.monotonic() - heard > SILENT_SECONDS:
                for name, process in self._running.items():
                    process.interrupt()
                    lines.append(_warning(name, f"it logged nothing for {SILENT_SECONDS:.0f} s and was ended"))
                self._running.clear()
            time.sleep(0.05)
        return "\n".join(lines)

    def _ended(self) -> Iterator[str]:
        """Yield a line for each process that has ended since the last time."""
        for name, process in list(self._running.items()):
            if (code := process.code) is not None:
                del self._running[name]
                yield f"{name}: {process.last_line()}" if code == 0 else _warning(name, process.last_line(errors=True))


def _warning(name: TrackerName, reason: str) -> str:
    return f"{name}: no more is logged: {reason}. The study does not need it; the same command logs what is missing."
