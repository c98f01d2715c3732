"""The units of a study as Ray tasks: in order, a bounded number at a time, and never stopped by one that fails."""

import re
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.cluster import RESOURCE
from study.cells import StageOne, Unit, stage_one_of
from study.store import Outcome, Store

Run = Callable[[Unit, Path], Outcome]

OPTIONS: dict[str, Any] = {"resources": {RESOURCE: 1}, "num_cpus": 0, "max_retries": 1, "retry_exceptions": [OSError]}
"""No `num_gpus`: with it Ray starts a new process, and so loads the model again, for every task."""


@dataclass(frozen=True)
class Ended:
    """A unit that ended, and the node that it ran on."""

    unit: Unit
    outcome: Outcome
    host: str


def run_unit(unit: Unit, results: Path) -> Outcome:
    """`study.pipeline.run_unit`, imported where it runs: it loads MLX, which the submitting process never needs."""
    from study import pipeline

    return pipeline.run_unit(unit, results)


def carry_out(
    units: Sequence[Unit], store: Store, in_flight: int, run: Run = run_unit, poll_seconds: float = 1.0
) -> Iterator[Ended | None]:
    """Run the units; yields each as it ends, and None whenever nothing ended for `poll_seconds`.

    At most `in_flight` tasks are with Ray at a time. A unit is submitted once its stage 1 is done; where that failed,
    the unit is recorded as failed. Tasks that still run end when the program leaves the cluster: cancelling them by
    force can abort the whole program when one finishes at that moment (Ray 2.60).
    """
    import ray

    task = ray.remote(_run_here)
    waiting = {unit.id: unit for unit in units}
    trained = {first.id for first in map(stage_one_of, units) if store.is_done(first)}
    pending: dict[ray.ObjectRef[Ended], Unit] = {}
    current = ""
    while waiting or pending:
        coming = trained | waiting.keys() | {unit.id for unit in pending.values()}
        for unit in [unit for unit in waiting.values() if stage_one_of(unit).id not in coming]:
            del waiting[unit.id]
            reason = f"its stage 1 failed: {store.status(stage_one_of(unit)).reason}"
            yield _failed(unit, store, reason)
        while len(pending) < in_flight and (next_unit := _next(waiting, trained, current)):
            del waiting[next_unit.id]
            current = stage_one_of(next_unit).id
            reference = task.options(name=next_unit.label, **OPTIONS).remote(run, next_unit, store.root)
            pending[reference] = next_unit
        if not pending:
            continue
        ready, _ = ray.wait(list(pending), num_returns=1, timeout=poll_seconds, fetch_local=False)
        for reference in ready:
            ended = _collect(reference, pending.pop(reference), store)
            if isinstance(ended.unit, StageOne) and ended.outcome.state == "done":
                trained.add(ended.unit.id)
            yield ended
        if not ready:
            yield None


def _next(waiting: Mapping[str, Unit], trained: set[str], current: str) -> Unit | None:
    """Any stage 1 first, so that no worker idles for want of one; then the cells of the model that ran last, since
    workers hold it loaded; then the next model.
    """
    ready = [unit for unit in waiting.values() if isinstance(unit, StageOne) or unit.stage_one.id in trained]
    return min(ready, key=lambda unit: (not isinstance(unit, StageOne), stage_one_of(unit).id != current), default=None)


def _run_here(run: Run, unit: Unit, results: Path) -> Ended:
    return Ended(unit, run(unit, results), socket.gethostname())


def _collect(reference: Any, unit: Unit, store: Store) -> Ended:
    """What a finished task came to, recorded where the task could not do so itself."""
    import ray
    from ray.exceptions import RayError, RayTaskError

    try:
        ended: Ended = ray.get(reference)
    except RayTaskError as error:
        cause = " ".join(f"{type(error.cause).__name__}: {error.cause}".split())
        return _failed(unit, store, cause, str(error))
    except RayError as error:
        reason = f"the worker process died, and died again when retried ({type(error).__name__}); out of memory?"
        return _failed(unit, store, reason, str(error))
    if ended.outcome.state == "done" and not store.is_done(unit):
        reason = f"the results folder {store.root} is not shared with node {ended.host}, which finished the unit"
        return _failed(unit, store, reason)
    return ended


def _failed(unit: Unit, store: Store, reason: str, detail: str = "") -> Ended:
    store.record(unit, "failed", reason, re.sub(r"\x1b\[[0-9;]*m", "", detail))
    return Ended(unit, Outcome("failed", reason, 0.0), "")
