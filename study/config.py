"""Everything that a user may write in a study's YAML: names, units, bounds and the one default of each setting."""

from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)
from pydantic_core import PydanticCustomError

from study.settings import Settings

Operation = Literal["multiply", "add", "subtract"]
Tier = Literal["symbolic", "semantic", "construction", "story"]
TIERS: tuple[Tier, ...] = ("symbolic", "semantic", "construction", "story")


def _names_differ(pair: dict[Operation, str]) -> dict[Operation, str]:
    if len(set(pair.values())) < len(pair):
        raise PydanticCustomError("pair", "every operation of a pair needs a class token of its own")
    return pair


TokenPair = Annotated[
    dict[Operation, Annotated[str, Field(pattern=r"^\S+$")]], Field(min_length=2), AfterValidator(_names_differ)
]
AbsoluteLayer = Annotated[int, Field(ge=0)]
RelativeDepth = Annotated[float, Field(gt=0, le=1)]
Weight = Annotated[float, Field(ge=0, le=1)]
Fraction = Annotated[float, Field(gt=0, lt=1)]


class Grid(Settings):
    """The axes of the study; a cell is one point of their product with models and seeds."""

    layers: Annotated[list[AbsoluteLayer | RelativeDepth], Field(min_length=1)]
    """Classifier layers: a whole number is a 0-based block, a fraction in (0, 1] is relative depth (L+1)/N."""
    pairs: Annotated[list[TokenPair], Field(min_length=1)]
    """Class tokens by operation, e.g. `{multiply: multiply, add: add}`; more than two operations are allowed."""
    weights: Annotated[list[Weight], Field(min_length=1)]
    """Weight w of the class loss; the answer loss has 1 - w. w = 0 is one cell a model, seed and set of operations."""


class Data(Settings):
    """The arithmetic prompts."""

    operations: Annotated[list[Operation], Field(min_length=2)] = ["multiply", "add"]
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


class Lora(Settings):
    """Low-rank adapters, on the named projections of all blocks."""

    rank: PositiveInt
    alpha: PositiveFloat
    """The update is scaled by alpha / rank."""
    projections: Literal["all"] | Annotated[list[str], Field(min_length=1)]
    """Names of linear layers within a block, such as `v_proj`, or `all`."""

    @property
    def scale(self) -> float:
        return self.alpha / self.rank


class Training(Settings):
    """What both stages have: AdamW with a linear warm-up to a constant rate."""

    steps: PositiveInt = 500
    learning_rate: PositiveFloat
    warmup_steps: NonNegativeInt = 20
    weight_decay: NonNegativeFloat = 0.0
    clip_norm: PositiveFloat = 1.0
    """Global gradient norm above which gradients are scaled down."""
    wordings: Annotated[list[Tier], Field(min_length=1)] = ["symbolic"]
    """Tiers whose templates are trained on; the others measure transfer."""


class Stage1(Training):
    """LoRA fine-tuning on arithmetic, fused into the weights afterwards."""

    batch_size: PositiveInt = 16
    learning_rate: PositiveFloat = 3e-4
    lora: Lora = Lora(rank=16, alpha=32.0, projections="all")


class Stage2(Training):
    """A new LoRA on the fused model: w * class loss at layer L + (1 - w) * answer loss."""

    batch_size: PositiveInt = 4
    learning_rate: PositiveFloat = 2e-4
    lora: Lora = Lora(rank=8, alpha=16.0, projections=["v_proj", "o_proj"])


class Evaluation(Settings):
    """Held-out prompts, the same for every stage and cell of a seed."""

    prompts_per_class: PositiveInt = 48
    """Prompts of each operation in each tier."""
    batch_size: PositiveInt = 32


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


class RaySettings(Settings):
    """How the study is executed; nothing here changes a result or its id."""

    workers: PositiveInt | Literal["auto"] = "auto"
    """Cells at a time on a private cluster: `auto` is one a Mac, or one a core on a CPU machine."""
    stack: PositiveInt | Literal["auto"] = "auto"
    """Cells that train side by side over one frozen model: `auto` is up to eight, as many as keep every worker busy.
    A worker takes fewer at once where its memory is short."""
    in_flight: PositiveInt = 4
    """Tasks submitted ahead, per worker."""
    dashboard_port: Annotated[int, Field(ge=1024, le=65535)] = 8265


class Study(Settings):
    """One study: a whole YAML file."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=60)]
    """Names the results folder and the report: lower-case letters, digits, - and _."""
    seeds: Annotated[list[NonNegativeInt], Field(min_length=1)] = [0]
    models: Annotated[list[str], Field(min_length=1)]
    """Short names from `models.yaml` in the same folder."""
    grid: Grid
    data: Data = Data()
    stage1: Stage1 = Stage1()
    stage2: Stage2 = Stage2()
    evaluation: Evaluation = Evaluation()
    decisions: Decisions = Decisions()
    ray: RaySettings = RaySettings()
