"""Reading and checking the file of a custom task: every mistake is reported with its line."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from study.config.examples import Example, Examples
from study.config.json_files import parse_json
from study.config.mistakes import checked
from study.config.text import normal_form

LARGEST = 2**24
"""Largest size of the file in bytes, since it travels with every unit."""


def read_examples(name: str, file: Path, mistakes: list[str]) -> Examples:
    """Return the prompts of the file that a study calls `name`; only those of right lines where there are mistakes.

    Mistakes are added to `mistakes`. Empty lines are skipped.
    """
    content = _content(file, mistakes)
    lines: dict[int, Example] = {}
    for number, text in enumerate(content.decode("utf-8-sig").split("\n"), 1):
        if text.strip():
            found: list[str] = []
            line = _line(text, found)
            mistakes += [f"line {number}: {mistake.removeprefix('the file: ')}" for mistake in found]
            if line:
                lines[number] = line
    mistakes += _between_lines(lines)
    examples = Examples.of(name, hashlib.sha256(content).hexdigest(), list(lines.values()))
    if not mistakes:
        mistakes += _of_all_lines(examples)
    return examples


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


def _line(text: str, mistakes: list[str]) -> Example | None:
    try:
        line: Example | None = checked(Example, parse_json(text), mistakes)
        return line
    except json.JSONDecodeError as error:
        mistakes.append(f"is not JSON: {error.msg} (column {error.colno})")
    except ValueError as error:
        mistakes.append(str(error))
    return None


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
