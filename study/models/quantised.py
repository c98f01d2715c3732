"""Weights that stay quantised in memory, with which products are computed in float32."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.utils import dequantize_model

from study.models import ModelError

GROUP_SIZE = 64
"""Number of weights that share a scale and an offset."""
BITS = {"8bit": 8, "4bit": 4}

Quantised: TypeAlias = nn.QuantizedLinear | nn.QuantizedEmbedding


def hold(model: nn.Module, weights: str, config: Mapping[str, Any], path: Path) -> None:
    """Convert the weights of a loaded model, which are float32 or packed, to the form that `Model.weights` names.

    `config` is the model's configuration as mlx-lm reads it. Raises ModelError where the model at `path` is stored in
    another number of bits, or cannot be quantised.
    """
    stored = config.get("quantization")
    if weights == "float32":
        dequantize_model(model)
        model.set_dtype(mx.float32)  # formats without offsets are dequantised to bfloat16
    elif stored is None:
        _quantise(model, BITS[weights], path)
    elif stored["bits"] != BITS[weights]:
        raise ModelError(f"{path} is quantised with {stored['bits']} bits, not {BITS[weights]}: {_instead(stored)}")
    else:
        embeddings = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.QuantizedEmbedding)]
        # In formats without offsets, embeddings give bfloat16, and all blocks would compute in it.
        plain = [(name, written_out(m)) for name, m in embeddings if m.mode != "affine"]
        model.update_modules(tree_unflatten(plain))


def is_quantised(model: nn.Module) -> bool:
    """Whether any weights of the model are quantised."""
    return any("scales" in module for module in model.modules())


def held_as(model: nn.Module) -> str:
    """Return the form of the matrices in memory, `float32` or `4 bit`; where they differ, the number in each form."""
    matrices = [m for m in model.modules() if isinstance(m.get("weight"), mx.array) and m.weight.ndim > 1]
    counts = Counter(_format(matrix) for matrix in matrices)
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{name} ({count} matrices)" for name, count in counts.most_common())


def held_gb(model: nn.Module) -> float:
    """Return the size of all parameters in memory, GB."""
    held: int = sum(value.nbytes for _, value in tree_flatten(model.parameters()))
    return held / 1e9


def widths(layer: nn.Linear | nn.Embedding | Quantised) -> tuple[int, int]:
    """Return the inputs and outputs of a linear layer, or of an embedding used as the unembedding, quantised or not."""
    outputs, inputs = layer.weight.shape
    return (layer.scales.shape[1] * layer.group_size if isinstance(layer, Quantised) else inputs), outputs


def rows_of(layer: Quantised, ids: mx.array) -> mx.array:
    """Return rows of the matrix, dequantised to float32 [ids, inputs]."""
    biases = layer.get("biases")
    return mx.dequantize(
        layer.weight[ids],
        layer.scales[ids],
        None if biases is None else biases[ids],
        layer.group_size,
        layer.bits,
        layer.mode,
        dtype=mx.float32,
    )


def written_out(layer: Any) -> Any:
    """Return the linear layer or embedding dequantised to float32; unchanged if it is not quantised."""
    if not isinstance(layer, Quantised):
        return layer
    has_bias = "bias" in layer
    plain = nn.Embedding(1, 1) if isinstance(layer, nn.QuantizedEmbedding) else nn.Linear(1, 1, bias=has_bias)
    plain.weight = rows_of(layer, mx.arange(len(layer.weight)))
    if has_bias:
        plain.bias = layer.bias
    return plain


def _quantise(model: nn.Module, bits: int, path: Path) -> None:
    """Quantise the model as mlx-lm does, where some architectures choose layers and bits themselves.

    Raises ModelError where no layer can be quantised.
    """
    own = getattr(model, "quant_predicate", None)

    def chosen(name: str, layer: nn.Module) -> bool | dict[str, Any]:
        if not hasattr(layer, "to_quantized") or layer.weight.shape[-1] % GROUP_SIZE:
            return False
        return own(name, layer) if own else True

    nn.quantize(model, GROUP_SIZE, bits, class_predicate=chosen)
    if not is_quantised(model):
        raise ModelError(f"{path} has no layer whose width is a multiple of {GROUP_SIZE}: write `weights: float32`")


def _instead(stored: Mapping[str, Any]) -> str:
    names = [name for name, bits in BITS.items() if bits == stored["bits"]]
    return "write " + " or ".join(f"`weights: {name}`" for name in [*names, "float32"])


def _format(matrix: nn.Module) -> str:
    if "scales" not in matrix:
        return str(matrix.weight.dtype).rpartition(".")[2]
    return f"{matrix.bits} bit" + ("" if matrix.mode == "affine" else f" ({matrix.mode})")
