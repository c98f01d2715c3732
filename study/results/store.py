"""The results on disk: published in one step, never overwritten, found by id.

A unit is finished if and only if its folder contains `done.json`, which is written last, and the files that this lists.
An attempt works in `tmp/` and its folder is renamed to the final one, so that the first of several attempts to finish
wins. A damaged folder is moved to `aside/`, where nothing reads or removes it.
"""

import json
import os
import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from study.config.json_files import read_json, seal
from study.config.names import TrackerName
from study.config.units import Kind, Unit, describe, folder_name, kind
from study.results.description import ResultsError, check_root, described, read_description, read_record, write_record
from study.results.files import quiet, remove, sync, write_bytes, write_json, writing
from study.results.finished import DONE, FILES, PROGRESS, DamagedError, list_files, read_done, unit_id, verify

FOLDERS: dict[Kind, str] = {
    "nursery": "nursery",
    "stage1": "stage1",
    "reference": "reference",
    "predictors": "predictors",
    "cell": "cells",
}
CHECKPOINTS = "checkpoints"
LOG = "log.txt"
"""Log of an attempt, in its folder."""
LOG_SUFFIX = ".log"
"""Suffix of such a log in `unfinished/`."""
RECORDS = "unfinished"
"""Folder with the records of units that failed or were skipped."""
DUPLICATES = "duplicates.log"
"""File that lists the attempts that were dropped because another one at the same unit had finished before."""
CONFLICTS = "conflicts"
"""Folder with the different results that a merge found, by unit."""
NO_RESULT = "no result yet"
"""Reason to run a unit of which nothing is stored."""
UNREADABLE_RECORD = "its record cannot be read"
"""Beginning of the reason to run a unit of whose record nothing is known."""
DAMAGED = f"{DamagedError.__name__}: "
"""Beginning of the reason why a unit failed for damage in what it builds on, so that a new run runs it again."""
MANIFEST = "manifest.json"
"""File in packed studies only: bytes and SHA-256 of the others."""

TMP, ASIDE = "tmp", "aside"
"""Folders of attempts that run, and of damaged results."""
MEMORY_FILE = "memory.json"
"""File with the memory that the units of each model needed."""


@dataclass(frozen=True)
class Status:
    """The state of a unit; `run` means that a new run would run it."""

    state: Literal["run", "done", "failed", "skipped"]
    reason: str
    seconds: float = 0.0
    """Seconds that the unit took; 0 unless it is done."""


@dataclass(frozen=True)
class Ending:
    """The outcome of one attempt at a unit."""

    state: Literal["done", "failed", "skipped"]
    reason: str
    seconds: float


class Store:
    """The results folder of one study; nothing is read or written before a method is called."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, unit: Unit) -> Path:
        return self.root / FOLDERS[kind(unit)] / folder_name(unit)

    def checkpoint(self, unit: Unit) -> Path:
        """Return the file of the unit's checkpoint, from which the next attempt resumes."""
        return self.root / CHECKPOINTS / f"{folder_name(unit)}.safetensors"

    def is_done(self, unit: Unit) -> bool:
        return self.status(unit).state == "done"

    def verified(self, unit: Unit) -> Path:
        """Return the folder of a finished unit, after checking the SHA-256 of its files.

        Raises DamagedError with the unit, the file and the remedy.
        """
        folder = self.folder(unit)
        try:
            verify(folder, kind(unit), unit.id)
        except DamagedError as error:
            where = folder.relative_to(self.root)
            raise DamagedError(f"{where}: {error}; the same command makes {unit.label} again") from error
        return folder

    def status(self, unit: Unit) -> Status:
        return self.standing(kind(unit), folder_name(unit))

    def standing(self, of_kind: Kind, name: str) -> Status:
        """Return the state of the unit of that kind and folder name. Reads `done.json` and sizes, no rows."""
        why = NO_RESULT
        if os.path.lexists(folder := self.root / FOLDERS[of_kind] / name):
            try:
                done = read_done(folder, of_kind, unit_id(name))
                return Status("done", "finished", sum(done.get("seconds", {}).values()))
            except DamagedError as error:
                why = f"damaged: {error}"
        elif any((self.root / CONFLICTS / FOLDERS[of_kind] / name).glob("*")):
            why = f"a merge found different results, which lie in {CONFLICTS}/{FOLDERS[of_kind]}/{name}"
        record = self.record_file(name)
        try:
            entry = read_record(record)
        except ResultsError as error:
            return Status("run", f"{UNREADABLE_RECORD}: {RECORDS}/{record.name}: {error}")
        if entry is None or entry["reason"].startswith(DAMAGED):
            return Status("run", why if entry is None else entry["reason"])
        return Status(entry["status"], entry["reason"])

    def study(self) -> dict[str, Any]:
        """Return `study.json`. Raises ResultsError where it cannot be read or the study is packed, without unit
        folders."""
        if (self.root / MANIFEST).is_file():
            raise ResultsError(f"{self.root} is a packed study: give the results folder that it was made from")
        return read_description(self.root)

    def begin(self, unit: Unit) -> Path:
        """Make a folder for one attempt. Write everything, `done.json` last; `publish` it; in any case `abandon` it."""
        folder = self.root / TMP / f"{folder_name(unit)}.{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex[:6]}"
        with writing(folder):
            folder.mkdir(parents=True)
        write_json(folder / "unit.json", described(unit))
        return folder

    def abandon(self, folder: Path) -> None:
        """Remove the folder of an attempt, if it was not published."""
        shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def attempt(self, unit: Unit) -> Iterator[Path]:
        """Yield the folder of an attempt, which is published on success and removed otherwise."""
        folder = self.begin(unit)
        try:
            yield folder
            self.publish(folder, unit)
        finally:
            self.abandon(folder)

    def record(self, unit: Unit, status: Literal["failed", "skipped"], reason: str, detail: str = "") -> None:
        """Record that the unit did not finish, and why."""
        entry = {"status": status, "reason": reason, "detail": detail}
        about = {key: describe(unit)[key] for key in ("label", "kind", "id")}
        write_record(self.record_file(folder_name(unit)), {**entry, **about})

    def forget_failure(self, unit: Unit) -> None:
        """Remove the record of a failed or skipped unit, so that it can run again."""
        with writing(record := self.record_file(folder_name(unit))):
            remove(record)
            remove(record.with_suffix(LOG_SUFFIX))

    def keep_log(self, unit: Unit, attempt: Path) -> None:
        """Copy the log of an attempt to `unfinished/`, next to the record of the reason."""
        if (attempt / LOG).is_file():
            write_bytes(self.record_file(folder_name(unit)).with_suffix(LOG_SUFFIX), (attempt / LOG).read_bytes())

    def attempts(self, unit: Unit) -> list[Path]:
        """Return the folders of attempts that run or whose process died, the most recently changed one last."""
        found = (self.root / TMP).glob(f"{folder_name(unit)}.*")
        return sorted(found, key=lambda folder: folder.lstat().st_mtime)

    def running(self) -> list[dict[str, Any]]:
        """Return the progress that attempts last wrote, newest first, each with `written`, the time in seconds since
        1970, and `attempt`, the name of the folder in tmp/."""
        notes = []
        for file in (self.root / TMP).glob(f"*/{PROGRESS}"):
            try:
                about = {"written": file.stat().st_mtime, "attempt": file.parent.name}
                notes.append({**read_json(file), **about})
            except (OSError, ValueError, TypeError):  # the attempt has just ended, or its file is torn
                continue
        return sorted(notes, key=lambda note: -note["written"])

    def sweep(self, silent: float) -> None:
        """Remove attempts and half-written checkpoints that have not changed for `silent` seconds, since their process
        was killed, and the checkpoints of units that are done.

        So are those removed that are dated as far in the future, since the clock was set back.
        """
        for folder in (self.root / TMP).glob("*"):
            if quiet(folder) > silent:
                shutil.rmtree(folder, ignore_errors=True)
        for file in (self.root / CHECKPOINTS).glob("*"):
            half_written = file.name.startswith(".") and quiet(file) > silent
            if half_written or any((self.root / of_kind / file.stem / DONE).is_file() for of_kind in FOLDERS.values()):
                remove(file)

    def publish(self, attempt: Path, unit: Unit) -> None:
        """Rename the attempt to the unit's folder, in one step; it is dropped if another one has finished before.

        The unit's kind and id, the list of files and the seal are added to `done.json`. Raises FileNotFoundError where
        the attempt has none, DamagedError where it lacks a file that every unit of this kind has.
        """
        if not (attempt / DONE).is_file():
            raise FileNotFoundError(f"the attempt at {unit.label} wrote no {DONE}, so it cannot be published")
        with writing(attempt / PROGRESS):
            (attempt / PROGRESS).unlink(missing_ok=True)
        about = {"kind": kind(unit), "id": unit.id}
        done = {**about, **json.loads((attempt / DONE).read_bytes()), **about}
        write_json(attempt / DONE, seal({**done, FILES: list_files(attempt.iterdir())}))
        read_done(attempt, kind(unit), unit.id)
        self.put(attempt, kind(unit), folder_name(unit))

    def put(self, whole: Path, of_kind: Kind, name: str) -> None:
        """Rename a complete folder in `tmp/` to that of the unit; it stays where it is if there is a complete one."""
        target = self.root / FOLDERS[of_kind] / name
        self.set_aside(of_kind, name)
        with writing(target):
            for path in (*whole.iterdir(), whole):
                sync(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            for file in (self.record_file(name), self.record_file(name).with_suffix(LOG_SUFFIX)):
                remove(file)
            try:
                whole.rename(target)
            except OSError:
                if self.standing(of_kind, name).state != "done":
                    raise
                with (self.root / DUPLICATES).open("a") as notes:
                    notes.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {whole.name} is dropped: it was late\n")
            else:
                sync(target.parent)

    def set_aside(self, of_kind: Kind, name: str, thorough: bool = False) -> Path | None:
        """Move the unit's folder to `aside/` if it is damaged, and return its new path; else return None.

        `thorough`: every byte is read, not only the sizes of files.
        """
        folder = self.root / FOLDERS[of_kind] / name
        if not os.path.lexists(folder):
            return None
        try:
            (verify if thorough else read_done)(folder, of_kind, unit_id(name))
        except DamagedError:
            target = self.root / ASIDE / f"{name}.{time.time_ns()}"
            with writing(target), suppress(FileNotFoundError):  # another process has just done the same
                target.parent.mkdir(exist_ok=True)
                folder.rename(target)
                return target
        return None

    def record_file(self, name: str) -> Path:
        """Return the file of the record why the unit of that folder name did not finish."""
        return self.root / RECORDS / f"{name}.json"


def check_place(root: Path) -> None:
    """Check that results may be written to a folder: it is new or empty, or has nothing but results.

    Raises ResultsError.
    """
    check_root(root)
    own = {*FOLDERS.values(), CHECKPOINTS, RECORDS, CONFLICTS, DUPLICATES, TMP, ASIDE, MEMORY_FILE}
    own |= {*get_args(TrackerName)}
    if root.is_dir() and not (root / "study.json").exists():
        try:
            others = sorted(path.name for path in root.iterdir() if path.name not in own and path.name[0] != ".")
        except OSError as error:
            raise ResultsError(f"{root} cannot be a results folder: {error.strerror}") from error
        if others:
            told = ", ".join(others[:3]) + ", …" * (len(others) > 3)
            raise ResultsError(f"{root} is no results folder, since it has {told}: name a new or empty one")
