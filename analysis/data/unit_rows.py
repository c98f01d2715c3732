"""The rows of one kind of all units under each other, of which those of a unit are a part."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from analysis.data.samples import Floats
from study.results.schema import TEXT

CHUNK = 250_000
"""Rows that are computed with at a time, which bounds the memory that a large study takes."""


class UnitRows(Mapping[str, pd.DataFrame]):
    """Rows by the id of their unit, with the column `unit` where they are of several; a unit may have none.

    `table` holds them in few bytes: text as codes in the order of the alphabet, and numbers rounded to float32, as they
    are packed. Frames have text as categories, and float64, with which all is computed.
    """

    def __init__(self, table: pa.Table, units: Sequence[str]) -> None:
        """Take what Gathering has put together, and the ids of the `units`, in their order."""
        self.table = table
        self.ranges = dict.fromkeys(units, slice(0, 0)) | _ranges(table["unit"].combine_chunks())

    def __getitem__(self, unit: str) -> pd.DataFrame:
        return _frame(self.of(unit).drop_columns("unit"))

    def __iter__(self) -> Iterator[str]:
        return iter(self.ranges)

    def __len__(self) -> int:
        return len(self.ranges)

    @property
    def frame(self) -> pd.DataFrame:
        """The rows of all units."""
        return _frame(self.table)

    def chunks(self) -> Iterator[pd.DataFrame]:
        """Yield the rows of all units in parts of whole units, of about CHUNK rows; one of no rows where there are
        none."""
        ends = sorted(at.stop for at in self.ranges.values()) or [0]
        start = 0
        for end, after in zip(ends, [*ends[1:], None], strict=True):
            if after is None or (end > start and after - start > CHUNK):
                yield _frame(self.table.slice(start, end - start))
                start = end

    def of(self, unit: str) -> pa.Table:
        """Return the rows of a unit as they are held, with the column `unit`."""
        at = self.ranges[unit]
        return self.table.slice(at.start, at.stop - at.start)

    def count(self, unit: str) -> int:
        """Return how many rows a unit has."""
        return len(range(*self.ranges[unit].indices(len(self.table))))

    def values_of(self, unit: str, column: str) -> Floats:
        """Return the values of a column of numbers in the rows of a unit."""
        at = self.ranges[unit]
        return np.asarray(self.table[column].slice(at.start, at.stop - at.start), np.float64)


class Gathering:
    """Puts the rows of one kind together, of tables in which the rows of a unit stand together; each takes few bytes at
    once. A column that some table lacks has no values there."""

    def __init__(self, names: Sequence[str]) -> None:
        """Take the names of the columns besides `unit`."""
        text = {name: name in TEXT or name == "unit" for name in ["unit", *names]}
        self._columns = {name: _Text() if is_text else _Numbers() for name, is_text in text.items()}

    def add(self, table: pa.Table) -> None:
        for name, column in self._columns.items():
            has = name in table.column_names
            column.add(table[name] if has else pa.chunked_array([pa.nulls(len(table), pa.float32())]))

    def together(self, units: Sequence[str]) -> UnitRows:
        """Return the rows, and forget them."""
        rows = UnitRows(pa.table({name: column.together() for name, column in self._columns.items()}), units)
        pa.default_memory_pool().release_unused()
        return rows


class _Numbers:
    """A column of numbers that is put together of parts."""

    def __init__(self) -> None:
        self._parts: list[pa.ChunkedArray] = []

    def add(self, part: pa.ChunkedArray) -> None:
        if pa.types.is_floating(part.type):
            part = part.cast(pa.float32())
        elif pa.types.is_integer(part.type):
            ends = pc.min_max(part).as_py()
            part = part.cast(_smallest(ends["min"] or 0, ends["max"] or 0))
        self._parts.append(part)

    def together(self) -> pa.Array:
        kinds = {part.type for part in self._parts} - {pa.null()}
        if len(kinds) > 1:
            whole = all(map(pa.types.is_integer, kinds))
            widest = max(kinds, key=lambda kind: kind.bit_width) if whole else pa.float32()
            self._parts = [part.cast(widest) for part in self._parts]
        chunks = [chunk for part in self._parts for chunk in part.chunks]
        self._parts = []  # no two columns need to be held twice
        return pa.chunked_array(chunks, None if chunks else pa.float32()).combine_chunks()


class _Text:
    """A column of text that is put together of parts, each of which becomes codes at once."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._parts: list[pa.Array] = []

    def add(self, part: pa.ChunkedArray) -> None:
        for chunk in part.chunks:
            coded = chunk if pa.types.is_dictionary(chunk.type) else chunk.cast(pa.string()).dictionary_encode()
            known = [self._codes.setdefault(name, len(self._codes)) for name in coded.dictionary.to_pylist()]
            self._parts.append(pa.array(known, self._kind).take(coded.indices))

    def together(self) -> pa.Array:
        names = sorted(self._codes)
        rank = {name: number for number, name in enumerate(names)}
        ranks = pa.array([rank[name] for name in self._codes], self._kind)
        codes, self._parts = [ranks.take(part) for part in self._parts], []
        return pa.DictionaryArray.from_arrays(
            pa.chunked_array(codes, self._kind).combine_chunks(), pa.array(names, pa.string())
        )

    @property
    def _kind(self) -> pa.DataType:
        return _smallest(0, len(self._codes))


def _smallest(low: int, high: int) -> pa.DataType:
    """Return the smallest kind of signed integers that holds these."""
    return pa.from_numpy_dtype(np.min_scalar_type(min(low, -high - 1)))


def _frame(table: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas()
    wide = {"f": "float64", "i": "int64"}
    return frame.astype({name: wide[kind.kind] for name, kind in frame.dtypes.items() if kind.kind in wide})


def _ranges(units: pa.DictionaryArray) -> dict[str, slice]:
    """Where the rows of each unit stand. Raises ValueError where they do not stand together."""
    codes = units.indices.to_numpy()
    starts = np.concatenate([[0], np.flatnonzero(codes[1:] != codes[:-1]) + 1])[: len(codes)]
    ends = [*starts[1:], len(codes)][: len(starts)]
    names = pc.take(units.dictionary, pa.array(codes[starts])).to_pylist()
    if len(set(names)) < len(names):
        raise ValueError("the rows of a unit do not stand together")
    return {name: slice(int(start), int(end)) for name, start, end in zip(names, starts, ends, strict=True)}
