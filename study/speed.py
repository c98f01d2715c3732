"""`python -m study.speed`: float32 GFLOP/s of MLX and of numpy, with the BLAS threads that the environment sets."""

import time
from collections.abc import Callable

from study import blas

# isort: split
import mlx.core as mx
import numpy as np

SHAPE = (256, 2048, 2048)
"""m, k, n of the measured product [m, k] · [k, n]: 2·m·k·n operations."""


def gflops() -> tuple[float, float]:
    """The best of some products, of MLX and of numpy."""
    m, k, n = SHAPE
    generator = np.random.default_rng(0)
    a, b = (generator.standard_normal(shape, dtype=np.float32) for shape in ((m, k), (k, n)))
    left, right = mx.array(a), mx.array(b)
    return _best(lambda: mx.eval(left @ right)), _best(lambda: a @ b)


def _best(multiply: Callable[[], object], repeats: int = 8) -> float:
    multiply()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        multiply()
        seconds.append(time.perf_counter() - began)
    return 2 * float(np.prod(SHAPE)) / min(seconds) / 1e9


if __name__ == "__main__":
    blas.load()
    print(*gflops())
