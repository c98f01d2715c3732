"""The one model that a process keeps in memory, so that units of the same stage 1 do not load and fuse it again."""

import gc
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import psutil
from mlx.utils import tree_flatten

from study.config.units import Cell, StageOne
from study.lens.prompt_checks import check_prompts
from study.lens.tokens import Encoded, encode
from study.lens.translators import Translators, load_translators
from study.measures.answers import text_log_probs
from study.models.configuration import Reading
from study.models.limits import CheckedTokenizer, EncodingError
from study.models.load import Loaded, load, load_folder
from study.models.quantised import held_as, held_gb, widths
from study.pipeline.gates import Gate, checked, fused_gate, kept_gate, lens_gate
from study.results.store import Store
from study.tasks.prompts import Prompt
from study.training import adapters
from study.training.objectives import make_batch

LENS = "lens.safetensors"
"""File of a stage 1 with the translators of the lens that was fitted after it."""
MEMORY_SHARE = 0.25
"""Share of the free memory that a stack of cells may take, since other workers need memory at the same time."""


@dataclass
class HeldModel:
    """A loaded model in memory, with its gates."""

    model: nn.Module
    tokenizer: CheckedTokenizer
    gates: list[Gate]
    weights: str
    """Form of the weights in memory when the model was loaded."""
    reading: Reading
    """What the model's config.json means."""
    stage1: Literal["none", "fused in float32", "kept as a frozen adapter"] = "none"
    """Whether and how stage 1 was added."""
    warnings: list[str] = field(default_factory=list)
    """What may mislead about the model and the prompts of the unit that has it now."""
    translators: Translators | None = None
    """Those of the lens that classes are read by; None for the logit lens."""
    text: np.ndarray | None = None
    """[positions, vocab]: log-probabilities along the neutral text after stage 1; None until they are computed."""

    def along_text(self) -> np.ndarray | None:
        """Return the log-probabilities along the neutral text [positions, vocab]; None, with a warning, where the
        tokenizer or the model cannot take that text."""
        try:
            return text_log_probs(self.model, self.tokenizer)
        except EncodingError as error:
            self.warnings.append(f"the KL divergence on a neutral text is not measured: {error}")
            return None

    @property
    def description(self) -> dict[str, Any]:
        """The form of the model in memory, and what of its config.json was translated or assumed, for `done.json` and
        reports."""
        form = {"weights": self.weights, "stage1": self.stage1, "gb": round(held_gb(self.model), 4)}
        return {**form, "configuration": list(self.reading.told)}

    def warn_of(self, prompts: Sequence[Prompt]) -> None:
        """Note what may mislead in a unit with these prompts. Raises EncodingError where the model cannot take one."""
        self.warnings = [*self.reading.warnings, *check_prompts(self.tokenizer, prompts)]


_held: dict[str, HeldModel] = {}


def loaded_model(unit: StageOne, store: Store) -> Loaded:
    """Load the model that stage 1 starts from: that of the catalogue, or the one that the nursery trained."""
    nursery = unit.nursery
    return load_folder(store.verified(nursery), unit.model.blocks) if nursery else load(unit.model, unit.identity)


def tokenizer_of(unit: StageOne, loaded: Loaded) -> CheckedTokenizer:
    """Return the tokenizer of a loaded model as the unit prompts it."""
    return loaded.tokenizer.for_chat() if unit.prompt == "chat" else loaded.tokenizer


def base(unit: StageOne, store: Store, probe: list[Prompt], prompts: Sequence[Prompt]) -> HeldModel:
    """Load the model before stage 1, frozen, and check its lens. Any other model is freed.

    `prompts` are all those of the unit that asks for the model. Raises EncodingError where the model cannot take one of
    them, GateError where the lens of the last layer differs from the logits.
    """
    clear()
    loaded = loaded_model(unit, store)
    held = HeldModel(loaded.model, tokenizer_of(unit, loaded), [], held_as(loaded.model), loaded.reading)
    held.warn_of(prompts)
    ids = make_batch([encode(held.tokenizer, prompt) for prompt in probe]).ids
    held.gates.append(checked(lens_gate(held.model, ids)))
    return held


def add_stage_one(held: HeldModel, unit: StageOne, weights: adapters.Weights, probe: list[Prompt]) -> None:
    """Fuse stage 1 into the model, or keep it as a frozen adapter, as its settings say; keep the model in memory.

    Raises GateError where that changes the logits.
    """
    adapters.put(held.model, unit.stage1.lora, weights)
    ids = make_batch([encode(held.tokenizer, prompt) for prompt in probe]).ids
    if unit.fuses:
        held.gates.append(checked(fused_gate(held.model, ids)))
        held.stage1 = "fused in float32"
    else:
        held.gates.append(checked(kept_gate(held.model, unit.stage1.lora, ids)))
        held.stage1 = "kept as a frozen adapter"
    _held[unit.id] = held


def with_stage_one(unit: StageOne, store: Store, probe: list[Prompt], prompts: Sequence[Prompt]) -> HeldModel:
    """Return the model after stage 1: the one in memory, or else made from the adapter in the store; where prompts have
    no answers, the model as it came.

    `prompts` are all those of the unit that asks for the model. Raises EncodingError and GateError.
    """
    if unit.id in _held:
        _held[unit.id].warn_of(prompts)
    else:
        held = base(unit, store, probe, prompts)
        if unit.data.answered:
            folder = store.verified(unit)
            held.translators = translators_of(unit, folder)
            add_stage_one(held, unit, adapters.load(folder), probe)
        else:
            _held[unit.id] = held
    return _held[unit.id]


def translators_of(unit: StageOne, folder: Path) -> Translators | None:
    """Return the lens that was fitted after a stage 1, from the folder of its results; None for the logit lens."""
    return None if unit.lens == "logit" else load_translators(folder / LENS)


def fitting(held: HeldModel, cell: Cell, encoded: Sequence[Encoded]) -> int:
    """Return how many cells can train side by side on prompts like these in the free memory, at least one.

    It is estimated that a cell needs, for each position of its batch, what every block keeps for the backward pass (the
    outputs of its linear layers, twice for their activations, and eight hidden states), and three rows of logits for
    each position that is read.
    """
    modules = [m for block in held.model.layers for m in block.modules()]
    linear = [widths(m) for m in modules if isinstance(m, nn.Linear | nn.QuantizedLinear)]
    hidden = min(map(min, linear))
    kept = sum(2 * outputs for _, outputs in linear) + 8 * hidden * len(held.model.layers)
    vocabulary = max(value.shape[0] for _, value in tree_flatten(held.model.parameters()) if value.ndim > 1)
    # A class name of several tokens is read in a row of its own for each prompt.
    rows = cell.stage2.batch_size * (2 if cell.readouts[0].class_name == "sequence" else 1)
    longest = max(len(item.prompt_ids) + len(item.answer_ids) for item in encoded)
    read = 1 + max(len(item.answer_ids) for item in encoded)
    needed = 4 * rows * (longest * kept + 3 * read * vocabulary)
    return max(1, int(MEMORY_SHARE * psutil.virtual_memory().available / needed))


def clear() -> None:
    """Free the model in memory."""
    _held.clear()
    gc.collect()  # a model's modules refer to one another
    mx.clear_cache()
