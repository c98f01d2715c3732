"""The folder of a finished unit: `done.json` has the sizes and hashes of its files, which are checked on reading."""

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
"""Key of `done.json`: bytes and SHA-256 of each file, by name."""
UNREADABLE = (OSError, ValueError, pa.ArrowException)
"""Exceptions on reading a damaged file."""
KEPT = (".parquet", ".safetensors", ".json")
"""Suffixes of the files that are listed. Others, such as logs, may still grow."""
TIMINGS = ("seconds", "stacked")
"""Columns about how an attempt ran, not about its results."""


class DamagedError(Exception):
    """The folder of a finished unit is damaged; the message says how."""


def list_files(files: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Return the list of files for `done.json`: bytes and SHA-256 by name."""
    kept = sorted(file for file in files if file.suffix in KEPT and not file.name.startswith("."))
    return {file.name: {"bytes": file.stat().st_size, "sha256": _sha256(file)} for file in kept}


def read_done(folder: Path) -> dict[str, Any]:
    """Return `done.json` without its list of files, which must have their sizes. Reads no other file.

    Raises DamagedError where `done.json` is missing or torn, or a file is missing or has another size.
    """
    done, listed = _read(folder)
    sizes = {entry.name: entry.stat().st_size for entry in os.scandir(folder)}
    for name, (written, _) in listed.items():
        if name not in sizes:
            raise DamagedError(f"{name} is missing")
        if sizes[name] != written:
            raise DamagedError(f"{name} has {sizes[name]} bytes, but {written} were written")
    return done


def verify(folder: Path, suffix: str = "") -> dict[str, Any]:
    """Return the same as `read_done`, after checking the SHA-256 of all files whose name ends in `suffix`.

    Raises DamagedError where one has changed. Where `done.json` lists no files, their rows must be readable.
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
            raise DamagedError(f"{file.name} is corrupt: it cannot be read as Parquet") from error
    return done


def fingerprint(folder: Path) -> str:
    """Return 8 hexadecimal digits of the SHA-256 of an attempt's rows, without its timings, and weights."""
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
    """Return `done.json` without its list of files, and the size and SHA-256 of each of them. Raises DamagedError."""
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
