"""The results on disk: published in one step, never overwritten, found again by id.

A unit is finished if and only if its folder holds `done.json`, which is written last. An attempt works in
`tmp/` and its folder is renamed into place, so that of several attempts the first one to finish wins.
"""

import json
import math
import os
import shutil
import socket
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from study.cells import Unit, describe, folder_name, kind

FOLDERS = {"stage1": "stage1", "reference": "reference", "predictors": "predictors", "cell": "cells"}
CHECKPOINTS = "checkpoints"
DONE = "done.json"
PROGRESS = "progress.json"
LOG = "log.txt"
"""What an attempt told as it went."""


@dataclass(frozen=True)
class Status:
    """Where a unit stands: `run` is what a new run would begin."""

    state: Literal["run", "done", "failed", "skipped"]
    reason: str


@dataclass(frozen=True)
class Outcome:
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
        return (self.folder(unit) / DONE).is_file()

    def status(self, unit: Unit) -> Status:
        if self.is_done(unit):
            return Status("done", "finished")
        record = self.record_file(unit)
        if record.is_file():
            entry = json.loads(record.read_text())
            return Status(entry["status"], entry["reason"])
        return Status("run", "no result yet")

    def write_study(self, name: str, config: Mapping[str, Any], models: Mapping[str, Any], units: list[Unit]) -> None:
        """`study.json`: what the report is about."""
        content = {"name": name, "config": config, "models": models, "units": [describe(unit) for unit in units]}
        write_json(self.root / "study.json", content)

    def begin(self, unit: Unit) -> Path:
        """A folder for one attempt. Write everything, `done.json` last; `publish` it; in any case `abandon` it."""
        folder = self.root / "tmp" / f"{folder_name(unit)}.{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex[:6]}"
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
        write_json(self.record_file(unit), {**entry, **about})

    def forget_failure(self, unit: Unit) -> None:
        """Let a failed unit run again."""
        self.record_file(unit).unlink(missing_ok=True)

    def running(self, newer_than: float) -> list[dict[str, Any]]:
        """What attempts last said of themselves, newest first, without those silent since `newer_than` (since 1970)."""
        notes = []
        for file in (self.root / "tmp").glob(f"*/{PROGRESS}"):
            try:
                if (written := file.stat().st_mtime) >= newer_than:
                    notes.append({**json.loads(file.read_text()), "written": written, "attempt": file.parent.name})
            except FileNotFoundError:  # the attempt has just ended
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
        (attempt / PROGRESS).unlink(missing_ok=True)
        for file in attempt.iterdir():
            _sync(file)
        _sync(attempt)
        target = self.folder(unit)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and not self.is_done(unit):  # a copy by hand that broke off
            target.rename(self.root / "tmp" / f"{target.name}.unmarked.{time.time_ns()}")
        try:
            attempt.rename(target)
        except OSError:
            if not self.is_done(unit):
                raise
        else:
            _sync(target.parent)
        self.forget_failure(unit)

    def record_file(self, unit: Unit) -> Path:
        """Where it is told why the unit did not finish."""
        return self.root / "unfinished" / f"{folder_name(unit)}.json"


def write_json(file: Path, content: Any) -> None:
    """Written whole or not at all."""
    write_bytes(file, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def write_bytes(file: Path, content: bytes) -> None:
    """Written whole or not at all: to a temporary name, to the disk, then renamed."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex[:8]}")
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


def write_rows(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows as Parquet; repeated text is stored once."""
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), file, compression="zstd")


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
