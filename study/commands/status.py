"""`study status results/NAME`: what of a study is done, running or failed, read from its files alone.

Exit codes: 0 every unit is done or skipped by rule, 1 some failed and nothing is left to run, 2 bad usage or not a
study's folder, 3 not finished yet, 130 interrupted.
"""

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from study.config.units import NAMES, Kind
from study.results.description import ResultsError
from study.results.running import Process, duration, mean_seconds, processes, seconds_left
from study.results.store import FOLDERS, NO_RESULT, Status, Store
from study.results.terminal import own_console, pictures

REFRESH_SECONDS = 2.0
STATES = ("done", "running", "silent", "failed", "skipped", "to run")


@dataclass(frozen=True)
class Standing:
    """The progress of a study at one moment."""

    name: str
    units: Sequence[dict[str, Any]]
    """The units as `study.json` lists them."""
    stored: dict[str, Status]
    """State of each unit by id, from what is published."""
    running: Sequence[Process]
    """Processes that write progress."""
    silent: Sequence[Process]
    """Processes that have stopped writing progress, and whose units are not done."""

    @property
    def states(self) -> dict[str, str]:
        """The state of each unit by id, one of STATES."""
        states = {unit: status.state.replace("run", "to run") for unit, status in self.stored.items()}
        for state, some in (("silent", self.silent), ("running", self.running)):
            states |= {unit: state for process in some for unit in process.units}
        return states

    @property
    def left(self) -> list[str]:
        """The kind of each unit that has not ended."""
        return [unit["kind"] for unit in self.units if self.stored[unit["id"]].state == "run"]

    @property
    def exit_code(self) -> int:
        return 3 if self.left else int(any(status.state == "failed" for status in self.stored.values()))

    @property
    def seconds(self) -> list[tuple[str, float]]:
        """Kind and duration of each unit that is done."""
        each = [(unit["kind"], self.stored[unit["id"]]) for unit in self.units]
        return [(kind, status.seconds) for kind, status in each if status.state == "done"]

    @property
    def summary(self) -> str:
        """`40 done · 2 running · 84 to run · 2 h 05 min left`"""
        counts = Counter(self.states.values())
        return " · ".join([*(f"{counts[state]} {state}" for state in STATES if counts[state]), *self._time_left()])

    def _time_left(self) -> Iterator[str]:
        if self.left and not self.running:
            yield "nothing runs"
        elif self.left:
            seconds = seconds_left(self.seconds, self.left, len(self.running))
            yield "time left: not known yet" if seconds is None else f"{duration(seconds)} left"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _parse(arguments)
    try:
        return _show(Store(options.results), options.watch, options.json)
    except BrokenPipeError:  # what reads it has ended, such as head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ResultsError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def read_standing(store: Store, done: dict[str, Status]) -> Standing:
    """Return the progress of the study now. Raises ResultsError.

    Units in `done` are not read again; those that are found done are added to it.
    """
    study = store.study()
    stored: dict[str, Status] = {}
    for unit in study["units"]:
        stored[unit["id"]] = done.get(unit["id"]) or store.standing(unit["kind"], unit["folder"])
    for unit in study["units"]:
        needs: tuple[Kind, ...] = ("nursery", "stage1")
        for needed in needs:
            found = stored.get(unit.get(needed))
            if stored[unit["id"]].state == "run" and found and found.state == "failed":
                stored[unit["id"]] = Status("failed", f"its {NAMES[needed]} failed: {found.reason}")
    done |= {unit: status for unit, status in stored.items() if status.state == "done"}
    left = {unit for unit, status in stored.items() if status.state == "run"}
    there = processes(note for note in store.running() if note.get("id") in left)
    alive = [process for process in there if not process.has_ended]
    running = [process for process in alive if not process.is_silent]
    return Standing(study["name"], study["units"], stored, running, [one for one in alive if one.is_silent])


def _show(store: Store, every: float | None, as_json: bool) -> int:
    """Print the progress once or, with `every` in seconds, until all units have ended; return the exit code.

    Repeated output is a live display on a terminal, otherwise a line each time; JSON is one line each time.
    """
    console = own_console()
    done: dict[str, Status] = {}
    while as_json:
        standing = read_standing(store, done)
        print(json.dumps(told(standing)), flush=True)
        if every is None or standing.exit_code != 3:
            return standing.exit_code
        time.sleep(every)
    if every is None:
        standing = read_standing(store, done)
        console.print(_picture(standing))
        return standing.exit_code
    with pictures(console, stays=True) if console.is_terminal else nullcontext() as live:
        while True:
            standing = read_standing(store, done)
            if live:
                live.show(partial(_picture, standing))
            else:
                print(f"{datetime.now():%Y-%m-%d %H:%M:%S}  {standing.summary}", flush=True)
            if standing.exit_code != 3:
                return standing.exit_code
            time.sleep(every)


def told(standing: Standing) -> dict[str, Any]:
    """Return the progress as JSON: each unit with its state (one of STATES), what runs, and the seconds that are left,
    null where that is not known or nothing runs."""
    states, counts = standing.states, Counter(standing.states.values())
    left = seconds_left(standing.seconds, standing.left, len(standing.running)) if standing.running else None
    units = [
        {
            **{key: unit[key] for key in ("id", "label", "kind", "model", "seed", "folder")},
            "state": states[unit["id"]],
            "reason": standing.stored[unit["id"]].reason,
            "seconds": standing.stored[unit["id"]].seconds or None,
        }
        for unit in standing.units
    ]
    running = [
        {
            **{"host": process.host, "pid": process.pid, "units": list(process.units), "where": process.where},
            **{"losses": process.losses, "silent": process.is_silent, "written": process.written},
            "started": process.started.timestamp() if process.started else None,
        }
        for process in (*standing.running, *standing.silent)
    ]
    return {
        "name": standing.name,
        "counts": {state: counts[state] for state in STATES},
        "seconds_left": left,
        "running": running,
        "units": units,
    }


def _picture(standing: Standing) -> RenderableType:
    ended = len(standing.units) - len(standing.left)
    head = Table.grid(padding=(0, 2))
    bar = ProgressBar(total=max(1, len(standing.units)), completed=ended, width=30)
    head.add_row(Text(standing.name, style="bold"), bar, f"{ended} of {len(standing.units)} units")
    parts: list[RenderableType] = [head, Text(standing.summary), Text(), _by_kind(standing)]
    sections = (
        ("Running", "green", _by_process(standing.running)),
        ("Silent", "yellow", _by_process(standing.silent)),
        ("To run again", "yellow", _by_reason(standing, "run")),
        ("Failed", "red", _by_reason(standing, "failed")),
        ("Skipped", "cyan", _by_reason(standing, "skipped")),
    )
    for title, style, lines in sections:
        parts += [Text(), Text(title, style=style), *lines] if lines else []
    return Group(*parts)


def _by_kind(standing: Standing) -> Table:
    """Return a table with a row for each kind of unit: the number in each state, and the mean duration."""
    states = standing.states
    counts = Counter((unit["kind"], states[unit["id"]]) for unit in standing.units)
    shown = [state for state in STATES if any(counts[kind, state] for kind in FOLDERS)]
    means = mean_seconds(standing.seconds)
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    for name in (*shown, "each took"):
        table.add_column(name, justify="right")
    for kind in FOLDERS:
        if any(counts[kind, state] for state in STATES):
            figures = [str(counts[kind, state] or "") for state in shown]
            table.add_row(kind, *figures, duration(means[kind]) if kind in means else "")
    return table


def _by_process(some: Sequence[Process]) -> list[RenderableType]:
    lines: list[RenderableType] = []
    for process in some:
        told = [process.where, process.losses]
        if process.started:
            started = process.started.astimezone()
            told.append(f"since {started:%H:%M} ({duration(time.time() - started.timestamp())})")
        if process.is_silent:
            silent = time.time() - process.written
            told.append(f"silent for {duration(silent)}" if silent > 0 else f"dated {duration(-silent)} in the future")
        label = Text.assemble(process.label, (f"  on {process.host}, process {process.pid}", "dim"))
        lines += [_indented(2, label), _indented(4, Text(" · ".join(filter(None, told))))]
    return lines


def _by_reason(standing: Standing, state: str) -> list[RenderableType]:
    """Return the units in a state, above the reason; of those to run, only the ones that have another reason than that
    they have not run yet."""
    groups: dict[str, list[str]] = {}
    for unit in standing.units:
        status = standing.stored[unit["id"]]
        if status.state == state and status.reason != NO_RESULT:
            groups.setdefault(status.reason, []).append(unit["label"])
    lines: list[RenderableType] = []
    for reason, labels in groups.items():
        lines += [*(_indented(2, Text(label)) for label in labels), _indented(4, Text(reason, style="dim"))]
    return lines


def _indented(columns: int, text: Text) -> Padding:
    return Padding(text, (0, 0, 0, columns), expand=False)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="study status", description="Say what of a study is done, running or failed and why, and the time left."
    )
    parser.add_argument(
        "results", type=Path, metavar="RESULTS", help="results folder of the study, such as results/smoke"
    )
    parser.add_argument(
        "--watch",
        nargs="?",
        const=REFRESH_SECONDS,
        type=_seconds,
        metavar="SECONDS",
        help=f"look again after so many seconds (default: {REFRESH_SECONDS:g}), until everything has ended",
    )
    parser.add_argument("--json", action="store_true", help="print one line of JSON, for programs, each time")
    return parser.parse_args(arguments)


def _seconds(text: str) -> float:
    try:
        if (seconds := float(text)) > 0:
            return seconds
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text} is no positive number of seconds; put the folder first: NAME --watch")
