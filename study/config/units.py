"""Units of work: stage 1, what is read of it, and cells, each named by a hash of all that changes its results."""

from functools import cached_property
from typing import Any, Literal

from study.config.base import Settings, content_hash
from study.config.catalogue import Model
from study.config.examples import Examples
from study.config.names import Arm
from study.config.nursery import NurseryTraining
from study.config.recipes import TRAINING, Choice, recipe_of
from study.config.study import AnyData, Data, Evaluation, Lora, Stage1, Stage2

RESULTS_VERSION = 2
"""Raised when a change of the code changes results, so that older results are not taken for new ones."""

Kind = Literal["nursery", "stage1", "reference", "predictors", "cell"]
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


class Pretraining(Settings):
    """The training of a small model of the nursery from random weights, with one seed."""

    model_name: str
    model: Model
    identity: dict[str, Any]
    seed: int
    """Of the weights and the batches."""
    data: Data
    words: list[str]
    """That sentences are made for."""
    training: NurseryTraining

    @cached_property
    def id(self) -> str:
        of_text = [self.data, self.words]
        return content_hash(["nursery", RESULTS_VERSION, self.identity, self.seed, of_text, self.training])

    @property
    def label(self) -> str:
        return f"{self.model_name}|nursery|s{self.seed}"


class StageOne(Settings):
    """The LoRA fine-tuning that all cells of one model, seed and stage-1 settings share."""

    model_name: str
    model: Model
    identity: dict[str, Any]
    seed: int
    data: AnyData
    stage1: Stage1
    nursery: Pretraining | None = None
    """Where the weights come from, if the study trains them itself; its id is then the model's identity."""

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
    scored_layers: list[int] = []
    """Where the score of a recipe is read too; empty where the study has no recipe but the corrected one."""

    @cached_property
    def id(self) -> str:
        prompts = self.evaluation.prompts_per_class
        scored = [self.scored_layers] if self.scored_layers else []
        return content_hash(["reference", self.stage_one.id, _ordered(self.readouts), prompts, *scored])

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
    choices: list[Choice] = []
    """Of the recipe, those that change the training."""
    scored: bool = False
    """Whether the score of a recipe is read too."""
    changed: dict[str, Any] = {}
    """What stage 2 has otherwise than the study's; it is in `stage2`, and here to be told."""

    @cached_property
    def id(self) -> str:
        point = [self.layer, self.weight, self.arm, sorted(self.wordings), _ordered(self.readouts)]
        evaluation = self.evaluation.model_dump(mode="json", exclude={"batch_size"})
        recipe = [self.choices, self.scored] if self.choices or self.scored else []
        return content_hash(["cell", self.stage_one.id, point, self.stage2, evaluation, *recipe])

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
        how += [f"{name}={_short(value)}" for name, value in self.changed.items()]
        if self.choices:
            how.append(self.recipe)
        return "|".join([self.stage_one.model_name, *where, *how, f"s{self.stage_one.seed}"])

    @property
    def recipe(self) -> str:
        """The recipe by which it is trained, however it is read."""
        return recipe_of(self.choices, TRAINING)


Unit = Pretraining | StageOne | Reference | Predictors | Cell

KINDS: dict[type[Unit], Kind] = {
    Pretraining: "nursery",
    StageOne: "stage1",
    Reference: "reference",
    Predictors: "predictors",
    Cell: "cell",
}


def kind(unit: Unit) -> Kind:
    return KINDS[type(unit)]


NAMES: dict[Kind, str] = {"nursery": "training in the nursery", "stage1": "stage 1"}
"""Of the kinds that others build on, in words."""


def origin(unit: Unit) -> Pretraining | StageOne:
    """The unit, or the stage 1 that it builds on, which says of what model, seed and data it is."""
    return unit if isinstance(unit, Pretraining | StageOne) else unit.stage_one


def model_and_seed(unit: Unit) -> tuple[str, int]:
    """What units share that build on one another."""
    return origin(unit).model_name, origin(unit).seed


def foundations(unit: Unit) -> list[Pretraining | StageOne]:
    """The units whose results it needs, each before those that need it."""
    if isinstance(unit, Pretraining):
        return []
    if isinstance(unit, StageOne):
        return [unit.nursery] if unit.nursery else []
    return [*foundations(unit.stage_one), unit.stage_one]


def folder_name(unit: Unit) -> str:
    """`smollm2-135m_L16_multiply-add_w0.5_s0_1a2b3c4d`: readable, and unique by its hash."""
    return "".join(c if c.isalnum() or c in "._-" else "_" for c in unit.label.replace("=", "")) + f"_{unit.id}"


def describe(unit: Unit) -> dict[str, Any]:
    """The unit as one flat JSON object: what it is, then all settings that made it."""
    first = origin(unit)
    cell = unit if isinstance(unit, Cell) else None
    nursery = first if isinstance(first, Pretraining) else first.nursery
    settings: dict[str, Settings] = {"data": first.data}
    if nursery:
        settings["nursery"] = nursery.training
    if isinstance(first, StageOne):
        settings["stage1"] = first.stage1
    if not isinstance(unit, Pretraining | StageOne):
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
        "choices": list(cell.choices) if cell else None,
        "changed": sorted(cell.changed) if cell else None,
        "nursery": nursery.id if nursery else None,
        "stage1": first.id if isinstance(first, StageOne) else None,
        "reference": cell.reference_id if cell else None,
        "results_version": RESULTS_VERSION,
        "model_identity": first.identity,
        "settings": {name: value.model_dump(mode="json") for name, value in settings.items()},
    }


def _ordered(readouts: list[Readout]) -> list[list[Any]]:
    """Read-outs in an order that does not depend on how they were written."""
    return sorted([one.random, sorted([operation, token] for operation, token in one.pair.items())] for one in readouts)


def _short(value: Any) -> str:
    """A setting in a label."""
    return f"r{value.rank}" if isinstance(value, Lora) else f"{value:g}"
