"""Settings of the two stages of training, with the bounds and the default of each."""

from typing import Annotated, Any, Literal

from pydantic import Field

from study.config.base import Settings
from study.config.bounds import Alpha, BatchSize, LearningRate, Norm, Rank, Steps, StepsOrNone, WeightDecay
from study.config.catalogue import Model
from study.config.names import Projections, Wordings


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


RUNNING_STEPS = 20
"""Steps over whose class losses the mean is taken by which it is decided whether a cell has fitted."""


class Stage2(Training):
    """A new LoRA adapter on the model after stage 1, trained on w * class loss at layer L + (1 - w) * answer loss."""

    batch_size: BatchSize = 4
    learning_rate: LearningRate = 2e-4
    lora: Lora = Lora(rank=8, alpha=16.0, projections=["v_proj", "o_proj"])
    fitted_loss: Annotated[float, Field(ge=0, le=10)] = 0.05
    """A control goes on training after `steps` until the running mean of its class loss is as low as this, in nats. It
    counts as fitted there, or where it is as low as that of the plain cell beside it."""
    control_times: Annotated[int, Field(ge=1, le=100)] = 4
    """A control trains for at most so many times `steps`."""
