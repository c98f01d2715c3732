"""Units of work: trainings, measurements and cells, each identified by a hash of all that changes its results."""

from collections import Counter
from collections.abc import Iterable
from functools import cached_property
from typing import Any, Literal

from study.config.arms import is_control
from study.config.base import Settings, content_hash
from study.config.catalogue import Model
from study.config.data import AnyData, Data
from study.config.evaluation import Evaluation
from study.config.examples import Examples
from study.config.lenses import LensFitting, LensKind
from study.config.names import Arm, ClassName, Prompt
from study.config.nursery import NurseryTraining
from study.config.recipes import TRAINING, Choice, recipe_of
from study.config.small_tasks import SmallTasks
from study.config.stages import Lora, Stage1, Stage2

RESULTS_VERSION = 3
"""Raised when a change of the code changes results, so that older results are not mistaken for new ones."""

CHAT = ".chat"
"""Added to the name of a model that is prompted through its chat template, in labels and reports."""
LONGEST_FOLDER = 200
"""Largest length of the name of a unit's folder in bytes; file systems allow 255, and temporary names are longer."""

Kind = Literal["nursery", "stage1", "reference", "predictors", "cell"]
Pair = dict[str, str]
"""Class tokens by operation. The operations were checked against the study's task when it was read."""


def number_text(value: float) -> str:
    """Return a number as labels show it: in six digits, or in as many as tell it from every other number."""
    short = f"{value:g}"
    return short if float(short) == value else repr(float(value))


def pair_name(pair: Pair) -> str:
    """Return the class tokens in the order of the pair, such as `multiply/add`."""
    return "/".join(pair.values())


class Readout(Settings):
    """Class tokens whose logits are read: a pair's own, or random words that are about as frequent."""

    pair: Pair
    random: bool = False
    class_name: ClassName = "single"

    @property
    def name(self) -> str:
        """Its name in rows of results."""
        return f"random:{pair_name(self.pair)}" if self.random else pair_name(self.pair)


class Pretraining(Settings):
    """The training of a small model of the nursery from random weights, with one seed."""

    model_name: str
    model: Model
    identity: dict[str, Any]
    seed: int
    """Seed of the initial weights and of the batches."""
    data: Data | SmallTasks
    words: list[str]
    """The class tokens of the grid, for which sentences are made."""
    training: NurseryTraining

    @cached_property
    def id(self) -> str:
        of_text = [self.data, self.words]
        return content_hash(["nursery", RESULTS_VERSION, self.identity, self.seed, of_text, self.training])

    @property
    def label(self) -> str:
        return f"{self.model_name}|nursery|s{self.seed}"


class StageOne(Settings):
    """The LoRA fine-tuning that all cells of one model, seed and stage-1 settings share.

    Where prompts have no answers it is no unit of the study, and its cells train on the model as it came.
    """

    model_name: str
    model: Model
    identity: dict[str, Any]
    seed: int
    data: AnyData
    stage1: Stage1
    nursery: Pretraining | None = None
    """The training that makes the weights, if the study trains them itself; its id then identifies the model."""
    prompt: Prompt = "plain"
    """How the model is prompted, in this and all that builds on it."""
    lens: LensKind = "logit"
    """The lens that classes are read by in all that builds on it; one that is fitted is fitted after stage 1."""
    fitting: LensFitting = LensFitting()
    """How that is."""

    @cached_property
    def id(self) -> str:
        prompts = self.data.identity if isinstance(self.data, Examples) else self.data
        stage1 = self.stage1.model_dump(mode="json", exclude={"fuse"}) if self.data.answered else None
        more: list[Any] = [*([] if self.fuses else ["kept"]), *(["chat"] if self.prompt == "chat" else [])]
        if self.lens != "logit":
            more.append([self.lens, self.fitting.for_lens(self.lens)])
        return content_hash(
            ["stage1", RESULTS_VERSION, self.identity, self.model.blocks, self.seed, prompts, stage1, *more]
        )

    @property
    def shown_name(self) -> str:
        """The model's name in labels and reports, with how it is prompted."""
        return self.model_name + CHAT if self.prompt == "chat" else self.model_name

    @property
    def fuses(self) -> bool:
        """Whether its adapter is fused into the weights; otherwise it is kept as a separate frozen adapter."""
        return self.stage1.fuses(self.model)

    @property
    def label(self) -> str:
        return f"{self.shown_name}|stage1|s{self.seed}"


class Reference(Settings):
    """The read-outs of a model before and after stage 1, for all class tokens that its cells train."""

    stage_one: StageOne
    readouts: list[Readout]
    evaluation: Evaluation
    scored_layers: list[int] = []
    """Layers at which the published score is read too; empty where the study has only the corrected recipe."""

    @cached_property
    def id(self) -> str:
        prompts = self.evaluation.prompts_per_class
        scored = [self.scored_layers] if self.scored_layers else []
        return content_hash(["reference", self.stage_one.id, _ordered(self.readouts), prompts, *scored])

    @property
    def label(self) -> str:
        return f"{self.stage_one.shown_name}|reference|s{self.stage_one.seed}"


class Predictors(Settings):
    """The predictors of a model after stage 1 and before stage 2, which may predict where a class can be trained."""

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
        return f"{self.stage_one.shown_name}|predictors|s{self.stage_one.seed}"


class Cell(Settings):
    """One dual-reward training on the model after stage 1, and its read-outs."""

    stage_one: StageOne
    reference_id: str
    layer: int | None
    """Classifier layer, 0-based; None where w = 0."""
    pair: Pair | None
    """Class tokens as the grid gives them, whatever the arm; None where w = 0."""
    weight: float
    arm: Arm
    wordings: list[str]
    """Tiers of wording that stage 2 trains on."""
    readouts: list[Readout]
    """The class tokens that are trained; where w = 0, all those that are read."""
    stage2: Stage2
    evaluation: Evaluation
    choices: list[Choice] = []
    """The choices of the recipe that change the training."""
    scored: bool = False
    """Whether the published score is read too."""
    changed: dict[str, Any] = {}
    """Settings in which `stage2` differs from the study's, for labels and reports."""
    intervened: list[int] = []
    """Layers at which hidden states are exchanged between prompts: that of a plain cell, and all of those in a cell
    with w = 0."""

    @cached_property
    def id(self) -> str:
        point = [self.layer, self.weight, self.arm, sorted(self.wordings), _ordered(self.readouts), self.intervened]
        evaluation = self.evaluation.model_dump(mode="json", exclude={"batch_size"})
        recipe = [self.choices, self.scored] if self.choices or self.scored else []
        of_controls = set() if self.until_fitted else {"fitted_loss", "control_times"}
        stage2 = self.stage2.model_dump(mode="json", exclude=of_controls)
        return content_hash(["cell", self.stage_one.id, point, stage2, evaluation, *recipe])

    @property
    def until_fitted(self) -> bool:
        """Whether it is a control, which goes on training until its class loss is low enough."""
        return is_control(self.arm)

    @property
    def most_steps(self) -> int:
        """The largest number of steps that it trains."""
        return self.stage2.steps * (self.stage2.control_times if self.until_fitted else 1)

    @property
    def operations(self) -> list[str]:
        """Its operations in the order of the data, so that the order within a pair changes nothing."""
        return [operation for operation in self.stage_one.data.operations if operation in self.readouts[0].pair]

    @property
    def label(self) -> str:
        where = ["-".join(self.operations)] if self.pair is None else [f"L{self.layer}", "-".join(self.pair.values())]
        how = [f"w={number_text(self.weight)}"]
        if self.arm != "plain":
            how.append(self.arm)
        if self.wordings != [self.stage_one.data.tiers_of(self.operations)[0]]:
            how.append("+".join(self.wordings))
        how += [f"{name}={_short(value)}" for name, value in self.changed.items()]
        if self.choices:
            how.append(self.recipe)
        return "|".join([self.stage_one.shown_name, *where, *how, f"s{self.stage_one.seed}"])

    @property
    def recipe(self) -> str:
        """The recipe by which it is trained, whatever the choices of how it is read."""
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
"""Names, in words, of the kinds of unit that others build on."""


def origin(unit: Unit) -> Pretraining | StageOne:
    """Return the unit if it is a nursery's training or a stage 1, else its stage 1: it has the model, seed and data."""
    return unit if isinstance(unit, Pretraining | StageOne) else unit.stage_one


def commonest_weight(weights: Iterable[float]) -> float:
    """Return the weight that most of these cells have, the largest of several: pictures at one weight show it."""
    counts = Counter(weights)
    return max(weight for weight, count in counts.items() if count == max(counts.values()))


def model_and_seed(unit: Unit) -> tuple[str, int]:
    """Return the model's name and the seed, which units that build on one another share."""
    return shown_name(unit), origin(unit).seed


def shown_name(unit: Unit) -> str:
    """Return the name of the unit's model in labels and reports."""
    first = origin(unit)
    return first.shown_name if isinstance(first, StageOne) else first.model_name


def foundations(unit: Unit) -> list[Pretraining | StageOne]:
    """Return the units whose results the unit needs, each before those that need it."""
    if isinstance(unit, Pretraining):
        return []
    if isinstance(unit, StageOne):
        return [unit.nursery] if unit.nursery else []
    return [*foundations(unit.stage_one), unit.stage_one] if unit.stage_one.data.answered else []


def folder_name(unit: Unit) -> str:
    """Return a readable name that its hash makes unique: `smollm2-135m_L16_multiply-add_w0.5_s0_1a2b3c4d`.

    It has no more than LONGEST_FOLDER bytes: what is readable is cut.
    """
    readable = "".join(c if c.isalnum() or c in "._-" else "_" for c in unit.label.replace("=", ""))
    end = f"_{unit.id}"
    return readable.encode()[: LONGEST_FOLDER - len(end)].decode(errors="ignore") + end


def describe(unit: Unit) -> dict[str, Any]:
    """Return the unit as one flat JSON object: what it is, then all settings that made it."""
    first = origin(unit)
    cell = unit if isinstance(unit, Cell) else None
    nursery = first if isinstance(first, Pretraining) else first.nursery
    settings: dict[str, Settings] = {"data": first.data}
    if nursery:
        settings["nursery"] = nursery.training
    if isinstance(first, StageOne):
        settings["stage1"] = first.stage1
        if first.lens != "logit":
            settings["lens_fitting"] = first.fitting
    if not isinstance(unit, Pretraining | StageOne):
        settings["evaluation"] = unit.evaluation
    if cell:
        settings["stage2"] = cell.stage2
    return {
        "kind": kind(unit),
        "id": unit.id,
        "folder": folder_name(unit),
        "label": unit.label,
        "model": shown_name(unit),
        "prompt": first.prompt if isinstance(first, StageOne) else None,
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
    """Return the read-outs in an order that does not depend on how they were written."""
    return sorted(
        [
            *([] if one.class_name == "single" else [one.class_name]),
            one.random,
            sorted([operation, token] for operation, token in one.pair.items()),
        ]
        for one in readouts
    )


def _short(value: Any) -> str:
    """Return a changed setting as a label shows it."""
    return f"r{value.rank}" if isinstance(value, Lora) else number_text(value)
