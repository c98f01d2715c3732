"""Rows of the report's tables, of which the text has the first ones, and the tables as CSV all."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import pandas as pd

Row = list[str]
Item = TypeVar("Item")
MOST_ROWS = 64
"""Of a table in the text."""


class Rows(list[Row]):
    """The first MOST_ROWS rows of a table; `every` is how many there would be."""

    every: int = 0


def first_rows(items: Sequence[Item], row: Callable[[Item], Row]) -> Rows:
    """Return the row of each of the items, as many as the text has."""
    rows = Rows(row(item) for item in items[:MOST_ROWS])
    rows.every = len(items)
    return rows


def first_groups(frame: pd.DataFrame, keys: Sequence[str], row: Callable[[pd.DataFrame], Row]) -> Rows:
    """Return the row of each group of rows that have the same keys, as many as the text has."""
    groups = frame.groupby(list(keys), sort=False, dropna=False)
    own = frame[groups.ngroup() < MOST_ROWS].groupby(list(keys), sort=False, dropna=False)
    rows = Rows(row(here) for _, here in own)
    rows.every = groups.ngroups
    return rows
