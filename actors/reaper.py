"""A process that ends what a killed run leaves behind: by themselves, Ray's agents would live on for a minute.

Their raylet dies with the run; they then try for 60 seconds to report that to a GCS that has died too.
"""

import os
import select
import subprocess
import sys
from contextlib import suppress

import psutil

LOOK_SECONDS = 2.0
"""Time between two looks at what descends from the run."""


class Reaper:
    """Watches over this process until it is released."""

    def __init__(self) -> None:
        # In a session of its own, so that Ctrl-C on the terminal is not its end too; it writes nothing.
        self._process = subprocess.Popen(
            [sys.executable, "-I", __file__, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def release(self) -> None:
        """End it, and nothing else."""
        self._process.communicate(b"released")


def reap(run: psutil.Process) -> None:
    """Wait for a word on standard input; where that ends without one, the run was killed: kill what descended from
    it."""
    itself, family = psutil.Process(), set[psutil.Process]()
    while True:
        with suppress(psutil.NoSuchProcess):
            family |= set(run.children(recursive=True)) - {itself}
        family = {one for one in family if one.is_running()}
        if select.select([sys.stdin], [], [], LOOK_SECONDS)[0]:
            break
    if sys.stdin.read(1):
        return
    for one in family:
        with suppress(psutil.NoSuchProcess):
            one.kill()


if __name__ == "__main__":
    reap(psutil.Process(int(sys.argv[1])))
