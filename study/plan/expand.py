"""Expanding the grid into units of work: every cell, and the units that it builds on."""

from typing import Any

from study.config.arms import ARMS, PLAIN
from study.config.base import content_hash
from study.config.catalogue import Model
from study.config.grid import Grid
from study.config.names import Arm, ClassName, EveryLayer, Layers, Tier
from study.config.recipes import CORRECTED, choices_of, recipe_of, training_of
from study.config.stages import Stage2Change
from study.config.study import Study
from study.config.units import Cell, Pair, Predictors, Pretraining, Readout, Reference, StageOne, Unit, foundations


class SameModelError(Exception):
    """Two names of a study are one model: its units would stand under the first name alone."""


def expand(study: Study, models: dict[str, Model]) -> list[Unit]:
    """Return every unit of the study once, model by model: the nursery's training, stage 1, reference, predictors, the
    cells with w = 0, then the other cells. `models` are those of the study's `models` and of its nursery, by name.
    Raises SameModelError where two of them have equal files, or are built alike.
    """
    units: dict[str, Unit] = {}
    named: dict[str, str] = {}
    seeds = dict.fromkeys(seed for grid, _ in study.grids for seed in grid.seeds)
    prompts = dict.fromkeys(prompt for grid, _ in study.grids for prompt in grid.prompts)
    for name in [*study.models, *(study.nursery.models if study.nursery else ())]:
        identity = models[name].identity()
        if (same := named.setdefault(content_hash(identity), name)) != name:
            raise SameModelError(f"models: {name} is the same model as {same}, so its rows would be too; leave one out")
        for seed in seeds:
            about: dict[str, Any] = {"model_name": name, "model": models[name], "seed": seed, "data": study.data}
            nursery = None
            if study.nursery and name in study.nursery.models:
                about_text: dict[str, Any] = {"words": class_words(study), "training": study.nursery.training}
                nursery = Pretraining(**about, identity=identity, **about_text)
            is_what = {"nursery": nursery.id} if nursery else identity
            for prompt in prompts:
                parts = [part for part in study.grids if seed in part[0].seeds and prompt in part[0].prompts]
                if not parts or (prompt == "chat" and models[name].chat is False):
                    continue
                how: dict[str, Any] = {"prompt": prompt, "lens": study.lens, "fitting": study.lens_fitting}
                first = StageOne(**about, identity=is_what, stage1=study.stage1, nursery=nursery, **how)
                for unit in _group(study, first, parts):
                    units.setdefault(unit.id, unit)
    return list(units.values())


def class_words(study: Study) -> list[str]:
    """Return the class tokens of all pairs of the grid, sorted."""
    return sorted({token for grid, _ in study.grids for pair in grid.pairs for token in pair.values()})


def _group(study: Study, first: StageOne, parts: list[tuple[Grid, Stage2Change]]) -> list[Unit]:
    """Return stage 1 `first`, if there is one, the units that it builds on, and all units that build on it."""
    grids = [grid for grid, _ in parts]
    read = [readout(pair, arm, study.class_name) for grid in grids for pair in grid.pairs for arm in grid.arms]
    readouts = [one for i, one in enumerate(read) if one not in read[:i]]
    scored = study.recipes != [CORRECTED]
    layers = sorted({layer for grid in grids for layer in trained_layers(grid.layers, first.model.blocks)})
    reference = Reference(
        stage_one=first, readouts=readouts, evaluation=study.evaluation, scored_layers=layers if scored else []
    )
    # Swapped class tokens have the same predictors as the tokens in their own order.
    own = [one for one in readouts if one.random or any(one.pair == pair for grid in grids for pair in grid.pairs)]
    count = study.decisions.predictor_prompts or study.evaluation.profile_prompts
    evaluation = study.evaluation.model_copy(update={"profile_prompts": count})
    predictors = Predictors(stage_one=first, readouts=own, lora=study.stage2.lora, evaluation=evaluation)
    cells: list[Cell] = []
    for grid, change in parts:
        common: dict[str, Any] = {
            "stage_one": first,
            "reference_id": reference.id,
            "stage2": study.stage2.model_copy(update=change.changes),
            "changed": {name: value for name, value in change.changes.items() if value != getattr(study.stage2, name)},
            "evaluation": study.evaluation,
            "scored": scored,
        }
        cells += _cells(grid, readouts, study.class_name, common)
    cells = _intervened(cells)
    zeros = [cell for cell in cells if cell.layer is None]
    return [
        *foundations(reference),
        reference,
        *([predictors] if study.decisions.predictors else []),
        *zeros,
        *(cell for cell in cells if cell.layer is not None),
    ]


def _cells(grid: Grid, readouts: list[Readout], class_name: ClassName, common: dict[str, Any]) -> list[Cell]:
    """Return the cells of a part of the grid; recipes that differ only in how the score is read share theirs."""
    first: StageOne = common["stage_one"]
    blocks = first.model.blocks
    trainings = list({recipe_of(made): made for made in map(training_of, map(choices_of, grid.recipes))}.values())
    zeros = [
        Cell(
            layer=None,
            pair=None,
            weight=0.0,
            arm=PLAIN,
            wordings=_own(words, first, same[0].pair),
            readouts=same,
            choices=choices,
            **common,
        )
        for choices in trainings
        for same in _by_operations(readouts)
        for words in grid.wordings
        if 0 in grid.weights and _own(words, first, same[0].pair)  # a part may be of another task
    ]
    cells = [
        Cell(
            layer=layer,
            pair=pair,
            weight=float(weight),
            arm=arm,
            wordings=_own(wordings, first, pair),
            readouts=[readout(pair, arm, class_name)],
            choices=choices,
            **common,
        )
        for choices in trainings
        for wordings in grid.wordings
        for arm in grid.arms
        for pair in grid.pairs
        for layer in trained_layers(grid.layers, blocks)
        for weight in grid.weights
        if weight > 0
    ]
    return [*zeros, *cells]


def _own(wordings: list[Tier], first: StageOne, pair: Pair) -> list[Tier]:
    """Return the tiers, of those given, of the task that a pair is of."""
    own = first.data.tiers_of(pair)
    return [tier for tier in wordings if tier in own]


def _intervened(cells: list[Cell]) -> list[Cell]:
    """Return the cells with the layers at which hidden states are exchanged: in each plain cell its own, and in a cell
    with w = 0 those of the plain cells on the same wordings, so that these have one to be held against."""

    def is_plain(cell: Cell) -> bool:
        asked = cell.evaluation.causal_prompts > 0 and not cell.choices and not cell.changed
        asked = asked and cell.stage_one.data.answered  # an exchange is told by the answer
        return asked and cell.layer is not None and cell.arm == PLAIN

    found = []
    for cell in cells:
        beside = [one for one in cells if is_plain(one) and one.wordings == cell.wordings]
        layers = {one.layer for one in beside if one.layer is not None and one.operations == cell.operations}
        if is_plain(cell) and cell.layer is not None:
            layers &= {cell.layer}
        elif cell.layer is not None or cell.choices or cell.changed:
            layers = set()
        found.append(cell.model_copy(update={"intervened": sorted(layers)}) if layers else cell)
    return found


def readout(pair: Pair, arm: Arm, class_name: ClassName = "single") -> Readout:
    """Return the class tokens that an arm trains for a pair."""
    tokens_of = ARMS[arm].tokens
    if tokens_of == "next":
        tokens = list(pair.values())
        return Readout(pair=dict(zip(pair, tokens[1:] + tokens[:1], strict=True)), class_name=class_name)
    return Readout(pair=pair, random=tokens_of == "random", class_name=class_name)


def _by_operations(readouts: list[Readout]) -> list[list[Readout]]:
    """Return the read-outs of each set of operations, names of the grid before unrelated words: the class direction of
    w = 0 is that of the first."""
    groups: dict[frozenset[str], list[Readout]] = {}
    for one in sorted(readouts, key=lambda one: one.random):
        groups.setdefault(frozenset(one.pair), []).append(one)
    return list(groups.values())


def trained_layers(layers: Layers, blocks: int) -> list[int]:
    """Return the indices of the blocks that `layers` of a grid mean in a model of so many blocks, from the first."""
    if layers == "all":
        return list(range(blocks))
    if isinstance(layers, EveryLayer):
        return list(range(blocks))[:: -layers.every][::-1]
    return sorted({absolute_layer(layer, blocks) for layer in layers})


def absolute_layer(layer: int | float, blocks: int) -> int:
    """Return the index of a block: an integer as it is; for a relative depth, the L with the nearest (L+1)/N, halves
    up."""
    if isinstance(layer, int):
        return layer
    return max(0, min(blocks, int(layer * blocks + 0.5 + 1e-9)) - 1)
