"""Units of two studies, or of two models of one, side by side: alike in all but what differs between the two."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.data.results import Results
from analysis.data.stored import is_packed
from analysis.data.units import StudyUnit
from study.plan.expand import absolute_layer
from study.results.description import ResultsError

AXES = {"model": "model", "pair": "class tokens", "weight": "w", "wordings": "trained wordings", "seed": "seed"}
"""In what the units of two studies may differ throughout, so that it is left free, and what it is called."""
FURTHER = {"arm": "arm {}", "changed": "stage 2 with {}", "recipe": "recipe {}", "weight": "w = {:g}"}
"""In what else a unit may be one that the other side does not have, and how that is told."""
KINDS = ("reference", "cell")
"""Units that have answers and read-outs."""
BOTH = "both"
"""Stands for the side where a pair of units is left out."""
MOST_REASONS = 4
"""Reasons that a message gives."""
LEFT_OUT = ["side", "unit", "label", "kind", "reason"]

Axis = Mapping[Hashable, Hashable]
"""The value of one side that stands beside each value of the other."""


@dataclass(frozen=True)
class Side:
    """One of the two that are compared: a study, or the models of it that are chosen."""

    letter: str
    """`A` or `B`."""
    folder: str
    results: Results
    models: tuple[str, ...]

    @cached_property
    def units(self) -> list[StudyUnit]:
        """The units of its models, cells of other recipes among them, finished or not."""
        return [unit for unit in self.results.everything.values() if unit.model in self.models]

    @property
    def has_short_numbers(self) -> bool:
        """Whether it is a packed sample of small models, whose numbers keep few bits."""
        nursery = self.results.nursery
        return bool(nursery and nursery.sample) and is_packed(Path(self.folder))

    def values(self, axis: str) -> list[Hashable]:
        """Return the values of one of AXES that its cells with a class loss have, numbers in rising order."""
        cells = [unit for unit in self.units if unit.kind == "cell" and unit.layer is not None]
        found = list(dict.fromkeys(getattr(cell, axis) for cell in cells))
        return sorted(found) if axis in ("seed", "weight") else found


@dataclass(frozen=True)
class Pair:
    """A finished unit of each side."""

    a: StudyUnit
    b: StudyUnit
    depth: float
    """The relative depth at which both are, as the grid of A asks for it, else that of A's layer; 0 without a trained
    layer."""


@dataclass(frozen=True)
class Matched:
    """Two sides with their pairs."""

    a: Side
    b: Side
    axes: Mapping[str, Axis]
    """By axis, the value of B that stands beside each value of A."""
    pairs: Sequence[Pair]
    """In the order of A."""
    left_out: pd.DataFrame
    """Units that stand beside none, a row each, with the reason."""

    @property
    def free(self) -> list[str]:
        """The axes on which other values stand beside each other."""
        return [axis for axis, values in self.axes.items() if any(a != b for a, b in values.items())]


def match(a: Side, b: Side) -> Matched:
    """Pair each unit of A that has answers or read-outs with the one of B that is alike in all but what is left free.

    Where both share values of an axis, these are matched. Where they share none, it is left free: single values stand
    beside each other, seeds in their order. Layers are those of the same index in the same model. Of two models they
    are those that the grid asks for by the same relative depth, or else the nearest, at most half a block of the
    shallower model away. Raises ResultsError where nothing is shared.
    """
    axes = {axis: _beside(a, b, axis) for axis in AXES}
    back = {axis: {own: other for other, own in values.items()} for axis, values in axes.items()}
    layers = {model: _layers(a, b, model, other) for model, other in axes["model"].items()}
    of_b = {_key(unit): unit for unit in b.units if unit.kind in KINDS}
    pairs: list[Pair] = []
    beside: dict[str, StudyUnit] = {}
    left_out = []
    for unit in a.units:
        if unit.kind in KINDS:
            key, depth = _wanted(unit, axes, layers)
            other = of_b.get(key) if key else None
            if other:
                beside[other.id] = unit
            if other and unit.finished and other.finished:
                pairs.append(Pair(unit, other, depth))
            else:
                left_out.append(_left_out(a, unit, other, axes, b))
    paired = {pair.b.id for pair in pairs}
    left_out += [
        _left_out(b, unit, beside.get(unit.id), back, a)
        for unit in b.units
        if unit.kind in KINDS and unit.id not in paired
    ]
    if not pairs:
        reasons = list(dict.fromkeys(f"{side}: {reason}" for side, _, _, _, reason in left_out))
        raise ResultsError(
            f"{a.folder} and {b.folder} share nothing that could be compared: {'; '.join(reasons[:MOST_REASONS])}"
        )
    return Matched(a, b, axes, pairs, pd.DataFrame(left_out, columns=LEFT_OUT))


def _beside(a: Side, b: Side, axis: str) -> Axis:
    """The value of B beside each value of A."""
    own, others = a.values(axis), b.values(axis)
    if shared := [value for value in own if value in others]:
        return {value: value for value in shared}
    if axis == "seed" or len(own) == len(others) == 1:
        return dict(zip(own, others, strict=False))
    more = " Name one of each with --models." if axis == "model" and own and others else ""
    raise ResultsError(
        f"{a.folder} and {b.folder} share nothing that could be compared: of {AXES[axis]}, A has {shown_values(own)} "
        f"and B {shown_values(others)}.{more}"
    )


def shown_values(values: Sequence[Hashable]) -> str:
    """Return values of an axis in words; `none` where there are none."""
    return ", ".join("+".join(value) if isinstance(value, tuple) else f"{value}" for value in values) or "none"


def _layers(a: Side, b: Side, model: Any, other: Any) -> dict[int, tuple[int, float]]:
    """Layer and depth of a model of B beside each layer of a model of A."""
    (own, blocks), (others, blocks_beside) = _trained(a, model), _trained(b, other)
    asked = {absolute_layer(depth, blocks): depth for depth in reversed(a.results.asked_depths)}
    depths = {layer: asked.get(layer, (layer + 1) / blocks) for layer in own}
    if model == other and blocks == blocks_beside:
        single = {own[0]: others[0]} if len(own) == len(others) == 1 else {}
        same = {layer: layer for layer in own if layer in others} or single
        return {layer: (beside, depths[layer]) for layer, beside in same.items()}
    found: dict[int, tuple[int, float]] = {}
    asked_of_both = {*a.results.asked_depths} & {*b.results.asked_depths}
    for layer, depth in depths.items():
        away = {beside: abs((beside + 1) / blocks_beside - (layer + 1) / blocks) for beside in others}
        nearest = min(away, key=away.__getitem__)
        if depth in asked_of_both and (beside := absolute_layer(depth, blocks_beside)) in others:
            found[layer] = beside, depth
        elif away[nearest] <= 0.5 / min(blocks, blocks_beside) + 1e-9:
            found[layer] = nearest, depth
    return found


def _trained(side: Side, model: Any) -> tuple[list[int], int]:
    """The layers at which cells of a model are trained, and its blocks."""
    own = [unit for unit in side.units if unit.model == model]
    return sorted({unit.layer for unit in own if unit.layer is not None}), own[0].blocks


def _key(unit: StudyUnit) -> tuple[object, ...]:
    """What tells the units of a study apart."""
    how = (unit.arm, unit.choices, unit.changed, frozenset(unit.operations))
    return unit.kind, unit.model, unit.pair, unit.weight, frozenset(unit.wordings), unit.seed, unit.layer, *how


def _wanted(
    unit: StudyUnit, axes: Mapping[str, Axis], layers: Mapping[Hashable, Mapping[int, tuple[int, float]]]
) -> tuple[tuple[object, ...] | None, float]:
    """The key of the unit of B beside one of A, and their depth; None where B has no such value."""
    if _lacking(unit, axes):
        return None, 0.0
    model, pair, weight, wordings, seed = (
        axes[axis][getattr(unit, axis)] if _has(unit, axis) else getattr(unit, axis) for axis in AXES
    )
    layer, depth = (None, 0.0) if unit.layer is None else layers[unit.model].get(unit.layer, (-1, 0.0))
    changed = {"model": model, "pair": pair, "weight": weight, "wordings": wordings, "seed": seed, "layer": layer}
    return _key(StudyUnit(**vars(unit) | changed)), depth


def _has(unit: StudyUnit, axis: str) -> bool:
    """Whether a unit has a value of an axis: those without a class loss have no class tokens and w = 0 or none."""
    return axis in ("model", "seed") or bool(getattr(unit, axis))


def _lacking(unit: StudyUnit, axes: Mapping[str, Axis]) -> str:
    """`seed 3`: the value of a unit for which the other side has none; empty where it has all."""
    lacking = [axis for axis in AXES if _has(unit, axis) and getattr(unit, axis) not in axes[axis]]
    return f"{AXES[lacking[0]]} {shown_values([getattr(unit, lacking[0])])}" if lacking else ""


def _left_out(
    side: Side, unit: StudyUnit, other: StudyUnit | None, axes: Mapping[str, Axis], beside: Side
) -> list[str]:
    """The row of a unit that is compared with none, whatever stands beside it."""
    if not unit.finished:
        reason = _state(unit)
    elif other:
        reason = f"in {beside.letter} {_state(other)}"
    else:
        lacking = _lacking(unit, axes) or _elsewhere(unit, beside)
        reason = f"{lacking} is not in {beside.letter}" if lacking else f"no such {unit.kind} in {beside.letter}"
    return [side.letter, unit.id, unit.label, unit.kind, reason]


def _elsewhere(unit: StudyUnit, beside: Side) -> str:
    """`arm random_words`: what no unit of this kind has on the other side; empty where it is only not there together
    with all else."""
    units = [other for other in beside.units if other.kind == unit.kind]
    for name, told in FURTHER.items():
        value = getattr(unit, name)
        if (value or value == 0) and all(getattr(other, name) != value for other in units):
            return told.format(value)
    return ""


def _state(unit: StudyUnit) -> str:
    return f"{unit.status}: {unit.reason}" if unit.status != "missing" else unit.reason
