"""`study track results/NAME TRACKER`: log the units of a study to a tracker, from its files alone.

A run of a study with `log` has one such process for each tracker, so that a tracker which fails or hangs ends and slows
nothing else. Exit codes: 0 all finished units are logged, 1 the tracker failed, 2 bad usage, not a study's folder, or a
tracker that is not installed.
"""

import argparse
import json
import os
import select
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

from filelock import FileLock, Timeout

from study.config.names import TrackerName
from study.config.units import Kind
from study.results.description import ResultsError
from study.results.finished import UNREADABLE, DamagedError, read_done
from study.results.schema import LOSSES, TABLES
from study.results.store import FOLDERS, Store
from study.results.values import FigureError, read_table
from study.trackers import is_installed, open_tracker
from study.trackers.tracker import Outcome, Point, Run, Tracker

POLL_SECONDS = 2.0
"""Attempts write their progress as often."""
ABOUT = ("model", "prompt", "blocks", "seed", "layer", "pair", "weight", "arm", "wordings", "choices")
"""What of a unit's description is logged beside its settings."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _parse(arguments)
    try:
        check_installed([options.tracker])
        store = Store(options.results.resolve())
        study = store.study()
    except (ResultsError, NotInstalledError) as error:
        print(error, file=sys.stderr)
        return 2
    try:
        with FileLock(store.root / f".{options.tracker}.lock", timeout=0):
            tracker = open_tracker(options.tracker, store.root, study["name"])
            try:
                print(_follow(study, store, tracker, _standard_input_ends if options.follow else lambda _: True))
            finally:
                tracker.close()
    except Timeout:  # two would each make a run of every unit
        print(f"another process logs this study to {options.tracker}; it logs what finishes", file=sys.stderr)
        return 1
    except Exception as error:  # whatever a tracker's library raises
        print(" ".join(f"{type(error).__name__}: {error}".split()), file=sys.stderr)
        return 1
    return 0


class NotInstalledError(Exception):
    """A tracker's package is not installed; the message has the command that installs it."""


def check_installed(trackers: Sequence[TrackerName]) -> None:
    """Raises NotInstalledError with all trackers whose packages are not installed."""
    if lacking := [name for name in trackers if not is_installed(name)]:
        extras = ",".join(lacking)
        raise NotInstalledError(
            f"log: {' and '.join(lacking)} cannot be logged to, since the packages are not installed here: "
            f"pip install -e '.[{extras}]', or leave the name out of `log`"
        )


def run_of(study: str, entry: Mapping[str, Any]) -> Run:
    """Return a unit, of which `entry` is the description in study.json, as trackers show it."""
    about = {name: entry[name] for name in ABOUT if entry.get(name) not in (None, [])}
    parameters = dict(_flat({**about, **entry["settings"]}))
    return Run(study, entry["id"], entry["kind"], entry["label"], entry["folder"], parameters)


def outcome_of(entry: Mapping[str, Any], folder: Path) -> Outcome:
    """Return what a finished unit has, from its folder.

    The time of a step is reckoned from the start of the unit, without what came before the training. Raises
    DamagedError, FigureError, and the exceptions of study.results.finished.UNREADABLE.
    """
    from analysis.outcomes.one_unit import figures_of_unit

    done = read_done(folder, entry["kind"], entry["id"])
    started, ended = (datetime.fromisoformat(done[name]).timestamp() for name in ("started", "finished"))
    figures = {**figures_of_unit(entry, folder), "seconds": sum(done["seconds"].values())}
    if peak := done.get("peak_memory_gb"):
        figures["peak_memory_gb"] = peak
    has_curve = entry["kind"] in TABLES["curves"].always
    return Outcome(list(_curve(folder / "curves.parquet", started)) if has_curve else [], figures, started, ended)


def _follow(study: Mapping[str, Any], store: Store, tracker: Tracker, ends: Callable[[float], bool]) -> str:
    """Log the units as they train and finish until `ends` says that no more will, then what is left; return a sentence
    of what is there. `ends` waits for at most as many seconds as it is given."""
    units = {entry["id"]: (entry, run_of(study["name"], entry)) for entry in study["units"]}
    waiting = {unit: one for unit, one in units.items() if not tracker.is_finished(one[1])}
    left_out: set[str] = set()
    failed: dict[str, str] = {}
    over = False
    while True:
        wait = POLL_SECONDS
        for unit, (entry, run) in list(waiting.items()):
            status = store.standing(entry["kind"], entry["folder"])
            if status.state == "done":
                _log_finished(store, tracker, entry, run, left_out)
                del waiting[unit]
                wait = 0.0  # others may have ended meanwhile
                break
            if status.state == "failed" and failed.get(unit) != status.reason:
                failed[unit] = status.reason
                tracker.fail(run, status.reason)
        for note in store.running():
            if note.get("id") in waiting and note.get("step") and "loss" in note:
                losses = {name: note[name] for name in LOSSES if name in note}
                tracker.add(waiting[note["id"]][1], Point(note["step"], note["written"], losses))
        if over and wait:
            break
        over = over or ends(wait)
    there = len(units) - len(waiting) - len(left_out)
    damaged = {run.label for _, run in waiting.values() if _is_damaged(store, run)}
    named = ", ".join(sorted(left_out | damaged))
    more = f"; left out, since they are damaged: {named}" if named else ""
    return f"{there} of {len(units)} units are in {tracker.place}{more}"


def _is_damaged(store: Store, run: Run) -> bool:
    """Whether a unit that counts as not done has a folder that is damaged."""
    kind: Kind = run.kind  # type: ignore[assignment]
    return store.standing(kind, run.folder).reason.startswith("damaged")


def _log_finished(store: Store, tracker: Tracker, entry: Mapping[str, Any], run: Run, left_out: set[str]) -> None:
    try:
        outcome = outcome_of(entry, store.root / FOLDERS[entry["kind"]] / entry["folder"])
    except (DamagedError, FigureError, *UNREADABLE):  # of which the report says more
        left_out.add(run.label)
        return
    tracker.finish(run, outcome)
    print(run.label, flush=True)


def _curve(file: Path, started: float) -> Iterator[Point]:
    time = started
    for row in read_table(file).to_pylist():
        time += row["seconds"] * (row.get("stacked") or 1)
        losses = {name: row[name] for name in LOSSES if row.get(name) is not None and row[name] == row[name]}
        yield Point(row["step"], time, losses)


def _flat(settings: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str | float | bool]]:
    """Yield settings by dotted name; lists as JSON."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name}.")
        elif value is not None:
            yield f"{above}{name}", value if isinstance(value, str | int | float) else json.dumps(value)


def _standard_input_ends(seconds: float) -> bool:
    """Return whether standard input has ended; it is waited for at most so long."""
    began = time.monotonic()
    while select.select([sys.stdin], [], [], max(0.0, began + seconds - time.monotonic()))[0]:
        if not os.read(sys.stdin.fileno(), 4096):
            return True
    return False


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="study track", description="Log the curves and outcomes of a study's units to a tracker."
    )
    parser.add_argument(
        "results", type=Path, metavar="RESULTS", help="results folder of the study, such as results/smoke"
    )
    names = get_args(TrackerName)
    parser.add_argument("tracker", choices=names, metavar="TRACKER", help=f"one of {', '.join(names)}")
    parser.add_argument(
        "--follow",
        action="store_true",
        help="go on with units that are running until standard input ends, as a run does that has `log`",
    )
    return parser.parse_args(arguments)
