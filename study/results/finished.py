"""The folder of a finished unit: `done.json` says whose it is and lists its files, which are checked on reading."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from study.config.json_files import file_sha256, read_json, size_and_digest, unseal
from study.config.units import Kind
from study.results.schema import files_of

DONE = "done.json"
PROGRESS = "progress.json"
FILES = "files"
"""Key of `done.json`: bytes and SHA-256 of each file, by name."""
UNREADABLE = (OSError, ValueError, pa.ArrowException)
"""Exceptions on reading a damaged file."""
KEPT = (".parquet", ".safetensors", ".json")
"""Suffixes of the files that are listed. Others, such as logs, may still grow."""
TIMINGS = ("seconds", "stacked")
"""Columns about how an attempt ran, not about its results."""

NotNegative = Annotated[float, Field(ge=0)]


class DamagedError(Exception):
    """The folder of a finished unit is damaged; the message says how."""


class _Checked(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False, extra="allow")


class _File(_Checked):
    bytes: int
    sha256: str


class _Gate(_Checked):
    gate: str
    figure: float
    limit: float
    passed: bool


class _Held(_Checked):
    weights: str
    stage1: str
    gb: NotNegative = 0.0
    configuration: list[str] = []


class _Token(_Checked):
    text: str
    id: int


class _Facts(_Checked):
    block: list[str]
    config: dict[str, Any]


class _Done(_Checked):
    """The form of `done.json`, as far as it is read. Its keys are those that it had before it had a seal."""

    kind: str
    id: str
    files: dict[str, _File]
    label: str = ""
    started: str = ""
    finished: str = ""
    seconds: dict[str, NotNegative] = {}
    versions: dict[str, str] = {}
    resumed_at_step: int = 0
    machine: str = ""
    blas: str | None = None
    peak_memory_gb: NotNegative = 0.0
    process_peak_gb: NotNegative = 0.0
    held: _Held | Annotated[dict[str, Any], Field(max_length=0)] = {}
    gates: list[_Gate] = []
    tokens: dict[str, dict[str, _Token | str]] = {}
    warnings: list[str] = []
    text_kl: dict[str, float] = {}
    facts: _Facts = _Facts(block=[], config={})


def list_files(files: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Return the list of files for `done.json`: bytes and SHA-256 by name."""
    kept = sorted(file for file in files if _is_kept(file.name))
    return {file.name: size_and_digest(file) for file in kept}


def unit_id(name: str) -> str:
    """Return the id of the unit with this folder name."""
    return name.rpartition("_")[2]


def read_done(folder: Path, kind: Kind, id: str) -> dict[str, Any]:
    """Return `done.json` without its list of files, which must have their sizes. Reads no other file.

    Raises DamagedError where `done.json` is missing, torn, changed or of another unit, or a file is missing, of another
    size or not listed.
    """
    return _read_and_list(folder, kind, id)[0]


def verify(folder: Path, kind: Kind, id: str) -> dict[str, Any]:
    """Return the same as `read_done`, after checking the SHA-256 of all files. Raises DamagedError."""
    done, listed = _read_and_list(folder, kind, id)
    for name, written in listed.items():
        try:
            found = file_sha256(folder / name)
        except OSError as error:
            raise DamagedError(f"{name} cannot be read: {error.strerror}") from error
        if found != written["sha256"]:
            raise DamagedError(f"{name} is corrupt: its SHA-256 is not that of what was written")
    return done


def _read_and_list(folder: Path, kind: Kind, id: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return `done.json` without its list of files, and that list, after checking sizes. Raises DamagedError."""
    done = _read(folder)
    if (done["kind"], done["id"]) != (kind, id):
        raise DamagedError(f"{DONE} is of the unit {done['kind']} {done['id']}, not of {kind} {id}")
    listed = done.pop(FILES)
    if lacking := [name for name in files_of(kind) if name not in listed]:
        raise DamagedError(f"{DONE} does not list {', '.join(lacking)}")
    try:
        entries = list(os.scandir(folder))
        if others := sorted(entry.name for entry in entries if not entry.is_file()):  # a pipe would be waited for
            raise DamagedError(f"{others[0]} is no file")
        sizes = {entry.name: entry.stat().st_size for entry in entries if _is_kept(entry.name)}
    except OSError as error:
        raise DamagedError(f"its files cannot be read: {error.strerror}") from error
    for name, written in listed.items():
        if name not in sizes:
            raise DamagedError(f"{name} is missing")
        if sizes[name] != written["bytes"]:
            raise DamagedError(f"{name} has {sizes[name]} bytes, but {written['bytes']} were written")
    if added := sorted(sizes.keys() - listed.keys()):
        raise DamagedError(f"{added[0]} is not one of the files that were written")
    return done, listed


def fingerprint(folder: Path) -> str:
    """Return 8 hexadecimal digits of the SHA-256 of an attempt's rows, without its timings, and weights."""
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.suffix == ".parquet":
            import pyarrow.parquet as pq  # here: status and dry runs need none of it, and would wait for it longest

            table = pq.read_table(file)
            table = table.drop_columns([name for name in TIMINGS if name in table.column_names])
            digest.update(f"{file.name} {table.to_pydict()}".encode())
        elif file.suffix == ".safetensors":
            digest.update(f"{file.name} {file_sha256(file)}".encode())
    return digest.hexdigest()[:8]


def _read(folder: Path) -> dict[str, Any]:
    """Return `done.json`. Raises DamagedError where it is missing, or not as a unit writes it."""
    try:
        done = unseal(read_json(folder / DONE), _Done.model_fields)
        _Done.model_validate(done)
    except FileNotFoundError:
        raise DamagedError(f"it has no {DONE}") from None
    except NotADirectoryError:
        raise DamagedError("it is no folder") from None
    except OSError as error:
        raise DamagedError(f"{DONE} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        (first, *_) = error.errors()
        where = ".".join(map(str, first["loc"]))
        raise DamagedError(f"{DONE} is not as a unit writes it: {where}: {first['msg'].lower()}") from error
    except ValueError as error:
        raise DamagedError(f"{DONE} cannot be used: {error}") from error
    return done


def _is_kept(name: str) -> bool:
    return name.endswith(KEPT) and not name.startswith(".") and name not in (DONE, PROGRESS)
