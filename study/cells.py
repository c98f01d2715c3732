"""The grid as units of work: stage 1, what is read of it, and cells, each named by a hash of what changes it."""

from functools import cached_property
from typing import Any, Literal

from study.catalogue import Model
from study.config import AnyData, Arm, Evaluation, Grid, Lora, Stage1, Stage2, Study
from study.examples import Examples
from study.settings import Settings, content_hash

RESULTS_VERSION = 2
"""Raised when a change of the code changes results, so that older results are not taken for new ones."""

Kind = Literal["stage1", "reference", "predictors", "cell"]
Pair = dict[str, str]
"""Class tokens by operation. Its names were checked when the study was read, with those of its task."""


def pair_name(pair: Pair) -> str:
    """`multiply/add`: the class tokens in the order of the pair."""
    return "/".join(pair.values())


class Readout(Settings):
    """Class tokens that are read: a pair's own, or random words that are as frequent as they are."""

    pair: Pair
    random: bool = False

    @property
    def name(self) -> str:
        """What the rows call it."""
        return f"random:{pair_name(self.pair)}" if self.random else pair_name(self.pair)


class StageOne(Settings):
    """The LoRA fine-tuning that all cells of one model, seed and stage-1 settings share."""

    model_name: str
    model: Model
    identity: dict[str, Any]
    seed: int
    data: AnyData
    stage1: Stage1

    @cached_property
    def id(self) -> str:
        prompts = self.data.sha256 if isinstance(self.data, Examples) else self.data
        stage1 = self.stage1.model_dump(mode="json", exclude={"fuse"})
        kept = [] if self.fuses else ["kept"]
        return content_hash(
            ["stage1", RESULTS_VERSION, self.identity, self.model.blocks, self.seed, prompts, stage1, *kept]
        )

    @property
    def fuses(self) -> bool:
        """Whether its adapter is fused into the weights; else it is kept beside them."""
        return self.stage1.fuses(self.model)

    @property
    def label(self) -> str:
        return f"{self.model_name}|stage1|s{self.seed}"


class Reference(Settings):
    """The read-outs of a model before and after stage 1, for all class tokens that its cells train."""

    stage_one: StageOne
    readouts: list[Readout]
    evaluation: Evaluation

    @cached_property
    def id(self) -> str:
        prompts = self.evaluation.prompts_per_class
        return content_hash(["reference", self.stage_one.id, _ordered(self.readouts), prompts])

    @property
    def label(self) -> str:
        return f"{self.stage_one.model_name}|reference|s{self.stage_one.seed}"


class Predictors(Settings):
    """What is measured of a model after stage 1, before any stage 2, that may say where a class can be trained."""

    stage_one: StageOne
    readouts: list[Readout]
    lora: Lora
    """The adapter of stage 2."""
    evaluation: Evaluation

    @cached_property
    def id(self) -> str:
        prompts = [self.evaluation.prompts_per_class, self.evaluation.profile_prompts]
        return content_hash(["predictors", self.stage_one.id, _ordered(self.readouts), self.lora, prompts])

    @property
    def label(self) -> str:
        return f"{self.stage_one.model_name}|predictors|s{self.stage_one.seed}"


class Cell(Settings):
    """One dual-reward training on the model after stage 1, and its read-outs."""

    stage_one: StageOne
    reference_id: str
    layer: int | None
    """Classifier layer, 0-based; None where w = 0."""
    pair: Pair | None
    """As the grid has it, in every arm; None where w = 0."""
    weight: float
    arm: Arm
    wordings: list[str]
    """That stage 2 trains on."""
    readouts: list[Readout]
    """The class tokens that are trained; where w = 0, all that are read."""
    stage2: Stage2
    evaluation: Evaluation

    @cached_property
    def id(self) -> str:
        point = [self.layer, self.weight, self.arm, sorted(self.wordings), _ordered(self.readouts)]
        evaluation = self.evaluation.model_dump(mode="json", exclude={"batch_size"})
        return content_hash(["cell", self.stage_one.id, point, self.stage2, evaluation])

    @property
    def operations(self) -> list[str]:
        """In the order of the data, so that the order within a pair changes nothing."""
        return [operation for operation in self.stage_one.data.operations if operation in self.readouts[0].pair]

    @property
    def label(self) -> str:
        where = ["-".join(self.operations)] if self.pair is None else [f"L{self.layer}", "-".join(self.pair.values())]
        how = [f"w={self.weight:g}"]
        if self.arm != "plain":
            how.append(self.arm)
        if self.wordings != [self.stage_one.data.tiers[0]]:
            how.append("+".join(self.wordings))
        return "|".join([self.stage_one.model_name, *where, *how, f"s{self.stage_one.seed}"])


Unit = StageOne | Reference | Predictors | Cell

KINDS: dict[type[Unit], Kind] = {
    StageOne: "stage1",
    Reference: "reference",
    Predictors: "predictors",
    Cell: "cell",
}


def kind(unit: Unit) -> Kind:
    return KINDS[type(unit)]


def stage_one_of(unit: Unit) -> StageOne:
    return unit if isinstance(unit, StageOne) else unit.stage_one


def folder_name(unit: Unit) -> str:
    """`smollm2-135m_L16_multiply-add_w0.5_s0_1a2b3c4d`: readable, and unique by its hash."""
    return "".join(c if c.isalnum() or c in "._-" else "_" for c in unit.label.replace("=", "")) + f"_{unit.id}"


def describe(unit: Unit) -> dict[str, Any]:
    """The unit as one flat JSON object: what it is, then all settings that made it."""
    first = stage_one_of(unit)
    cell = unit if isinstance(unit, Cell) else None
    settings: dict[str, Settings] = {"data": first.data, "stage1": first.stage1}
    if not isinstance(unit, StageOne):
        settings["evaluation"] = unit.evaluation
    if cell:
        settings["stage2"] = cell.stage2
    return {
        "kind": kind(unit),
        "id": unit.id,
        "folder": folder_name(unit),
        "label": unit.label,
        "model": first.model_name,
        "blocks": first.model.blocks,
        "seed": first.seed,
        "operations": cell.operations if cell else list(first.data.operations),
        "tiers": list(first.data.tiers),
        "layer": cell.layer if cell else None,
        "pair": dict(cell.pair) if cell and cell.pair else None,
        "readout": cell.readouts[0].name if cell and cell.pair else None,
        "weight": cell.weight if cell else None,
        "arm": cell.arm if cell else None,
        "wordings": list(cell.wordings) if cell else None,
        "stage1": first.id,
        "reference": cell.reference_id if cell else None,
        "results_version": RESULTS_VERSION,
        "model_identity": first.identity,
        "settings": {name: value.model_dump(mode="json") for name, value in settings.items()},
    }


def expand(study: Study, models: dict[str, Model]) -> list[Unit]:
    """Every unit of the study once, model by model: stage 1, reference, predictors, w = 0, then the other cells."""
    units: dict[str, Unit] = {}
    seeds = dict.fromkeys(seed for grid in study.grids for seed in grid.seeds)
    for name in study.models:
        model, identity = models[name], models[name].identity()
        for seed in seeds:
            first = StageOne(
                model_name=name, model=model, identity=identity, seed=seed, data=study.data, stage1=study.stage1
            )
            for unit in _group(study, first, [grid for grid in study.grids if seed in grid.seeds]):
                units.setdefault(unit.id, unit)
    return list(units.values())


def _group(study: Study, first: StageOne, grids: list[Grid]) -> list[Unit]:
    """All units of one stage 1."""
    read = [readout(pair, arm) for grid in grids for pair in grid.pairs for arm in grid.arms]
    readouts = [one for i, one in enumerate(read) if one not in read[:i]]
    reference = Reference(stage_one=first, readouts=readouts, evaluation=study.evaluation)
    # The predictors of swapped class tokens are those of the tokens themselves.
    own = [one for one in readouts if one.random or any(one.pair == pair for grid in grids for pair in grid.pairs)]
    predictors = Predictors(stage_one=first, readouts=own, lora=study.stage2.lora, evaluation=study.evaluation)
    common: dict[str, Any] = {"stage_one": first, "reference_id": reference.id, "stage2": study.stage2}
    common["evaluation"] = study.evaluation
    zeros = [
        Cell(layer=None, pair=None, weight=0.0, arm="plain", wordings=wordings, readouts=same, **common)
        for same in _by_operations(readouts)
        for grid in grids
        for wordings in grid.wordings
        if 0 in grid.weights
    ]
    cells = [
        Cell(
            layer=layer,
            pair=pair,
            weight=float(weight),
            arm=arm,
            wordings=wordings,
            readouts=[readout(pair, arm)],
            **common,
        )
        for grid in grids
        for wordings in grid.wordings
        for arm in grid.arms
        for pair in grid.pairs
        for layer in sorted({absolute_layer(layer, first.model.blocks) for layer in grid.layers})
        for weight in grid.weights
        if weight > 0
    ]
    return [first, reference, predictors, *zeros, *cells]


def readout(pair: Pair, arm: Arm) -> Readout:
    """The class tokens that an arm of a pair trains."""
    if arm == "swapped_tokens":
        tokens = list(pair.values())
        return Readout(pair=dict(zip(pair, tokens[1:] + tokens[:1], strict=True)))
    return Readout(pair=pair, random=arm == "random_words")


def _by_operations(readouts: list[Readout]) -> list[list[Readout]]:
    groups: dict[frozenset[str], list[Readout]] = {}
    for one in readouts:
        groups.setdefault(frozenset(one.pair), []).append(one)
    return list(groups.values())


def absolute_layer(layer: int | float, blocks: int) -> int:
    """A block's index as it is; for a relative depth, the L whose (L+1)/N is nearest, half rounded up."""
    if isinstance(layer, int):
        return layer
    return max(0, min(blocks, int(layer * blocks + 0.5 + 1e-9)) - 1)


def _ordered(readouts: list[Readout]) -> list[list[Any]]:
    """Read-outs in an order that does not depend on how they were written."""
    return sorted([one.random, sorted([operation, token] for operation, token in one.pair.items())] for one in readouts)
