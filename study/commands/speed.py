"""`python -m study.commands.speed` prints float32 GFLOP/s of MLX and of numpy, with the environment's BLAS threads.

`python -m study.commands.speed compilation` prints the seconds of a training step of a tiny model, plain and compiled.
"""

import json
import sys
import time
from collections.abc import Callable
from statistics import median

import mlx.core as mx
import numpy as np

from study.config.catalogue import BuiltSource, Model
from study.config.data import Data
from study.config.stages import Stage2
from study.config.units import Readout
from study.lens.tokens import class_tokens
from study.models.load import load
from study.training import compilation
from study.training.loop import Objective, TrainingData, train
from study.training.objectives import ClassLoss

SHAPE = (256, 2048, 2048)
"""m, k, n of the measured product [m, k] · [k, n]: 2·m·k·n operations."""


def gflops() -> tuple[float, float]:
    """Return the GFLOP/s of MLX and of numpy, each the best of several products."""
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


def compiled_and_plain() -> dict[str, float]:
    """Return the seconds of a step of a tiny model, plain, compiled, and of the first compiled one; also record
    them."""
    loaded = load(Model(source=BuiltSource(built="llama"), blocks=4))
    pair = Readout(pair={"multiply": "multiply", "add": "add"})
    tokens = {name: t.id for name, t in class_tokens(loaded.tokenizer, pair).items()}
    objectives = [Objective(2e-4, ClassLoss(1, 0.5, tokens))] * 2
    settings = Stage2(steps=30)

    def steps(compiled: bool) -> list[float]:
        (trained, _) = train(
            loaded.model,
            loaded.tokenizer,
            settings,
            TrainingData(Data(), ["multiply", "add"], 0),
            objectives,
            compiled=compiled,
        )
        return [2 * row["seconds"] for row in trained.curve]

    plain = steps(compiled=False)
    mx.enable_compile()
    compiled = steps(compiled=True)
    seconds = {"plain": median(plain[5:]), "compiled": median(compiled[5:]), "first": max(compiled)}
    compilation.remember(seconds)
    return seconds


if __name__ == "__main__":
    if sys.argv[1:] == ["compilation"]:
        print(json.dumps(compiled_and_plain()))
    else:
        print(*gflops())
