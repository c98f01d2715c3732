"""`study run configs/grid.yaml`, or `python -m study.grid`: run what is missing of a study and write its report.

Exit codes: 0 every unit is finished or skipped by rule, 1 some units failed or turned out damaged, or the report leaves
something out, 2 bad usage or configuration, no cell that could run, no cluster, or a results folder that cannot be
written, 3 the cluster died, 130 interrupted.
"""

import argparse
import os
import shlex
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from study.commands import arguments as given
from study.commands import dry_run
from study.commands.foresight import foresee
from study.commands.growing_report import GrowingReport
from study.config.units import NAMES, Cell, Unit, folder_name, foundations, kind, origin
from study.plan.expand import expand
from study.plan.memory import TOO_LARGE, too_large
from study.plan.order import first_answers, ranks
from study.plan.read import ConfigError, Plan, read_study
from study.plan.selection import SelectionError, choose
from study.results.description import ResultsError, write_description
from study.results.files import UnwritableError, writing
from study.results.finished import DamagedError, verify
from study.results.store import DAMAGED, NO_RESULT, Status, Store, check_place

LOST = 3
"""Exit code where the cluster died under the run."""
ABANDONED_SECONDS = 3600.0
"""Running attempts write progress every few seconds; one that has written none for this long was killed."""


@dataclass(frozen=True)
class Command:
    """The options of the command line."""

    config: Path
    only: Sequence[str]
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
        plan = read_study(command.config)
        units = expand(plan.study, plan.models)
        chosen = choose(units, command.only)
        exported = _exported(chosen, command.export, command.results) if command.export else None
        check_place(command.results or Path("results") / plan.study.name)
    except (ConfigError, ResultsError, SelectionError) as error:
        print(error, file=sys.stderr)
        return 2
    store = Store((command.results or Path("results") / plan.study.name).resolve())
    console = Console(highlight=False, soft_wrap=True)
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
    from actors.run import leave_out

    try:
        todo = leave_out(refused, todo, store, console)
        for unit in todo:
            _clear_the_way(unit, standing[unit.id], store, console)
        return (
            _run(plan, units, todo, store, command, console)
            or _conclude(plan, chosen, store, command, console)
            or (_export(exported, store, command.export, console) if exported and command.export else 0)
        )
    except ResultsError as error:
        print(error, file=sys.stderr)
        return 2
    except UnwritableError as error:
        print(f"{error}. What has finished is kept; the same command continues from there.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        console.print("Interrupted. What has finished is kept; the same command continues from there.")
        console.print(dry_run.summary({unit.id: store.status(unit) for unit in chosen}))
        _show_places(store, _report(plan, command), console)
        return 130


def _run(plan: Plan, units: list[Unit], todo: list[Unit], store: Store, command: Command, console: Console) -> int:
    """Run the units of `todo`; return 2 if there is no cluster to run them on, else 0."""
    models = {name: model.model_dump(mode="json") for name, model in plan.models.items()}
    write_description(store.root, plan.study.name, plan.study.model_dump(mode="json"), models, units)
    store.sweep(ABANDONED_SECONDS)
    if not todo:
        return 0
    from actors.cluster import ClusterError, ClusterLostError
    from actors.run import run_study

    console.print(f"{plan.study.name}: {len(todo)} of {len(units)} units to run; starting Ray …")
    report = GrowingReport(store.root, _report(plan, command), first_answers(todo, ranks(units)))
    # Takes seconds, in which this process waits for Ray's.
    threading.Thread(target=import_module, args=["analysis.report"]).start()
    try:
        run_study(plan, todo, store, command.address, console, report.look)
    except ClusterLostError as error:
        report.end()
        _give_up(error, store)
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 2
    finally:
        report.end()
    return 0


def _give_up(error: Exception, store: Store) -> NoReturn:
    """Say that the cluster has died, and end this process before Ray does."""
    kept = f"What has finished is kept in {store.root}; the same command goes on from the last checkpoints"
    print(f"The Ray cluster was lost: {error}. {kept}.", file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(LOST)  # Ray's own end would wait a minute for what has died, and then abort


def _report(plan: Plan, command: Command) -> Path:
    return command.report or Path("reports") / f"{plan.study.name.replace('-', '_')}.md"


def _clear_the_way(unit: Unit, status: Status, store: Store, console: Console) -> None:
    """Move a damaged folder of a unit that is to run to `aside/`; print that, and the reason why the unit runs
    again."""
    kept = store.set_aside(kind(unit), folder_name(unit), thorough=True)
    if status.reason != NO_RESULT:
        where = f"; its folder is kept as {kept.relative_to(store.root)}" if kept else ""
        console.print(f"{unit.label}: {status.reason}{where}; it is run again", markup=False)


def _conclude(plan: Plan, chosen: list[Unit], store: Store, command: Command, console: Console) -> int:
    """Write the report, print where everything is and what failed, and return the exit code."""
    from analysis.report import write_report

    report = _report(plan, command)
    left_out = write_report(store.root, report)
    unreadable = {one.unit: one.reason for one in left_out if one.unit}
    damaged = [unit for unit in chosen if unit.id in unreadable]
    for unit in damaged:
        kept = store.set_aside(kind(unit), folder_name(unit), thorough=True)
        where = f"its folder is kept as {kept.relative_to(store.root)}" if kept else f"remove {store.folder(unit)}"
        console.print(f"damaged: {unit.label}: {unreadable[unit.id]}; {where}", markup=False)
    standing = {unit.id: store.status(unit) for unit in chosen}
    stopped = [unit for unit in chosen if standing[unit.id].reason.startswith(DAMAGED)]
    for unit in stopped:
        console.print(f"{unit.label}: {standing[unit.id].reason}", markup=False)
    if damaged or stopped:
        console.print("The same command then runs damaged units again.")
    for one in left_out:
        if one.unit not in {unit.id for unit in damaged}:
            console.print(f"left out of the report: {one}", markup=False)
    failed = [unit for unit in chosen if standing[unit.id].state == "failed"]
    console.print(dry_run.summary(standing))
    for unit in failed:
        console.print(f"failed: {unit.label}: {standing[unit.id].reason}", markup=False)
    if failed:
        console.print("The same command with --force-failed runs failed units again.")
    _show_places(store, report, console)
    return 1 if failed or stopped or left_out else 0


def _show_places(store: Store, report: Path, console: Console) -> None:
    """Print where the results are and, if there is one, the report."""
    console.print(f"results: {store.root}", markup=False)
    if report.is_file():
        page = report.with_suffix(".html")
        console.print(f"report:  {report.resolve()}{' and .html' if page.is_file() else ''}", markup=False)


def _exported(chosen: list[Unit], folder: Path, results: Path | None) -> Cell:
    """Return the cell whose checkpoints are to be written. Raises SelectionError if not exactly one is chosen, or
    something may be overwritten in the folder."""
    if folder.is_dir() and any(folder.iterdir()):
        raise SelectionError(f"--export {folder}: the folder is not empty; name a new one")
    if folder.resolve().is_relative_to((results or Path("results")).resolve()):
        raise SelectionError(f"--export {folder}: it lies among results; name another place")
    cells = [unit for unit in chosen if isinstance(unit, Cell)]
    if len(cells) != 1:
        raise SelectionError(
            f"--export writes the checkpoints of one cell, and {len(cells)} are chosen: pick one with --only, such as "
            f"--only id={cells[-1].id} for {cells[-1].label}"
        )
    return cells[0]


def _export(cell: Cell, store: Store, folder: Path, console: Console) -> int:
    """Write the checkpoints of a cell; return the exit code, 1 if it is not done, 2 if its model cannot be loaded."""
    from study.models import ModelError
    from study.pipeline.export import FUSED, STAGE2, export

    status = store.status(cell)
    if status.state != "done":
        console.print(f"nothing is exported: {cell.label} is {status.state}: {status.reason}", markup=False)
        return 1
    try:
        with writing(folder):
            export(cell, store, folder)
    except ModelError as error:
        print(f"nothing is exported: {error}", file=sys.stderr)
        return 2
    except DamagedError as error:
        print(f"nothing is exported: {error}", file=sys.stderr)
        return 1
    command = [
        "python",
        "-m",
        "mlx_lm",
        "generate",
        "--model",
        str(folder / FUSED),
        "--adapter-path",
        str(folder / STAGE2),
    ]
    console.print(f"exported: {shlex.join(command)}", markup=False)
    return 0


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
