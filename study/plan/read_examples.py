"""Reading and checking the file of a custom task: every mistake is reported with its line."""

import csv
import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from study.config.examples import Example, ExampleKey, Examples
from study.config.json_files import parse_json
from study.config.mistakes import checked
from study.config.text import normal_form

LARGEST = 2**24
"""Largest size of the file in bytes, since it travels with every unit."""


ALSO = {
    "prompt": ("text", "question", "input", "instruction", "sentence", "query"),
    "answer": ("completion", "output", "target", "response", "object"),
    "class": ("label", "operation", "category", "relation"),
    "split": ("set", "subset", "fold"),
}
"""What other files call these, of which a message says how to name it."""


def read_examples(
    name: str, file: Path, mistakes: list[str], columns: Mapping[ExampleKey, str] | None = None
) -> Examples:
    """Return the prompts of the file that a study calls `name`; only those of right lines where there are mistakes.

    A file that ends in `.csv` has a line of names first; any other is JSON Lines. `columns` say what the file calls the
    keys of Example. Mistakes are added to `mistakes`. Empty lines are skipped.
    """
    content, columns = _content(file, mistakes), columns or {}
    text = content.decode("utf-8-sig")
    rows = list(_of_csv(text, columns) if file.suffix.lower() == ".csv" else _of_json_lines(text))
    there = {key for _, fields, _ in rows if isinstance(fields, dict) for key in fields}
    if there and (lacking := [theirs for theirs in columns.values() if theirs not in there]):
        mistakes.append(f"no line has {', '.join(map(repr, lacking))}, which data.columns names")
    lines: dict[int, Example] = {}
    for number, fields, wrong in rows if not mistakes else ():
        found = [wrong] if wrong else []
        line = None if wrong else checked(Example, _renamed(fields, columns), found)
        mistakes += [
            f"line {number}: {mistake.removeprefix('the file: ')}{_called(mistake, fields)}" for mistake in found
        ]
        if line:
            lines[number] = line
    mistakes += _between_lines(lines)
    examples = Examples.of(name, hashlib.sha256(content).hexdigest(), list(lines.values()), columns)
    if not mistakes:
        mistakes += _of_all_lines(examples)
    return examples


def _renamed(fields: Any, columns: Mapping[ExampleKey, str]) -> Any:
    """Return the fields by the keys of Example; where columns are named, without others."""
    if not columns or not isinstance(fields, dict):
        return fields
    own = {key: fields[key] for key in get_args(ExampleKey) if key in fields and key not in columns}
    return own | {ours: fields[theirs] for ours, theirs in columns.items() if theirs in fields}


def _called(mistake: str, fields: Any) -> str:
    """What to write where a key is missing that the file has by another name."""
    key, _, told = mistake.partition(": ")
    there = [name for name in ALSO.get(key, ()) if isinstance(fields, dict) and name in fields]
    if told != "is missing" or not there:
        return ""
    return f"; if it is {there[0]!r}, write `columns: {{{key}: {there[0]}}}` under data"


def _of_json_lines(text: str) -> Iterator[tuple[int, Any, str]]:
    """Yield the number and the content of each line that is not empty, or what is wrong with it."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield number, parse_json(line), ""
            except json.JSONDecodeError as error:
                yield number, None, f"is not JSON: {error.msg} (column {error.colno})"
            except ValueError as error:
                yield number, None, str(error)


def _of_csv(text: str, columns: Mapping[ExampleKey, str]) -> Iterator[tuple[int, Any, str]]:
    """Yield the line in which each row ends and its fields by name, without empty ones, or what is wrong with it; what
    is wrong with the names alone."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    names: list[str] = []
    try:
        for row in filter(lambda cells: any(cell.strip() for cell in cells), reader):
            if not names:
                names = [cell.strip() for cell in row]
                if wrong := _wrong_head(names, columns):
                    yield reader.line_num, None, wrong
                    return
            elif len(row) != len(names):
                yield reader.line_num, None, f"has {len(row)} fields, and the first line names {len(names)}"
            else:
                yield reader.line_num, {name: cell for name, cell in zip(names, row, strict=True) if cell}, ""
    except csv.Error as error:
        yield reader.line_num, None, f"is not CSV: {error}"
    if not names:
        yield 1, None, _wrong_head(names, columns)


def _wrong_head(names: list[str], columns: Mapping[ExampleKey, str]) -> str:
    """What is wrong with the names of a CSV file's columns; empty where nothing is."""
    if len(names) == 1 and any(sign in names[0] for sign in ";\t|"):
        return "columns are to be separated by commas"
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        return f"names {twice[0]!r} twice: the first line has the names of the columns"
    wanted = [columns.get(key, key) for key in ("prompt", "answer", "class", "split")]
    if lacking := [name for name in dict.fromkeys((*wanted, *columns.values())) if name not in names]:
        how = "" if columns else "; if it calls them otherwise, name its columns, such as `columns: {class: label}`"
        return f"has no column {', '.join(map(repr, lacking))}; it has {', '.join(names) or 'none'}{how}"
    if not columns and (unknown := [name for name in names if name not in get_args(ExampleKey)]):
        return (
            f"{unknown[0]!r} is no key of a prompt: {', '.join(get_args(ExampleKey))} are; to pass others over, name a "
            "column, such as `columns: {prompt: prompt}`"
        )
    return ""


def _content(file: Path, mistakes: list[str]) -> bytes:
    """Return the bytes of the file; none, with a mistake added, where it cannot be read."""
    try:
        if not file.is_file():
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


def _between_lines(lines: Mapping[int, Example]) -> Iterator[str]:
    """Yield mistakes between lines: prompts that occur twice, groups on both sides of the split, and names that are
    spelt in two ways. Texts are compared in their normal form."""
    prompts: dict[str, int] = {}
    groups: dict[str, int] = {}
    names: dict[tuple[str, str], tuple[str, int]] = {}
    for number, line in lines.items():
        first = prompts.setdefault(normal_form(line.prompt), number)
        if first != number:
            as_there = "" if lines[first].prompt == line.prompt else f" as {lines[first].prompt!r}"
            yield f"line {number}: the prompt {line.prompt!r} is in line {first} too{as_there}"
            continue
        first = groups.setdefault(normal_form(line.about), number)
        if lines[first].split != line.split:
            as_there = "" if lines[first].about == line.about else f" as {lines[first].about!r}"
            yield (
                f"line {number}: group {line.about!r} is in {line.split} here and in {lines[first].split} in line "
                f"{first}{as_there}; what is tested must not be trained on"
            )
            continue
        spelt = {"group": line.about, "class": line.operation, "wording": line.wording, "template": line.template}
        for kind, name in spelt.items():
            if name is not None:
                other, first = names.setdefault((kind, normal_form(name)), (name, number))
                if other != name:
                    yield f"line {number}: {kind} {name!r} is spelt {other!r} in line {first}; spell it the same"


def _of_all_lines(examples: Examples) -> Iterator[str]:
    """Yield what the file as a whole lacks."""
    if len(examples.operations) < 2:
        yield f"has {len(examples.operations)} class{'es' * (not examples.operations)}: at least two are needed"
        return
    trained = {line.operation for line in examples.lines if line.split == "train"}
    tested = {(line.wording, line.operation) for line in examples.lines if line.split == "test"}
    for name in examples.operations:
        if name not in trained:
            yield f"class {name!r} has no prompt whose split is train"
        for tier in examples.tiers:
            if (tier, name) not in tested:
                yield f"class {name!r} has no prompt whose split is test in wording {tier!r}; each class needs one"
    if not examples.trained and trained == set(examples.operations):
        yield "no wording has prompts of every class with the split train; one must, to be trained on"
