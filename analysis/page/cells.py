"""The table of all cells: where each is, and how it came out on each tier."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.data.files import from_csv, to_csv
from analysis.data.numbers import probability, share
from analysis.statistics.intervals import Interval

PLACE = ["model", "pair", "layer", "depth", "weight"]
WHERE_SEVERAL = ["arm", "wordings", "seed", "status"]
"""Columns of the table of cells where there is more than one value."""
MOST_CELLS = 300
"""Of the table; a page of more would be slow to read and to load."""
HEADS = {"pair": "class tokens", "weight": "w"}


@dataclass(frozen=True)
class Value:
    """What stands in a table's cell; `key` is what it is sorted by, where that is not the text."""

    text: str
    key: float | None = None


def cells(tables: Mapping[str, pd.DataFrame], tiers: Sequence[str]) -> dict[str, Any]:
    """Return what the template of the table says: one row a cell with a class loss, of which there are `count`; the
    first `place` columns name it. `tables` are those of the report, of which it has the digits of their CSV.
    """
    units, outcomes = tables["units"], tables["outcomes"]
    shown = units[(units["kind"] == "cell") & units["layer"].notna()]
    place = PLACE + [name for name in WHERE_SEVERAL if name in shown and shown[name].nunique() > 1]
    first = _as_written(shown.iloc[:MOST_CELLS])
    told = _as_written(outcomes[outcomes["unit"].isin(first["id"])])
    by_cell = {(row["unit"], row["tier"]): row for row in told.to_dict("records")}
    rows = []
    for cell in first.to_dict("records"):
        values = [_place(column, cell[column]) for column in place]
        found = [by_cell.get((cell["id"], tier)) for tier in tiers]
        values += [_outcome(row) if row else Value(cell["status"]) for row in found]
        rows.append((cell["id"], values))
    head = [*(HEADS.get(column, column) for column in place), *tiers]
    return {"head": head, "rows": rows, "place": len(place), "count": len(shown)}


def _as_written(table: pd.DataFrame) -> pd.DataFrame:
    return from_csv(to_csv(table), table)


def _place(column: str, value: Any) -> Value:
    if column == "layer":
        return Value(f"L{value:.0f}", value)
    return Value(f"{value:.2f}", value) if column == "depth" else Value(str(value))


def _outcome(row: dict[Any, Any]) -> Value:
    choice = Interval(*(float(row[f"choice{end}"]) for end in ("", "_low", "_high")))
    return Value(f"{share(choice)}\n{row['outcome']}, p\u00a0{probability(float(row['p']))}", choice.estimate)
