"""An optimised BLAS for MLX on Linux. Import this module before `mlx.core`.

The Linux wheel of MLX carries the reference BLAS; a library loaded earlier with global symbols takes its place.

Its threads are set by the environment alone (MKL_NUM_THREADS, OPENBLAS_NUM_THREADS): MLX multiplies in a thread of its
own, which a setting made later in the process does not reach.
"""

import ctypes
import functools
import os
import sys
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

MISSING = (
    "no optimised BLAS found: MLX falls back on its reference BLAS, about 4 instead of 60 GFLOP/s a core in float32. "
    "On x86-64 run `pip install mkl` in this Python environment; elsewhere install OpenBLAS "
    "(Debian and Ubuntu: `apt install libopenblas0-pthread`)."
)


@dataclass(frozen=True)
class Blas:
    """A loaded library, by name and by what the loader was given."""

    name: str
    path: str


@functools.cache
def load() -> Blas | None:
    """Load MKL or OpenBLAS, once a process; None on macOS, and where neither is there (with one warning).

    Raises ImportError if `mlx.core` was imported first: its BLAS can no longer be replaced.
    """
    if sys.platform != "linux":
        return None
    if "mlx.core" in sys.modules:
        raise ImportError("mlx.core was imported before study.blas: put `import study.blas` above it")
    mkl = sorted(Path(sys.prefix, "lib").glob("libmkl_rt.so*"))
    return load_first([*(Blas("MKL", str(path)) for path in mkl), Blas("OpenBLAS", "libopenblas.so.0")])


def load_first(candidates: Iterable[Blas]) -> Blas | None:
    """The first library that loads, its symbols made global; None with a warning where none does."""
    for blas in candidates:
        try:
            ctypes.CDLL(blas.path, mode=os.RTLD_GLOBAL | os.RTLD_NOW)
        except OSError:
            continue
        return blas
    warnings.warn(MISSING, RuntimeWarning, stacklevel=2)
    return None


load()
