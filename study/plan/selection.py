"""Selection of cells by `--only`, with the units before stage 2 that belong to them."""

import re
from collections.abc import Sequence
from typing import Any

from pydantic import ConfigDict, TypeAdapter

from study.config.bounds import Seed
from study.config.mistakes import SHOWN, nearest
from study.config.names import AbsoluteLayer, RelativeDepth, Weight
from study.config.units import Cell, Unit, model_and_seed, pair_name
from study.plan.expand import absolute_layer

_NUMBERS: dict[str, tuple[TypeAdapter[int | float], str]] = {
    "layer": (
        TypeAdapter(AbsoluteLayer | RelativeDepth, config=ConfigDict(strict=True)),
        "the index of a block, a whole number from 0, or a relative depth above 0 up to 1, with a decimal point",
    ),
    "weight": (TypeAdapter(Weight), "a number from 0 to 1"),
    "seed": (TypeAdapter(Seed, config=ConfigDict(strict=True)), "a whole number from 0 to 4294967295"),
}
_OF_LABELS = re.compile(r"L(?P<layer>\d+)|w=(?P<weight>.+)|s(?P<seed>\d+)")
"""Parts of labels that tell of themselves what they are."""
KEYS = ("model", "layer", "pair", "weight", "arm", "seed", "recipe", "id")


class SelectionError(Exception):
    """An `--only` is malformed, or no cell matches it."""


def choose(units: Sequence[Unit], only: Sequence[str]) -> list[Unit]:
    """Return the cells that match `only` and the other units of their models and seeds; all units where it is empty.

    Each entry is `key=value`, or what a label shows: L16, w=0.5, s1, a whole label, or the name of an arm, model, pair
    or recipe. Values of one key are alternatives; different keys must all match. A layer is the index of a block or a
    relative depth with a decimal point, as in the configuration; an id is the end of a folder's name. Raises
    SelectionError.
    """
    wanted: dict[str, list[Any]] = {}
    cells = [unit for unit in units if isinstance(unit, Cell)]
    for entry in only:
        key, value = _key_and_value(entry, cells)
        wanted.setdefault(key, []).append(_number(key, value) if key in _NUMBERS else value)
    if not wanted:
        return list(units)
    chosen = [cell for cell in cells if all(_meets(cell, key, values) for key, values in wanted.items())]
    if not chosen:
        near = "".join(
            nearest(value, _names(cells))
            for key, values in wanted.items()
            for value in values
            if isinstance(value, str) and not any(_meets(cell, key, [value]) for cell in cells)
        )
        raise SelectionError(f"--only {_shown(' '.join(only))}: no cell matches{near}; there are {_what_exists(cells)}")
    picked, theirs = {cell.id for cell in chosen}, {model_and_seed(cell) for cell in chosen}
    return [
        unit for unit in units if unit.id in picked or (not isinstance(unit, Cell) and model_and_seed(unit) in theirs)
    ]


def _key_and_value(entry: str, cells: Sequence[Cell]) -> tuple[str, str]:
    """Return what an entry selects by. Raises SelectionError."""
    text = entry.strip()
    key, _, value = (part.strip() for part in text.partition("="))
    if key in KEYS and value:
        return key, value
    if short := _OF_LABELS.fullmatch(text):
        name = next(name for name, found in short.groupdict().items() if found is not None)
        return name, short[name]
    for cell in cells:
        if cell.label == text:
            return "id", cell.id
    if "=" not in text:
        for cell in cells:
            names = {"model": [cell.stage_one.shown_name], "arm": [cell.arm], "pair": _pairs(cell)}
            for known, values in {**names, "recipe": [cell.recipe]}.items():
                if text in values:
                    return known, text
    near = nearest(key, KEYS) if "=" in text else nearest(text, _names(cells))
    allowed = ", ".join(f"{known}=…" for known in KEYS)
    raise SelectionError(
        f"--only {_shown(entry)}: must be one of {allowed}, or what labels show, such as L16, w=0.5 or s1{near}"
    )


def _names(cells: Sequence[Cell]) -> set[str]:
    return {name for cell in cells for name in (cell.stage_one.shown_name, cell.arm, *_pairs(cell), *KEYS)}


def _meets(cell: Cell, key: str, values: list[Any]) -> bool:
    if key == "model":
        return cell.stage_one.shown_name in values
    if key == "arm":
        return cell.arm in values
    if key == "recipe":
        return cell.recipe in values
    if key == "id":
        return cell.id in values
    if key == "pair":
        return any(name in values for name in _pairs(cell))
    if key == "weight":
        return cell.weight in values
    if key == "seed":
        return cell.stage_one.seed in values
    return cell.layer in [absolute_layer(number, cell.stage_one.model.blocks) for number in values]


def _pairs(cell: Cell) -> list[str]:
    """Return the name of the cell's pair as in the grid and as in labels; where w = 0, the names of all that are
    read."""
    names = [pair_name(cell.pair)] if cell.pair else [readout.name for readout in cell.readouts]
    return [*names, *(name.replace("/", "-") for name in names)]


def _number(key: str, text: str) -> int | float:
    """Return the number as the configuration has it: a layer is an index or a depth, a seed whole, a weight at most 1.

    Raises SelectionError.
    """
    kind, allowed = _NUMBERS[key]
    try:
        number: int | float = int(text) if text.isdecimal() else float(text)
        return kind.validate_python(number)
    except ValueError:  # of int, of float or of pydantic
        raise SelectionError(f"--only {key}={_shown(text)}: must be {allowed}") from None


def _shown(text: str) -> str:
    """Return the beginning of a text in one line, as far as it can be printed."""
    short = text if len(text) <= SHOWN else text[:SHOWN] + "…"
    return short if short.isprintable() else ascii(short)


def _what_exists(cells: Sequence[Cell]) -> str:
    known: dict[str, Sequence[object]] = {
        "model": sorted({cell.stage_one.shown_name for cell in cells}),
        "layer": sorted({cell.layer for cell in cells if cell.layer is not None}),
        "pair": sorted({pair_name(cell.pair) for cell in cells if cell.pair}),
        "weight": sorted({cell.weight for cell in cells}),
        "arm": sorted({cell.arm for cell in cells}),
        "seed": sorted({cell.stage_one.seed for cell in cells}),
        "recipe": list(dict.fromkeys(cell.recipe for cell in cells)),
    }
    return "; ".join(f"{key} {', '.join(format(value) for value in values)}" for key, values in known.items())
