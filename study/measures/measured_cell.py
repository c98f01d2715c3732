"""What every measure of a trained cell is given, and what it says of itself."""

from collections.abc import Callable
from dataclasses import dataclass

import mlx.nn as nn

from study.config.names import Operation
from study.config.units import Cell
from study.lens.tokens import Encoded, Readouts, Tokenizer
from study.results.schema import Row


@dataclass(frozen=True)
class MeasuredCell:
    """A trained cell, whose adapter is on the model, and the held-out prompts that it is measured on."""

    model: nn.Module
    tokenizer: Tokenizer
    unit: Cell
    encoded: dict[int, Encoded]
    """By the number of the prompt."""
    readouts: Readouts
    """The class tokens that are read, those that the cell trains first."""
    on_prompts: Callable[[int], None]
    """To be called with the number of prompts that are done, so that people see where the unit is."""

    @property
    def class_ids(self) -> dict[Operation, int]:
        """The ids of the class tokens that the cell trains, by operation."""
        return {operation: token.id for operation, token in self.readouts[0][1].items()}

    def first_of_each(self, count: int) -> dict[int, Encoded]:
        """The first `count` prompts of every operation in every tier, by their numbers."""
        return first_of_each(self.encoded, count)


@dataclass(frozen=True)
class Measure:
    """Something that is measured of trained cells; its tables are declared in study.results.schema."""

    part: str
    """The name under which a unit records the seconds that it took."""
    applies: Callable[[Cell], bool]
    rows: Callable[[MeasuredCell], dict[str, list[Row]]]
    """The rows by table."""


def first_of_each(encoded: dict[int, Encoded], count: int) -> dict[int, Encoded]:
    """The first `count` prompts of every operation in every tier, by their numbers."""
    taken: dict[tuple[str, str], int] = {}
    chosen = {}
    for number, item in encoded.items():
        place = (item.prompt.tier, item.prompt.operation)
        taken[place] = taken.get(place, 0) + 1
        if taken[place] <= count:
            chosen[number] = item
    return chosen
