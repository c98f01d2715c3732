"""A finished unit's folder: what it was written with stands in `done.json`, and is checked when it is read again."""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

DONE = "done.json"
FILES = "files"
"""In `done.json`: bytes and SHA-256 of each file, by name."""
UNREADABLE = (OSError, ValueError, pa.ArrowException)
"""What reading a damaged file raises."""
KEPT = (".parquet", ".safetensors", ".json")
"""The files that are read again. Others, such as logs, may still grow."""
TIMINGS = ("seconds", "stacked")
"""Columns that tell how an attempt went, not what it found."""


class DamagedError(Exception):
    """What is wrong with the folder of a unit that had finished."""


def list_files(files: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """What `done.json` is to say of the files that are read again."""
    kept = sorted(file for file in files if file.suffix in KEPT and not file.name.startswith("."))
    return {file.name: {"bytes": file.stat().st_size, "sha256": _sha256(file)} for file in kept}


def read_done(folder: Path) -> dict[str, Any]:
    """`done.json` without its list, if the listed files have their sizes. Raises DamagedError. Reads no other file."""
    done, listed = _read(folder)
    sizes = {entry.name: entry.stat().st_size for entry in os.scandir(folder)}
    for name, (written, _) in listed.items():
        if name not in sizes:
            raise DamagedError(f"{name} is missing")
        if sizes[name] != written:
            raise DamagedError(f"{name} has {sizes[name]} bytes, and {written} were written")
    return done


def verify(folder: Path, suffix: str = "") -> dict[str, Any]:
    """The same, after reading every byte of the files whose name ends so. Raises DamagedError where one has changed.

    Results from before files were listed are whole if their rows can be read.
    """
    done = read_done(folder)
    _, listed = _read(folder)
    for name, (_, sha256) in listed.items():
        if name.endswith(suffix) and _sha256(folder / name) != sha256:
            raise DamagedError(f"{name} is corrupt: its SHA-256 is not that of what was written")
    for file in [] if listed else sorted(folder.glob("*.parquet")):
        try:
            pq.read_table(file)
        except UNREADABLE as error:
            raise DamagedError(f"{file.name} is corrupt: it is not to be read as Parquet") from error
    return done


def fingerprint(folder: Path) -> str:
    """8 hexadecimal digits of what an attempt found, its rows and weights; not of when, where and how fast."""
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.suffix == ".parquet":
            table = pq.read_table(file)
            table = table.drop_columns([name for name in TIMINGS if name in table.column_names])
            digest.update(f"{file.name} {table.to_pydict()}".encode())
        elif file.suffix == ".safetensors":
            digest.update(f"{file.name} {_sha256(file)}".encode())
    return digest.hexdigest()[:8]


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, tuple[int, str]]]:
    """`done.json`, and apart from it the size and the SHA-256 of each file that it lists."""
    try:
        done = json.loads((folder / DONE).read_bytes())
        listed = {name: (written["bytes"], written["sha256"]) for name, written in done.pop(FILES, {}).items()}
    except FileNotFoundError:
        raise DamagedError(f"it has no {DONE}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedError(f"{DONE} is torn: {type(error).__name__}: {error}") from error
    return done, listed


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
