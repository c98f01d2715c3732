"""What a file of prompts calls the keys of a prompt, and what to write where it calls them otherwise."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, get_args

from study.config.examples import ExampleKey, Examples

KEYS: tuple[ExampleKey, ...] = get_args(ExampleKey)
NEEDED: tuple[ExampleKey, ...] = ("prompt", "answer", "class", "split")
"""Keys that every row has; but all may be without an answer."""
ALSO: Mapping[str, tuple[str, ...]] = {
    "prompt": ("text", "question", "input", "instruction", "sentence", "query"),
    "answer": ("completion", "output", "target", "response", "object", "answers", "solution", "reply"),
    "class": ("label", "labels", "operation", "category", "relation", "target"),
    "split": ("set", "subset", "fold"),
}
"""What other files call these: never taken for them, since it may be something else, but told."""


@dataclass(frozen=True)
class Row:
    """One row of a file or dataset."""

    place: str
    """Where it stands, such as `line 3`, or `train[3]` in a dataset."""
    fields: Any
    """Its content; a dict by the names that the file has, where it is right."""
    wrong: str = ""
    """What is wrong with its form."""


def keys_in(names: Iterable[str], columns: Mapping[ExampleKey, str]) -> dict[ExampleKey, str]:
    """Return by which of these names each key is there: by that in `columns`, else by its own, else by the only one
    that differs from its own in case or in white space at its ends."""
    there = list(names)
    found = {}
    for key in KEYS:
        alike = [name for name in there if name.strip().casefold() == key and name not in columns.values()]
        if key in columns:
            alike = [name for name in there if name == columns[key]]
        if key in alike or len(alike) == 1:
            found[key] = key if key in alike else alike[0]
    return found


def has_answers(names: Iterable[str], source: Examples) -> bool:
    """Return whether rows with these names are to have answers: where the source does not say it, whether a name is
    there that the answer has, or may have."""
    if source.answers is not None:
        return source.answers
    named = "answer" in source.columns or "answer" in keys_in(names, source.columns)
    return named or bool(called_otherwise(["answer"], names, source.columns))


def wrong_names(names: list[str], source: Examples, given: Iterable[ExampleKey] = (), kind: str = "column") -> str:
    """Return what is wrong with the names that all rows have together; empty where nothing is. `given` are keys that
    need no name."""
    columns, keys = source.columns, keys_in(names, source.columns)
    optional = {*given, *([] if has_answers(names, source) else ["answer"])}
    lacking = [key for key in NEEDED if key not in keys and key not in optional]
    absent = [columns.get(key, key) for key in lacking] + [name for name in columns.values() if name not in names]
    if absent:
        how = called_otherwise(lacking, names, columns)
        if not how and not columns:
            how = f"; if it calls them otherwise, name its {kind}s, such as `columns: {{class: label}}`"
        if "answer" in lacking and source.answers is None:
            how += "; if the prompts have labels alone, write `answers: false` under data"
        told = ", ".join(map(repr, dict.fromkeys(absent)))
        return f"has no {kind} {told}; it has {', '.join(names) or 'none'}{how}"
    if not columns and (unknown := [name for name in names if name not in keys.values()]):
        return (
            f"{unknown[0]!r} is no key of a prompt: {', '.join(KEYS)} are; to pass others over, name a {kind}, such as "
            f"`columns: {{prompt: {keys['prompt']}}}`"
        )
    return ""


def _may_be(name: str, key: ExampleKey) -> bool:
    """Whether a name is one of those that other files have for a key, or the answer misspelt: without the other keys a
    line is refused, and told which key is meant."""
    plain = name.strip().casefold()
    return plain in ALSO.get(key, ()) or (key == "answer" and bool(get_close_matches(plain, [key], 1, 0.8)))


def called_otherwise(lacking: Iterable[ExampleKey], names: Iterable[str], columns: Mapping[ExampleKey, str]) -> str:
    """Return what to write where keys are lacking that may be there by another name; empty where none may be."""
    there = [name for name in names if name not in columns.values()]
    may_be = {key: [name for name in there if _may_be(name, key)] for key in lacking}
    every = [name for found in may_be.values() for name in found]
    sure = {key: found[0] for key, found in may_be.items() if len(found) == 1 and every.count(found[0]) == 1}
    told = ""
    if sure:
        written = ", ".join(f"{key}: {name}" for key, name in {**columns, **sure}.items())
        what = " and ".join(f"{name!r} is the {key}" for key, name in sure.items())
        told = f"; if {what}, write `columns: {{{written}}}` under data"
    for key, found in may_be.items():
        if found and key not in sure:
            told += f"; the {key} may be {' or '.join(map(repr, found))}: name it in `columns` under data"
    return told
