"""Stacks: cells that train side by side over one frozen model. The grouping changes no result, and so no id."""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

from study.config.arms import ARMS
from study.config.base import content_hash
from study.config.units import Cell, Unit, number_text

LARGEST_STACK = 8
"""Largest number of cells of a stack where `ray.stack` is `auto`: with more, a CPU gains little. On a GPU it is that of
the first stacks."""
GAIN = 0.1
"""Share by which a step of a cell has to become cheaper for stacks on a GPU to grow further."""


class StackSize:
    """The largest number of cells of a stack where `ray.stack` is `auto`. Where it `grows`, it is doubled for as long
    as that makes a cell cheaper: a GPU may compute many cells in the time of one."""

    def __init__(self, grows: bool) -> None:
        self.largest = LARGEST_STACK
        self._grows, self._best = grows, (0, math.inf)

    def learn(self, cells: int, seconds: float) -> None:
        """Take note of the seconds that a step took for each of so many cells that trained side by side."""
        size, cheapest = self._best
        if not self._grows or cells <= size:
            return
        if seconds < (1 - GAIN) * cheapest:
            self._best = cells, seconds
            self.largest = max(LARGEST_STACK, 2 * cells)
        else:
            self.largest, self._grows = size, False


def stack_key(unit: Unit) -> str:
    """Return a key that is equal for cells that can train in one stack; other units have a key of their own.

    Such cells share their model, batches, recipe and largest number of steps; layer, pair, weight, arm and learning
    rate may differ. Cells with w = 1 need no block above their layer, and stack only with others of the same layer and
    w = 1. Those whose class tokens get other rows of the unembedding stack only where they get the same.
    """
    if not isinstance(unit, Cell):
        return unit.id
    kind = ARMS[unit.arm].class_rows
    rows = [] if kind == "own" else [kind, unit.layer, unit.readouts]
    return content_hash([unit.stage_one.id, *_trained(unit), unit.evaluation, unit.choices, unit.scored, *rows])


def cost_key(cell: Cell) -> str:
    """Return a key that is equal for cells whose steps cost the same: those of one model and training, whatever seed
    and batch."""
    return content_hash([cell.stage_one.model_name, *_trained(cell)])


def _trained(cell: Cell) -> list[Any]:
    shared = cell.stage2.model_dump(mode="json", exclude={"learning_rate"})
    stops = cell.layer if cell.weight == 1 else None
    return [list(cell.operations), list(cell.wordings), shared, stops, cell.most_steps]


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
    words = ["+".join(cells[0].wordings)] if cells[0].wordings != [first.data.tiers_of(cells[0].operations)[0]] else []
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
