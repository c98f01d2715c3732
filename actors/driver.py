"""Submission of a study's units as Ray tasks: in order, a bounded number at a time; a failed unit stops no other."""

import re
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from actors.cluster import MEMORY, RESOURCE, ClusterError
from actors.nodes import marked
from actors.queue import Queue
from actors.reports import Heard, Reports
from actors.reservations import Reservations
from actors.worker import CRASH, Assignment, Ended, NotDone, Run, carry, kill, run_units
from study.config.study import RaySettings
from study.config.units import NAMES, Cell, Pretraining, StageOne, Unit, foundations, kind, origin
from study.plan.stacks import stack_label
from study.results.files import UnwritableError, write_json
from study.results.finished import PROGRESS, UNREADABLE, DamagedError
from study.results.parcels import Parcel, pack, unpack
from study.results.store import DAMAGED, Ending, Store
from study.results.values import FigureError, read_table
from study.version import code_fingerprint

if TYPE_CHECKING:
    import ray

SILENT_SECONDS = 120.0
"""A task that has not reported for this long hangs, since tasks report every few seconds."""
NODE_LOSSES = 5
"""Number of times that a unit is started again because its node was lost, which is not the unit's fault."""
CAREFUL = 4
"""Factor by which a unit that is retried evaluates fewer prompts at a time, since its worker may have run out of
memory."""
LOG_CHARACTERS = 4000
"""Characters of a dead process's fault report that are recorded."""


@dataclass
class Stop:
    """A request to end the run once the units that run now have ended."""

    asked: bool = False


@dataclass
class Flight:
    """A task that was submitted to Ray and has not ended."""

    task: str
    """Id of the task."""
    units: Sequence[Unit]
    hung: float = 0.0
    """Seconds without progress after which it was killed; 0 if it was not."""
    shown: set[str] = field(default_factory=set)
    """Folders in tmp/ that show the progress of a task on a machine that does not share the results folder."""


class Driver:
    """One run of a study's units on the connected cluster."""

    def __init__(
        self,
        units: Sequence[Unit],
        store: Store,
        settings: RaySettings,
        slots: int,
        run: Run | None = None,
        travels: bool = False,
        memory: Reservations | None = None,
        stop: Stop | None = None,
        ranks: Mapping[str, int] | None = None,
        stacks_grow: bool = False,
    ) -> None:
        """`run` is the function that a worker calls with the units of a task, `run_units` if not given. `travels`: some
        node does not share the results folder. `memory`: the memory that tasks reserve; none if not given. `ranks` and
        `stacks_grow`: those of `Queue`.
        """
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        needed = {one.id: one for unit in units for one in foundations(unit)}
        trained = {one.id for one in needed.values() if store.is_done(one)}
        self.queue = Queue(units, settings, slots, trained, ranks, stacks_grow)
        self.store, self.stop = store, stop or Stop()
        self._settings, self._slots = settings, slots
        self._run = run or partial(run_units, checkpoint_every=settings.checkpoint_every)
        self._travels, self._memory = travels, memory
        self._flights: dict[ray.ObjectRef[list[Ended] | None], Flight] = {}
        self._parcels: dict[str, ray.ObjectRef[Parcel]] = {}
        self._begun_again: set[str] = set()
        self._lost: Counter[str] = Counter()
        self._heard: dict[str, Heard] = {}
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        # Without events: its calls, many for each unit, would hide the units in the dashboard.
        # With retries, since on a machine with more work than cores the connection to a process may time out.
        quiet = ray.remote(Reports).options(
            num_cpus=0, scheduling_strategy=here, enable_task_events=False, max_task_retries=-1
        )
        self._reports: Any = quiet.remote()
        self._task: Any = ray.remote(carry)

    def carry_out(self, poll_seconds: float = 1.0) -> Iterator[Ended | None]:
        """Run the units; yield each as it ends, and None whenever none ended for `poll_seconds`.

        Cells of one stack are one task. At most `in_flight` tasks for each slot are with Ray at a time. A unit is
        submitted once those that it builds on are done; if one of them failed, the unit is recorded as failed. A task
        whose worker died is run once more, a stack of cells cell by cell, so that a cell that cannot be computed stops
        no other; a task whose node was lost is run again unchanged. Once a stop is requested, only tasks that have
        started are waited for. Raises UnwritableError or ClusterError where a task ended with it.
        """
        import ray

        with marked(self.store.root) as mark:
            while self.queue or self._flights:
                if self.stop.asked:
                    self._close()
                pending = {unit.id for flight in self._flights.values() for unit in flight.units}
                for unit in self.queue.take_orphans(pending):
                    yield self._failed(unit, self._lacking(unit))
                while len(self._flights) < self._settings.in_flight * self._slots:
                    waiting = [flight.units[0] for flight in self._flights.values() if flight.task not in self._heard]
                    if not (units := self.queue.take(len(self._flights) >= self._slots, waiting)):
                        break
                    try:
                        self._submit(units, mark)
                    except DamagedError as error:  # in what the units build on
                        for unit in units:
                            yield self._failed(unit, f"{DAMAGED}{error}")
                if not self._flights:
                    continue
                ready, _ = ray.wait(list(self._flights), num_returns=1, timeout=poll_seconds, fetch_local=False)
                for reference in ready:
                    yield from self._landed(reference, self._flights.pop(reference))
                if not ready:
                    self._listen()
                    yield None

    def running(self) -> int:
        """Return the number of units that run now."""
        self._listen()
        return sum(len(flight.units) for flight in self._flights.values() if flight.task in self._heard)

    def _submit(self, units: Sequence[Unit], mark: str) -> None:
        flight = Flight(uuid.uuid4().hex[:12], units)
        assignment = Assignment(flight.task, units, self.store.root, mark, code_fingerprint())
        resources = {RESOURCE: 1}
        if self._memory:
            resources[MEMORY] = self._memory.of(origin(units[0]).model_name)
        # No `num_gpus`: with it Ray starts a new process, and so loads the model again, for every task.
        named = self._task.options(name=stack_label(units), resources=resources, num_cpus=0, max_retries=0)
        parcels = [self._parcel(needed) for needed in foundations(units[0])] if self._travels else []
        self._flights[named.remote(self._run, assignment, self._reports, *parcels)] = flight

    def _parcel(self, unit: Pretraining | StageOne) -> "ray.ObjectRef[Parcel]":
        """Return a reference to the results of a unit that others build on, which are put into Ray's object store once.

        It is for nodes that do not share the results folder.
        """
        import ray

        if unit.id not in self._parcels:
            self._parcels[unit.id] = ray.put(pack(self.store, unit))
        return self._parcels[unit.id]

    def _lacking(self, unit: Unit) -> str:
        """Return the reason why a unit cannot run: one that it builds on did not finish."""
        for needed in foundations(unit):
            if needed.id not in self.queue.trained:
                return f"its {NAMES[kind(needed)]} failed: {self.store.status(needed).reason}"
        raise AssertionError(f"{unit.label} lacks nothing")

    def _landed(self, reference: "ray.ObjectRef[list[Ended] | None]", flight: Flight) -> Iterator[Ended]:
        import ray
        from ray.exceptions import RayError

        for name in flight.shown:
            self.store.abandon(self.store.root / "tmp" / name)
        try:
            results = ray.get(reference)
        except RayError as error:
            cause = getattr(error, "cause", None)
            if not isinstance(cause, NotDone):
                yield from self._crashed(flight, error)
                return
            results = cause.ended
        for ended in results or []:  # None if no task may start any more
            try:
                if ended.parcel:
                    unpack(ended.parcel, self.store, ended.unit)
            except DamagedError as error:
                yield self._failed(ended.unit, f"its results arrived damaged from node {ended.host}: {error}")
                continue
            if ended.outcome.state == "done" and not self.store.is_done(ended.unit):
                reason = f"node {ended.host} finished the unit, but its results are not in {self.store.root}"
                yield self._failed(ended.unit, reason)
                continue
            if isinstance(ended.unit, Pretraining | StageOne) and ended.outcome.state == "done":
                self.queue.trained.add(ended.unit.id)
            if self.queue.grows and isinstance(ended.unit, Cell) and ended.outcome.state == "done":
                with suppress(FigureError, *UNREADABLE):  # which the report names, since it reads every byte
                    self.queue.learn(ended.unit, *_step_of(self.store.folder(ended.unit)))
            yield ended

    def _crashed(self, flight: Flight, error: "Exception") -> Iterator[Ended]:
        """Run a task that ended without a result again, or record its units as failed and yield them."""
        from ray.exceptions import NodeDiedError, RayTaskError

        self._listen()  # for its last report
        self._reports.forget.remote(flight.task)
        if isinstance(error, NodeDiedError):
            self._lost.update(unit.id for unit in flight.units)
            if all(self._lost[unit.id] <= NODE_LOSSES for unit in flight.units):
                self.queue.put_back(flight.units)
                return
        cause = error.cause if isinstance(error, RayTaskError) else None
        if isinstance(cause, UnwritableError | ClusterError):  # not the unit's fault, and the next one would fail too
            raise cause
        again: list[Unit] = []
        if cause is None or isinstance(cause, OSError) or len(flight.units) > 1:
            again = [unit for unit in flight.units if unit.id not in self._begun_again]
        for unit in again:
            self._begun_again.add(unit.id)
            self.queue.put_back([_careful(unit)])
        detail = f"{error}\n\n{self._last_words(flight)}"
        for unit in flight.units:
            for attempt in self._left_by(flight, unit):
                self.store.keep_log(unit, attempt)
                self.store.abandon(attempt)
            if unit not in again:
                yield self._failed(unit, _reason(flight, error, cause), detail)

    def _listen(self) -> None:
        """Get the reports of tasks, write their progress to the results folder if they cannot, and kill those that
        hang."""
        import ray

        self._heard = ray.get(self._reports.heard.remote())
        for flight in self._flights.values():
            heard = self._heard.get(flight.task)
            if heard is None:
                continue
            if not heard.report.shares:
                self._show(flight, heard.report.notes)
            quiet = heard.report.quiet_seconds + heard.seconds_ago
            hangs = heard.seconds_ago > SILENT_SECONDS or quiet > 60 * self._settings.quiet_minutes
            if hangs and not flight.hung:
                flight.hung = quiet
                _end(heard)

    def _show(self, flight: Flight, notes: Sequence[Mapping[str, Any]]) -> None:
        for note in notes:
            flight.shown.add(note["attempt"])
            write_json(self.store.root / "tmp" / note["attempt"] / PROGRESS, note)

    def _close(self) -> None:
        """Start no further tasks, neither those that wait here nor those that wait with Ray."""
        self.queue.clear()
        self._reports.close.remote()

    def _failed(self, unit: Unit, reason: str, detail: str = "") -> Ended:
        self.store.record(unit, "failed", reason, re.sub(r"\x1b\[[0-9;]*m", "", detail))
        return Ended(unit, Ending("failed", reason, 0.0), "")

    def _left_by(self, flight: Flight, unit: Unit) -> list[Path]:
        """Return the attempts at a unit that the dead process of a task left; others may be running elsewhere."""
        heard = self._heard.get(flight.task)
        process = f".{heard.report.host}.{heard.report.pid}." if heard else None
        return [attempt for attempt in self.store.attempts(unit) if process and process in attempt.name]

    def _last_words(self, flight: Flight) -> str:
        """Return the end of a dead task's log, and Python's fault report of its death."""
        heard = self._heard.get(flight.task)
        crash = self.store.root / "tmp" / flight.task / CRASH
        told = f"its log ended with:\n{heard.report.log}" if heard and heard.report.log else "it left no log"
        fault = crash.read_text(errors="replace")[-LOG_CHARACTERS:] if crash.is_file() else ""
        return told + (f"\n{fault}" if fault else "")


def carry_out(
    units: Sequence[Unit],
    store: Store,
    settings: RaySettings,
    slots: int,
    run: Run | None = None,
    poll_seconds: float = 1.0,
) -> Iterator[Ended | None]:
    """`Driver.carry_out` on a cluster whose nodes share the results folder."""
    yield from Driver(units, store, settings, slots, run).carry_out(poll_seconds)


def _step_of(folder: Path) -> tuple[int, float]:
    """Return how many cells trained side by side with a finished one, and the median seconds of a step for each."""
    rows = read_table(folder / "curves.parquet", ["stacked", "seconds"])
    return int(np.median(rows["stacked"])), float(np.median(rows["seconds"]))


def _careful(unit: Unit) -> Unit:
    """Return the same unit with fewer prompts evaluated at a time, which changes no result."""
    if isinstance(unit, Pretraining | StageOne):
        return unit
    fewer = max(1, unit.evaluation.batch_size // CAREFUL)
    return unit.model_copy(update={"evaluation": unit.evaluation.model_copy(update={"batch_size": fewer})})


def _reason(flight: Flight, error: Exception, cause: Exception | None) -> str:
    if cause is not None:
        return " ".join(f"{type(cause).__name__}: {cause}".split())
    if flight.hung:
        return f"it made no progress for {flight.hung / 60:.0f} minutes and was ended, and again when retried"
    return f"the worker process died, and died again when retried ({type(error).__name__}); out of memory?"


def _end(heard: Heard) -> None:
    """Kill a task's process from another process on its node; Ray then reports that it died."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = NodeAffinitySchedulingStrategy(heard.report.node, soft=False)
    ray.remote(kill).options(num_cpus=0, scheduling_strategy=there, max_retries=0).remote(heard.report.pid)
