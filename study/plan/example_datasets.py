"""The rows of a Hugging Face dataset of prompts: one in a folder, or on the hub."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from study.config.catalogue import is_hub_id
from study.config.examples import ExampleKey, Examples, Split
from study.plan.example_files import LARGEST
from study.plan.example_keys import Row, keys_in, wrong_names

if TYPE_CHECKING:
    from datasets import Dataset

TEXTS = ("string", "large_string", "string_view", "null")
"""Types of columns that hold texts, or nothing."""


@dataclass(frozen=True)
class Part:
    """Consecutive rows of a split."""

    written: str
    """How the study names them as a split; empty where a column says it."""
    split: str
    start: int
    """Index of the first of them in the split."""
    rows: "Dataset"


class DatasetError(Exception):
    """A dataset cannot be read as prompts."""


def rows_of_dataset(source: Examples, place: Path, mistakes: list[str]) -> tuple[bytes, list[Row]]:
    """Return the rows of a dataset as JSON Lines, and each; none, with a mistake added, where it cannot be read.

    `place` is its folder, or its name on the hub. Classes are their names. Where no column says the split of a row, its
    split is the text by which the study takes it, such as `train[:80%]`.
    """
    try:
        splits = _loaded(source, place)
        names = list(dict.fromkeys(name for part in splits.values() for name in part.column_names))
        keys = keys_in(names, source.columns)
        given: list[ExampleKey] = [] if "split" in source.columns else ["split"]
        if wrong := wrong_names(names, source, given) or _no_text(splits, keys.values()):
            raise DatasetError(wrong)
        parts = _whole(splits) if "split" in keys else _parts(source, splits)
        rows: list[Row] = []
        content: list[bytes] = []
        left = LARGEST
        for row in _rows(parts, list(keys.values())):
            rows.append(row)
            content.append(json.dumps(row.fields, ensure_ascii=False, sort_keys=True).encode())
            left -= len(content[-1])
            if left < 0:
                raise DatasetError(
                    f"has more than {LARGEST // 2**20} MiB of prompts, which are kept in memory and travel with every "
                    "unit; take parts of its splits, such as `splits: {train: 'train[:2000]'}` under data"
                )
        return b"\n".join(content), rows
    except DatasetError as error:
        mistakes.append(str(error))
        return b"", []


def _loaded(source: Examples, place: Path) -> dict[str, "Dataset"]:
    """Return the splits of a dataset by name; of one without splits, itself as the split `train`. Raises
    DatasetError."""
    try:
        import datasets  # here, since few studies need it, and it takes seconds
    except ImportError:
        raise DatasetError("needs the package datasets: run `pip install datasets` in this environment") from None
    saved = any((place / name).is_file() for name in ("state.json", "dataset_dict.json"))
    if saved and source.config:
        raise DatasetError("was written by save_to_disk and has no configurations; leave out data.config")
    if not place.is_dir() and not is_hub_id(source.name):
        raise DatasetError("is no folder, and no name on the hub, which is owner/name")
    try:
        loaded = datasets.load_from_disk(str(place)) if saved else datasets.load_dataset(str(place), source.config)
    except Exception as error:  # of any type: each format of files has a reader of its own
        raise DatasetError(f"cannot be loaded: {_first_line(error)}") from error
    return dict(loaded) if isinstance(loaded, datasets.DatasetDict) else {str(loaded.split or "train"): loaded}


def _whole(splits: dict[str, "Dataset"]) -> Iterator[Part]:
    """Yield all rows, whose split a column says."""
    for name, rows in splits.items():
        yield Part("", name, 0, rows)


def _rows(parts: Iterator[Part], columns: list[str]) -> Iterator[Row]:
    """Yield the rows of these parts with these columns alone, without what is empty."""
    for part in parts:
        table = part.rows.with_format(None).select_columns([one for one in part.rows.column_names if one in columns])
        named = {name: feature.names for name, feature in table.features.items() if hasattr(feature, "names")}
        for number, fields in enumerate(table, part.start):
            for name, names in named.items():
                label = fields[name]
                fields[name] = None if label is None or label < 0 else names[label]  # -1 is that there is none
            given = {name: value for name, value in fields.items() if value is not None}
            place = f"{part.split}[{number}]" + (f" in {part.written}" if part.written not in ("", part.split) else "")
            yield Row(place, {**given, **({"split": part.written} if part.written else {})})


def _parts(source: Examples, splits: dict[str, "Dataset"]) -> Iterator[Part]:
    """Yield the parts that are taken for train and for test. Raises DatasetError where a split is not there."""
    from datasets import ReadInstruction

    lengths = {name: len(rows) for name, rows in splits.items()}
    for ours in get_args(Split):
        written = source.splits.get(ours, ours)
        try:
            found = ReadInstruction.from_spec(written).to_absolute(lengths)
        except ValueError as error:
            raise DatasetError(
                f"{_first_line(error)}: name its splits under data, such as `splits: {{test: validation}}`, or parts "
                "of one, such as `splits: {train: 'train[:80%]', test: 'train[80%:]'}`"
            ) from None
        for one in found:
            start, end = one.from_ or 0, lengths[one.splitname] if one.to is None else one.to
            yield Part(written, one.splitname, start, splits[one.splitname].select(range(start, end)))


def _no_text(splits: dict[str, "Dataset"], columns: Iterable[str]) -> str:
    """What is wrong with columns that hold neither texts nor classes; empty where all do."""
    for rows in splits.values():
        for name in columns:
            feature = rows.features.get(name)
            if feature and not hasattr(feature, "names") and getattr(feature, "dtype", None) not in TEXTS:
                return (
                    f"column {name!r} holds {feature}, and no texts; `class_encode_column`, or `cast_column` with a "
                    "ClassLabel, gives numbers of classes their names"
                )
    return ""


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
