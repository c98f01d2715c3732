"""The end of a run: its report, what failed or was skipped, and where everything is."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from rich.console import Console

from study.commands import dry_run
from study.config.units import Unit, folder_name, kind
from study.results.store import DAMAGED, Status, Store

NAMED = 3
"""Units that are named at the end of a run for each reason why they failed or were skipped."""


def conclude(chosen: list[Unit], store: Store, report: Path, console: Console) -> int:
    """Write the report, print where everything is and what failed, and return the exit code."""
    from analysis.report import write_report

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
    for line in _unfinished(chosen, standing):
        console.print(line, markup=False)
    if failed:
        console.print("The same command with --force-failed runs failed units again.")
    show_places(store, report, console)
    return 1 if failed or stopped or left_out else 0


def _unfinished(chosen: list[Unit], standing: Mapping[str, Status]) -> Iterator[str]:
    """Yield a line for each reason why units failed or were skipped, with the first of them."""
    for state in ("failed", "skipped"):
        by_reason: dict[str, list[str]] = {}
        for unit in chosen:
            if standing[unit.id].state == state:
                by_reason.setdefault(standing[unit.id].reason, []).append(unit.label)
        for reason, labels in by_reason.items():
            more = f" and {len(labels) - NAMED} more" if len(labels) > NAMED else ""
            yield f"{state}: {', '.join(labels[:NAMED])}{more}: {reason}"


def show_places(store: Store, report: Path, console: Console) -> None:
    """Print where the results are and, if there is one, the report, so that the paths can be copied."""
    console.print(f"results: {store.root}", markup=False, soft_wrap=True)
    if report.is_file():
        page = " and .html" if report.with_suffix(".html").is_file() else ""
        console.print(f"report:  {report.resolve()}{page}", markup=False, soft_wrap=True)
