"""The rows of a file of prompts, JSON Lines or CSV."""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from study.config.examples import Examples
from study.config.json_files import parse_json
from study.plan.example_keys import Row, wrong_names

LARGEST = 2**24
"""Largest size of the prompts in bytes, since they travel with every unit."""


def rows_of_file(file: Path, source: Examples, mistakes: list[str]) -> tuple[bytes, list[Row]]:
    """Return the content of the file and its rows; none, with a mistake added, where it cannot be read.

    A file that ends in `.csv` has a line of names first; any other is JSON Lines. Empty lines are skipped.
    """
    content = _content(file, mistakes)
    text = content.decode("utf-8-sig")
    return content, list(_of_csv(text, source) if file.suffix.lower() == ".csv" else _of_json_lines(text))


def _of_json_lines(text: str) -> Iterator[Row]:
    """Yield each line that is not empty."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield Row(f"line {number}", parse_json(line))
            except json.JSONDecodeError as error:
                yield Row(f"line {number}", None, f"is not JSON: {error.msg} (column {error.colno})")
            except ValueError as error:
                yield Row(f"line {number}", None, str(error))


def _of_csv(text: str, source: Examples) -> Iterator[Row]:
    """Yield each row, by the line in which it ends, without empty fields; what is wrong with the names alone."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    names: list[str] = []
    try:
        for row in filter(lambda cells: any(cell.strip() for cell in cells), reader):
            place = f"line {reader.line_num}"
            if not names:
                names = [cell.strip() for cell in row]
                if wrong := _wrong_head(names, source):
                    yield Row(place, None, wrong)
                    return
            elif len(row) != len(names):
                yield Row(place, None, f"has {len(row)} fields, and the first line names {len(names)}")
            else:
                yield Row(place, {name: cell for name, cell in zip(names, row, strict=True) if cell.strip()})
    except csv.Error as error:
        yield Row(f"line {reader.line_num}", None, f"is not CSV: {error}")
    if not names:
        yield Row("line 1", None, _wrong_head(names, source))


def _wrong_head(names: list[str], source: Examples) -> str:
    """What is wrong with the names of a CSV file's columns; empty where nothing is."""
    if len(names) == 1 and any(sign in names[0] for sign in ";\t|"):
        return "columns are to be separated by commas"
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        return f"names {twice[0]!r} twice: the first line has the names of the columns"
    return wrong_names(names, source)


def _content(file: Path, mistakes: list[str]) -> bytes:
    """Return the bytes of the file; none, with a mistake added, where it cannot be read."""
    try:
        if file.is_dir():
            mistakes.append("is a folder; for one that the package datasets saved, write `dataset` in place of `file`")
        elif not file.is_file():
            mistakes.append("does not exist or is not a file")
        elif file.stat().st_size > LARGEST:
            mistakes.append(f"is larger than {LARGEST // 2**20} MiB: it is kept in memory and travels with every unit")
        else:
            content = file.read_bytes()
            content.decode()
            return content
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        mistakes.append(f"line {line}: is not UTF-8")
    except OSError as error:
        mistakes.append(f"cannot be read: {error.strerror}")
    return b""
