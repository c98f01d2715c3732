"""The units of a study as Ray tasks: in order, a bounded number at a time, and never stopped by one that fails."""

import math
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.cluster import RESOURCE
from study.cells import StageOne, Unit, stage_one_of
from study.config import RaySettings
from study.stacks import stack_key, stack_label
from study.store import Outcome, Store, UnwritableError

Run = Callable[[Sequence[Unit], Path], list[Outcome]]

OPTIONS: dict[str, Any] = {"resources": {RESOURCE: 1}, "num_cpus": 0, "retry_exceptions": [OSError]}
"""No `num_gpus`: with it Ray starts a new process, and so loads the model again, for every task."""

LARGEST_STACK = 8
"""Cells of a stack, where the settings do not say: beyond it a CPU gains little."""


@dataclass(frozen=True)
class Ended:
    """A unit that ended, and the node that it ran on."""

    unit: Unit
    outcome: Outcome
    host: str


def run_units(units: Sequence[Unit], results: Path) -> list[Outcome]:
    """`study.pipeline.run_units`, imported where it runs: it loads MLX, which the submitting process never needs."""
    from study import pipeline

    return pipeline.run_units(units, results)


def carry_out(
    units: Sequence[Unit],
    store: Store,
    settings: RaySettings,
    slots: int,
    run: Run = run_units,
    poll_seconds: float = 1.0,
) -> Iterator[Ended | None]:
    """Run the units; yields each as it ends, and None whenever nothing ended for `poll_seconds`.

    Cells that stack go into one task. At most `in_flight` tasks a slot are with Ray at a time. A unit is submitted once
    its stage 1 is done; where that failed, the unit is recorded as failed. A task whose worker died is run once more, a
    stack of cells cell by cell, so that one that cannot be computed stops no other. Tasks that still run end when the
    program leaves the cluster: cancelling them by force can abort the whole program when one finishes at that moment
    (Ray 2.60).
    """
    import ray
    from ray.exceptions import RayError

    task = ray.remote(_run_here)
    queue = Queue(units, settings, slots, {first.id for first in map(stage_one_of, units) if store.is_done(first)})
    pending: dict[ray.ObjectRef[list[Ended]], Sequence[Unit]] = {}
    while queue or pending:
        for unit in queue.take_orphans({unit.id for stack in pending.values() for unit in stack}):
            reason = f"its stage 1 failed: {store.status(stage_one_of(unit)).reason}"
            yield _failed(unit, store, reason)
        while len(pending) < settings.in_flight * slots and (stack := queue.take()):
            # A stack is not run again by Ray: its cells are, one by one.
            retries = 1 if len(stack) == 1 and stack[0].id not in queue.crashed else 0
            named = task.options(name=stack_label(stack), max_retries=retries, **OPTIONS)
            pending[named.remote(run, stack, store.root)] = stack
        if not pending:
            continue
        ready, _ = ray.wait(list(pending), num_returns=1, timeout=poll_seconds, fetch_local=False)
        for reference in ready:
            stack = pending.pop(reference)
            try:
                results: list[Ended] = ray.get(reference)
            except RayError as error:
                if len(stack) > 1:
                    queue.put_back(stack)
                    continue
                yield _crashed(stack[0], store, error)
                continue
            for ended in results:
                ended = _checked(ended, store)
                if isinstance(ended.unit, StageOne) and ended.outcome.state == "done":
                    queue.trained.add(ended.unit.id)
                yield ended
        if not ready:
            yield None


class Queue:
    """Units that wait to be submitted, and their order: a stack of cells, or one other unit, a turn."""

    def __init__(self, units: Sequence[Unit], settings: RaySettings, slots: int, trained: set[str]) -> None:
        self.trained = trained
        """Ids of the stage 1s that are done."""
        self.crashed: set[str] = set()
        """Ids of the units whose worker died; they run alone."""
        self._settings, self._slots = settings, slots
        self._groups: dict[str, list[Unit]] = {}
        self._sizes: dict[str, int] = {}
        self._current = ""
        for unit in units:
            self._groups.setdefault(stack_key(unit), []).append(unit)

    def __bool__(self) -> bool:
        return bool(self._groups)

    def take(self) -> Sequence[Unit]:
        """Any stage 1 first, so that no worker idles for want of one; then what belongs to the model that ran last,
        since workers hold it loaded; then the next model. Empty where nothing is ready.
        """
        ready = [key for key, (unit, *_) in self._groups.items() if self._is_ready(unit)]
        order = {key: self._groups[key][0] for key in ready}
        key = min(
            ready,
            key=lambda k: (not isinstance(order[k], StageOne), stage_one_of(order[k]).id != self._current),
            default=None,
        )
        if key is None:
            return []
        group = self._groups[key]
        size = 1 if group[0].id in self.crashed else self._sizes.setdefault(key, self._size(len(group)))
        stack, rest = group[:size], group[size:]
        if rest:
            self._groups[key] = rest
        else:
            del self._groups[key]
        self._current = stage_one_of(stack[0]).id
        return stack

    def put_back(self, stack: Sequence[Unit]) -> None:
        """Cells whose worker died, to be run alone."""
        self.crashed |= {unit.id for unit in stack}
        for unit in stack:
            self._groups[f"{unit.id} alone"] = [unit]

    def take_orphans(self, pending: set[str]) -> list[Unit]:
        """Units whose stage 1 is neither done nor going to be."""
        coming = self.trained | self._groups.keys() | pending  # the key of a stage 1 is its id
        orphans = [key for key, (unit, *_) in self._groups.items() if stage_one_of(unit).id not in coming]
        return [unit for key in orphans for unit in self._groups.pop(key)]

    def _is_ready(self, unit: Unit) -> bool:
        return isinstance(unit, StageOne) or unit.stage_one.id in self.trained

    def _size(self, cells: int) -> int:
        """As many cells as the settings say; otherwise the same number of stacks for every slot, as even as may be."""
        if self._settings.stack != "auto":
            return self._settings.stack
        rounds = math.ceil(cells / (LARGEST_STACK * self._slots))
        return math.ceil(cells / (rounds * self._slots))


def _run_here(run: Run, units: Sequence[Unit], results: Path) -> list[Ended]:
    outcomes = run(units, results)
    return [Ended(unit, outcome, socket.gethostname()) for unit, outcome in zip(units, outcomes, strict=True)]


def _crashed(unit: Unit, store: Store, error: Exception) -> Ended:
    """A task that ended without a result, recorded since it could not do so itself."""
    from ray.exceptions import RayTaskError

    if isinstance(error, RayTaskError):
        if isinstance(error.cause, UnwritableError):  # no fault of the unit, and the next would fare no better
            raise error.cause
        cause = " ".join(f"{type(error.cause).__name__}: {error.cause}".split())
        return _failed(unit, store, cause, str(error))
    reason = f"the worker process died, and died again when retried ({type(error).__name__}); out of memory?"
    return _failed(unit, store, reason, str(error))


def _checked(ended: Ended, store: Store) -> Ended:
    if ended.outcome.state == "done" and not store.is_done(ended.unit):
        reason = f"the results folder {store.root} is not shared with node {ended.host}, which finished the unit"
        return _failed(ended.unit, store, reason)
    return ended


def _failed(unit: Unit, store: Store, reason: str, detail: str = "") -> Ended:
    store.record(unit, "failed", reason, re.sub(r"\x1b\[[0-9;]*m", "", detail))
    return Ended(unit, Outcome("failed", reason, 0.0), "")
