"""The code that runs on a node: a task of one or more units, its reports, and its results if no folder is shared."""

import errno
import faulthandler
import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from actors.cluster import ClusterError
from actors.metrics import Metrics
from actors.reports import Report
from study.config.units import Unit, folder_name, foundations, kind
from study.results.files import UnwritableError
from study.results.parcels import Parcel, pack, remove, unpack
from study.results.store import LOG, Ending, Store
from study.version import code_fingerprint

REPORT_SECONDS = 5.0
LOG_BYTES = 4000
CRASH = "crash.txt"
"""File, in the task's folder in tmp/, to which Python writes its stack if a fault kills the process."""

Run = Callable[[Sequence[Unit], Path], list[Ending]]


class VersionError(ClusterError):
    """A machine runs another version of the program; if ignored, it would quickly fail every unit."""


@dataclass(frozen=True)
class Assignment:
    """The input of a task."""

    task: str
    """Id of the task."""
    units: Sequence[Unit]
    root: Path
    """Results folder of the machine that submits the task."""
    mark: str
    """Name of the file by which a machine sees that it shares this folder."""
    code: str
    """Fingerprint of the program's source on the machine that submits the task."""


@dataclass(frozen=True)
class Ended:
    """A unit that ended, with its outcome and host."""

    unit: Unit
    outcome: Ending
    host: str
    parcel: Parcel | None = None
    """Its results, if its machine does not share the results folder."""
    peak_gb: float = 0.0
    """Peak memory of the process that ran it, GB."""


class NotDone(Exception):
    """Some units of a task failed or were skipped: raised once all have ended, so that Ray's dashboard shows the task
    as failed, with the reasons."""

    def __init__(self, ended: list[Ended]) -> None:
        self.ended = ended
        open_ones = [one for one in ended if one.outcome.state != "done"]
        super().__init__("\n".join(f"{one.unit.label}: {one.outcome.state}: {one.outcome.reason}" for one in open_ones))

    def __reduce__(self) -> tuple[type["NotDone"], tuple[list[Ended]]]:
        """Ray sends it to the driver pickled, by default from its message alone."""
        return NotDone, (self.ended,)


def make_ready() -> None:
    """Import what units need, which takes seconds."""
    import study.pipeline.units  # noqa: F401


def run_units(units: Sequence[Unit], results: Path, checkpoint_every: int) -> list[Ending]:
    """Call `study.pipeline.units.run_units`; imported here, since it loads MLX, which the submitting process never
    needs."""
    from study.pipeline.units import run_units

    return run_units(units, results, checkpoint_every)


def carry(run: Run, assignment: Assignment, reports: Any, *parcels: Parcel) -> list[Ended] | None:
    """Run the units of one task and return how each ended; None if no task may start any more. Raises NotDone with the
    same where some did not finish.

    `parcels` are the results of the units that these build on, for nodes that do not share the results folder. Raises
    VersionError where this machine runs another version of the program.
    """
    import ray

    if assignment.code != code_fingerprint():
        raise VersionError(
            f"{socket.gethostname()} runs another version of the program ({code_fingerprint()}) than the machine that "
            f"submits ({assignment.code}): check out the same commit on both"
        )
    if ray.get(reports.is_closed.remote()):
        return None
    shares = (assignment.root / assignment.mark).is_file()
    store = Store(assignment.root if shares else scratch(assignment.root))
    if not shares:
        if len(parcels) < len(foundations(assignment.units[0])):  # since it was shared when the run began
            raise UnwritableError(errno.ENOENT, "it is no longer there", str(assignment.root))
        for parcel, needed in zip(parcels, foundations(assignment.units[0]), strict=True):
            unpack(parcel, store, needed)
        for unit in assignment.units:
            store.set_aside(kind(unit), folder_name(unit), thorough=True)
    with _reporting(store, assignment.task, reports, shares) as peak, _faults(store, assignment.task):
        outcomes = run(assignment.units, store.root)
    ended = [
        Ended(unit, outcome, socket.gethostname(), None if shares else pack(store, unit), peak.gb)
        for unit, outcome in zip(assignment.units, outcomes, strict=True)
    ]
    if not shares:
        for unit in assignment.units:
            remove(store, unit)
    if any(outcome.state != "done" for outcome in outcomes):
        raise NotDone(ended)
    return ended


def scratch(root: Path) -> Path:
    """Return the folder in which a machine works that does not share the results folder `root`."""
    from study.models.cache_root import cache_root

    return cache_root() / "scratch" / root.name


@contextmanager
def _faults(store: Store, task: str) -> Iterator[None]:
    """Within the context, Python writes its stack to a file if a fault, such as a full GPU, kills the process."""
    folder = store.root / "tmp" / task
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / CRASH).open("w") as file:
        faulthandler.enable(file)
        try:
            yield
        finally:
            faulthandler.disable()
    shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Peak:
    """The largest memory of this process that was measured, GB."""

    gb: float = 0.0

    def look(self) -> None:
        """Measure: the resident set, or MLX's peak allocation if larger, since a Mac's GPU buffers may not be
        resident."""
        allocated = sys.modules["mlx.core"].get_peak_memory() if "mlx.core" in sys.modules else 0
        self.gb = max(self.gb, psutil.Process().memory_info().rss / 1e9, allocated / 1e9)


@contextmanager
def _reporting(store: Store, task: str, reports: Any, shares: bool) -> Iterator[Peak]:
    """Within the context, a thread sends reports and measures memory, at once and then every REPORT_SECONDS."""
    import ray

    node = ray.get_runtime_context().get_node_id()
    done = threading.Event()
    metrics, peak = Metrics(), Peak()

    def report() -> None:
        while True:
            current = _report(store, node, shares)
            reports.report.remote(task, current)
            metrics.tell(current.notes)
            peak.look()
            if done.wait(REPORT_SECONDS):
                peak.look()
                return

    thread = threading.Thread(target=report, name="reports", daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()
        reports.forget.remote(task)


def _report(store: Store, node: str, shares: bool) -> Report:
    host, pid = socket.gethostname(), os.getpid()
    notes = [note for note in store.running() if (note.get("host"), note.get("pid")) == (host, pid)]
    loading = any(note["stage"] == "load" for note in notes)  # which may be a long download
    quiet = 0.0 if loading or not notes else time.time() - max(note["written"] for note in notes)
    log = _tail(store.root / "tmp" / notes[0]["attempt"] / LOG) if notes else ""
    return Report(host, node, pid, shares, notes, quiet, log)


def _tail(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, file.stat().st_size - LOG_BYTES))
            return stream.read().decode(errors="replace")
    except FileNotFoundError:  # the attempt has just ended
        return ""


def kill(pid: int) -> None:
    """Kill a worker process of Ray on this node; other processes are left alone."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        if "ray::" in " ".join(process.cmdline()):
            process.kill()
