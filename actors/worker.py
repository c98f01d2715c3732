"""What runs on a node: a task of one or more units, with its reports, and its results where no folder is shared."""

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
from study.config.units import Unit, foundations
from study.results.parcels import Parcel, pack, remove, unpack
from study.results.store import LOG, Ending, Store
from study.version import code_fingerprint

REPORT_SECONDS = 5.0
LOG_BYTES = 4000
CRASH = "crash.txt"
"""Where Python writes what it was doing when its process was killed by a fault, in the task's folder in tmp/."""

Run = Callable[[Sequence[Unit], Path], list[Ending]]


class VersionError(ClusterError):
    """A machine that runs another version of the program: left alone, it would fail every unit, and quickly."""


@dataclass(frozen=True)
class Assignment:
    """What a task is told."""

    task: str
    units: Sequence[Unit]
    root: Path
    """The results folder of the machine that asks."""
    mark: str
    """The file by which a machine sees that it shares this folder."""
    code: str


@dataclass(frozen=True)
class Ended:
    """A unit that ended, and where."""

    unit: Unit
    outcome: Ending
    host: str
    parcel: Parcel | None = None
    """What it left, where its machine does not share the results folder."""
    peak_gb: float = 0.0
    """Memory of the process that ran it, at most."""


def run_units(units: Sequence[Unit], results: Path, checkpoint_every: int) -> list[Ending]:
    """`study.pipeline.run_units`, imported where it runs: it loads MLX, which the submitting process never needs."""
    from study.pipeline.units import run_units

    return run_units(units, results, checkpoint_every)


def carry(run: Run, assignment: Assignment, reports: Any, *parcels: Parcel) -> list[Ended] | None:
    """Run the units of one task; None if nothing may begin any more. `parcels` are what the units build on, for nodes
    that have it not.
    """
    import ray

    if assignment.code != code_fingerprint():
        raise VersionError(
            f"{socket.gethostname()} runs another version of the program ({code_fingerprint()}) than the machine that "
            f"asks ({assignment.code}): bring both to the same commit"
        )
    if ray.get(reports.is_closed.remote()):
        return None
    shares = (assignment.root / assignment.mark).is_file()
    store = Store(assignment.root if shares else scratch(assignment.root))
    if not shares:
        for parcel, needed in zip(parcels, foundations(assignment.units[0]), strict=True):
            unpack(parcel, store, needed)
    with _reporting(store, assignment.task, reports, shares) as peak, _faults(store, assignment.task):
        outcomes = run(assignment.units, store.root)
    ended = [
        Ended(unit, outcome, socket.gethostname(), None if shares else pack(store, unit), peak.gb)
        for unit, outcome in zip(assignment.units, outcomes, strict=True)
    ]
    if not shares:
        for unit in assignment.units:
            remove(store, unit)
    return ended


def scratch(root: Path) -> Path:
    """Where a machine works that does not share the results folder `root`."""
    from study.models.cache import cache_root

    return cache_root() / "scratch" / root.name


@contextmanager
def _faults(store: Store, task: str) -> Iterator[None]:
    """What Python was doing is written down if a fault, such as a full GPU, kills the process."""
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
    """The most memory that this process was seen to have."""

    gb: float = 0.0

    def look(self) -> None:
        """The resident set, or what MLX has allocated since the unit began: a Mac's GPU buffers may not be resident."""
        allocated = sys.modules["mlx.core"].get_peak_memory() if "mlx.core" in sys.modules else 0
        self.gb = max(self.gb, psutil.Process().memory_info().rss / 1e9, allocated / 1e9)


@contextmanager
def _reporting(store: Store, task: str, reports: Any, shares: bool) -> Iterator[Peak]:
    """A thread that reports, and looks at the memory, at once and then every few seconds until the units have ended."""
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
    """End a worker of Ray's on this node that no longer answers."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        if "ray::" in " ".join(process.cmdline()):
            process.kill()
