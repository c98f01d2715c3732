"""Packing the rows of a study into a few small files, from which its report can be written."""

import gzip
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.data.left_out import LeftOut
from analysis.data.lens_layers import Entry, is_sample
from analysis.data.manifest import UNFINISHED, visible, write_manifest
from analysis.data.stored import Stored, is_packed, log_p, read_packed, read_stored, units_with
from analysis.data.unit_rows import Gathering
from study.config.json_files import COMPRESSED, seal
from study.results.description import DESCRIPTION, ResultsError, read_description
from study.results.files import write_bytes, write_json
from study.results.finished import DONE
from study.results.schema import COLUMNS, TEXT
from study.results.store import MANIFEST

SHORT = 5
"""Significant bits of floats in the rows of a sample, which has millions of them: they are right to 3 %."""
JSON_FILES = (DESCRIPTION, DONE)
"""Files with some lines for each unit, which are compressed."""
SHORTENED = ("answers", "lens", "curves")
_BITS = 24
"""Significant bits of a float32."""


def pack(results: Path, target: Path, add: bool = False) -> list[LeftOut]:
    """Write into `target` what `read_results` reads of `results`; the same rows give the same bytes.

    With `add`, units of the study that only `target` has stay in it: what a study that is run in pieces packs of each
    is what it would have packed of all at once. Returns the units that are left out, since they cannot be read. Raises
    ResultsError where `results` is not a study's folder, or `target` has a file that no packed study has, or is to be
    added to and is no packed study.
    """
    names = {*(f"{name}{COMPRESSED}" for name in JSON_FILES), UNFINISHED, *(f"{name}.parquet" for name in COLUMNS)}
    own = {*names, MANIFEST, *JSON_FILES} if is_packed(target) else set()
    if target.is_dir() and (others := sorted(visible(target) - own)):
        raise ResultsError(f"{target} has {', '.join(others)}, which no packed study has: name an empty or new folder")
    description = read_description(results)
    entries = description["units"]
    stored = read_stored(results, description)
    if add:
        stored = _joined(stored, _packed_before(target), entries)
    elif is_packed(target):
        _check_nothing_is_lost(stored, target)
    unfinished = {unit: {"status": status, "reason": reason} for unit, (status, reason) in stored.unfinished.items()}
    for name, content in zip(JSON_FILES, (seal(description), stored.done), strict=True):
        write_bytes(target / f"{name}{COMPRESSED}", _compressed(content))
    for name, rows in stored.rows.items():
        write_bytes(target / f"{name}.parquet", _parquet(name, rows.frame, is_sample(description)))
    write_json(target / UNFINISHED, unfinished)
    for name in JSON_FILES:  # as earlier versions packed them
        (target / name).unlink(missing_ok=True)
    write_manifest(target, names)  # last: it is what tells a packed study from a folder of results
    labels = {entry["id"]: entry["label"] for entry in entries}
    states = stored.unfinished.items()
    return [LeftOut(labels[unit], reason, unit) for unit, (status, reason) in states if status == "unreadable"]


def _packed_before(target: Path) -> Stored:
    if not is_packed(target):
        raise ResultsError(f"{target} is no packed study that could be added to: leave --add out")
    return read_packed(target, read_description(target)["units"])


def _check_nothing_is_lost(stored: Stored, target: Path) -> None:
    """Raises ResultsError where finished units, of this study or of another one, would be packed no more."""
    try:
        packed = _packed_before(target).done.keys()
    except ResultsError:
        return  # it is damaged, or of an earlier version, which packing anew mends
    if gone := packed - stored.done.keys():
        raise ResultsError(
            f"{target} has {len(gone)} finished units that the results have not, which would be lost: give --add to "
            f"keep them if they are of this study, or remove {target} first"
        )


def _joined(stored: Stored, before: Stored, entries: list[Entry]) -> Stored:
    """Return what is stored of each unit, or else what was stored before, in the order of `entries`."""
    if strangers := before.done.keys() - {entry["id"] for entry in entries}:
        raise ResultsError(
            f"what is packed has {len(strangers)} finished units that the study does not have, and adding would lose "
            "them: it is another study, or its settings have changed; leave --add out to pack anew"
        )
    either = before.done | stored.done
    done = {entry["id"]: either[entry["id"]] for entry in entries if entry["id"] in either}
    rows = {}
    for name, columns in COLUMNS.items():
        own, earlier = stored.rows[name], before.rows[name]
        gathered, units = Gathering(columns), units_with(name, entries, done)
        for unit in units:
            gathered.add((own if unit in stored.done else earlier).of(unit))
        rows[name] = gathered.together(units)
    return Stored(done, {unit: told for unit, told in stored.unfinished.items() if unit not in done}, rows)


def _compressed(content: dict[str, Any]) -> bytes:
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return gzip.compress(text.encode(), mtime=0)


def _has_two_classes(lens: pd.DataFrame) -> bool:
    """Whether the mass of every row is that of the right class token and of one other."""
    return bool(np.allclose(lens["log_p"], log_p(lens["log_mass"], lens["margin"]), rtol=0.02, atol=0.02))


def rounded(values: np.ndarray) -> np.ndarray:
    """Return float32 values rounded to SHORT significant bits, halves away from zero; infinity and NaN stay."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    dropped = np.uint32(_BITS - SHORT)
    half = np.uint32(1) << (dropped - np.uint32(1))
    found = ((bits + half) >> dropped << dropped).view(np.float32)
    return np.where(np.isfinite(values), found, values)


def _parquet(name: str, frame: pd.DataFrame, short: bool) -> bytes:
    """The rows of all units under each other, with the unit's id as the last column; where they are to be short, floats
    of rows of single prompts and steps in SHORT bits, and no log p where it follows from the other two."""
    frame = frame[[*(column for column in frame if column != "unit"), "unit"]]
    if short and name == "lens" and _has_two_classes(frame):
        frame = frame.drop(columns="log_p")
    text = [column for column in frame if column in TEXT or column == "unit"]
    floats, whole = ([str(column) for column in frame if frame[column].dtype.kind == kind] for kind in "fi")
    frame = frame.astype({**dict.fromkeys(text, "str"), **dict.fromkeys(floats, "float32")})
    if short and name in SHORTENED:
        frame = frame.assign(**{column: rounded(frame[column].to_numpy(np.float32)) for column in floats})
    stream = io.BytesIO()
    pq.write_table(
        pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None),
        stream,
        compression="zstd",
        compression_level=19,
        use_dictionary=[column for column in frame if column not in (*floats, *whole)],
        use_byte_stream_split=floats,
        column_encoding=dict.fromkeys(whole, "DELTA_BINARY_PACKED"),  # numbers of prompts and layers, which go up
        write_statistics=False,
    )
    return stream.getvalue()
