"""Whether units of the same id have the same rows in two results, as on another machine or with another version."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from analysis.data.results import Results
from study.results.finished import TIMINGS
from study.results.schema import COLUMNS, TEXT

DIFFERING = ["table", "column", "units", "rows", "different", "largest", "unit"]
TEXTS = "text, or the number of rows"
"""Stands for a column where rows are not about the same things."""


@dataclass(frozen=True)
class Compared:
    """The rows of the units that both results have."""

    units: Sequence[str]
    rows: int
    different: int
    """How many rows of A differ from those of B in any number."""
    equal: frozenset[str]
    """Units all of whose rows are equal."""
    columns: pd.DataFrame
    """A row for each table and column that differs somewhere: in how many of its units' rows, and by how much at most,
    in which unit."""


def compare_rows(a: Results, b: Results, units: Sequence[str]) -> Compared:
    """Compare all rows of the units, but for how long steps took, with the digits of float32.

    Of a unit's read-outs results keep those at layers where a cell of theirs is trained: layers that both keep are
    compared.
    """
    rows = different = 0
    unequal: set[str] = set()
    found: list[list[object]] = []
    for table, columns in COLUMNS.items():
        there = [unit for unit in units if unit in a.rows[table] or unit in b.rows[table]]
        compared, by_column = 0, dict[str, list[tuple[str, int, float]]]()
        for unit in there:
            own, beside = _both(*(one.rows[table].of(unit) for one in (a, b) if unit in one.rows[table]))
            compared += max(len(own), len(beside))
            differing, by_unit = _differences(own, beside, columns)
            different += differing
            unequal |= {unit} if by_unit else set()
            for column, (number, largest) in by_unit.items():
                by_column.setdefault(column, []).append((unit, number, largest))
        rows += compared
        for column, parts in by_column.items():
            unit, _, largest = max(parts, key=lambda part: part[2])
            found.append([table, column, len(parts), compared, sum(part[1] for part in parts), largest, unit])
    equal = frozenset(units) - unequal
    return Compared(units, rows, different, equal, pd.DataFrame(found, columns=DIFFERING))


def _both(own: pa.Table, beside: pa.Table | None = None) -> tuple[pa.Table, pa.Table]:
    """The rows of a unit on both sides, of which the second may have none, at the layers that both have where these are
    not the same."""
    if beside is None:
        return own, own.slice(0, 0)
    if "layer" not in own.column_names:
        return own, beside
    there = [{*pc.unique(side["layer"]).to_pylist()} for side in (own, beside)]
    if there[0] != there[1]:
        layers = there[0] & there[1]
        own, beside = (
            side.filter(pc.is_in(side["layer"], pa.array(sorted(layers), side["layer"].type))) for side in (own, beside)
        )
    return own, beside


def _differences(own: pa.Table, beside: pa.Table, columns: Sequence[str]) -> tuple[int, dict[str, tuple[int, float]]]:
    """How many rows of a unit differ; and by column how many, and by how much at most."""
    if len(own) != len(beside):
        most = max(len(own), len(beside))
        return most, {TEXTS: (most, np.nan)}
    found: dict[str, tuple[int, float]] = {}
    any_differs = np.zeros(len(own), bool)
    for column in columns:
        if column in TIMINGS:
            continue
        if column in TEXT:
            left, right = (side[column].cast(pa.string()) for side in (own, beside))
            if not left.equals(right):
                found[TEXTS], any_differs[:] = (len(own), np.nan), True
            continue
        left, right = (np.asarray(side[column], np.float64) for side in (own, beside))
        differ = (left != right) & ~(np.isnan(left) & np.isnan(right))
        if differ.any():
            found[column] = int(differ.sum()), float(np.nanmax(np.abs(left - right)[differ], initial=0.0))
            any_differs |= differ
    return int(any_differs.sum()), found
