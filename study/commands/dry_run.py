"""The output of a dry run: every unit and what a run would do with it, then what each model needs of this machine."""

from collections import Counter
from collections.abc import Mapping, Sequence

from rich.console import Console

from actors.cluster import MEMORY, resources, share
from study.commands.estimate import MARGIN, Machine, Prospect, measured, prospects
from study.commands.tables import show_table
from study.config.catalogue import Model
from study.config.study import RaySettings
from study.config.units import Unit, origin
from study.plan.read import Plan
from study.results.running import duration
from study.results.store import Status

UNKNOWN = "?"
COLUMNS = ("model", "parameters", "tuned for", "licence", "hub asks", "needs", "fits", "to fetch", "time")
LEAST = ("tuned for", "licence", "hub asks", "parameters", "to fetch")
"""Columns that a narrow window leaves out, the first of them first."""


def this_machine(settings: RaySettings) -> Machine:
    """Return the resources that a private cluster on this machine would have."""
    divided = share(settings)
    offered = resources(divided.workers)
    speed = measured()
    gflops = speed.gflops * speed.workers / divided.workers if speed else None
    return Machine(offered[MEMORY], divided.workers, gflops)


def show(
    plan: Plan, units: Sequence[Unit], standing: Mapping[str, Status], warnings: Sequence[str], console: Console
) -> None:
    """Print every unit with its state and the reason, as a table on a terminal, else as plain lines; then the models
    and the warnings."""
    if console.is_terminal:
        rows = [(unit.label, standing[unit.id].state, standing[unit.id].reason) for unit in units]
        show_table(console, ("unit", "state", "why"), rows)
    else:
        for unit in units:
            status = standing[unit.id]
            print(f"{status.state:8} {unit.label}  {status.reason}")
    to_run = [unit for unit in units if standing[unit.id].state == "run"]
    names = {origin(unit).model_name for unit in units}
    chosen = Plan(plan.study, {name: model for name, model in plan.models.items() if name in names})
    console.print()
    show_outlook(chosen, to_run, this_machine(plan.study.ray), console)
    console.print("\n".join(["", *told(warnings), summary(standing)]), markup=False)


def told(warnings: Sequence[str]) -> list[str]:
    """Return the lines that show warnings, and an empty one after them."""
    return [*(f"warning: {warning}" for warning in warnings), *[""][: len(warnings)]]


def summary(standing: Mapping[str, Status]) -> str:
    """Return the number of units by state: `5 units: 0 to run, 5 done, 0 skipped, 0 failed`."""
    counts = Counter(status.state for status in standing.values())
    return (
        f"{len(standing)} units: {counts['run']} to run, {counts['done']} done, {counts['skipped']} skipped, "
        f"{counts['failed']} failed"
    )


def show_outlook(plan: Plan, to_run: Sequence[Unit], machine: Machine, console: Console) -> None:
    """Print a line for each model: what it is, whether it fits, what is to be fetched, how long its units take; and
    lines about the machine."""
    found = prospects(plan, to_run, machine)
    rows = [_row(name, plan.models[name], prospect) for name, prospect in found.items()]
    show_table(console, COLUMNS, rows, LEAST, "a pipe: | cat")
    console.print("\n".join(["", *_totals(found, machine)]), markup=False)


def _row(name: str, model: Model, prospect: Prospect) -> tuple[str, ...]:
    tuned = {True: "chat", False: "base", None: UNKNOWN}[model.chat]
    needs = UNKNOWN if prospect.needed_gb is None else f"{prospect.needed_gb:.1f} GB"
    time = "-" if not prospect.fits else UNKNOWN if prospect.seconds is None else duration(prospect.seconds)
    fits = "yes" if prospect.fits else "no"
    asks = "consent" if model.gated else "nothing"
    return (name, _count(model.parameters), tuned, model.licence, asks, needs, fits, _bytes(prospect.to_fetch), time)


def _totals(found: Mapping[str, Prospect], machine: Machine) -> list[str]:
    fitting = [prospect for prospect in found.values() if prospect.fits]
    fetched = sum(prospect.to_fetch or 0.0 for prospect in fitting)
    seconds = [prospect.seconds for prospect in fitting if prospect.seconds is not None]
    lines = [
        f"this machine: {machine.memory_gb:.0f} GB memory for units, {machine.workers} at a time; {len(fitting)} of "
        f"{len(found)} models fit; to fetch for them: {_bytes(fetched)}"
    ]
    if machine.gflops is None:
        lines.append("time: run `study doctor` first, which measures the speed of this machine")
    elif seconds:
        lines.append(
            f"time: roughly {duration(sum(seconds))} at {machine.gflops:.0f} GFLOP/s each on a machine that does "
            f"nothing else, by a count of operations that may be off by a factor of {MARGIN}"
        )
    if len(seconds) < len(fitting) and machine.gflops is not None:
        lines.append(f"{UNKNOWN}: models.yaml does not say, or the model is yet to be built")
    return lines


def _count(parameters: float | None) -> str:
    if parameters is None:
        return UNKNOWN
    return f"{parameters / 1e6:.0f} M" if parameters < 1e9 else f"{parameters / 1e9:.1f} B"


def _bytes(number: float | None) -> str:
    if number is None:
        return UNKNOWN
    if not number:
        return "nothing"
    return f"{number / 1e6:.0f} MB" if number < 1e9 else f"{number / 1e9:.1f} GB"
