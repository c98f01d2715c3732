"""Reading and checking the prompts of a custom task: every mistake is reported with its line."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from study.config.examples import Example, Examples
from study.config.mistakes import checked
from study.config.text import normal_form, rooted
from study.plan.example_datasets import rows_of_dataset
from study.plan.example_files import rows_of_file
from study.plan.example_keys import NEEDED, Row, called_otherwise, has_answers, keys_in, wrong_names

ALSO_TRAINED = ("training", "trn")
"""What other files call the split that is trained on; any other is more likely one that is tested."""


def place_of_examples(source: Examples, folder: Path) -> Path:
    """Return the file or folder that a study in `folder` names, or else the name of a dataset on the hub."""
    there = rooted(source.name, folder)
    return there if source.file or there.exists() else Path(source.name)


def read_examples(source: Examples, folder: Path, mistakes: list[str]) -> Examples:
    """Return the prompts that a study in `folder` names; only those of right lines where there are mistakes, which are
    added to `mistakes`."""
    place = place_of_examples(source, folder)
    read = rows_of_file(place, source, mistakes) if source.file else rows_of_dataset(source, place, mistakes)
    content, rows = read
    names = list(dict.fromkeys(name for row in rows if isinstance(row.fields, dict) for name in row.fields))
    mistakes += _of_names(rows, names, source) if not mistakes else []
    answered = has_answers(names, source)
    lines: dict[str, Example] = {}
    told_of: dict[str, list[str]] = {}
    for row in _that_count(rows, source) if not mistakes else ():
        found = [row.wrong] if row.wrong else []
        line = None if row.wrong else checked(Example, row.fields, found)
        if answered and isinstance(row.fields, dict) and row.fields.get("answer") is None:
            line, found = None, [*found, "answer: is missing"]
        for mistake in found:
            told = mistake.removeprefix("the file: ") + _called(mistake, row.fields, source)
            told_of.setdefault(told, []).append(row.place)
        if line:
            lines[row.place] = line
    for told, places in told_of.items():  # a file has many rows with the same mistake
        more = f" (the same in {len(places) - 1} more)" if len(places) > 1 else ""
        mistakes.append(f"{places[0]}: {told}{more}")
    mistakes += _between_lines(lines)
    examples = source.holding(hashlib.sha256(content).hexdigest(), list(lines.values()))
    if not mistakes:
        mistakes += _of_all_lines(examples)
    return examples


def _of_names(rows: Sequence[Row], names: list[str], source: Examples) -> Iterator[str]:
    """Yield what is wrong with the keys and splits of all rows together."""
    there = [row.fields for row in rows if isinstance(row.fields, dict)]
    keys = keys_in(names, source.columns)
    absent = [theirs for theirs in source.columns.values() if theirs not in names]
    needed = [key for key in NEEDED if key != "answer" or has_answers(names, source)]
    if there and (absent or any(key not in keys for key in needed)) and not any(row.wrong for row in rows):
        yield wrong_names(names, source, kind="key")
        return
    found = dict.fromkeys(str(fields[keys["split"]]) for fields in there if keys.get("split") in fields)
    known = {name.strip().casefold() for name in found}
    for ours, theirs in source.splits.items() if there else ():
        if theirs.casefold() not in known:
            yield f"no line has the split {theirs!r}, which data.splits takes for {ours}; there are {', '.join(found)}"


def _that_count(rows: Sequence[Row], source: Examples) -> Iterator[Row]:
    """Yield the rows by the keys of Example, without those of other splits; where columns are named, without what else
    there is in them."""
    for row in rows:
        if isinstance(row.fields, dict):
            keys = keys_in(row.fields, source.columns)
            others = {} if source.columns else {k: v for k, v in row.fields.items() if k not in keys.values()}
            fields = {**others, **{ours: row.fields[theirs] for ours, theirs in keys.items()}}
            if source.answers is False:
                fields.pop("answer", None)
            split = fields.get("split")
            if isinstance(split, str):
                taken = source.taken_for.get(split.strip().casefold())
                if source.splits and taken is None:
                    continue
                fields["split"] = taken or split
            row = replace(row, fields=fields)
        yield row


def _called(mistake: str, fields: Any, source: Examples) -> str:
    """What to write where a key is missing that the file has by another name, or where a split is called otherwise."""
    key, _, told = mistake.partition(": ")
    if not isinstance(fields, dict):
        return ""
    if told == "is missing" and key in NEEDED and key not in fields:
        return called_otherwise([key], fields, source.columns)
    named = fields.get("class")
    if key == "class" and isinstance(named, str) and " " in named.strip():
        short = "_".join(named.split())
        words = " ".join(named.split())
        return f"; call the class {short} here, and give its words in `pairs`, such as `{short}: {words}`"
    split = fields.get("split")
    if key == "split" and isinstance(split, str):
        ours = "train" if split.strip().casefold() in ALSO_TRAINED else "test"
        return (
            f"; to take it for {ours}, write `splits: {{{ours}: {split.strip()}}}` under data, which passes other "
            "splits over"
        )
    return ""


def _between_lines(lines: Mapping[str, Example]) -> Iterator[str]:
    """Yield mistakes between lines: prompts that occur twice, groups on both sides of the split, and names that are
    spelt in two ways. Texts are compared in their normal form."""
    prompts: dict[str, str] = {}
    groups: dict[str, str] = {}
    names: dict[tuple[str, str], tuple[str, str]] = {}
    for place, line in lines.items():
        first = prompts.setdefault(normal_form(line.prompt), place)
        if first != place:
            as_there = "" if lines[first].prompt == line.prompt else f" as {lines[first].prompt!r}"
            yield f"{place}: the prompt {line.prompt!r} is in {first} too{as_there}"
            continue
        first = groups.setdefault(normal_form(line.about), place)
        if lines[first].split != line.split:
            as_there = "" if lines[first].about == line.about else f" as {lines[first].about!r}"
            yield (
                f"{place}: group {line.about!r} is in {line.split} here and in {lines[first].split} in "
                f"{first}{as_there}; what is tested must not be trained on"
            )
            continue
        spelt = {"group": line.about, "class": line.operation, "wording": line.wording, "template": line.template}
        for kind, name in spelt.items():
            if name is not None:
                other, first = names.setdefault((kind, normal_form(name)), (name, place))
                if other != name:
                    yield f"{place}: {kind} {name!r} is spelt {other!r} in {first}; spell it the same"


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
