"""Weights that stay quantised in memory; what is computed with them is float32."""

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
"""Weights that share a scale and an offset."""
BITS = {"8bit": 8, "4bit": 4}

Quantised: TypeAlias = nn.QuantizedLinear | nn.QuantizedEmbedding


def hold(model: nn.Module, weights: str, config: Mapping[str, Any], path: Path) -> None:
    """Hold the weights of a model, whose parameters are float32 or packed, as `Model.weights` says.

    `config` is what mlx-lm read of it. Raises ModelError where what lies at `path` cannot be held so.
    """
    stored = config.get("quantization")
    if weights == "float32":
        dequantize_model(model)
        model.set_dtype(mx.float32)  # formats without offsets are written out in bfloat16
    elif stored is None:
        _quantise(model, BITS[weights], path)
    elif stored["bits"] != BITS[weights]:
        raise ModelError(f"{path} is quantised with {stored['bits']} bits, not {BITS[weights]}: {_instead(stored)}")
    else:
        embeddings = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.QuantizedEmbedding)]
        # In formats without offsets they give bfloat16, and all blocks would go on in it.
        plain = [(name, written_out(m)) for name, m in embeddings if m.mode != "affine"]
        model.update_modules(tree_unflatten(plain))


def is_quantised(model: nn.Module) -> bool:
    """Whether any of its weights are."""
    return any("scales" in module for module in model.modules())


def held_as(model: nn.Module) -> str:
    """`float32` or `4 bit`; where matrices differ, how many are held as what."""
    matrices = [m for m in model.modules() if isinstance(m.get("weight"), mx.array) and m.weight.ndim > 1]
    counts = Counter(_format(matrix) for matrix in matrices)
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{name} ({count} matrices)" for name, count in counts.most_common())


def held_gb(model: nn.Module) -> float:
    """Of all parameters, as they are held."""
    held: int = sum(value.nbytes for _, value in tree_flatten(model.parameters()))
    return held / 1e9


def widths(layer: nn.Linear | nn.Embedding | Quantised) -> tuple[int, int]:
    """Inputs and outputs of a linear layer, or of an embedding as the head, quantised or not."""
    outputs, inputs = layer.weight.shape
    return (layer.scales.shape[1] * layer.group_size if isinstance(layer, Quantised) else inputs), outputs


def rows_of(layer: Quantised, ids: mx.array) -> mx.array:
    """Rows of the matrix in float32 [ids, inputs]."""
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
    """The same linear layer or embedding in float32; as it is, where it is not quantised."""
    if not isinstance(layer, Quantised):
        return layer
    has_bias = "bias" in layer
    plain = nn.Embedding(1, 1) if isinstance(layer, nn.QuantizedEmbedding) else nn.Linear(1, 1, bias=has_bias)
    plain.weight = rows_of(layer, mx.arange(len(layer.weight)))
    if has_bias:
        plain.bias = layer.bias
    return plain


def _quantise(model: nn.Module, bits: int, path: Path) -> None:
    """As mlx-lm does it, which has some architectures choose layers and bits of their own."""
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
