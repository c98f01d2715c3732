"""Faster products with quantised matrices on a CPU, where MLX computes them value by value, without a BLAS.

A matrix is dequantised for each product, some rows at a time, and again for the gradient, and a BLAS multiplies: from
some tens of rows on that is many times faster. Values and gradients are those of the dequantised matrix. A product must
not be evaluated while a gradient is traced: MLX would keep all its inputs in memory, dequantised matrices included.
"""

from typing import Any

import mlx.core as mx

from study.models.activations import on_cpu

AT_ONCE = 2**20
"""Number of values that are dequantised at a time: 4 MiB, which fit the processor's caches."""

_quantized_matmul = mx.quantized_matmul


def use() -> None:
    """Replace `mlx.core.quantized_matmul` in this process by that of this module; on a CPU only."""
    if on_cpu():
        mx.quantized_matmul = quantized_matmul


def quantized_matmul(
    x: mx.array,
    w: mx.array,
    /,
    scales: mx.array,
    biases: mx.array | None = None,
    transpose: bool = True,
    group_size: int | None = None,
    bits: int | None = None,
    mode: str = "affine",
    **more: Any,
) -> Any:
    """Return x @ W.T [*rows, outputs] for a quantised W [outputs, inputs], differentiable with respect to x.

    Cases other than a transposed matrix and float32 are left to MLX.
    """
    if not transpose or w.ndim != 2 or x.dtype != mx.float32 or more:
        return _quantized_matmul(x, w, scales, biases, transpose, group_size, bits, mode, **more)

    step = max(1, AT_ONCE // x.shape[-1])
    parts = [slice(start, start + step) for start in range(0, w.shape[0], step)]

    def written_out(rows: slice, after: mx.array) -> mx.array:
        """Return rows of W, once `after` is computed: else MLX would first dequantise all rows, of all layers."""
        packed, of_rows = mx.depends(w[rows], after), None if biases is None else biases[rows]
        return mx.dequantize(packed, scales[rows], of_rows, group_size, bits, mode, dtype=mx.float32)

    @mx.custom_function
    def product(x: mx.array) -> Any:
        outputs = [x]
        for rows in parts:
            outputs.append(x @ written_out(rows, outputs[-1]).T)
        return mx.concatenate(outputs[1:], axis=-1)

    @product.vjp
    def gradient(x: mx.array, cotangent: mx.array, output: mx.array) -> mx.array:
        total = cotangent[..., parts[0]] @ written_out(parts[0], cotangent)
        for rows in parts[1:]:
            total = total + cotangent[..., rows] @ written_out(rows, total)
        return total

    return product(x)
