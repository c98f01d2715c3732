"""LoRA on the named projections of all blocks: attach, fuse, take off, save and load (Hu et al., 2021)."""

import json
import math
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.tuner.lora import LoRALinear
from mlx_lm.tuner.utils import linear_to_lora_layers

from study.config import Lora

WEIGHTS = "adapters.safetensors"
CONFIG = "adapter_config.json"


class AdapterError(Exception):
    """Projections that a model does not have, or an adapter that does not fit it."""


def attach(model: nn.Module, lora: Lora, seed: int) -> list[str]:
    """Freeze the model and add a LoRA whose update is zero; returns the paths of the projections in a block.

    A is uniform in ±1/sqrt(inputs) from `seed` and its place in the model, B is zero, as in mlx-lm.
    """
    keys = _keys(model, lora)
    model.freeze()
    linear_to_lora_layers(model, len(model.layers), {**_parameters(lora), "keys": set(keys)})
    for i, module in enumerate(adapters(model).values()):
        inputs, _ = module.lora_a.shape
        bound = 1 / math.sqrt(inputs)
        key = mx.random.key(seed * 100_003 + i)
        module.lora_a = mx.random.uniform(-bound, bound, module.lora_a.shape, key=key)
    mx.eval(model.trainable_parameters())
    return keys


def adapters(model: nn.Module) -> dict[str, LoRALinear]:
    """The LoRA layers by path, in the model's order."""
    return {name: m for name, m in sorted(model.named_modules()) if isinstance(m, LoRALinear)}


def fuse(model: nn.Module) -> None:
    """Add the update to the weights, in their own precision, and freeze everything."""
    model.update_modules(tree_unflatten([(name, module.fuse()) for name, module in adapters(model).items()]))
    model.freeze()
    mx.eval(model.parameters())


def take_off(model: nn.Module) -> None:
    """Put the plain layers back, as they were before `attach`."""
    model.update_modules(tree_unflatten([(name, module.linear) for name, module in adapters(model).items()]))
    model.freeze()


def save(model: nn.Module, lora: Lora, keys: list[str], folder: Path) -> None:
    """The adapter as mlx-lm's `--adapter-path` reads it."""
    weights = dict(tree_flatten(model.trainable_parameters()))
    mx.save_safetensors(str(folder / WEIGHTS), weights)
    parameters = {**_parameters(lora), "keys": keys}
    config = {"fine_tune_type": "lora", "num_layers": len(model.layers), "lora_parameters": parameters}
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")


def load(model: nn.Module, lora: Lora, folder: Path) -> None:
    """Attach the adapter that `save` wrote. Raises AdapterError where it does not fit."""
    attach(model, lora, seed=0)
    weights: dict[str, Any] = mx.load(str(folder / WEIGHTS))  # type: ignore[assignment]
    expected = dict(tree_flatten(model.trainable_parameters()))
    if {name: w.shape for name, w in weights.items()} != {name: w.shape for name, w in expected.items()}:
        raise AdapterError(f"the adapter in {folder} has other layers or shapes than its settings say")
    model.load_weights(list(weights.items()), strict=False)
    mx.eval(model.parameters())


def _parameters(lora: Lora) -> dict[str, Any]:
    return {"rank": lora.rank, "scale": lora.scale, "dropout": 0.0}


def _keys(model: nn.Module, lora: Lora) -> list[str]:
    """Paths within a block of the linear layers to adapt."""
    linear = {name for layer in model.layers for name, m in layer.named_modules() if isinstance(m, nn.Linear)}
    if lora.projections == "all":
        return sorted(linear)
    known = sorted({name.rsplit(".", 1)[-1] for name in linear})
    missing = [name for name in lora.projections if name not in known]
    if missing:
        raise AdapterError(
            f"lora.projections: {', '.join(missing)} is no projection of {type(model).__module__}; "
            f"its blocks have {', '.join(known)}"
        )
    return sorted(name for name in linear if name.rsplit(".", 1)[-1] in lora.projections)
