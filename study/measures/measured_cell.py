"""The interface of the measures of trained cells: their input and their declaration."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import mlx.nn as nn

from study.config.names import Operation
from study.config.units import Cell
from study.lens.tokens import Encoded, Readouts
from study.lens.translators import Translators
from study.models.limits import CheckedTokenizer
from study.results.schema import Row


@dataclass(frozen=True)
class MeasuredCell:
    """A trained cell, whose adapter is on the model, and the held-out prompts that it is measured on."""

    model: nn.Module
    tokenizer: CheckedTokenizer
    translators: Translators | None
    """Those of the lens that reads classes; None for the logit lens."""
    unit: Cell
    encoded: dict[int, Encoded]
    """The prompts by their numbers."""
    readouts: Readouts
    """The class tokens that are read; the first are those that the cell trains."""
    on_prompts: Callable[[int], None]
    """Called with the number of prompts that are done, to show progress."""
    taken: Mapping[str, list[Row]]
    """Rows of the measures that were taken before, by table: those of `answers` are there for all others."""

    @property
    def class_ids(self) -> dict[Operation, int]:
        """The ids of the class tokens that the cell trains, by operation."""
        return {operation: token.id for operation, token in self.readouts[0][1].items()}


@dataclass(frozen=True)
class Measure:
    """A measure of trained cells; its tables are declared in study.results.schema."""

    part: str
    """Name under which a unit records the seconds that the measure took."""
    applies: Callable[[Cell], bool]
    """Whether a cell is measured."""
    rows: Callable[[MeasuredCell], dict[str, list[Row]]]
    """Measures a cell and returns the rows by table."""


def first_of_each(encoded: dict[int, Encoded], count: int) -> dict[int, Encoded]:
    """Return the first `count` prompts of every operation in every tier, by their numbers."""
    taken: dict[tuple[str, str], int] = {}
    chosen = {}
    for number, item in encoded.items():
        place = (item.prompt.tier, item.prompt.operation)
        taken[place] = taken.get(place, 0) + 1
        if taken[place] <= count:
            chosen[number] = item
    return chosen
