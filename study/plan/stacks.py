"""Stacks: cells that train side by side over one frozen model. The grouping changes no result, and so no id."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

from study.config.base import content_hash
from study.config.units import Cell, Unit, number_text

LARGEST_STACK = 8
"""Largest number of cells of a stack where `ray.stack` is `auto`: with more, a CPU gains little."""


def stack_key(unit: Unit) -> str:
    """Return a key that is equal for cells that can train in one stack; other units have a key of their own.

    Such cells share their model, batches, recipe and number of steps; layer, pair, weight, arm and learning rate may
    differ. Cells with w = 1 need no block above their layer, and stack only with others of the same layer and w = 1.
    """
    if not isinstance(unit, Cell):
        return unit.id
    shared = unit.stage2.model_dump(mode="json", exclude={"learning_rate"})
    stops = unit.layer if unit.weight == 1 else None
    batches = [list(unit.operations), list(unit.wordings)]
    return content_hash([unit.stage_one.id, batches, shared, unit.evaluation, stops, unit.choices, unit.scored])


def stack_label(units: Sequence[Unit]) -> str:
    """Return the label of a task: that of its one unit, or the ranges of its cells."""
    cells = [unit for unit in units if isinstance(unit, Cell)]
    if len(units) == 1 or not cells:
        return units[0].label
    layers = _range([f"L{layer}" for layer in sorted({cell.layer for cell in cells if cell.layer is not None})])
    pairs = ",".join(dict.fromkeys("-".join(cell.pair.values()) for cell in cells if cell.pair))
    weights = "w=" + ",".join(number_text(weight) for weight in sorted({cell.weight for cell in cells}))
    arms = [",".join(found)] if (found := list(dict.fromkeys(cell.arm for cell in cells))) != ["plain"] else []
    recipe = [cells[0].recipe] if cells[0].choices else []
    first = cells[0].stage_one
    words = ["+".join(cells[0].wordings)] if cells[0].wordings != [first.data.tiers[0]] else []
    return "|".join(
        [first.model_name, f"{len(cells)} cells", layers, pairs, weights, *arms, *words, *recipe, f"s{first.seed}"]
    )


def largest_stack(units: Sequence[Unit], setting: int | Literal["auto"]) -> int:
    """Return the largest number of these units that train side by side, where `ray.stack` is `setting`."""
    most = max(Counter(map(stack_key, units)).values(), default=1)
    return min(most, LARGEST_STACK if setting == "auto" else setting)


def divide(units: Sequence[Any], parts: int) -> list[Sequence[Any]]:
    """Divide the units, in order, into so many parts whose lengths differ by one at most."""
    bounds = [round(i * len(units) / parts) for i in range(parts + 1)]
    return [units[start:end] for start, end in pairwise(bounds) if end > start]


def _range(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]}-{names[-1]}" if names else ""
