"""`study merge INTO FROM …`: unite the results of one study that were made on separate machines.

Units that INTO lacks are copied, checked to the byte and published by a rename, so that a merge may be killed and run
again. Where a unit has two different results, neither is used: both are kept in `INTO/conflicts/`.

Exit codes: 0 merged, 1 merged except for what is named (damaged, or two results of one unit), 2 bad usage, folders of
different studies, or a folder that cannot be written, 130 interrupted.
"""

import argparse
import json
import os
import sys
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from study.commands import arguments as given
from study.config.json_files import seal
from study.config.units import Kind
from study.results.description import ResultsError, check_root, read_record, write_record
from study.results.files import UnwritableError, write_bytes, write_json, writing
from study.results.finished import DONE, DamagedError, fingerprint, read_done, unit_id, verify
from study.results.store import CONFLICTS, FOLDERS, LOG_SUFFIX, NO_RESULT, RECORDS, UNREADABLE_RECORD, Store

Description = dict[str, Any]
"""The content of `study.json`."""
Taken = Literal["copied", "there already", "in conflict", "damaged"]
"""The outcome for a unit of another folder."""

MAY_DIFFER = ("models", "grid", "also", "ray")
"""Settings that determine which units there are and where they run, not how one is trained, measured or judged."""


class MergeError(Exception):
    """The folders cannot be merged; the message says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="study merge", description="Unite the results of one study that were made on separate machines."
    )
    parser.add_argument(
        "into", type=given.some_path, metavar="INTO", help="results folder to add to; created if missing"
    )
    parser.add_argument(
        "sources", type=Path, nargs="+", metavar="FROM", help="results folders to read; they are not changed"
    )
    options = parser.parse_args(arguments)
    try:
        return merge(options.into, options.sources)
    except (MergeError, ResultsError) as error:
        print(error, file=sys.stderr)
    except UnwritableError as error:
        print(f"{error}. Nothing is lost; the same command continues from there.", file=sys.stderr)
    except KeyboardInterrupt:
        print("Interrupted. Nothing is lost; the same command continues from there.", file=sys.stderr)
        return 130
    return 2


def merge(into: Path, sources: Sequence[Path]) -> int:
    """Merge, print what was done and what was not, and return the exit code.

    Raises MergeError or ResultsError before anything is written, UnwritableError at any time.
    """
    for root in (into, *sources):
        check_root(root)
    store, others = Store(into), [Store(source) for source in sources]
    if any(other.root.resolve() == into.resolve() for other in others):
        raise MergeError(f"{into} cannot be merged into itself")
    is_new = not into.is_dir() or not any(into.iterdir())
    before = others[0].study() if is_new else store.study()
    joined = before
    for other in others:
        joined = join(joined, other.study(), other.root)
    if is_new or joined != before:
        write_json(into / "study.json", seal(joined))
    complaints: list[str] = []
    for other in others:
        counts = Counter(_take(folder, of_kind, store, complaints) for of_kind, folder in _finished(other))
        records = _take_records(other, store, complaints)
        told = [*(f"{count} {what}" for what, count in counts.items()), f"{records} records of failed or skipped units"]
        print(f"{other.root}: {', '.join(told)}")
    complaints += _conflicts(store)
    for complaint in complaints:
        print(complaint)
    return 1 if complaints else 0


def join(study: Description, other: Description, source: Path) -> Description:
    """Return `study` with the models, the parts of the grid and the units that only `other` has.

    Raises MergeError where the two differ in what has to be equal.
    """
    if differences := list(_differences(study, other)):
        raise MergeError(f"{source} cannot be merged, it is of another study: " + "; ".join(differences))
    config, theirs = study["config"], other["config"]
    parts = _parts(config)
    more = {
        "models": list(dict.fromkeys([*config["models"], *theirs["models"]])),
        "also": [*config.get("also", []), *(part for part in _parts(theirs) if part not in parts)],
    }
    known = {unit["id"] for unit in study["units"]}
    return {
        **study,
        "config": {**config, **more},
        "models": study["models"] | other["models"] | study["models"],
        "units": [*study["units"], *(unit for unit in other["units"] if unit["id"] not in known)],
    }


def _parts(config: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the grid and its further parts, each with all its axes."""
    grid = config["grid"]
    given = [{axis: value for axis, value in part.items() if value is not None} for part in config.get("also", [])]
    return [grid, *({**grid, **part} for part in given)]


def _differences(study: Description, other: Description) -> Iterator[str]:
    """Yield the differences in name, settings, version of the results and identity of the models."""
    yield from _unequal("name", study["name"], other["name"])
    ours, theirs = (
        {key: one["config"][key] for key in one["config"] if key not in MAY_DIFFER} for one in (study, other)
    )
    yield from _unequal("", ours, theirs)
    versions = [sorted({str(unit.get("results_version")) for unit in one["units"]}) for one in (study, other)]
    yield from _unequal("results_version", *(", ".join(one) for one in versions))
    ours, theirs = ({unit["model"]: _identity(unit) for unit in one["units"]} for one in (study, other))
    for name in sorted(ours.keys() & theirs.keys()):
        yield from _unequal(f"models.{name}", ours[name], theirs[name])
    ours, theirs = ({identity: name for name, identity in one.items()} for one in (ours, theirs))
    for identity in sorted(ours.keys() & theirs.keys()):
        yield from _unequal("the short name of a model", ours[identity], theirs[identity])


def _identity(unit: dict[str, Any]) -> str:
    return json.dumps([unit["blocks"], unit.get("model_identity")], sort_keys=True)


def _unequal(where: str, ours: Any, theirs: Any) -> Iterator[str]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in dict.fromkeys([*ours, *theirs]):
            yield from _unequal(f"{where}.{key}".strip("."), ours.get(key), theirs.get(key))
    elif ours != theirs:
        yield f"{where} is {theirs} there, and {ours} in the others"


def _finished(store: Store) -> Iterator[tuple[Kind, Path]]:
    """Yield the kind and the folder of each published unit, whether `study.json` lists it or not."""
    for of_kind, folder in FOLDERS.items():
        for path in sorted((store.root / folder).glob("*")):
            if not path.name.startswith("."):
                yield of_kind, path


def _take(folder: Path, of_kind: Kind, store: Store, complaints: list[str]) -> Taken:
    """Publish a copy of a unit's folder, or keep it as one of several results; damage is added to `complaints`.

    Of both folders every byte is read; a damaged one in the store is set aside.
    """
    name = folder.name
    target = store.root / FOLDERS[of_kind] / name
    rivals = store.root / CONFLICTS / FOLDERS[of_kind] / name
    copy = store.root / "tmp" / f"{name}.merge.{uuid.uuid4().hex[:6]}"
    try:
        verify(folder, of_kind, unit_id(name))
        if aside := store.set_aside(of_kind, name, thorough=True):
            print(f"{target} was damaged: it is replaced from {folder} and kept as {aside}")
        there = os.path.lexists(target)
        if there and (folder / DONE).read_bytes() == (target / DONE).read_bytes():
            return "there already"
        _copy(folder, copy)
        verify(copy, of_kind, unit_id(name))
        found = fingerprint(copy)
        if there and ((rivals / found).exists() or fingerprint(target) == found):
            return "there already"
        if there or any(rivals.glob("*")):
            # In this order: in the other one, an interruption in between would leave ours as if it had been chosen.
            for one in [target, copy] if there else [copy]:
                _keep(one, rivals, store)
            return "in conflict"
        store.put(copy, of_kind, name)
        return "copied"
    except DamagedError as error:
        complaints.append(f"damaged: {folder}: {error}; not merged")
        return "damaged"
    finally:
        store.abandon(copy)


def _copy(folder: Path, copy: Path) -> None:
    """Copy the files of one folder. Raises DamagedError where one cannot be read, UnwritableError."""
    with writing(copy):
        copy.mkdir(parents=True)
    for file in folder.iterdir():
        try:
            content = file.read_bytes()
        except OSError as error:
            raise DamagedError(f"{file.name} cannot be read: {error.strerror}") from error
        with writing(copy / file.name):
            (copy / file.name).write_bytes(content)


def _keep(folder: Path, rivals: Path, store: Store) -> None:
    """Move a folder to the other results of its unit; it is removed where the same result is there."""
    kept = rivals / fingerprint(folder)
    if kept.exists():
        store.abandon(folder)
    else:
        with writing(kept):
            rivals.mkdir(parents=True, exist_ok=True)
            folder.rename(kept)


def _take_records(other: Store, store: Store, complaints: list[str]) -> int:
    """Copy the records and logs of units that did not finish, of which INTO has nothing; return their number."""
    taken = 0
    for file in sorted((other.root / RECORDS).glob("*.json")):
        try:
            record = read_record(file)
        except ResultsError as error:
            complaints.append(f"damaged: {file}: {error}; not merged")
            continue
        status = store.standing(record["kind"], file.stem) if record else None
        if record and status and (status.reason == NO_RESULT or status.reason.startswith(UNREADABLE_RECORD)):
            write_record(store.root / RECORDS / file.name, record)
            log = file.with_suffix(LOG_SUFFIX)
            if log.is_file():
                write_bytes(store.root / RECORDS / log.name, log.read_bytes())
            taken += 1
    return taken


def _conflicts(store: Store) -> Iterator[str]:
    """Yield the lines to print about each unit that has several results, none of which was chosen."""
    for of_kind, folder in FOLDERS.items():
        for rivals in sorted((store.root / CONFLICTS / folder).glob("*")):
            kept = sorted(rivals.iterdir())
            if kept and store.standing(of_kind, rivals.name).state != "done":
                place = store.root / folder / rivals.name
                yield f"conflict: {place} has {len(kept)} different results, and none counts:"
                for one in kept:
                    about = (_of(one, of_kind, rivals.name, what) for what in ("finished", "machine"))
                    yield f"  {one}: finished {' on '.join(about)}"
                yield "  Rename one of them to that folder, or run the study again to make another."


def _of(folder: Path, of_kind: Kind, name: str, what: str) -> str:
    try:
        return str(read_done(folder, of_kind, unit_id(name)).get(what, "?"))
    except DamagedError as error:
        return str(error)
