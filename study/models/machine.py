"""This machine as results tell of it, and what its certificate says."""

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlx.core as mx

from study.config.json_files import read_json
from study.models import blas
from study.models.cache_root import cache_root
from study.version import __version__


def described() -> dict[str, Any]:
    """Return what results tell of the machine that made them: `machine`, `blas` and `versions`."""
    loaded = blas.load()
    versions = {
        "python": platform.python_version(),
        "mlx": version("mlx"),
        "mlx_lm": version("mlx-lm"),
        "study": __version__,
    }
    machine = f"{platform.system()} {platform.machine()}, {mx.default_device()}"
    return {"versions": versions, "machine": machine, "blas": loaded.name if loaded else None}


def certificate_file() -> Path:
    """Return where `study doctor --certify` keeps what it found."""
    return cache_root() / "certificate.json"


def certificate() -> str | None:
    """Return what the certificate says, of a machine that is still the one that was looked at; None without one."""
    try:
        found = read_json(certificate_file())
        if any(found[key] != value for key, value in described().items()):
            return None
        return f"{'agrees' if found['agrees'] else 'does not agree'} with known rows ({found['date']})"
    except (OSError, ValueError, KeyError, TypeError):
        return None
