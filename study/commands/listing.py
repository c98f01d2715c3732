"""`study list`: the studies whose results are in a folder, how far each has come, and what its report answers.

Exit codes: 0, 2 where there is no folder or no study in it.
"""

import argparse
import csv
import json
import re
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from rich.text import Text

from study.commands import arguments as given
from study.commands.status import STATES, read_standing
from study.commands.tables import show_table
from study.results.description import ResultsError
from study.results.store import FOLDERS, Store
from study.results.terminal import own_console

ANSWER = re.compile(r"^> \*\*In one sentence\.\*\* (?P<sentence>.+)$", re.MULTILINE)
LARGEST_START = 2**16
"""Bytes at the beginning of a report in which its answer is looked for."""


@dataclass(frozen=True)
class Listed:
    """One study."""

    name: str
    results: str
    state: str
    """`done`, or how many units are in each other state: `2 running, 84 to run`."""
    done: int
    units: int
    changed: float | None
    """Time of the last unit that ended, in seconds since 1970; None if none has."""
    report: str | None
    answer: str
    """The first line of the report's answer; empty where there is no report with one."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _parse(arguments)
    found, unreadable = [], []
    folders = [options.folder] if (options.folder / "study.json").is_file() else _folders(options.folder)
    for folder in folders:
        try:
            found.append(listed(folder, options.reports))
        except (ResultsError, OSError) as error:
            unreadable.append(f"{folder}: {error}")
    for line in unreadable:
        print(line, file=sys.stderr)
    if not found:
        print(f"no study has results in {options.folder}: name the folder above results/NAME", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps([asdict(one) for one in found], indent=2))
    else:
        _show(found)
    return 0


def listed(folder: Path, reports: Path) -> Listed:
    """Return what there is to say of the study in a results folder. Raises ResultsError."""
    store = Store(folder)
    standing = read_standing(store, {})
    counts = Counter(standing.states.values())
    others = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state] and state != "done")
    ended = [place.stat().st_mtime for kind in FOLDERS.values() for place in (folder / kind).glob("*/done.json")]
    ids = {unit["id"] for unit in standing.units}
    report = next(
        (file for file in _reports_of(standing.name, folder, reports) if _is_of(file, standing.name, ids)), None
    )
    answer = ANSWER.search(_start(report)) if report else None
    return Listed(
        name=standing.name,
        results=str(folder),
        state=others or "done",
        done=counts["done"],
        units=len(standing.units),
        changed=max(ended, default=None),
        report=str(report) if report else None,
        answer=answer["sentence"].replace("\\", "") if answer else "",
    )


def _folders(folder: Path) -> list[Path]:
    """The results folders in a folder, by name; links that lead nowhere are left out."""
    try:
        return sorted(one for one in folder.iterdir() if (one / "study.json").is_file())
    except OSError:
        return []


def _reports_of(name: str, folder: Path, reports: Path) -> Iterator[Path]:
    """Where a study's report may be: several folders may have studies of one name."""
    usual = reports / f"{name.replace('-', '_')}.md"
    yield folder / "report.md"
    yield usual
    yield from sorted(file for file in reports.glob("*.md") if file != usual)


def _is_of(report: Path, name: str, ids: Collection[str]) -> bool:
    """Whether a report is of a study of this name whose units have these ids."""
    if f"Study `{name}`" not in _start(report):
        return False
    try:
        return set(_ids(report.with_suffix("") / "table_units.csv")) <= set(ids)
    except (OSError, ValueError, KeyError):
        return False


def _ids(table: Path) -> list[str]:
    """Return the ids of a report's table of units, which of a large study is Parquet."""
    if table.is_file():
        with table.open(encoding="utf-8", newline="") as stream:
            return [row["id"] for row in csv.DictReader(stream)]
    import pyarrow.parquet as pq  # here, since it takes longer to import than the rest of the command

    ids: list[str] = pq.read_table(table.with_suffix(".parquet"), columns=["id"])["id"].to_pylist()
    return ids


def _start(report: Path) -> str:
    try:
        with report.open("rb") as stream:
            return stream.read(LARGEST_START).decode("utf-8", "replace")
    except OSError:
        return ""


def _show(found: Sequence[Listed]) -> None:
    console = own_console()
    rows = []
    for one in found:
        when = f"{datetime.fromtimestamp(one.changed):%Y-%m-%d %H:%M}" if one.changed else ""
        rows.append((Text(one.name, style="bold"), f"{one.done} of {one.units}", one.state, when, one.results))
    show_table(console, ("study", "units", "state", "last", "results"), rows, ("results", "last"), "--json")
    for one in found:
        if one.answer:
            console.print(Text.assemble((f"\n{one.name}: ", "bold"), one.answer, (f" ({one.report})", "dim")))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="study list", description="List the studies that have results, how far each has come, and its answer."
    )
    parser.add_argument(
        "folder", type=given.some_path, nargs="?", default=Path("results"), help="folder above (default: results)"
    )
    parser.add_argument(
        "--reports", type=given.some_path, default=Path("reports"), metavar="DIR", help="reports (default: reports)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    return parser.parse_args(arguments)
