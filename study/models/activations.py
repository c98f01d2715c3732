"""SiLU and GELU (tanh form) in numpy, to read models on the CPU, where MLX's exp, tanh and power are not vectorised.

Values equal MLX's up to rounding. There are no gradients: for those MLX must see every operation.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import mlx.core as mx
import mlx.nn as nn
import numpy as np

Activation = Callable[[mx.array], mx.array]


@contextmanager
def in_numpy() -> Iterator[None]:
    """Within the context, models on the CPU compute `mlx.nn.silu` and `mlx.nn.gelu_approx` in numpy."""
    own = nn.silu, nn.gelu_approx
    if mx.default_device().type == mx.DeviceType.cpu:
        nn.silu, nn.gelu_approx = _lifted(_silu), _lifted(_gelu)
    try:
        yield
    finally:
        nn.silu, nn.gelu_approx = own


def _silu(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # exp(-x) may be infinite, and x / inf is the right limit
        value: np.ndarray = x / (1 + np.exp(-x))
    return value


def _gelu(x: np.ndarray) -> np.ndarray:
    inner = np.float32(np.sqrt(2 / np.pi)) * x * (1 + np.float32(0.044715) * x * x)
    value: np.ndarray = 0.5 * x * (1 + np.tanh(inner))
    return value


def _lifted(function: Callable[[np.ndarray], np.ndarray]) -> Activation:
    def lifted(x: mx.array) -> mx.array:
        return mx.array(function(np.array(x.astype(mx.float32), copy=False))).astype(x.dtype)

    return lifted
