"""Estimates of the memory that a worker needs for a model, made without loading any of it."""

import math
from collections.abc import Callable, Mapping, Sequence

from study.config.catalogue import Model
from study.config.stages import Lora
from study.config.study import Study
from study.config.units import Unit, origin
from study.results.store import Store
from study.tasks import task_of

FIXED_GB = 0.8
"""Memory of Python, Ray's worker, the tokenizer, and the logits that are in memory at a time, GB."""
BYTES = {"float32": 4.0, "8bit": 1.125, "4bit": 0.625}
"""Bytes of a weight by its form in memory; 64 quantised weights share a scale and an offset in float32."""
COPIES = 1.5
"""Factor for what is in memory twice while a model is converted, loaded or fused."""
KEPT = 26
"""Values that a block keeps for the backward pass of each token, as a multiple of the hidden size."""
ADAPTED = 21
"""Parameters of an adapter on all linear layers of a block, for each rank, as a multiple of the hidden size."""
TOO_LARGE = "memory: "
"""Beginning of the reason for which units are skipped whose model fits no machine."""
STATES = 4
"""Arrays of an adapter's size: the adapter, its gradient and the two moments of its optimiser."""


def estimated_gb(model: Model, lora: Lora, tokens: int, adapters: int = 1, kept: Lora | None = None) -> float | None:
    """Return an upper estimate of the memory for training `adapters` side by side, GB; None if it cannot be estimated.

    `tokens` is the number of tokens of all their batches together, `kept` a frozen adapter of stage 1. The catalogue
    has to give the model's parameters; a block of hidden size d is taken to have 12 d² of them.
    """
    if model.parameters is None:
        return None
    width = math.sqrt(model.parameters / (12 * model.blocks))
    activations = tokens * KEPT * width * model.blocks
    ranks = adapters * STATES * lora.rank + (kept.rank if kept else 0)
    weights = BYTES[model.weights] * COPIES * model.parameters
    return FIXED_GB + (weights + 4 * (activations + ranks * ADAPTED * width * model.blocks)) / 1e9


def study_gb(model: Model, study: Study, stack: int) -> float | None:
    """Return the estimated memory of the larger stage of a study, GB, with `stack` cells side by side; None if
    unknown."""
    stage1, stage2, longest = study.stage1, study.stage2, task_of(study.data).longest
    kept = None if stage1.fuses(model) else stage1.lora
    if kept is None:
        model = model.model_copy(update={"weights": "float32"})  # the form of the layers that stage 1 is fused into
    first = estimated_gb(model, stage1.lora, stage1.batch_size * longest)
    rows = stage2.batch_size * (2 if study.class_name == "sequence" else 1)  # one more for the name after each prompt
    second = estimated_gb(model, stage2.lora, stack * rows * longest, stack, kept)
    if first is None or second is None or model.parameters is None:
        return None
    return max(first, second) + fitted_lens_gb(model, study) if study.lens != "logit" else max(first, second)


def fitted_lens_gb(model: Model, study: Study) -> float:
    """Return the estimated memory for fitting the lens of a study, GB: its maps with their gradients and moments, and
    the states that they are fitted on."""
    width = model.hidden_size or math.sqrt((model.parameters or 0) / (12 * model.blocks))
    fitting = study.lens_fitting
    states = (fitting.texts + fitting.held_out) * fitting.tokens * width
    return 4 * model.blocks * (STATES * width**2 + states) / 1e9


def too_large(study: Study, models: Mapping[str, Model], offered_gb: float) -> dict[str, str]:
    """Return the reason for each model, by name, for which not even one cell fits in the memory offered to units."""
    needed = {name: study_gb(model, study, 1) for name, model in models.items()}
    return {
        name: f"{TOO_LARGE}it needs about {gb:.0f} GB, and units may take {offered_gb:.0f} GB; join a larger machine"
        for name, gb in needed.items()
        if gb is not None and gb > offered_gb
    }


def leave_out(
    refused: Mapping[str, str], units: Sequence[Unit], store: Store, tell: Callable[[str], None]
) -> list[Unit]:
    """Record the units of the refused models as skipped, tell the reasons by model, and return the other units."""
    for name, reason in refused.items():
        own = [unit for unit in units if origin(unit).model_name == name]
        for unit in own:
            store.record(unit, "skipped", reason)
        if own:
            tell(f"{name}: {len(own)} units skipped: {reason}")
    return [unit for unit in units if origin(unit).model_name not in refused]
