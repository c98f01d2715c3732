"""An optimised BLAS for MLX on Linux, which `import study` loads.

The Linux wheel of MLX carries the reference BLAS; a library loaded earlier with global symbols takes its place.
Its threads are set by the environment (OPENBLAS_NUM_THREADS).
"""

import ctypes
import functools
import os
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

MISSING = (
    "no optimised BLAS found: MLX falls back on its reference BLAS, about 4 instead of 80 GFLOP/s a core in float32. "
    "Run `pip install cmeel-openblas` in this Python environment, or install OpenBLAS "
    "(Debian and Ubuntu: `apt install libopenblas0-pthread`)."
)
LATE = (
    "mlx.core was imported before study, so that MLX keeps its reference BLAS in this process, about 4 instead of 80 "
    "GFLOP/s a core in float32. Put `import study` above the first import of MLX."
)

PACKAGES = Path(sysconfig.get_path("purelib"))
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
"""Of mallopt(3)."""


@dataclass(frozen=True)
class Blas:
    """A loaded library, by name and by what the loader was given."""

    name: str
    path: str


def load() -> Blas | None:
    """Load OpenBLAS, once a process; None where it is not needed, is not found, or comes too late (see `problem`)."""
    return _found()[0]


def problem() -> str:
    """Why MLX multiplies slowly in this process, and what to do; empty where it does not."""
    return _found()[1]


@functools.cache
def _found() -> tuple[Blas | None, str]:
    if sys.platform != "linux" or find_spec("mlx") is None:
        return None, ""
    if "mlx.core" in sys.modules:
        return None, "" if has_cuda() else LATE
    _keep_freed_memory()
    packaged = PACKAGES / "cmeel.prefix" / "lib" / "libopenblas.so.0"
    if packaged.is_file():
        _load_fortran()
    blas = load_first([Blas("OpenBLAS", str(packaged)), Blas("OpenBLAS", "libopenblas.so.0")])
    return blas, "" if blas or has_cuda() else MISSING


def has_cuda() -> bool:
    """Whether the MLX of this environment is one of its builds for NVIDIA's GPUs."""
    for package in ("mlx-cuda-12", "mlx-cuda-13"):
        try:
            version(package)
        except PackageNotFoundError:
            continue
        return True
    return False


def load_first(candidates: Iterable[Blas]) -> Blas | None:
    """The first library that loads, its symbols made global; None where none does."""
    for blas in candidates:
        try:
            ctypes.CDLL(blas.path, mode=os.RTLD_GLOBAL | os.RTLD_NOW)
        except OSError:
            continue
        return blas
    return None


def _load_fortran() -> None:
    """The Fortran run-time library that the packaged OpenBLAS asks for by the name `libgfortran.so.5`.

    Where the system has none, the one inside MLX's wheel serves, under its original name: the loader finds a library
    that is loaded already by the name that it carries inside, which the wheel's makers have changed.
    """
    try:
        ctypes.CDLL("libgfortran.so.5", mode=os.RTLD_GLOBAL)
        return
    except OSError:
        pass
    for library in PACKAGES.glob("mlx_*.libs/libquadmath*"):  # which the other one asks for
        ctypes.CDLL(str(library), mode=os.RTLD_GLOBAL)
    for library in PACKAGES.glob("mlx_*.libs/libgfortran*"):
        name = library.name.encode()
        content = library.read_bytes().replace(name, b"libgfortran.so.5".ljust(len(name), b"\0"))
        with os.fdopen(os.memfd_create(library.name), "wb") as file:
            file.write(content)
            file.flush()
            ctypes.CDLL(f"/proc/self/fd/{file.fileno()}", mode=os.RTLD_GLOBAL)


def _keep_freed_memory() -> None:
    """Logits are large arrays that come and go: given back and asked for again, each costs as much as its product."""
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc has it, musl does not
    if set_option:
        set_option(_M_ARENA_MAX, 1)  # those of other threads are small and come and go
        set_option(_M_MMAP_MAX, 0)
        set_option(_M_TRIM_THRESHOLD, 2**31 - 1)
