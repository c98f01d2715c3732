"""The values of rows: the types that their columns declare, none missing but where that is declared, finite numbers."""

from collections.abc import Collection
from pathlib import Path

import pyarrow as pa

from study.results.schema import SUMMARIES, TABLES, Column


class FigureError(Exception):
    """A figure of a unit's results is missing or not finite; the message names it."""


def check_values(name: str, table: pa.Table, missing: Collection[str] = ()) -> None:
    """Check the columns that a table of rows declares. `missing`: further columns that rows may lack.

    Raises FigureError where a column has values of another type, none where it must have one, or infinite ones.
    """
    for column, declared in (TABLES | SUMMARIES)[name].columns.items():
        if column in table.column_names:
            may_miss = len(table) if declared.missing or column in missing else 0
            if declared.missing_with in table.column_names:
                may_miss = table[declared.missing_with].null_count
            _check(f"{name}: {column}", table[column], declared, may_miss)


def read_table(file: Path, columns: Collection[str] = ()) -> pa.Table:
    """Return the rows of the table that a Parquet file is named after, after checking their values.

    `columns` are those to read, all if none is given. Raises FigureError where one is lacking or has values that it may
    not have, and the exceptions of study.results.finished.UNREADABLE.
    """
    import pyarrow.parquet as pq  # here: status and dry runs need none of it, and would wait for it longest

    written = pq.read_schema(file).names
    if lacking := [name for name in columns if name not in written]:
        raise FigureError(f"{file.stem}: it has no column {', '.join(lacking)}")
    table = pq.read_table(file, columns=list(columns) or None)
    check_values(file.stem, table)
    return table


def _check(place: str, values: pa.ChunkedArray, declared: Column, may_miss: int) -> None:
    rows, lacking, infinite = len(values), values.null_count, 0
    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    is_text, is_float = pa.types.is_string(kind) or pa.types.is_large_string(kind), pa.types.is_floating(kind)
    is_number = is_float or pa.types.is_integer(kind) or pa.types.is_boolean(kind)
    if not pa.types.is_null(kind) and not (is_text if declared.text else is_number):
        raise FigureError(f"{place} has values of the type {kind}, not {'text' if declared.text else 'numbers'}")
    if is_float:
        import pyarrow.compute as pc  # here: status and dry runs need none of it, and would wait for it longest

        lacking += _count(pc.is_nan(values))
        infinite = _count(pc.is_inf(values))
    if infinite or lacking > may_miss:
        raise FigureError(f"{place} is not finite or missing in {infinite + max(0, lacking - may_miss)} of {rows} rows")


def _count(flags: pa.ChunkedArray) -> int:
    import pyarrow.compute as pc

    return int(pc.sum(flags).as_py() or 0)
