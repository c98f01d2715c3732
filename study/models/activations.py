"""Faster exp, SiLU and GELU (tanh form) on a Linux CPU, where MLX computes exp and tanh value by value.

There `power` takes half the time of `exp` and a third of that of `tanh`, so that all of these functions use it. Values
and gradients equal MLX's up to rounding.
"""

import math
import sys
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn

_SLOPE, _CUBE = 2 * math.sqrt(2 / math.pi), 0.044715


def use() -> None:
    """Replace `mlx.nn.silu` and `mlx.nn.gelu_approx` in this process by those of this module; on a Linux CPU only."""
    if _is_slow():
        nn.silu, nn.gelu_approx = silu, gelu_approx


def exp(x: mx.array) -> mx.array:
    """Return e to the power of x, computed the faster way."""
    return mx.power(mx.array(math.e, x.dtype), x) if _is_slow() else mx.exp(x)


def on_cpu() -> bool:
    """Whether MLX computes on the CPU."""
    return bool(mx.default_device().type == mx.DeviceType.cpu)


def _is_slow() -> bool:
    return sys.platform == "linux" and on_cpu()


def _gated(
    gate: Callable[[mx.array], mx.array], slope: Callable[[mx.array], mx.array | float]
) -> Callable[[mx.array], Any]:
    """Return the function x * sigmoid(gate(x)), with its derivative sigmoid * (1 + x * (1 - sigmoid) * slope(x)).

    `slope` is the derivative of `gate`.
    """

    @mx.custom_function
    def function(x: mx.array) -> tuple[mx.array, mx.array]:
        sigmoid = 1 / (1 + exp(-gate(x)))
        return x * sigmoid, sigmoid

    @function.vjp
    def gradient(x: mx.array, cotangents: tuple[mx.array, mx.array], outputs: tuple[mx.array, mx.array]) -> mx.array:
        sigmoid = outputs[1]
        return cotangents[0] * sigmoid * (1 + x * (1 - sigmoid) * slope(x))

    def first(x: mx.array) -> Any:
        outputs: Any = function(x)
        return outputs[0]

    return first


silu = _gated(lambda x: x, lambda x: 1.0)
gelu_approx = _gated(lambda x: _SLOPE * x * (1 + _CUBE * x * x), lambda x: _SLOPE * (1 + 3 * _CUBE * x * x))
"""0.5 x (1 + tanh(u)) = x sigmoid(2u) with u = sqrt(2/π) (x + 0.044715 x³)."""
