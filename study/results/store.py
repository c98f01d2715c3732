"""The results on disk: published in one step, never overwritten, found again by id.

A unit is finished if and only if its folder holds `done.json`, which is written last, and the files that this lists.
An attempt works in `tmp/` and its folder is renamed into place, so that of several attempts the first one to finish
wins. What is found damaged is moved to `aside/`, where nothing reads or removes it.
"""

import errno
import io
import json
import math
import os
import shutil
import socket
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from study.config.units import Unit, describe, folder_name, kind
from study.results.schema import check_rows
from study.results.finished import DONE, FILES, DamagedError, list_files, read_done, verify

FOLDERS = {
    "nursery": "nursery",
    "stage1": "stage1",
    "reference": "reference",
    "predictors": "predictors",
    "cell": "cells",
}
CHECKPOINTS = "checkpoints"
PROGRESS = "progress.json"
LOG = "log.txt"
"""What an attempt told as it went."""
LOG_SUFFIX = ".log"
"""Of the same in `unfinished/`."""
RECORDS = "unfinished"
DUPLICATES = "duplicates.log"
"""Names the attempts that ended after another one at the same unit, whose result stays."""
CONFLICTS = "conflicts"
"""Holds a folder a unit of which a merge found different results, and in it these."""
NO_RESULT = "no result yet"
"""The reason of a unit that has left nothing."""
UNFINISHED = "unfinished.json"
"""In a packed study alone: what is known of the units that have no rows."""
REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space or raise the quota",
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), "make it writable or name another folder"),
}


class ResultsError(Exception):
    """The folder is not a study's results."""


class UnwritableError(OSError):
    """Nothing more can be written there; the text names the path and the remedy."""

    def __str__(self) -> str:
        return f"{self.filename} cannot be written: {self.strerror}; {REMEDIES[self.errno or errno.ENOSPC]}"


@dataclass(frozen=True)
class Status:
    """Where a unit stands: `run` is what a new run would begin."""

    state: Literal["run", "done", "failed", "skipped"]
    reason: str
    seconds: float = 0.0
    """That it took, where it is done."""


@dataclass(frozen=True)
class Ending:
    """How one attempt at a unit ended."""

    state: Literal["done", "failed", "skipped"]
    reason: str
    seconds: float


class Store:
    """The results folder of one study. Paths only: it opens nothing until asked."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, unit: Unit) -> Path:
        return self.root / FOLDERS[kind(unit)] / folder_name(unit)

    def checkpoint(self, unit: Unit) -> Path:
        """The file in which an attempt keeps where its training stands, for the next one to go on from."""
        return self.root / CHECKPOINTS / f"{folder_name(unit)}.safetensors"

    def is_done(self, unit: Unit) -> bool:
        return self.status(unit).state == "done"

    def status(self, unit: Unit) -> Status:
        return self.standing(kind(unit), folder_name(unit))

    def standing(self, of_kind: str, name: str) -> Status:
        """Where the unit of that kind and folder name stands. Reads `done.json` and sizes, no rows."""
        why = NO_RESULT
        if (folder := self.root / FOLDERS[of_kind] / name).exists():
            try:
                return Status("done", "finished", sum(read_done(folder).get("seconds", {}).values()))
            except DamagedError as error:
                why = f"damaged: {error}"
        elif any((self.root / CONFLICTS / FOLDERS[of_kind] / name).glob("*")):
            why = f"a merge found different results, which lie in {CONFLICTS}/{FOLDERS[of_kind]}/{name}"
        record = self.record_file(name)
        try:
            entry = json.loads(record.read_bytes())
            if entry["status"] in ("failed", "skipped"):
                return Status(entry["status"], str(entry["reason"]))
        except FileNotFoundError:
            return Status("run", why)
        except (ValueError, KeyError, TypeError):
            pass
        return Status("run", f"its record {RECORDS}/{record.name} is unreadable")

    def study(self) -> dict[str, Any]:
        """`study.json`. Raises ResultsError, also where the study is packed and so has no folder a unit."""
        if (self.root / UNFINISHED).is_file():
            raise ResultsError(f"{self.root} is a packed study: give the results folder that it was made from")
        return read_description(self.root)

    def write_study(self, name: str, config: Mapping[str, Any], models: Mapping[str, Any], units: list[Unit]) -> None:
        """`study.json`: what the report is about."""
        content = {"name": name, "config": config, "models": models, "units": [describe(unit) for unit in units]}
        write_json(self.root / "study.json", content)

    def begin(self, unit: Unit) -> Path:
        """A folder for one attempt. Write everything, `done.json` last; `publish` it; in any case `abandon` it."""
        folder = self.root / "tmp" / f"{folder_name(unit)}.{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex[:6]}"
        with writing(folder):
            folder.mkdir(parents=True)
        write_json(folder / "unit.json", describe(unit))
        return folder

    def abandon(self, folder: Path) -> None:
        """Remove what is left of an attempt; nothing, if it was published."""
        shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def attempt(self, unit: Unit) -> Iterator[Path]:
        """An attempt that is published on success and removed otherwise."""
        folder = self.begin(unit)
        try:
            yield folder
            self.publish(folder, unit)
        finally:
            self.abandon(folder)

    def record(self, unit: Unit, status: Literal["failed", "skipped"], reason: str, detail: str = "") -> None:
        """Remember that the unit did not finish, and why."""
        entry = {"status": status, "reason": reason, "detail": detail}
        about = {key: describe(unit)[key] for key in ("label", "kind", "id")}
        write_json(self.record_file(folder_name(unit)), {**entry, **about})

    def forget_failure(self, unit: Unit) -> None:
        """Let a failed unit run again."""
        with writing(record := self.record_file(folder_name(unit))):
            record.unlink(missing_ok=True)
            record.with_suffix(LOG_SUFFIX).unlink(missing_ok=True)

    def keep_log(self, unit: Unit, attempt: Path) -> None:
        """Put what an attempt told beside the reason why the unit did not finish."""
        if (attempt / LOG).is_file():
            write_bytes(self.record_file(folder_name(unit)).with_suffix(LOG_SUFFIX), (attempt / LOG).read_bytes())

    def attempts(self, unit: Unit) -> list[Path]:
        """Those that run, and what is left of those whose process died; the last one last."""
        found = (self.root / "tmp").glob(f"{folder_name(unit)}.*")
        return sorted(found, key=lambda folder: folder.stat().st_mtime)

    def running(self) -> list[dict[str, Any]]:
        """What attempts last said of themselves, newest first; with `written`, when (in seconds since 1970), and
        `attempt`, the name of their folder in tmp/.
        """
        notes = []
        for file in (self.root / "tmp").glob(f"*/{PROGRESS}"):
            try:
                about = {"written": file.stat().st_mtime, "attempt": file.parent.name}
                notes.append({**json.loads(file.read_bytes()), **about})
            except (FileNotFoundError, ValueError, TypeError):  # the attempt has just ended, or its file is torn
                continue
        return sorted(notes, key=lambda note: -note["written"])

    def sweep(self, older_than: float) -> None:
        """Remove what nobody needs: attempts not touched since `older_than`, whose process was killed, half-written
        checkpoints likewise, and the checkpoints of units that are done.
        """
        for folder in (self.root / "tmp").glob("*"):
            if _last_touched(folder) < older_than:
                shutil.rmtree(folder, ignore_errors=True)
        for file in (self.root / CHECKPOINTS).glob("*"):
            half_written = file.name.startswith(".") and _last_touched(file) < older_than
            if half_written or any((self.root / of_kind / file.stem / DONE).is_file() for of_kind in FOLDERS.values()):
                file.unlink(missing_ok=True)

    def publish(self, attempt: Path, unit: Unit) -> None:
        """Make the attempt the unit's folder, in one step; one that finishes after another is dropped."""
        if not (attempt / DONE).is_file():
            raise FileNotFoundError(f"the attempt at {unit.label} wrote no {DONE}, so it cannot be published")
        with writing(attempt / PROGRESS):
            (attempt / PROGRESS).unlink(missing_ok=True)
        done = json.loads((attempt / DONE).read_bytes())
        write_json(attempt / DONE, {**done, FILES: list_files(file for file in attempt.iterdir() if file.name != DONE)})
        self.put(attempt, kind(unit), folder_name(unit))

    def put(self, whole: Path, of_kind: str, name: str) -> None:
        """Rename a whole folder in `tmp/` to that of the unit; it is left where there is a whole one already."""
        target = self.root / FOLDERS[of_kind] / name
        self.set_aside(of_kind, name)
        with writing(target):
            for path in (*whole.iterdir(), whole):
                _sync(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            for file in (self.record_file(name), self.record_file(name).with_suffix(LOG_SUFFIX)):
                file.unlink(missing_ok=True)
            try:
                whole.rename(target)
            except OSError:
                if self.standing(of_kind, name).state != "done":
                    raise
                with (self.root / DUPLICATES).open("a") as notes:
                    notes.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {whole.name} is dropped: it was late\n")
            else:
                _sync(target.parent)

    def set_aside(self, of_kind: str, name: str, thorough: bool = False) -> Path | None:
        """Move the unit's folder to `aside/` if it is damaged; where it lies then. Thorough: every byte is read."""
        folder = self.root / FOLDERS[of_kind] / name
        if not folder.exists():
            return None
        try:
            (verify if thorough else read_done)(folder)
        except DamagedError:
            target = self.root / "aside" / f"{name}.{time.time_ns()}"
            with writing(target), suppress(FileNotFoundError):  # another process has just done the same
                target.parent.mkdir(exist_ok=True)
                folder.rename(target)
                return target
        return None

    def record_file(self, name: str) -> Path:
        """Where it is told why the unit of that folder name did not finish."""
        return self.root / RECORDS / f"{name}.json"


def read_description(root: Path) -> dict[str, Any]:
    """`study.json` of a results folder. Raises ResultsError where it is missing, torn or of another form."""
    file = root / "study.json"
    try:
        study: dict[str, Any] = json.loads(file.read_bytes())
        _ = study["name"].strip(), study["config"].keys(), study["models"].keys()
        for unit in study["units"]:
            _ = unit["id"], unit["label"], unit["stage1"], FOLDERS[unit["kind"]]
            if Path(unit["folder"]).name != unit["folder"]:
                raise ValueError(f"{unit['folder']} is not the name of a folder")
    except (FileNotFoundError, NotADirectoryError):
        raise ResultsError(f"{root} holds no study.json: give the folder of one study, such as results/grid") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ResultsError(
            f"{file} is not a study's description: {type(error).__name__}: {error}; "
            "python -m study.grid with the study's configuration writes it again"
        ) from error
    return study


def write_json(file: Path, content: Any) -> None:
    """Written whole or not at all."""
    write_bytes(file, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def write_bytes(file: Path, content: bytes) -> None:
    """Written whole or not at all: to a temporary name, to the disk, then renamed."""
    temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex[:8]}")
    with writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, file)
        finally:
            temporary.unlink(missing_ok=True)


def write_rows(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows of the table that the file is named after, as Parquet, written whole or not at all.

    Raises ValueError where they are not as the table is declared.
    """
    check_rows(file.stem, rows)
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), stream, compression="zstd")
    write_bytes(file, stream.getvalue())


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raises UnwritableError, which names `path`, where the file system is full or does not allow what is done."""
    try:
        yield
    except OSError as error:
        if error.errno not in REMEDIES or isinstance(error, UnwritableError):
            raise
        raise UnwritableError(error.errno, error.strerror, str(path)) from error


def _last_touched(path: Path) -> float:
    """When a file, or a folder or a file in it, was last written, in seconds since 1970; infinity if it went away
    meanwhile."""
    try:
        return max(one.stat().st_mtime for one in [path, *path.glob("*")])
    except FileNotFoundError:
        return math.inf


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
