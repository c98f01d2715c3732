"""The one model that a process holds, so that units of the same stage 1 do not load and fuse it again."""

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import psutil
from mlx.utils import tree_flatten

from study import adapters
from study.cells import Cell, StageOne
from study.config import Lora
from study.encoding import Encoded, Tokenizer, encode
from study.lens import gap_at_last_layer
from study.models.quantised import held_as, held_gb, widths
from study.models.weights import Loaded, load, load_folder
from study.objectives import make_batch
from study.prompts import Prompt
from study.store import Store

LENS_LIMIT = 1e-4
"""Largest gap between the last layer's lens and the logits, as a share of the logits' spread."""
FUSE_LIMIT = 1e-3
"""Largest gap between the fused and the adapted model's logits, likewise."""
MEMORY_SHARE = 0.25
"""Of the memory that is free, what a stack of cells may take: other workers ask at the same time."""


class GateError(Exception):
    """A check of the method that failed; its figure is in the message."""


@dataclass(frozen=True)
class Gate:
    """A check of the method: a figure that must not pass its limit."""

    gate: str
    figure: float
    limit: float

    @property
    def passed(self) -> bool:
        return self.figure <= self.limit


@dataclass
class Bench:
    """A loaded model, with what was checked of it."""

    model: nn.Module
    tokenizer: Tokenizer
    gates: list[Gate]
    weights: str
    """How they were held when the model was loaded."""
    stage1: Literal["none", "fused in float32", "kept as a frozen adapter"] = "none"
    """How it was added."""
    text: np.ndarray | None = None
    """Its log-probabilities along the neutral text, once they were asked for."""

    @property
    def held(self) -> dict[str, Any]:
        """What a report says of it."""
        return {"weights": self.weights, "stage1": self.stage1, "gb": round(held_gb(self.model), 4)}


_held: dict[str, Bench] = {}


def loaded_model(unit: StageOne, store: Store) -> Loaded:
    """What stage 1 begins with: the catalogue's model, or the one that the nursery trained."""
    nursery = unit.nursery
    return load_folder(store.folder(nursery), unit.model.blocks) if nursery else load(unit.model)


def base(unit: StageOne, store: Store, probe: list[Prompt]) -> Bench:
    """The model as it came, or as the nursery trained it, frozen, in float32.

    Raises GateError where its lens is not its logits.
    """
    clear()
    loaded = loaded_model(unit, store)
    bench = Bench(loaded.model, loaded.tokenizer, [], held_as(loaded.model))
    ids = make_batch([encode(bench.tokenizer, prompt) for prompt in probe]).ids
    bench.gates.append(checked(lens_gate(bench.model, ids)))
    return bench


def add_stage_one(bench: Bench, unit: StageOne, weights: adapters.Weights, probe: list[Prompt]) -> None:
    """Fuse stage 1 into the model, or keep it as a frozen adapter, as its settings say, and hold the model.

    Raises GateError where that changes the logits.
    """
    adapters.put(bench.model, unit.stage1.lora, weights)
    ids = make_batch([encode(bench.tokenizer, prompt) for prompt in probe]).ids
    if unit.fuses:
        bench.gates.append(checked(fused_gate(bench.model, ids)))
        bench.stage1 = "fused in float32"
    else:
        bench.gates.append(checked(kept_gate(bench.model, unit.stage1.lora, ids)))
        bench.stage1 = "kept as a frozen adapter"
    _held[unit.id] = bench


def with_stage_one(unit: StageOne, store: Store, probe: list[Prompt]) -> Bench:
    """The model after stage 1: the one held, or made from the adapter in the store."""
    if unit.id not in _held:
        bench = base(unit, store, probe)
        add_stage_one(bench, unit, adapters.load(store.folder(unit)), probe)
    return _held[unit.id]


def lens_gate(model: nn.Module, ids: mx.array) -> Gate:
    """How far the lens of the last layer is from the logits."""
    return Gate("last-layer lens equals the logits", gap_at_last_layer(model, ids), LENS_LIMIT)


def fused_gate(model: nn.Module, ids: mx.array) -> Gate:
    """Fuse the adapter that is on the model, and how far that moves the logits."""
    adapted = model(ids)
    mx.eval(adapted)
    adapters.fuse(model)
    return Gate("fused model equals the adapted one", _gap(model(ids), adapted), FUSE_LIMIT)


def kept_gate(model: nn.Module, lora: Lora, ids: mx.array) -> Gate:
    """Keep the adapter that is on the model, and how far that moves the logits: with a new one beside it, whose update
    is zero, and when that is taken off again."""
    adapted = model(ids)
    mx.eval(adapted)
    adapters.settle(model)
    adapters.stack(model, lora, [0])
    beside = _gap(model(ids), adapted)
    adapters.take_off(model)
    gap = max(beside, _gap(model(ids), adapted))
    return Gate("model with stage 1 kept equals the adapted one", gap, FUSE_LIMIT)


def fitting(bench: Bench, cell: Cell, encoded: Sequence[Encoded]) -> int:
    """How many cells can train side by side on prompts like these in the memory that is free; one at least.

    A cell adds, for each position of its batch, what every block keeps for the backward pass (outputs of its linear
    layers, twice for their activations, and eight hidden states), and three rows of logits for each position read.
    """
    modules = [m for block in bench.model.layers for m in block.modules()]
    linear = [widths(m) for m in modules if isinstance(m, nn.Linear | nn.QuantizedLinear)]
    hidden = min(map(min, linear))
    kept = sum(2 * outputs for _, outputs in linear) + 8 * hidden * len(bench.model.layers)
    vocabulary = max(value.shape[0] for _, value in tree_flatten(bench.model.parameters()) if value.ndim > 1)
    rows = cell.stage2.batch_size
    longest = max(len(item.prompt_ids) + len(item.answer_ids) for item in encoded)
    read = 1 + max(len(item.answer_ids) for item in encoded)
    needed = 4 * rows * (longest * kept + 3 * read * vocabulary)
    return max(1, int(MEMORY_SHARE * psutil.virtual_memory().available / needed))


def clear() -> None:
    """Let go of the model."""
    _held.clear()
    gc.collect()  # a model's modules refer to one another
    mx.clear_cache()


def _gap(logits: mx.array, others: mx.array) -> float:
    """The largest difference, over the spread of the others."""
    gap: Any = mx.abs(logits - others).max() / (others.max() - others.min())
    return float(gap.item())


def checked(gate: Gate) -> Gate:
    """The gate, passed. Raises GateError with its figure where it is not."""
    if not gate.passed:
        raise GateError(f"gate: {gate.gate}: {gate.figure:.3g}, and the limit is {gate.limit:g}")
    return gate
