"""Where in a language model can a classifier be trained, and at what cost? `import study` loads its names lazily.

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
    from study.lens.hooks import LensError
    from study.lens.tokens import ClassTokenError
    from study.lens.trace import Trace
    from study.models import ModelError
    from study.plan.read import ConfigError, Plan
    from study.results.description import ResultsError
    from study.results.finished import DamagedError

# Both come before any import of MLX: it takes the BLAS that it finds when it is loaded, and reads the variable before
# its first operation. Without the variable, GPUs with matrix units (Apple's from M5 on, and NVIDIA's) round the factors
# of float32 products to 10 bits.
blas.load()
os.environ["MLX_ENABLE_TF32"] = "0"

__all__ = [
    "ClassTokenError",
    "ConfigError",
    "DamagedError",
    "LensError",
    "Model",
    "ModelError",
    "Plan",
    "ResultsError",
    "Trace",
    "UnitError",
    "__version__",
    "load",
    "read",
    "rows",
    "run",
]
_MODULES = {
    "ClassTokenError": "study.lens.tokens",
    "ConfigError": "study.plan.read",
    "DamagedError": "study.results.finished",
    "LensError": "study.lens.hooks",
    "ModelError": "study.models",
    "Plan": "study.plan.read",
    "ResultsError": "study.results.store",
    "Trace": "study.lens.trace",
}
"""Modules of the names that are not of study.api."""


def __getattr__(name: str) -> Any:
    """Import a name of `__all__` when it is first used, since MLX, pandas and others come with it."""
    if name not in __all__:
        raise AttributeError(f"module 'study' has no attribute {name!r}")
    return getattr(import_module(_MODULES.get(name, "study.api")), name)


def __dir__() -> list[str]:
    return __all__
