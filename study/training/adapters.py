"""LoRA adapters on chosen linear layers of all blocks (Hu et al., 2021): stacked for training, single for use.

For training, the adapters of G cells are stacked as [G, inputs, rank] and [G, rank, outputs] over one frozen model,
whose batch holds the G cells' rows one after the other. The layers may be quantised, and may already have a frozen
adapter.
"""

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import mlx.core as mx
import mlx.nn as nn
from jaxtyping import Float
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.tuner.lora import LoRALinear

from study.config.names import ROLES, Role
from study.config.stages import Lora
from study.models.quantised import widths, written_out
from study.models.roles import left_alone, roles
from study.results.files import write_bytes, write_json
from study.results.schema import ADAPTER

WEIGHTS, CONFIG = ADAPTER

Weights = dict[str, mx.array]
"""Arrays of one adapter by name, as mlx-lm stores them: `model.layers.0.self_attn.v_proj.lora_a` → [inputs, rank]."""


class AdapterError(Exception):
    """The model lacks a layer that is to be adapted, or an adapter does not fit the model."""


class FrozenLoRA(nn.Module):  # type: ignore[misc]
    """A frozen linear layer with a frozen adapter that stays when further adapters are added and removed."""

    def __init__(self, adapted: LoRALinear) -> None:
        super().__init__()
        self.linear, self.lora_a, self.lora_b = adapted.linear, adapted.lora_a, adapted.scale * adapted.lora_b

    def __call__(self, x: Float[mx.array, "*rows inputs"]) -> Float[mx.array, "*rows outputs"]:
        y: mx.array = self.linear(x)
        return y + (x @ self.lora_a) @ self.lora_b


class StackedLoRA(nn.Module):  # type: ignore[misc]
    """A frozen linear layer with the adapters of G cells, each of which applies to one of G equal parts of the rows."""

    def __init__(self, linear: "Linear", lora_a: mx.array, lora_b: mx.array, scale: float) -> None:
        super().__init__()
        self.linear, self.lora_a, self.lora_b, self.scale = linear, lora_a, lora_b, scale

    def __call__(self, x: Float[mx.array, "*rows inputs"]) -> Float[mx.array, "*rows outputs"]:
        y: mx.array = self.linear(x)
        low = x.reshape(len(self.lora_a), -1, x.shape[-1]) @ self.lora_a
        return y + ((self.scale * low) @ self.lora_b).reshape(y.shape).astype(y.dtype)


Linear: TypeAlias = nn.Linear | nn.QuantizedLinear | FrozenLoRA
"""A layer that can be adapted."""


def stack(model: nn.Module, lora: Lora, seeds: Sequence[int]) -> None:
    """Freeze the model and add one adapter for each seed, stacked, each with an update of zero.

    A is uniform in ±1/sqrt(inputs), drawn from the seed and the index of the layer; B is zero, as in mlx-lm. Raises
    AdapterError where the model lacks a layer that `lora` names.
    """
    paths = _paths(model, lora)
    model.freeze()
    layers = []
    for i, (path, linear) in enumerate(paths.items()):
        inputs, outputs = _widths(linear)
        bound = 1 / math.sqrt(inputs)
        drawn = {
            seed: mx.random.uniform(-bound, bound, (inputs, lora.rank), key=mx.random.key(seed * 100_003 + i))
            for seed in set(seeds)
        }
        lora_a = mx.stack([drawn[seed] for seed in seeds])
        layers.append((path, StackedLoRA(linear, lora_a, mx.zeros((len(seeds), lora.rank, outputs)), lora.scale)))
    model.update_modules(tree_unflatten(layers))
    mx.eval(model.trainable_parameters())


def weights_of(model: nn.Module) -> list[Weights]:
    """Return the adapter of each cell of a stacked model."""
    stacked = dict(tree_flatten(model.trainable_parameters()))
    taken = [{name: value[g] for name, value in stacked.items()} for g in range(len(next(iter(stacked.values()))))]
    mx.eval(taken)
    return taken


def unstack(model: nn.Module) -> list[Weights]:
    """Restore the layers as they were before `stack` and return the adapter of each cell."""
    taken = weights_of(model)
    take_off(model)
    return taken


def lowest_adapted(model: nn.Module) -> int:
    """Return the index of the first block with stacked adapters; blocks below it compute the same for every cell."""
    return next(i for i, block in enumerate(model.layers) if _stacked(block))


def blocks_of(model: nn.Module) -> dict[str, int]:
    """Return the index of the block of each stacked adapter, by the adapter's path in the model."""
    within = {id(m): i for i, block in enumerate(model.layers) for _, m in block.named_modules()}
    return {name: within[id(layer)] for name, layer in _stacked(model)}


def shapes(model: nn.Module, lora: Lora) -> dict[str, tuple[int, int]]:
    """Return the shapes of the arrays of one adapter, [inputs, rank] and [rank, outputs], by the names of `Weights`."""
    found: dict[str, tuple[int, int]] = {}
    for path, linear in _paths(model, lora).items():
        inputs, outputs = _widths(linear)
        found |= {f"{path}.lora_a": (inputs, lora.rank), f"{path}.lora_b": (lora.rank, outputs)}
    return found


def put(model: nn.Module, lora: Lora, weights: Mapping[str, mx.array]) -> None:
    """Add one adapter, for evaluation, `fuse` or `freeze`. Raises AdapterError where it does not fit the model."""
    paths = _paths(model, lora)
    model.freeze()
    layers = []
    for path, linear in paths.items():
        layer = LoRALinear(*_widths(linear), r=lora.rank, scale=lora.scale)
        layer.linear = linear
        layers.append((path, layer))
    model.update_modules(tree_unflatten(layers))
    expected = dict(tree_flatten(model.trainable_parameters()))
    if {name: w.shape for name, w in weights.items()} != {name: w.shape for name, w in expected.items()}:
        take_off(model)
        raise AdapterError("the adapter has other layers or shapes than its settings give for this model")
    model.load_weights(list(weights.items()), strict=False)
    model.freeze()
    mx.eval(model.parameters())


def fuse(model: nn.Module) -> None:
    """Add the update of the adapter from `put` to the weights, in float32, and freeze all of them.

    Quantised weights are dequantised for it and stay float32: quantising them again would lose most of the update.
    """
    single = _single(model)
    for _, layer in single:
        layer.linear = written_out(layer.linear)
    model.update_modules(tree_unflatten([(name, layer.fuse()) for name, layer in single]))
    model.freeze()
    mx.eval(model.parameters())


def freeze(model: nn.Module) -> None:
    """Keep the adapter from `put` frozen and separate from the weights; adapters that are added later go on top."""
    model.update_modules(tree_unflatten([(name, FrozenLoRA(layer)) for name, layer in _single(model)]))
    model.freeze()
    mx.eval(model.parameters())


def take_off(model: nn.Module) -> None:
    """Remove the adapters: restore the layers as they were before `put` or `stack`."""
    adapted = [(name, m) for name, m in model.named_modules() if isinstance(m, LoRALinear | StackedLoRA)]
    model.update_modules(tree_unflatten([(name, module.linear) for name, module in adapted]))
    model.freeze()


def save(model: nn.Module, lora: Lora, weights: Weights, folder: Path) -> None:
    """Write the adapter to `folder` as mlx-lm's `--adapter-path` reads it."""
    content = io.BytesIO()
    mx.save_safetensors(content, weights)
    write_bytes(folder / WEIGHTS, content.getvalue())
    parameters = {**_parameters(lora), "keys": _keys(model, lora)}
    config = {"fine_tune_type": "lora", "num_layers": len(model.layers), "lora_parameters": parameters}
    write_json(folder / CONFIG, config)


def load(folder: Path) -> Weights:
    """Return the adapter that `save` wrote."""
    weights: Weights = mx.load(str(folder / WEIGHTS))  # type: ignore[assignment]
    return weights


def linear(block: nn.Module) -> list[str]:
    """Return the paths, within a block, of the linear layers that can be adapted or are.

    Raises AdapterError on a layer that computes more than nn.Linear or nn.QuantizedLinear.
    """
    modules = dict(block.named_modules())
    adapted = {path for path, m in modules.items() if isinstance(m, LoRALinear | StackedLoRA | FrozenLoRA)}
    plain = {path for path, m in modules.items() if isinstance(m, nn.Linear | nn.QuantizedLinear)}
    within = {f"{path}.linear" for path in adapted}
    plain = {path for path in plain - within if not left_alone(path)}
    for path in sorted(plain):
        if type(modules[path]).__call__ not in (nn.Linear.__call__, nn.QuantizedLinear.__call__):
            raise AdapterError(f"no adapter fits {path}, a {type(modules[path]).__name__}: it does more than nn.Linear")
    return sorted((plain | adapted) - within)


def _stacked(module: nn.Module) -> list[tuple[str, StackedLoRA]]:
    return [(name, m) for name, m in module.named_modules() if isinstance(m, StackedLoRA)]


def _single(model: nn.Module) -> list[tuple[str, LoRALinear]]:
    return [(name, m) for name, m in model.named_modules() if isinstance(m, LoRALinear)]


def _widths(linear: Linear) -> tuple[int, int]:
    """Return the numbers of inputs and outputs."""
    return widths(linear.linear if isinstance(linear, FrozenLoRA) else linear)


def _parameters(lora: Lora) -> dict[str, Any]:
    return {"rank": lora.rank, "scale": lora.scale, "dropout": 0.0}


def _paths(model: nn.Module, lora: Lora) -> dict[str, Linear]:
    """Return the linear layers to adapt by their path in the model, in the order of the paths."""
    keys = _keys(model, lora)
    blocks = {id(m) for layer in model.layers for name, m in layer.named_modules() if name in keys}
    return {name: m for name, m in sorted(model.named_modules()) if id(m) in blocks and isinstance(m, Linear)}


def _keys(model: nn.Module, lora: Lora) -> list[str]:
    """Return the paths, within a block, of the linear layers to adapt; in an adapted model, of those that are adapted.

    Raises AdapterError where the blocks have no layer of a name or role of `lora.projections`.
    """
    blocks = [roles(linear(block)) for block in model.layers]
    paths = sorted(set().union(*blocks))
    if lora.projections == "all":
        return paths
    known = _names(paths)
    missing = [name for name in lora.projections if name not in (*known, *ROLES)]
    if missing:
        raise AdapterError(
            f"lora.projections: {', '.join(missing)} is no projection of {type(model).__module__}; "
            f"its blocks have {', '.join(known)}"
        )
    names = [name for name in lora.projections if name not in ROLES]
    chosen = {path for path in paths if path.rpartition(".")[2] in names}
    for role in ROLES:
        if role in lora.projections:
            chosen |= _of_role(model, role, blocks)
    return sorted(chosen)


def _of_role(model: nn.Module, role: Role, blocks: Sequence[Mapping[str, tuple[Role, ...]]]) -> set[str]:
    """Return the paths of the layers that have a role. Raises AdapterError where a block has none."""
    found = [{path for path, those in block.items() if role in those} for block in blocks]
    without = [i for i, of_block in enumerate(found) if not of_block]
    if without:
        have = _names(path for i in without for path in blocks[i])
        raise AdapterError(
            f"lora.projections: {role} has no meaning in {len(without)} of the {len(blocks)} blocks of "
            f"{type(model).__module__}, which have {', '.join(have)}: name layers, or write `all`"
        )
    return set().union(*found)


def _names(paths: Iterable[str]) -> list[str]:
    return sorted({path.rpartition(".")[2] for path in paths})
