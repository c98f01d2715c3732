"""How much memory a worker may need for a model, estimated before anything of it is loaded."""

import math
from collections.abc import Mapping

from study.config.catalogue import Model
from study.config.study import Lora, Study
from study.tasks import task_of

FIXED_GB = 0.8
"""Python, Ray's worker, the tokenizer, and the logits that are held at a time."""
BYTES = {"float32": 4.0, "8bit": 1.125, "4bit": 0.625}
"""Of a weight by how it is held: 64 quantised ones have a scale and an offset in float32."""
COPIES = 1.5
"""Weights, with what is held twice while a model is converted, loaded or fused."""
KEPT = 26
"""Hidden states' worth of values that a block keeps of every token for the backward pass."""
ADAPTED = 21
"""Widths of a block's inputs and outputs that an adapter on all of its linear layers has, for each rank."""
TOO_LARGE = "memory: "
"""How the reason begins for which units are skipped whose model fits no machine."""
STATES = 4
"""An adapter, its gradient and the two moments of its optimiser."""


def estimated_gb(model: Model, lora: Lora, tokens: int, adapters: int = 1, kept: Lora | None = None) -> float | None:
    """Of training `adapters` side by side on batches of so many tokens in all, with one that is `kept`; at most.

    None where the catalogue does not tell the model's parameters. A block of width d has about 12 d² of them.
    """
    if model.parameters is None:
        return None
    width = math.sqrt(model.parameters / (12 * model.blocks))
    activations = tokens * KEPT * width * model.blocks
    ranks = adapters * STATES * lora.rank + (kept.rank if kept else 0)
    weights = BYTES[model.weights] * COPIES * model.parameters
    return FIXED_GB + (weights + 4 * (activations + ranks * ADAPTED * width * model.blocks)) / 1e9


def study_gb(model: Model, study: Study, stack: int) -> float | None:
    """Of either stage of a study, with so many cells side by side."""
    stage1, stage2, longest = study.stage1, study.stage2, task_of(study.data).longest
    kept = None if stage1.fuses(model) else stage1.lora
    if kept is None:
        model = model.model_copy(update={"weights": "float32"})  # which the layers are that stage 1 is fused into
    first = estimated_gb(model, stage1.lora, stage1.batch_size * longest)
    second = estimated_gb(model, stage2.lora, stack * stage2.batch_size * longest, stack, kept)
    return None if first is None or second is None else max(first, second)


def too_large(study: Study, models: Mapping[str, Model], offered_gb: float) -> dict[str, str]:
    """Of each model that cannot be trained in what a machine offers to units, not even one cell alone: why."""
    needed = {name: study_gb(model, study, 1) for name, model in models.items()}
    return {
        name: f"{TOO_LARGE}it needs about {gb:.0f} GB, and units may take {offered_gb:.0f} GB; join a larger machine"
        for name, gb in needed.items()
        if gb is not None and gb > offered_gb
    }
