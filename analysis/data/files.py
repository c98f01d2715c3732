"""The files of a report's folder: their names, and tables as CSV, in which text stays what it is."""

import io
import re
import unicodedata
from numbers import Number
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from study.config.base import content_hash
from study.results.description import ResultsError
from study.results.files import write_bytes

LONGEST_NAME = 120
"""Largest number of characters of the name of a figure or table."""
LONG = 2000
"""Rows of a table above which it is written as Parquet."""
FORMULA = re.compile(r"'*[=+\-@\t\n]")
"""Beginning of a text that gets a leading apostrophe: of a formula, or of what would be taken for a quoted one."""
QUOTED = re.compile(r"'+[=+\-@\t\n]")
"""Beginning of a text that has got a leading apostrophe."""


def short_name(name: str) -> str:
    """Return a name of a figure or table that is short enough for a file: a digest stands for what is too much."""
    return name if len(name.encode()) <= LONGEST_NAME else f"{name[:20]}_{content_hash(name)}"


def check_file_name(name: str) -> None:
    """Raises ResultsError where a figure or table of that name could lie outside the report's folder."""
    in_words = all(sign in "-_." or unicodedata.category(sign)[0] in "LMN" for sign in name)
    if not in_words or not 1 <= len(name) <= LONGEST_NAME or name[0] in "-.":
        raise ResultsError(
            f"a figure or table of the report would be called {ascii(name)[:150]}, which is no name of a file: its "
            "models and wordings need names of at most 100 letters, digits, dots, dashes and underscores"
        )


def write_file(folder: Path, name: str, suffix: str, content: bytes) -> None:
    """Write a figure or table of a report. Raises ResultsError where its name could lead out of the folder."""
    check_file_name(name)
    write_bytes(folder / f"{name}{suffix}", content)


def to_csv(table: pd.DataFrame) -> bytes:
    """Return the table as CSV. A text that a spreadsheet would take for a formula gets a leading apostrophe."""
    safe = table.copy()
    for column in text_columns(table):
        safe[column] = table[column].astype(object).map({value: _quoted(value) for value in table[column].unique()})
    return safe.to_csv(index=False, float_format="%.6g").encode(errors="replace")


def table_file(table: pd.DataFrame) -> tuple[str, bytes]:
    """Return the suffix and the content of a report's table: CSV, or Parquet for one of more than LONG rows, which is a
    tenth as large."""
    if len(table) <= LONG:
        return ".csv", to_csv(table)
    floats = [str(column) for column in table if table[column].dtype.kind == "f"]
    short = table.astype(dict.fromkeys(floats, "float32")).reset_index(drop=True)
    short = short.astype({column: "str" for column in text_columns(short)})
    stream = io.BytesIO()
    packed = pa.Table.from_pandas(short, preserve_index=False).replace_schema_metadata(None)
    pq.write_table(packed, stream, compression="zstd", compression_level=19, write_statistics=False)
    return ".parquet", stream.getvalue()


def from_csv(content: bytes, table: pd.DataFrame) -> pd.DataFrame:
    """Return `table` with the digits of its CSV: text as it was, whatever it looks like, and numbers as written."""
    text = text_columns(table)
    empty = {str(column): [""] for column in table.columns if column not in text}
    types = dict.fromkeys(text, str)
    read = pd.read_csv(io.BytesIO(content), dtype=types, keep_default_na=False, na_values=empty)
    for column in text:
        read[column] = [value[1:] if QUOTED.match(value) else value for value in read[column]]
    return read


def quoted_columns(table: pd.DataFrame) -> list[str]:
    """Return the columns in which some text has a leading apostrophe in the CSV."""
    return [name for name in text_columns(table) if any(_quoted(value) != value for value in table[name].dropna())]


def text_columns(table: pd.DataFrame) -> list[str]:
    """Return the columns in which something is neither a number nor missing."""
    return [
        str(name)
        for name, column in table.items()
        if column.dtype.kind not in "iufb" and not all(_is_number(value) for value in column.unique())
    ]


def _quoted(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = value.replace("\r\n", "\n").replace("\r", "\n")  # pandas would write a bare \r as the end of the row
    return f"'{text}" if FORMULA.match(text) else text


def _is_number(value: Any) -> bool:
    return value is None or isinstance(value, Number | np.bool_)
