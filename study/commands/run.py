"""`study run configs/grid.yaml`, or `python -m study.grid`: run what is missing of a study and write its report.

Exit codes: 0 every unit is finished or skipped by rule, 1 some units failed or turned out damaged, or the report leaves
something out, 2 bad usage or configuration, no cell that could run, no cluster, or a results folder that cannot be
written, 3 the cluster died, 130 interrupted.
"""

import argparse
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

from rich.console import Console

from study.commands import arguments as given
from study.commands import dry_run
from study.commands.ending import conclude, show_places
from study.commands.exporting import to_export, write_checkpoints
from study.commands.foresight import foresee
from study.commands.growing_report import GrowingReport
from study.commands.track import NotInstalledError, check_installed
from study.commands.tracking import Tracking
from study.config.units import NAMES, Cell, Unit, folder_name, foundations, kind, origin
from study.plan.expand import SameModelError
from study.plan.memory import TOO_LARGE, leave_out, too_large
from study.plan.order import first_answers, ranks
from study.plan.read import ConfigError, Plan, read_study
from study.plan.selection import SelectionError, choose
from study.results.description import ResultsError, write_description
from study.results.files import UnwritableError
from study.results.finished import DamagedError, verify
from study.results.store import NO_RESULT, Status, Store, check_place
from study.results.terminal import clear_interrupt, own_console

LOST = 3
"""Exit code where the cluster died under the run."""
ABANDONED_SECONDS = 3600.0
"""Running attempts write progress every few seconds; one that has written none for this long was killed."""

Look = Callable[[Unit | None], str]
"""Called with every unit that ends and, with None, in between; what it returns is printed."""


@dataclass(frozen=True)
class Command:
    """The options of the command line."""

    config: Path
    only: Sequence[str]
    changes: Sequence[str]
    dry_run: bool
    force_failed: bool
    results: Path | None
    report: Path | None
    export: Path | None
    address: str | None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    command = _parse(arguments)
    try:
        plan = read_study(command.config, command.changes)
        check_installed(plan.study.log)
        units = plan.units
        chosen = choose(units, command.only)
        exported = to_export(chosen, command.export, command.results) if command.export else None
        check_place(command.results or Path("results") / plan.study.name)
        _check_there_is_something_to_run_on(plan, units, command)
    except (ConfigError, NotInstalledError, ResultsError, SameModelError, SelectionError) as error:
        print(error, file=sys.stderr)
        return 2
    store = Store((command.results or Path("results") / plan.study.name).resolve())
    console = own_console()
    standing = {unit.id: _standing(unit, store, command.force_failed) for unit in chosen}
    standing |= _damaged_foundations(chosen, standing, store)
    todo = [unit for unit in chosen if standing[unit.id].state == "run"]
    memory = dry_run.this_machine(plan.study.ray).memory_gb
    refused = {} if command.address else too_large(plan.study, plan.models, memory)
    ahead = foresee(plan, command.config, chosen, lambda text: print(text, file=sys.stderr))
    done = {name for name, status in standing.items() if status.state == "done"}
    if command.dry_run:
        left_out = {unit.id: refused.get(origin(unit).model_name) for unit in todo}
        standing |= {name: status for name, status in ahead.endings.items() if standing[name].state == "run"}
        standing |= {name: Status("skipped", reason) for name, reason in left_out.items() if reason}
        dry_run.show(plan, chosen, standing, ahead.warnings, console)
    else:
        console.print(*ahead.told(todo), *dry_run.told(ahead.warnings), sep="\n", markup=False)
    if ahead.none_can_run(chosen, done):
        reasons = list(dict.fromkeys(status.reason for status in ahead.endings.values()))
        print("\n".join(["no cell of this study can run:", *(f"  {reason}" for reason in reasons)]), file=sys.stderr)
        return 2
    if command.dry_run:
        return 0
    try:
        todo = leave_out(refused, todo, store, partial(console.print, markup=False))
        for unit in todo:
            _clear_the_way(unit, standing[unit.id], store, console)
        return (
            _run(plan, units, todo, store, command, console)
            or conclude(chosen, store, _report(plan, command), console)
            or (write_checkpoints(exported, store, command.export, console) if exported and command.export else 0)
        )
    except ResultsError as error:
        print(error, file=sys.stderr)
        return 2
    except UnwritableError as error:
        print(f"{error}. What has finished is kept; the same command continues from there.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        clear_interrupt(console)
        console.print("Interrupted. What has finished is kept; the same command continues from there.")
        console.print(dry_run.summary({unit.id: store.status(unit) for unit in chosen}))
        show_places(store, _report(plan, command), console)
        return 130


def _run(plan: Plan, units: list[Unit], todo: list[Unit], store: Store, command: Command, console: Console) -> int:
    """Run the units of `todo` and log the study to its trackers; return 2 if there is no cluster to run on, else 0."""
    models = {name: model.model_dump(mode="json") for name, model in plan.models.items()}
    write_description(store.root, plan.study.name, plan.study.model_dump(mode="json"), models, units)
    store.sweep(ABANDONED_SECONDS)
    tracking = Tracking(plan.study.log, store.root)
    try:
        code = _run_units(plan, units, todo, store, command, console, tracking) if todo else 0
    finally:
        _say(tracking.end(), console)
    if code == LOST:
        sys.stdout.flush()
        os._exit(LOST)  # Ray's own end would wait a minute for what has died, and then abort
    return code


def _run_units(
    plan: Plan,
    units: list[Unit],
    todo: list[Unit],
    store: Store,
    command: Command,
    console: Console,
    tracking: Tracking,
) -> int:
    """Run the units of `todo` beside the report that grows; return 2 or LOST where there is no cluster, or it died."""
    here = plan.study.ray.workers == 0
    where = ", in this process" if here else "; starting Ray"
    console.print(f"{plan.study.name}: {len(todo)} of {len(units)} units to run{where} …")
    report = GrowingReport(store.root, _report(plan, command), first_answers(todo, ranks(units)))
    look = partial(_look, report, tracking)
    try:
        return (
            _run_here(plan, todo, store, console, look)
            if here
            else _run_on_ray(plan, todo, store, command.address, console, look)
        )
    finally:
        report.end()


def _run_here(plan: Plan, todo: list[Unit], store: Store, console: Console, look: Look) -> int:
    from study.commands.in_process import run_here

    run_here(plan, todo, store, console, look)
    return 0


def _run_on_ray(plan: Plan, todo: list[Unit], store: Store, address: str | None, console: Console, look: Look) -> int:
    from actors.cluster import ClusterError, ClusterLostError
    from actors.run import run_study

    # Takes seconds, in which this process waits for Ray's.
    preparing = threading.Thread(target=_prepare_report)
    preparing.start()
    try:
        run_study(plan, todo, store, address, console, look)
    except ClusterLostError as error:
        kept = f"What has finished is kept in {store.root}; the same command goes on from the last checkpoints"
        print(f"The Ray cluster was lost: {error}. {kept}.", file=sys.stderr, flush=True)
        return LOST
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 2
    finally:
        preparing.join()  # which at the end of the process would fail, and say so
    return 0


def _prepare_report() -> None:
    import_module("analysis.page.embedded").drawing_library()
    import_module("analysis.report")


def _check_there_is_something_to_run_on(plan: Plan, units: Sequence[Unit], command: Command) -> None:
    """Raises SelectionError where the study has no cell, or is to run both on a cluster and without one."""
    if not any(isinstance(unit, Cell) for unit in units):
        prompts = ", ".join(dict.fromkeys(prompt for grid, _ in plan.study.grids for prompt in grid.prompts))
        raise SelectionError(
            f"no cell of this study can run: none of its models has the prompts that it asks for ({prompts})"
        )
    if command.address and plan.study.ray.workers == 0:
        raise SelectionError("--address names a Ray cluster, and ray.workers is 0: leave one of them out")


def _look(report: GrowingReport, tracking: Tracking, ended: Unit | None) -> str:
    """Return what there is to say of the report that grows, and of trackers that have failed."""
    return "\n".join(filter(None, (report.look(ended), tracking.look())))


def _say(text: str, console: Console) -> None:
    if text:
        console.print(text, markup=False)


def _report(plan: Plan, command: Command) -> Path:
    return command.report or Path("reports") / f"{plan.study.name.replace('-', '_')}.md"


def _clear_the_way(unit: Unit, status: Status, store: Store, console: Console) -> None:
    """Move a damaged folder of a unit that is to run to `aside/`; print that, and the reason why the unit runs
    again."""
    kept = store.set_aside(kind(unit), folder_name(unit), thorough=True)
    if status.reason != NO_RESULT:
        where = f"; its folder is kept as {kept.relative_to(store.root)}" if kept else ""
        console.print(f"{unit.label}: {status.reason}{where}; it is run again", markup=False)


def _damaged_foundations(
    chosen: Sequence[Unit], standing: Mapping[str, Status], store: Store
) -> Iterator[tuple[str, Status]]:
    """Yield the id and new state of finished units that are damaged and that others, which are to run, build on.

    Every byte of them is read.
    """
    to_run = [unit for unit in chosen if standing[unit.id].state == "run"]
    for needed in {one.id: one for unit in to_run for one in foundations(unit)}.values():
        if standing[needed.id].state == "done":
            try:
                verify(store.folder(needed), kind(needed), needed.id)
            except DamagedError as error:
                yield needed.id, Status("run", f"damaged: {error}")


def _standing(unit: Unit, store: Store, force_failed: bool) -> Status:
    """Return the state of a unit before a run, which determines what the run does with it."""
    status = store.status(unit)
    if status.state == "skipped" and status.reason.startswith(TOO_LARGE):
        status = Status("run", NO_RESULT)  # it may fit now
    if status.state == "failed" and force_failed:
        return Status("run", f"failed before: {status.reason}")
    if status.state == "run" and not force_failed:
        for needed in foundations(unit):
            if (found := store.status(needed)).state == "failed":
                return Status("failed", f"its {NAMES[kind(needed)]} failed: {found.reason}")
    return status


def _parse(arguments: Sequence[str] | None) -> Command:
    parser = argparse.ArgumentParser(
        prog="study run", description="Run what is missing of a study, then write its report."
    )
    parser.add_argument("config", type=given.path, metavar="FILE", help="the study, such as configs/grid.yaml")
    parser.add_argument("--dry-run", action="store_true", help="list every unit and each model's needs; run nothing")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="run only cells with this model, layer, pair, weight, arm, seed, recipe or id; may be repeated",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="changes",
        metavar="KEY=VALUE",
        help="a setting in place of the file's, such as stage2.steps=200 or grid.layers=[0.5]; may be repeated",
    )
    parser.add_argument("--force-failed", action="store_true", help="run failed units again")
    parser.add_argument("--results", type=given.some_path, metavar="DIR", help="results folder (default: results/NAME)")
    parser.add_argument("--report", type=given.report, metavar="FILE", help="report (default: reports/NAME.md)")
    parser.add_argument(
        "--export",
        type=given.folder,
        metavar="DIR",
        help="also write the one selected cell as checkpoints that mlx-lm loads",
    )
    parser.add_argument(
        "--address",
        type=given.cluster,
        metavar="HOST:PORT",
        help="use this Ray cluster (default: start a private one on this machine)",
    )
    return Command(**vars(parser.parse_args(arguments)))
