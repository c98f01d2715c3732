"""The rows of a study: read from its results folder, or from the few files that `study pack` makes of it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.data.lens_layers import Entry, LensLayers
from analysis.data.manifest import UNFINISHED, check_manifest
from analysis.data.unit_rows import Gathering, UnitRows
from study.config.json_files import read_json, shortest
from study.config.predictors import PREDICTORS
from study.config.units import Kind
from study.results.description import ResultsError, read_record
from study.results.finished import DONE, UNREADABLE, DamagedError, verify
from study.results.schema import COLUMNS, TABLES, TEXT, tables_of
from study.results.store import FOLDERS, MANIFEST, RECORDS, UNREADABLE_RECORD
from study.results.values import FigureError, check_values, read_table

MAY_DIFFER = {"settings", "reference"}
"""Keys of a unit that may change without its id: by settings that change no result, and by a larger grid."""
UnitState = Literal["finished", "failed", "skipped", "missing", "unreadable"]


@dataclass(frozen=True)
class Stored:
    """What is stored of a study's units, by unit id."""

    done: dict[str, dict[str, Any]]
    unfinished: dict[str, tuple[UnitState, str]]
    """UnitState and reason of every other unit."""
    rows: dict[str, UnitRows]
    """By kind of row."""


def is_packed(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (MANIFEST, UNFINISHED))


def read_stored(folder: Path, description: Mapping[str, Any]) -> Stored:
    """The rows of the study in `folder`, packed or not; both give the same."""
    return read_packed(folder, description["units"]) if is_packed(folder) else read_folders(folder, description)


def read_packed(folder: Path, entries: list[Entry]) -> Stored:
    """From the files of `study pack`, after checking each. Raises ResultsError where one is missing or damaged."""
    check_manifest(folder)
    try:
        done = read_json(shortest(folder / DONE))
        unfinished = read_json(folder / UNFINISHED)
        rows = {
            name: _read_packed(folder / f"{name}.parquet", name, units_with(name, entries, done)) for name in COLUMNS
        }
    except (*UNREADABLE, FigureError, KeyError) as error:
        raise ResultsError(f"{folder} is packed, and unreadable: {type(error).__name__}: {error}") from error
    return Stored(done, {unit: (record["status"], record["reason"]) for unit, record in unfinished.items()}, rows)


def units_with(name: str, entries: list[Entry], done: Mapping[str, Any]) -> list[str]:
    """The finished units that have a kind of rows, or may have it."""
    own = name if name in TABLES else "lens"  # of which summaries are made
    return [entry["id"] for entry in entries if own in chain(*tables_of(entry["kind"])) and entry["id"] in done]


def read_folders(folder: Path, description: Mapping[str, Any]) -> Stored:
    """From results/<study>, which holds one folder a unit."""
    entries: list[Entry] = description["units"]
    done: dict[str, dict[str, Any]] = {}
    unfinished: dict[str, tuple[UnitState, str]] = {}
    gathered = {name: Gathering(columns) for name, columns in COLUMNS.items()}
    lens = LensLayers(description, lambda entry: _tables(folder, entry)[1]["lens"])
    for entry in entries:
        unit: str = entry["id"]
        if not os.path.lexists(folder / FOLDERS[entry["kind"]] / entry["folder"]):
            unfinished[unit] = _unfinished(folder / RECORDS / f"{entry['folder']}.json")
            continue
        try:
            said, tables = _tables(folder, entry)
        except (DamagedError, FigureError) as error:
            unfinished[unit] = ("unreadable", str(error))
        except UNREADABLE as error:
            reason = f"{type(error).__name__}: {error}".replace(str(folder), folder.name)
            unfinished[unit] = ("unreadable", reason)
        else:
            done[unit] = said
            if "lens" in tables:
                tables |= lens.summarised(entry, tables["lens"])
            for name, table in tables.items():
                gathered[name].add(table.append_column("unit", pa.array([unit] * len(table), pa.string())))
    rows = {name: tables.together(units_with(name, entries, done)) for name, tables in gathered.items()}
    return Stored(done, unfinished, rows)


def _tables(folder: Path, entry: Entry) -> tuple[dict[str, Any], dict[str, pa.Table]]:
    """Return what a finished unit says of itself and its tables, after checking both."""
    kind: Kind = entry["kind"]
    at = folder / FOLDERS[kind] / entry["folder"]
    done = verify(at, kind, entry["id"])
    _compare(entry, read_json(at / "unit.json"))
    always, sometimes = tables_of(kind)
    names = [*always, *(name for name in sometimes if (at / f"{name}.parquet").is_file())]
    return done, {name: _read_rows(at / f"{name}.parquet") for name in names}


def _read_packed(file: Path, name: str, units: list[str]) -> UnitRows:
    """The rows of all units. A study that was packed before there was such a kind of rows has none.

    Raises FigureError where a column is lacking, as in what an earlier version packed.
    """
    gathered = Gathering(COLUMNS[name])
    if name in TABLES and TABLES[name].sometimes and not file.exists():
        return gathered.together(units)
    written = pq.read_schema(file).names
    derived = name == "lens" and "log_p" not in written
    known = {*written, *PREDICTORS, *(["log_p"] if derived else [])}
    if lacking := [column for column in ("unit", *COLUMNS[name]) if column not in known]:
        raise FigureError(
            f"{name} has no column {', '.join(lacking)}: run the study with this version, and pack it again"
        )
    text = [column for column in written if column in TEXT or column == "unit"]
    with pq.ParquetFile(file, read_dictionary=text) as parquet:
        for number in range(parquet.num_row_groups):
            table = parquet.read_row_group(number, use_threads=False)
            if derived:
                table = table.append_column("log_p", pa.array(log_p(table["log_mass"], table["margin"])))
            # A predictor that was declared later is missing in the rows of earlier units.
            check_values(name, table, missing=PREDICTORS)
            gathered.add(table)
    return gathered.together(units)


def log_p(log_mass: npt.ArrayLike, margin: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the log-probability of the right class token of two, which `study pack` leaves out of the rows of a
    sample: `log_mass` is that of both, and the other one's probability is the right one's times exp(-margin)."""
    return np.asarray(np.asarray(log_mass, float) - np.logaddexp(0, -np.asarray(margin, float)))


def _read_rows(file: Path) -> pa.Table:
    wanted = COLUMNS[file.stem]
    if file.stem == "predictors":  # which may have been written before one of them was declared
        written = set(pq.read_schema(file).names)
        wanted = [name for name in wanted if name in written or name not in PREDICTORS]
    return read_table(file, wanted)


def _compare(entry: Entry, written: Entry) -> None:
    """Compare a unit in study.json with what its folder says of it. Raises DamagedError where they differ."""
    for key in entry.keys() & written.keys() - MAY_DIFFER:
        if entry[key] != written[key]:
            raise DamagedError(f"its {key} is {written[key]} in unit.json, and {entry[key]} in study.json")


def _unfinished(path: Path) -> tuple[UnitState, str]:
    try:
        record = read_record(path)
    except ResultsError as error:
        return "failed", f"{UNREADABLE_RECORD}: {path.name}: {error}"
    if record is None:
        return "missing", "not run yet"
    return record["status"], record["reason"]
