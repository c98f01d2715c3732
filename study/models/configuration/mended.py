"""What mlx-lm cannot be told by keys and computes otherwise, set right in a loaded model by a constant."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.rope_utils import YarnRoPE

from study.models import ModelError

Mend: TypeAlias = Callable[[nn.Module, Path], None]
"""A change of a model that was loaded from a folder. Raises ModelError where it cannot be made."""


def rotating(width: int) -> Mend:
    """Return the change by which the first `width` numbers of each head are rotated, and the others left."""
    return partial(_rotate, width)


def with_exact_bounds(parameters: Mapping[str, Any]) -> Mend:
    """Return the change by which YaRN's bounds between frequencies are not rounded to whole dimensions."""
    return partial(_set_frequencies, parameters)


def with_multipliers(of_input: float, of_keys: float) -> Mend:
    """Return the change by which Falcon-H1's keys and values are multiplied as its config.json says; mlx-lm multiplies
    keys by the first alone."""
    return partial(_multiply, of_input, of_keys)


def _rotate(width: int, model: nn.Module, folder: Path) -> None:
    for module in model.modules():
        if isinstance(module, nn.RoPE):
            module.dims = width


def _set_frequencies(parameters: Mapping[str, Any], model: nn.Module, folder: Path) -> None:
    base, factor = parameters["rope_theta"], parameters["factor"]
    trained = parameters["original_max_position_embeddings"]
    for module in model.modules():
        if isinstance(module, YarnRoPE):
            rotations = (parameters.get("beta_fast") or 32, parameters.get("beta_slow") or 1)
            low, high = (
                module.dims * math.log(trained / (count * 2 * math.pi)) / (2 * math.log(base)) for count in rotations
            )
            low, high = max(low, 0), min(high, module.dims - 1)
            steps = mx.arange(module.dims // 2, dtype=mx.float32)
            interpolated = mx.clip((steps - low) / max(high - low, 0.001), 0, 1)
            frequencies = base ** (2 * steps / module.dims)
            module._freqs = 1 / (interpolated / (factor * frequencies) + (1 - interpolated) / frequencies)


def _multiply(of_input: float, of_keys: float, model: nn.Module, folder: Path) -> None:
    if _is_converted(folder):
        raise ModelError(
            f"{folder} was converted by mlx-lm, which leaves out Falcon-H1's key_multiplier, and its "
            "attention_in_multiplier for values: use the original model"
        )
    for block in model.layers:
        block.self_attn.k_proj.weight *= of_keys
        block.self_attn.v_proj.weight *= of_input


def _is_converted(folder: Path) -> bool:
    """Whether the convolutions have mlx-lm's layout [channels, width, 1] instead of the original's."""
    for file in folder.glob("model*.safetensors"):
        weights: Any = mx.load(str(file))
        for name, weight in weights.items():
            if name.endswith("conv1d.weight"):
                return bool(weight.shape[-1] <= weight.shape[1])
    return False
