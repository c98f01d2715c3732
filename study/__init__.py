"""The experiment: can a classifier be trained into a layer of a language model, where, and at what cost?

import study

model = study.load("smollm2-135m")
lens = model.lens("seven times eight =")
plan = study.read("configs/smoke.yaml")
cell = study.run(plan.cells()[0], "results/smoke")
rows = study.rows("results/smoke", cell)
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from study.models import blas
from study.version import __version__

if TYPE_CHECKING:
    from study.api import Model, UnitError, load, read, rows, run
    from study.lens.trace import Trace
    from study.plan.read import Plan

# Both come before any import of MLX: it takes the BLAS that it finds when it is loaded, and reads the variable before
# its first operation. Else GPUs with matrix units, Apple's from M5 on and NVIDIA's, round the factors of float32
# products to 10 bits.
blas.load()
os.environ["MLX_ENABLE_TF32"] = "0"

__all__ = ["Model", "Plan", "Trace", "UnitError", "__version__", "load", "read", "rows", "run"]
_PLACES = {"Plan": "study.plan.read", "Trace": "study.lens.trace"}


def __getattr__(name: str) -> Any:
    """What is offered is imported when it is first used: MLX, pandas and the rest come with it."""
    if name not in __all__:
        raise AttributeError(f"module 'study' has no attribute {name!r}")
    return getattr(import_module(_PLACES.get(name, "study.api")), name)


def __dir__() -> list[str]:
    return __all__
