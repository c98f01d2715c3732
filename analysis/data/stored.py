"""The rows of a study: read from its results folder, or from the few files that `study pack` makes of it."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from analysis.data.manifest import UNFINISHED, check_manifest
from study.config.json_files import read_json
from study.config.predictors import PREDICTORS
from study.config.units import Kind
from study.results.description import ResultsError, read_record
from study.results.finished import DONE, UNREADABLE, DamagedError, verify
from study.results.schema import COLUMNS, PROFILE, TABLES, TEXT, tables_of
from study.results.store import FOLDERS, MANIFEST, RECORDS, UNREADABLE_RECORD
from study.results.values import FigureError, check_values, read_table

MAY_DIFFER = {"settings", "reference"}
"""Keys of a unit that may change without its id: by settings that change no result, and by a larger grid."""
UnitState = Literal["finished", "failed", "skipped", "missing", "unreadable"]
Entry = Mapping[str, Any]
"""A unit in study.json."""


@dataclass(frozen=True)
class Stored:
    """What is stored of a study's units, by unit id."""

    done: dict[str, dict[str, Any]]
    unfinished: dict[str, tuple[UnitState, str]]
    """UnitState and reason of every other unit."""
    rows: dict[str, dict[str, pd.DataFrame]]
    """By kind of row, then by unit id. Numbers are rounded as they are packed, to float32."""


def is_packed(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (MANIFEST, UNFINISHED))


def read_stored(folder: Path, entries: list[Entry]) -> Stored:
    """The rows of the study in `folder`, packed or not; both give the same."""
    return read_packed(folder, entries) if is_packed(folder) else read_folders(folder, entries)


def read_packed(folder: Path, entries: list[Entry]) -> Stored:
    """From the files of `study pack`, after checking each. Raises ResultsError where one is missing or damaged."""
    check_manifest(folder)
    try:
        done = read_json(folder / DONE)
        unfinished = read_json(folder / UNFINISHED)
        rows = {name: _by_unit(_packed(folder / f"{name}.parquet", name)) for name in COLUMNS}
    except (*UNREADABLE, FigureError, KeyError) as error:
        raise ResultsError(f"{folder} is packed, and unreadable: {type(error).__name__}: {error}") from error
    for name in (name for name, table in TABLES.items() if table.sometimes):
        units = [entry["id"] for entry in entries if name in tables_of(entry["kind"])[1] and entry["id"] in done]
        none = _none(name)
        rows[name] = {unit: rows[name].get(unit, none) for unit in units}
    return Stored(done, {unit: (record["status"], record["reason"]) for unit, record in unfinished.items()}, rows)


def read_folders(folder: Path, entries: list[Entry]) -> Stored:
    """From results/<study>, which holds one folder a unit."""
    stored = Stored({}, {}, {name: {} for name in COLUMNS})
    for entry in entries:
        unit: str = entry["id"]
        kind: Kind = entry["kind"]
        at = folder / FOLDERS[kind] / entry["folder"]
        if not os.path.lexists(at):
            stored.unfinished[unit] = _unfinished(folder / RECORDS / f"{entry['folder']}.json")
            continue
        try:
            done = verify(at, kind, unit)
            _compare(entry, read_json(at / "unit.json"))
            always, sometimes = tables_of(kind)
            frames = {name: _read_rows(at / f"{name}.parquet") for name in always}
            for name in sometimes:
                file = at / f"{name}.parquet"
                frames[name] = _read_rows(file) if file.is_file() else _none(name)
        except (DamagedError, FigureError) as error:
            stored.unfinished[unit] = ("unreadable", str(error))
        except UNREADABLE as error:
            reason = f"{type(error).__name__}: {error}".replace(str(folder), folder.name)
            stored.unfinished[unit] = ("unreadable", reason)
        else:
            stored.done[unit] = done
            for name, frame in frames.items():
                stored.rows[name][unit] = frame
    _summarise_lens(stored, entries)
    return stored


def typed(frame: pd.DataFrame) -> pd.DataFrame:
    """Text as categories, those that occur, and numbers rounded to float32 but computed with as float64."""
    columns = {str(name): _typed(frame[name], str(name) in TEXT) for name in frame.columns}
    return pd.DataFrame(columns).reset_index(drop=True)


def _typed(column: "pd.Series[Any]", is_text: bool) -> "pd.Series[Any]":
    if column.dtype == "category":
        return column.cat.remove_unused_categories()
    if is_text:
        return column.astype("category")
    return column.astype("float32").astype("float64") if column.dtype.kind == "f" else column


def float_columns(frame: pd.DataFrame) -> list[str]:
    return [str(column) for column in frame.columns if frame[column].dtype.kind == "f"]


def _by_unit(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    units = typed(frame).groupby("unit", sort=False)
    return {str(unit): typed(rows.drop(columns="unit")) for unit, rows in units}


def _packed(file: Path, name: str) -> pd.DataFrame:
    """The rows of all units. A study that was packed before there was such a kind of rows has none.

    Raises FigureError where a column is lacking, as in what an earlier version packed.
    """
    if name in TABLES and TABLES[name].sometimes and not file.exists():
        return pd.DataFrame(columns=["unit", *COLUMNS[name]])
    written = pq.read_schema(file).names
    if lacking := [column for column in ("unit", *COLUMNS[name]) if column not in {*written, *PREDICTORS}]:
        raise FigureError(
            f"{name} has no column {', '.join(lacking)}: run the study with this version, and pack it again"
        )
    # A predictor that was declared later is missing in the rows of earlier units.
    check_values(name, pq.read_table(file), missing=PREDICTORS)
    return pd.read_parquet(file)


def _read_rows(file: Path) -> pd.DataFrame:
    wanted = COLUMNS[file.stem]
    if file.stem == "predictors":  # which may have been written before one of them was declared
        written = set(pq.read_schema(file).names)
        wanted = [name for name in wanted if name in written or name not in PREDICTORS]
    return typed(read_table(file, wanted).to_pandas())


def _compare(entry: Entry, written: Entry) -> None:
    """Compare a unit in study.json with what its folder says of it. Raises DamagedError where they differ."""
    for key in entry.keys() & written.keys() - MAY_DIFFER:
        if entry[key] != written[key]:
            raise DamagedError(f"its {key} is {written[key]} in unit.json, and {entry[key]} in study.json")


def _none(name: str) -> pd.DataFrame:
    return typed(pd.DataFrame(columns=COLUMNS[name]))


def _unfinished(path: Path) -> tuple[UnitState, str]:
    try:
        record = read_record(path)
    except ResultsError as error:
        return "failed", f"{UNREADABLE_RECORD}: {path.name}: {error}"
    if record is None:
        return "missing", "not run yet"
    return record["status"], record["reason"]


def _summarise_lens(stored: Stored, entries: list[Entry]) -> None:
    """Leave a row a prompt at the last layer and where a cell is trained, and means over prompts at every layer."""
    finished = {entry["id"]: entry for entry in entries if entry["id"] in stored.rows["lens"]}
    trained: dict[str, set[int]] = {}
    everywhere: dict[tuple[str, int], set[int]] = {}
    for entry in entries:
        if entry["layer"] is not None:
            trained.setdefault(entry["model"], set()).add(entry["layer"])
            if entry["id"] in finished and (entry["model"], entry["seed"]) not in everywhere:
                prompts = prompts_at_every_layer(stored.rows["lens"][entry["id"]], entry["blocks"])
                everywhere[entry["model"], entry["seed"]] = prompts
    for unit, entry in finished.items():
        lens = stored.rows["lens"][unit]
        layers = {entry["layer"]} if entry["layer"] is not None else trained.get(entry["model"], set())
        prompts = everywhere.get((entry["model"], entry["seed"]), set(lens["prompt_id"]))
        stored.rows["profile"][unit] = profile(lens, prompts)
        stored.rows["lens"][unit] = typed(lens[lens["layer"].isin(layers | {entry["blocks"] - 1})])


def prompts_at_every_layer(lens: pd.DataFrame, blocks: int) -> set[int]:
    """A cell's lens is read at every layer for some of the prompts only."""
    layers = lens.groupby("prompt_id")["layer"].nunique()
    return set(layers.index[layers == blocks])


def profile(lens: pd.DataFrame, prompts: Iterable[int]) -> pd.DataFrame:
    """Mean p, choice and mean log p of the right class token over `prompts`, by stage, pair, layer and tier."""
    rows = lens[lens["prompt_id"].isin(list(prompts))]
    groups = rows.assign(p=np.exp(rows["log_p"])).groupby(PROFILE, observed=True, as_index=False)
    return typed(groups.agg(prompts=("p", "size"), p=("p", "mean"), choice=("choice", "mean"), log_p=("log_p", "mean")))
