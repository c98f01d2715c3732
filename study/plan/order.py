"""The order in which a study's units are run: first what gives an answer, then what narrows it most."""

from collections.abc import Mapping, Sequence
from typing import Any

from study.config.units import Cell, Predictors, Reference, Unit, commonest_weight, foundations, origin

FIRST_MODEL, OTHER_MODELS, CONTROLS, SEEDS, OTHER_WEIGHTS = range(5)
"""Ranks: the depth profile of the first model (one pair, one weight, one seed) with its w = 0; those of the other
models; controls, other class tokens and wordings; other seeds; other weights and all else."""


def ranks(units: Sequence[Unit]) -> dict[str, int]:
    """Return the rank of each unit of a study by id; a smaller one is run first. A unit that others build on has the
    smallest of theirs.
    """
    plain = [unit for unit in units if isinstance(unit, Cell) and unit.arm == "plain" and unit.weight > 0]
    shown = commonest_weight(cell.weight for cell in plain) if plain else 0.0
    first: dict[str, Cell] = {}
    for cell in plain:
        if cell.weight == shown:
            first.setdefault(cell.stage_one.model_name, cell)
    models = list(first)
    found: dict[str, int] = {}
    for unit in units:
        named = origin(unit).model_name
        rank = _rank(unit, first[named], models.index(named)) if named in first else OTHER_WEIGHTS
        for one in [unit, *foundations(unit)]:
            found[one.id] = min(rank, found.get(one.id, rank))
    return found


def first_answers(todo: Sequence[Unit], rank: Mapping[str, int]) -> list[set[str]]:
    """Return the ids of the units of each model's first depth profile that are to run, a set for each model."""
    found: dict[str, set[str]] = {}
    for unit in todo:
        if rank[unit.id] <= OTHER_MODELS:
            found.setdefault(origin(unit).model_name, set()).add(unit.id)
    return list(found.values())


def _rank(unit: Unit, first: Cell, model: int) -> int:
    """Return the rank of a unit of the model with this number, of whose depth profile `first` is the first cell."""
    profile = OTHER_MODELS if model else FIRST_MODEL
    if getattr(origin(unit), "prompt", first.stage_one.prompt) != first.stage_one.prompt:
        return OTHER_WEIGHTS
    other_seed = origin(unit).seed != first.stage_one.seed
    if isinstance(unit, Reference):
        return SEEDS if other_seed else profile
    if isinstance(unit, Predictors):
        return SEEDS if other_seed else CONTROLS
    if not isinstance(unit, Cell):
        return OTHER_WEIGHTS  # that of what builds on it
    if unit.weight not in (0, first.weight) or _settings(unit) != _settings(first):
        return OTHER_WEIGHTS
    if other_seed:
        return SEEDS
    own = unit.wordings == first.wordings and (unit.pair is None or (unit.pair, unit.arm) == (first.pair, first.arm))
    return profile if own else CONTROLS


def _settings(cell: Cell) -> list[Any]:
    return [cell.choices, cell.changed]
