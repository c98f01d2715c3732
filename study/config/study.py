"""All settings of a study's YAML, with the bounds and the default of each."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from study.config.arms import ARMS, ARMS_IN_WORDS, PLAIN
from study.config.base import Settings
from study.config.bounds import (
    MOST_CELLS,
    Alpha,
    BatchSize,
    Confidence,
    LearningRate,
    Minutes,
    Norm,
    Processes,
    PromptCount,
    PromptCountOrNone,
    Rank,
    Resamples,
    Steps,
    StepsOrNone,
    WeightDecay,
)
from study.config.catalogue import Model
from study.config.examples import Examples
from study.config.lenses import LensFitting, LensKind
from study.config.names import (
    LONGEST_MODEL,
    MANY,
    TIERS,
    Arms,
    ClassName,
    Fraction,
    Layers,
    ManyWordings,
    Operation,
    Pairs,
    PredictorName,
    Projections,
    Prompting,
    PromptsByTier,
    Recipes,
    Seeds,
    Tier,
    TrackerName,
    Weights,
    Wordings,
    each_once,
)
from study.config.nursery import Nursery
from study.config.recipes import CORRECTED
from study.config.small_tasks import SmallTasks


def _length(axis: Any) -> int:
    return len(axis) if isinstance(axis, list) else 1


class Grid(Settings):
    """The axes of the study; a cell is one point of their product with the models."""

    layers: Layers
    """Classifier layers: an integer is the 0-based index of a block, a fraction in (0, 1] a relative depth (L+1)/N;
    `all` of them, or `{every: 2}`, which counts from the last block."""
    pairs: Pairs
    """Class tokens by operation, e.g. `{multiply: multiply, add: add}`; more than two operations are allowed."""
    weights: Weights
    """Weight w of the class loss; the answer loss has 1 - w. w = 0 is one cell for each model, seed, set of operations
    and wordings: it has no layer, pair or arm."""
    arms: Annotated[Arms, Field(description=ARMS_IN_WORDS)] = [PLAIN]
    wordings: ManyWordings = [["symbolic"]]
    """Lists of tiers of wording that stage 2 trains on; the other tiers measure transfer."""
    seeds: Seeds = [0]
    """Seeds of both stages: of the batches, of the initial adapters and of the choice of evaluated prompts."""
    prompts: Prompting = ["plain"]
    """How models are prompted: `plain` is the text as it is, `chat` the same as a user's message in the model's own
    chat template, for models that were tuned on instructions; base models, with `chat: false` in `models.yaml`, have no
    cells there."""
    recipes: Recipes = ["corrected"]
    """`corrected` is the experiment as described; `as-published` makes the choices of the published experiment, which
    docs/as-published.md lists. `corrected with CHOICE, …` and `as-published without CHOICE, …` switch some of them."""


class Lora(Settings):
    """Low-rank adapters (LoRA) on the chosen linear layers of all blocks."""

    rank: Rank
    """Rank of the update."""
    alpha: Alpha
    """The update is scaled by alpha / rank."""
    projections: Literal["all"] | Projections
    """`all` is every linear layer of the blocks, which makes architectures comparable. Otherwise a list of roles and
    names. Roles are `query`, `key`, `value`, `output` (of attention) and `mlp`; a fused layer has the roles of all that
    it computes. A role that has no meaning in some of the blocks, such as `value` in a state-space block, is refused:
    `docs/architectures.md` lists the roles of each architecture. Names are those of linear layers within a block, such
    as `v_proj`. Routers and experts of a mixture of experts are never adapted."""

    @property
    def scale(self) -> float:
        """The factor of the update, alpha / rank."""
        return self.alpha / self.rank


class Stage2Change(Settings):
    """Settings of stage 2 that a part of the grid changes; those that are not given stay as they are."""

    steps: Steps | None = None
    batch_size: BatchSize | None = None
    learning_rate: LearningRate | None = None
    lora: Lora | None = None

    @property
    def changes(self) -> dict[str, Any]:
        """The settings that are given, by name."""
        return {name: value for name, value in self if value is not None}


class Part(Settings):
    """A further product of axes, added to the grid; an axis that is not given is the grid's."""

    layers: Layers | None = None
    pairs: Pairs | None = None
    weights: Weights | None = None
    arms: Arms | None = None
    wordings: ManyWordings | None = None
    seeds: Seeds | None = None
    prompts: Prompting | None = None
    recipes: Recipes | None = None
    stage2: Stage2Change = Stage2Change()
    """Changes of stage 2 in these cells, which the report lists in the table of recipes, not among the outcomes."""

    def over(self, grid: Grid) -> Grid:
        """Return the grid with the axes that this part gives."""
        axes = {name: value for name, value in self if value is not None and name in Grid.model_fields}
        return grid.model_copy(update=axes)


class Data(Settings):
    """Settings of the arithmetic prompts."""

    operations: Annotated[
        list[Literal["multiply", "add", "subtract"]], Field(min_length=2, max_length=3), AfterValidator(each_once)
    ] = ["multiply", "add"]
    """Operations that stage 1 trains on."""
    smallest: Annotated[int, Field(ge=0, le=99)] = 2
    """Smallest operand."""
    largest: Annotated[int, Field(ge=1, le=99)] = 20
    """Largest operand."""
    held_out: Fraction = 0.3
    """Share of the unordered operand pairs that are held out: they are never trained on."""

    @model_validator(mode="after")
    def _range(self) -> Self:
        if self.largest - self.smallest < 3:
            raise PydanticCustomError("operands", "largest must be at least smallest + 3")
        return self

    @property
    def tiers(self) -> Sequence[Tier]:
        return TIERS

    @property
    def trained(self) -> Sequence[Tier]:
        """The tiers of wording that can be trained on."""
        return TIERS

    @property
    def by_task(self) -> list[list[Operation]]:
        """The operations of each task: all are of one."""
        return [list(self.operations)]

    @property
    def answered(self) -> bool:
        """Whether prompts have answers, which stage 1 trains: all do."""
        return True

    def tiers_of(self, operations: Iterable[Operation]) -> Sequence[Tier]:
        """Return the tiers of wording that these operations have: all."""
        return TIERS


DATA_KEYS = ("operations", "file", "dataset", "tasks")
"""Keys that tell the sources of prompts apart."""


def _kind_of_data(value: Any) -> str:
    if isinstance(value, Examples) or (isinstance(value, dict) and ("file" in value or "dataset" in value)):
        return "file"
    return "tasks" if isinstance(value, SmallTasks) or (isinstance(value, dict) and "tasks" in value) else "operations"


AnyData = Annotated[
    Annotated[Data, Tag("operations")] | Annotated[Examples, Tag("file")] | Annotated[SmallTasks, Tag("tasks")],
    Discriminator(_kind_of_data),
]
"""The source of the prompts: arithmetic, the file of a custom task, or the tasks that small models learn."""


class Training(Settings):
    """Settings that both stages have: AdamW with a linear warm-up to a constant learning rate."""

    steps: Steps = 500
    learning_rate: LearningRate
    warmup_steps: StepsOrNone = 20
    weight_decay: WeightDecay = 0.0
    clip_norm: Norm = 1.0
    """Global gradient norm above which gradients are scaled down."""


class Stage1(Training):
    """LoRA fine-tuning on answers, on which stage 2 builds."""

    wordings: Wordings = ["symbolic"]
    """Tiers of wording that stage 1 trains on."""
    batch_size: BatchSize = 16
    learning_rate: LearningRate = 3e-4
    lora: Lora = Lora(rank=16, alpha=32.0, projections="all")
    fuse: Literal["auto", "always", "never"] = "auto"
    """Whether the adapter is fused into the weights. `always`: fused in float32; quantised layers that it adapts are
    dequantised for it and are never quantised again, which would lose most of it. `never`: kept as a separate frozen
    adapter, below those of stage 2. `auto`: fused into float32 weights, kept separate from quantised ones."""

    def fuses(self, model: Model) -> bool:
        """Whether the adapter is fused into this model."""
        return self.fuse == "always" or (self.fuse == "auto" and model.weights == "float32")


FEWEST_TEMPLATES = 4
"""With fewer templates in a tier, as in a custom task that names none, its groups are the sample that intervals are
over, and labels cannot be drawn for each template."""
RUNNING_STEPS = 20
"""Steps over whose class losses the mean is taken by which it is decided whether a cell has fitted."""


class Stage2(Training):
    """A new LoRA adapter on the model after stage 1, trained on w * class loss at layer L + (1 - w) * answer loss."""

    batch_size: BatchSize = 4
    learning_rate: LearningRate = 2e-4
    lora: Lora = Lora(rank=8, alpha=16.0, projections=["v_proj", "o_proj"])
    fitted_loss: Annotated[float, Field(ge=0, le=10)] = 0.05
    """A control has fitted once the running mean of its class loss is as low as this, in nats, or as that of the plain
    cell beside it. Until then it goes on training after `steps`."""
    control_times: Annotated[int, Field(ge=1, le=100)] = 4
    """A control trains for at most so many times `steps`."""


class Evaluation(Settings):
    """Evaluation on held-out prompts, the same for every stage and cell of a seed."""

    prompts_per_class: PromptCount | PromptsByTier = 108
    """Prompts of each operation, one number for every tier or a number by tier. Their answers are evaluated, and the
    logit lens is read at the trained layer and at the last one."""
    profile_prompts: PromptCount = 16
    """Prompts among these, of each operation in each tier, whose logit lens is read at every layer."""
    onset_every: StepsOrNone = 10
    """Steps of stage 2 between two light evaluations, which show when the class emerges; 0 for none."""
    onset_prompts: PromptCount = 4
    """Prompts of each operation in each tier in a light evaluation."""
    causal_prompts: PromptCountOrNone = 12
    """Prompts of each operation, in each tier that either stage trained on, whose hidden state at the trained layer is
    exchanged with that of the same prompt for another operation; 0 for none."""
    batch_size: BatchSize = 32
    """Prompts that are evaluated at a time."""

    def prompts_in(self, tier: Tier) -> int:
        """Return the number of prompts of each operation in a tier."""
        return self.prompts_per_class if isinstance(self.prompts_per_class, int) else self.prompts_per_class[tier]


class Decisions(Settings):
    """What an outcome needs, fixed before the study is run."""

    choice_accuracy: Fraction = 0.9
    """The interval of the choice accuracy must lie above."""
    probability: Fraction = 0.5
    """The interval of the right class token's mean probability must lie above."""
    non_inferiority_margin: Fraction = 0.03
    """Loss of answer accuracy that still counts as preserved."""
    confidence: Confidence = 0.95
    """Of all intervals, two-sided."""
    resamples: Resamples = 2000
    """Of each bootstrap."""
    primary_tier: Tier = "construction"
    """Its choice accuracy is the outcome that predictors are to explain, in cells that did not train on it."""
    predictors: Annotated[list[PredictorName], Field(max_length=6)] = [
        *("log_p", "a_lin", "selectivity", "gradient_cosine"),
    ]
    """What is tested for saying where classifiers carry over; p values are corrected for their number. With none, no
    predictor is measured."""
    predictor_prompts: PromptCount | None = None
    """Held-out prompts of each class in each tier on which predictors are measured; as many as
    `evaluation.profile_prompts` if left out."""
    floor: Fraction = 0.1
    """Stage-1 accuracy on a tier below which there is too little to lose to show preservation there."""

    learned: Fraction = 0.5
    """Accuracy of answers after stage 1, on the tier that class labels are given on, below which a model of a sample
    has not learned the task: what compares the models of the sample leaves it out."""

    @property
    def samples_needed(self) -> int:
        """The fewest templates of a tier with which a cell can be emergent: with n of n right, the exact interval
        begins at (alpha / 2)^(1 / n), which must reach the choice accuracy."""
        return math.ceil(math.log((1 - self.confidence) / 2) / math.log(self.choice_accuracy))

    def out_of_reach(self, samples: Mapping[str, int]) -> str:
        """Return a line about the tiers on which no cell can be emergent, of those whose number of templates, or of
        groups where there are few templates, is given; empty where there are none."""
        few = [f"{tier} ({count})" for tier, count in samples.items() if 0 < count < self.samples_needed]
        if not few:
            return ""
        return (
            f"no cell can be emergent on {', '.join(few)}: in brackets the new templates (groups, where there are few "
            f"templates) that decide it, of which {self.samples_needed} are needed"
        )


class RaySettings(Settings):
    """How Ray executes the study; these settings change no result and no id."""

    workers: Processes | Literal["auto", 0] = "auto"
    """Units that run at a time on a private cluster: `auto` is one with a GPU, as on a Mac, and one a core without.
    With 0 they run one after the other in the process of the command, without Ray and its dashboard."""
    stack: Processes | Literal["auto"] = "auto"
    """Cells that train side by side over one frozen model: `auto` is up to eight, as many as keep every worker busy,
    and on a GPU more for as long as that makes a cell cheaper. A worker with too little memory trains fewer at a
    time."""
    checkpoint_every: StepsOrNone = 50
    """Steps of a stage between two checkpoints; there is also one after the last step. An interrupted training resumes
    from its last checkpoint. 0 for none."""
    in_flight: Processes = 4
    """Tasks submitted to Ray at a time for each worker, those that run included."""
    quiet_minutes: Minutes = 60.0
    """Minutes without any progress after which a unit is ended and started again."""
    dashboard_port: Annotated[int, Field(ge=1024, le=65535)] = 8265
    """Port of Ray's dashboard on a private cluster; the next free one if it is taken."""


class Study(Settings):
    """One study: the content of its YAML file."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=60)]
    """Name of the results folder and of the report: lower-case letters, digits, - and _."""
    models: Annotated[list[Annotated[str, Field(max_length=LONGEST_MODEL)]], Field(max_length=MANY)] = []
    """Short names from `models.yaml` in the same folder, and models by what they are: a folder or a `.gguf` file, with
    paths relative to this file, or a repository of the hub (owner/name). May be left out if there is a `nursery`."""
    nursery: Nursery | None = None
    """Small models that the study trains itself."""
    grid: Grid
    also: Annotated[list[Part], Field(max_length=MANY)] = []
    """Further parts of the grid, such as control arms at one depth or more seeds for some of the cells."""
    data: AnyData = Data()
    """Settings of the arithmetic prompts, `file` or `dataset` with the prompts of a custom task, or `tasks` that small
    models learn."""
    class_name: ClassName = "single"
    """How class names are read and trained. `single`: each is one token, and a cell with a name of several is skipped.
    `first`: a name of several tokens is read by its first one. `sequence`: the loss is that of all its tokens, each at
    layer L after those before it, and its log-probability is the sum of theirs. Names must differ in their first
    token."""
    lens: LensKind = "logit"
    """The lens by which classes are trained and read, at every layer and stage. `logit` is the model's own final norm
    and head. `tuned` and `jacobian` put an affine map of each layer before these, which is fitted to each model and
    seed after stage 1 and then frozen: docs/lenses.md."""
    lens_fitting: LensFitting = LensFitting()
    """How a tuned or Jacobian lens is fitted."""
    stage1: Stage1 = Stage1()
    stage2: Stage2 = Stage2()
    evaluation: Evaluation = Evaluation()
    decisions: Decisions = Decisions()
    ray: RaySettings = RaySettings()
    log: Annotated[list[TrackerName], AfterValidator(each_once)] = []
    """Where training curves and outcomes are shown besides the report: `tensorboard`, `mlflow` and `wandb` (Weights &
    Biases), each an extra to install: docs/trackers.md. It changes no result and no id."""

    @model_validator(mode="after")
    def _some_model(self) -> Self:
        if not self.models and self.nursery is None:
            raise PydanticCustomError("models", "no model: name some of models.yaml in `models`, or give a `nursery`")
        return self

    @model_validator(mode="after")
    def _class_names_can_be_read_so(self) -> Self:
        arms = {arm for grid, _ in self.grids for arm in grid.arms if ARMS[arm].class_rows != "own"}
        if self.class_name != "single" and self.recipes != [CORRECTED]:
            raise PydanticCustomError("class_name", "class_name must be `single` with recipes other than `corrected`")
        if self.class_name == "sequence" and arms:
            told = {"arms": " and ".join(sorted(arms))}
            raise PydanticCustomError(
                "class_name", "class_name must be `single` or `first` with {arms}, which set the row of one token", told
            )
        return self

    @model_validator(mode="after")
    def _lens_fits(self) -> Self:
        if self.lens == "logit":
            return self
        if arms := sorted({arm for grid, _ in self.grids for arm in grid.arms if ARMS[arm].class_rows != "own"}):
            told = {"lens": self.lens, "arms": " and ".join(arms)}
            raise PydanticCustomError(
                "lens", "{arms} set rows of the head by states as the logit lens reads them; lens is {lens}", told
            )
        if self.recipes != [CORRECTED]:
            raise PydanticCustomError("lens", "lens must be `logit` with recipes other than `corrected`")
        return self

    @model_validator(mode="after")
    def _not_too_many_cells(self) -> Self:
        models = len(self.models) + (len(self.nursery.models) if self.nursery else 0)
        axes = ("layers", "pairs", "weights", "arms", "wordings", "seeds", "prompts", "recipes")
        # How many `all` layers are is known of a model alone: `too_many_cells` looks again.
        cells = models * sum(math.prod(_length(getattr(grid, axis)) for axis in axes) for grid, _ in self.grids)
        if cells > MOST_CELLS:
            counts = {"cells": f"{cells:,}", "most": f"{MOST_CELLS:,}"}
            raise PydanticCustomError(
                "cells", "the axes of the grid give {cells} cells; at most {most} are allowed", counts
            )
        return self

    @property
    def grids(self) -> list[tuple[Grid, Stage2Change]]:
        """The grid and its further parts, each with its changes of stage 2."""
        return [(self.grid, Stage2Change()), *((part.over(self.grid), part.stage2) for part in self.also)]

    @property
    def recipes(self) -> list[str]:
        """The recipes of all parts, each once."""
        return list(dict.fromkeys(recipe for grid, _ in self.grids for recipe in grid.recipes))
