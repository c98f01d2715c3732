"""Which cells `--only` picks, with the stage 1 and the reference that they need."""

from collections.abc import Sequence

from study.cells import Cell, Unit, absolute_layer, pair_name

KEYS = ("model", "layer", "pair", "weight")


class SelectionError(Exception):
    """An `--only` that says nothing clear, or that no cell meets."""


def choose(units: Sequence[Unit], only: Sequence[str]) -> list[Unit]:
    """The units of the cells that meet `only`, in their order; all units where it is empty.

    Each entry is `key=value`. Values of one key are alternatives; different keys must all be met. A layer is a block's
    index or a relative depth with a decimal point, as in the configuration. Raises SelectionError.
    """
    wanted: dict[str, list[str]] = {}
    for entry in only:
        key, _, value = (part.strip() for part in entry.partition("="))
        if key not in KEYS or not value:
            raise SelectionError(f"--only {entry}: must be one of {', '.join(f'{known}=…' for known in KEYS)}")
        wanted.setdefault(key, []).append(value)
    if not wanted:
        return list(units)
    cells = [unit for unit in units if isinstance(unit, Cell)]
    chosen = [cell for cell in cells if all(_meets(cell, key, values) for key, values in wanted.items())]
    if not chosen:
        raise SelectionError(f"--only {' '.join(only)}: no cell is so; there are {_what_exists(cells)}")
    needed = {unit_id for cell in chosen for unit_id in (cell.id, cell.reference_id, cell.stage_one.id)}
    return [unit for unit in units if unit.id in needed]


def _meets(cell: Cell, key: str, values: list[str]) -> bool:
    if key == "model":
        return cell.stage_one.model_name in values
    if key == "pair":
        return any(pair_name(pair) in values for pair in cell.pairs)
    numbers = [_number(key, value) for value in values]
    if key == "weight":
        return cell.weight in numbers
    return cell.layer in [absolute_layer(number, cell.stage_one.model.blocks) for number in numbers]


def _number(key: str, text: str) -> int | float:
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError:
        raise SelectionError(f"--only {key}={text}: must be a number") from None


def _what_exists(cells: Sequence[Cell]) -> str:
    known: dict[str, Sequence[object]] = {
        "model": sorted({cell.stage_one.model_name for cell in cells}),
        "layer": sorted({cell.layer for cell in cells if cell.layer is not None}),
        "pair": sorted({pair_name(pair) for cell in cells for pair in cell.pairs}),
        "weight": sorted({cell.weight for cell in cells}),
    }
    return "; ".join(f"{key} {', '.join(format(value) for value in values)}" for key, values in known.items())
