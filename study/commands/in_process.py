"""Running a study's units in this process, one after the other and without Ray: `ray: {workers: 0}`.

For studies of seconds, in which Ray's start would take most of the time, and where Ray cannot be installed.
"""

import time
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console

from study.config.study import RaySettings
from study.config.units import NAMES, Cell, Unit, foundations, kind
from study.plan.order import ranks
from study.plan.read import Plan
from study.plan.stacks import LARGEST_STACK, stack_key
from study.results.running import duration
from study.results.store import Ending, Store


def run_here(
    plan: Plan, todo: Sequence[Unit], store: Store, console: Console, look: Callable[[Unit | None], str]
) -> None:
    """Run the units and print how each ends; what `look` returns of it is printed too.

    Cells that can train side by side do. A unit whose foundation failed is recorded as failed. An interrupt ends the
    run at once; a training goes on from its last checkpoint the next time.
    """
    from study.pipeline.units import run_units  # which imports MLX

    began, ended, endings = time.monotonic(), 0, dict[str, Ending]()
    for unit in todo:
        store.forget_failure(unit)
    for group in groups(todo, ranks(plan.units), plan.study.ray):
        run: list[Unit] = []
        lost: list[Unit] = []
        for unit in group:
            ended_otherwise = [
                f"its {NAMES[kind(one)]} {endings[one.id].state}: {endings[one.id].reason}"
                for one in foundations(unit)
                if one.id in endings and endings[one.id].state != "done"
            ]
            (lost if ended_otherwise else run).append(unit)
            if ended_otherwise:
                endings[unit.id] = Ending("failed", ended_otherwise[0], 0.0)
                store.record(unit, "failed", ended_otherwise[0])
        results = run_units(run, store.root, plan.study.ray.checkpoint_every) if run else []
        endings |= {unit.id: ending for unit, ending in zip(run, results, strict=True)}
        for unit in (*run, *lost):
            ended += 1
            ending = endings[unit.id]
            how = (
                f"done in {duration(ending.seconds)}" if ending.state == "done" else f"{ending.state}: {ending.reason}"
            )
            spent = duration(time.monotonic() - began)
            console.print(f"{unit.label}  {how}  [{ended}/{len(todo)} · {spent}]", markup=False)
            if said := look(unit):
                console.print(said, markup=False)


def groups(todo: Sequence[Unit], rank: dict[str, int], settings: RaySettings) -> Iterator[list[Unit]]:
    """Yield the units in the order of their ranks, each after what it builds on; cells that stack together, as many as
    the settings allow."""
    largest = LARGEST_STACK if settings.stack == "auto" else settings.stack
    left = sorted(todo, key=lambda unit: rank[unit.id])  # stable: what others build on comes first in each rank
    while left:
        first, key = left[0], stack_key(left[0])
        alike = [unit for unit in left if isinstance(first, Cell) and stack_key(unit) == key][:largest] or [first]
        chosen = {unit.id for unit in alike}
        left = [unit for unit in left if unit.id not in chosen]
        yield alike
