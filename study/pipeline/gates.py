"""Gates: checks of the method, each a figure with its limit, recorded with every unit."""

from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from study.config.stages import Lora
from study.lens.hooks import gap_at_last_layer
from study.training import adapters

LENS_LIMIT = 1e-4
"""Largest difference of the last layer's lens and the logits, as a share of the spread of the logits."""
FUSE_LIMIT = 1e-3
"""Largest difference of the logits of the fused and the adapted model, as a share of their spread."""


class GateError(Exception):
    """A check of the method failed; the message has its figure and limit."""


@dataclass(frozen=True)
class Gate:
    """A check of the method: a figure that must not pass its limit."""

    gate: str
    figure: float
    limit: float

    @property
    def passed(self) -> bool:
        return self.figure <= self.limit


def lens_gate(model: nn.Module, ids: mx.array) -> Gate:
    """Return the gate for the difference of the last layer's lens and the logits."""
    return Gate("last-layer lens equals the logits", gap_at_last_layer(model, ids), LENS_LIMIT)


def fused_gate(model: nn.Module, ids: mx.array) -> Gate:
    """Fuse the adapter that is on the model; return the gate for the change of the logits."""
    adapted = model(ids)
    mx.eval(adapted)
    adapters.fuse(model)
    return Gate("fused model equals the adapted one", _gap(model(ids), adapted), FUSE_LIMIT)


def kept_gate(model: nn.Module, lora: Lora, ids: mx.array) -> Gate:
    """Freeze the adapter that is on the model; return the gate for the change of the logits: with a new adapter in
    addition, whose update is zero, and after that is removed again."""
    adapted = model(ids)
    mx.eval(adapted)
    adapters.freeze(model)
    adapters.stack(model, lora, [0])
    beside = _gap(model(ids), adapted)
    adapters.take_off(model)
    gap = max(beside, _gap(model(ids), adapted))
    return Gate("model with stage 1 kept equals the adapted one", gap, FUSE_LIMIT)


def _gap(logits: mx.array, others: mx.array) -> float:
    """Return max |logits - others| / (max - min of the others)."""
    gap: Any = mx.abs(logits - others).max() / (others.max() - others.min())
    return float(gap.item())


def checked(gate: Gate) -> Gate:
    """Return the gate if it passed. Raises GateError otherwise."""
    if not gate.passed:
        raise GateError(f"gate: {gate.gate}: {gate.figure:.3g}, and the limit is {gate.limit:g}")
    return gate
