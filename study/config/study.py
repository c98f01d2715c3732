"""Everything that a user may write in a study's YAML, with the bounds and the one default of each setting."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Discriminator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Tag,
    model_validator,
)
from pydantic_core import PydanticCustomError

from study.config.arms import ARMS_IN_WORDS, PLAIN
from study.config.base import Settings
from study.config.catalogue import Model
from study.config.examples import Examples
from study.config.names import (
    TIERS,
    Arms,
    Fraction,
    Layers,
    ManyWordings,
    Pairs,
    PredictorName,
    PromptsByTier,
    Recipes,
    Seeds,
    Tier,
    Weights,
    Wordings,
)
from study.config.nursery import Nursery


class Grid(Settings):
    """The axes of the study; a cell is one point of their product with the models."""

    layers: Layers
    """Classifier layers: a whole number is a 0-based block, a fraction in (0, 1] is relative depth (L+1)/N."""
    pairs: Pairs
    """Class tokens by operation, e.g. `{multiply: multiply, add: add}`; more than two operations are allowed."""
    weights: Weights
    """Weight w of the class loss; the answer loss has 1 - w. w = 0 is one cell a model, seed, set of operations and
    wordings: it has neither layer nor pair nor arm."""
    arms: Annotated[Arms, Field(description=ARMS_IN_WORDS)] = [PLAIN]
    wordings: ManyWordings = [["symbolic"]]
    """Tiers whose templates stage 2 trains on; the others measure transfer."""
    seeds: Seeds = [0]
    """Of both stages: the batches, the adapters' start, the prompts that are evaluated."""
    recipes: Recipes = ["corrected"]
    """`corrected` is the experiment as described; `as-published` makes the choices of the experiment that it grew from,
    which docs/as-published.md lists. `corrected with CHOICE, …` and `as-published without CHOICE, …` switch some
    of them alone."""


class Lora(Settings):
    """Low-rank adapters, on the chosen linear layers of all blocks."""

    rank: PositiveInt
    alpha: PositiveFloat
    """The update is scaled by alpha / rank."""
    projections: Literal["all"] | Annotated[list[str], Field(min_length=1)]
    """`all` is every linear layer of the blocks; it compares architectures. Otherwise a list of roles and names. Roles
    are `query`, `key`, `value`, `output` (of attention) and `mlp`; a fused layer has the roles of all that it makes. A
    role that has no meaning in some of the blocks, such as `value` in a state-space block, is refused:
    `docs/architectures.md` lists them. Names are those of linear layers within a block, such as `v_proj`. Routers and
    experts of a mixture are never adapted."""

    @property
    def scale(self) -> float:
        return self.alpha / self.rank


class Stage2Change(Settings):
    """What a part of the grid changes of stage 2; what is not given is as it is."""

    steps: PositiveInt | None = None
    batch_size: PositiveInt | None = None
    learning_rate: PositiveFloat | None = None
    lora: Lora | None = None

    @property
    def changes(self) -> dict[str, Any]:
        return {name: value for name, value in self if value is not None}


class Part(Settings):
    """A further product, united with the grid; an axis that is not given is the grid's."""

    layers: Layers | None = None
    pairs: Pairs | None = None
    weights: Weights | None = None
    arms: Arms | None = None
    wordings: ManyWordings | None = None
    seeds: Seeds | None = None
    recipes: Recipes | None = None
    stage2: Stage2Change = Stage2Change()
    """Such cells stand apart in the report: in the table of recipes, not among the outcomes."""

    def over(self, grid: Grid) -> Grid:
        """The part with its axes complete."""
        axes = {name: value for name, value in self if value is not None and name in Grid.model_fields}
        return grid.model_copy(update=axes)


class Data(Settings):
    """The arithmetic prompts."""

    operations: Annotated[list[Literal["multiply", "add", "subtract"]], Field(min_length=2)] = ["multiply", "add"]
    """What stage 1 trains on."""
    smallest: Annotated[int, Field(ge=0, le=99)] = 2
    """Smallest operand."""
    largest: Annotated[int, Field(ge=1, le=99)] = 20
    """Largest operand."""
    held_out: Fraction = 0.3
    """Share of the unordered operand pairs that is never trained on."""

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
        """Those that can be trained on."""
        return TIERS


DATA_KEYS = ("operations", "file")
"""Keys that one source of prompts alone has."""


def _kind_of_data(value: Any) -> str:
    return "file" if isinstance(value, Examples) or (isinstance(value, dict) and "file" in value) else "operations"


AnyData = Annotated[
    Annotated[Data, Tag("operations")] | Annotated[Examples, Tag("file")],
    Discriminator(_kind_of_data),
]
"""Where prompts come from."""


class Training(Settings):
    """What both stages have: AdamW with a linear warm-up to a constant rate."""

    steps: PositiveInt = 500
    learning_rate: PositiveFloat
    warmup_steps: NonNegativeInt = 20
    weight_decay: NonNegativeFloat = 0.0
    clip_norm: PositiveFloat = 1.0
    """Global gradient norm above which gradients are scaled down."""


class Stage1(Training):
    """LoRA fine-tuning on answers, which stage 2 goes on from."""

    wordings: Wordings = ["symbolic"]
    """Tiers whose templates are trained on."""
    batch_size: PositiveInt = 16
    learning_rate: PositiveFloat = 3e-4
    lora: Lora = Lora(rank=16, alpha=32.0, projections="all")
    fuse: Literal["auto", "always", "never"] = "auto"
    """What becomes of its adapter. `always`: fused in float32; quantised layers that it adapts are written out for it,
    and are never quantised again, which would lose most of it. `never`: kept frozen beside the weights, under the
    adapters of stage 2. `auto`: fused into float32 weights, kept beside quantised ones."""

    def fuses(self, model: Model) -> bool:
        """Whether the adapter is fused into this model."""
        return self.fuse == "always" or (self.fuse == "auto" and model.weights == "float32")


class Stage2(Training):
    """A new LoRA on the model after stage 1: w * class loss at layer L + (1 - w) * answer loss."""

    batch_size: PositiveInt = 4
    learning_rate: PositiveFloat = 2e-4
    lora: Lora = Lora(rank=8, alpha=16.0, projections=["v_proj", "o_proj"])


class Evaluation(Settings):
    """Held-out prompts, the same for every stage and cell of a seed."""

    prompts_per_class: PositiveInt | PromptsByTier = 48
    """Prompts of each operation, in every tier or by tier: answers, and the lens at the trained layer and at the last
    one."""
    profile_prompts: PositiveInt = 16
    """Of these, prompts whose lens is read at every layer."""
    onset_every: NonNegativeInt = 20
    """Steps of stage 2 from one light evaluation to the next; they show when the class emerges. 0 for none."""
    onset_prompts: PositiveInt = 4
    """Prompts of each operation in each tier in a light evaluation."""
    causal_prompts: NonNegativeInt = 24
    """Prompts of each operation, in each tier that either stage trained, for the swap of the class direction. 0 for
    none."""
    batch_size: PositiveInt = 32

    def prompts_in(self, tier: Tier) -> int:
        """Prompts of each operation in a tier."""
        return self.prompts_per_class if isinstance(self.prompts_per_class, int) else self.prompts_per_class[tier]


class Decisions(Settings):
    """What an outcome needs, fixed before the study is run."""

    choice_accuracy: Fraction = 0.9
    """The interval of the choice accuracy must lie above."""
    probability: Fraction = 0.5
    """The interval of the right class token's mean probability must lie above."""
    non_inferiority_margin: Fraction = 0.03
    """Loss of answer accuracy that still counts as preserved."""
    confidence: Fraction = 0.95
    """Of all intervals, two-sided."""
    resamples: PositiveInt = 2000
    """Of each bootstrap."""
    primary_tier: Tier = "construction"
    """Its choice accuracy is the outcome that predictors are to explain, in cells that did not train on it."""
    predictors: Annotated[
        list[PredictorName],
        Field(min_length=1, max_length=6),
    ] = ["log_p", "a_lin", "selectivity", "gradient_cosine"]
    """What is tested for saying where classifiers carry over; p values are corrected for their number."""
    floor: Fraction = 0.1
    """Stage-1 accuracy on a tier below which there is too little to lose to show preservation there."""


class RaySettings(Settings):
    """How the study is executed; nothing here changes a result or its id."""

    workers: PositiveInt | Literal["auto"] = "auto"
    """Cells at a time on a private cluster: `auto` is one a Mac, or one a core on a CPU machine."""
    stack: PositiveInt | Literal["auto"] = "auto"
    """Cells that train side by side over one frozen model: `auto` is up to eight, as many as keep every worker busy.
    A worker takes fewer at once where its memory is short."""
    checkpoint_every: NonNegativeInt = 50
    """Steps of a stage from one checkpoint to the next; there is also one after the last step. An interrupted training
    goes on from its last one. 0 for none."""
    in_flight: PositiveInt = 4
    """Tasks submitted ahead, per worker."""
    quiet_minutes: PositiveFloat = 60.0
    """A unit without any progress for so long is ended and begun again."""
    dashboard_port: Annotated[int, Field(ge=1024, le=65535)] = 8265


class Study(Settings):
    """One study: a whole YAML file."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=60)]
    """Names the results folder and the report: lower-case letters, digits, - and _."""
    models: list[str] = []
    """Short names from `models.yaml` in the same folder; may be left out where there is a `nursery`."""
    nursery: Nursery | None = None
    """Small models that the study trains itself."""
    grid: Grid
    also: list[Part] = []
    """Further parts of the grid: control arms at one depth, more seeds for some of the cells."""
    data: AnyData = Data()
    """The settings of arithmetic, or `file` with the prompts of a task of one's own."""
    stage1: Stage1 = Stage1()
    stage2: Stage2 = Stage2()
    evaluation: Evaluation = Evaluation()
    decisions: Decisions = Decisions()
    ray: RaySettings = RaySettings()

    @model_validator(mode="after")
    def _some_model(self) -> Self:
        if not self.models and self.nursery is None:
            raise PydanticCustomError("models", "no model: name some of models.yaml in `models`, or give a `nursery`")
        return self

    @property
    def grids(self) -> list[tuple[Grid, Stage2Change]]:
        """The grid and its further parts, with what each changes of stage 2."""
        return [(self.grid, Stage2Change()), *((part.over(self.grid), part.stage2) for part in self.also)]

    @property
    def recipes(self) -> list[str]:
        """Of all parts, each once."""
        return list(dict.fromkeys(recipe for grid, _ in self.grids for recipe in grid.recipes))
