"""Whether training steps are compiled, by what `study doctor` measured on this machine."""

from importlib.metadata import version
from pathlib import Path

import mlx.core as mx

from study.config.json_files import read_json
from study.models.activations import on_cpu
from study.models.cache_root import cache_root
from study.results.files import write_json

BUCKET = 8
"""Sequence lengths are rounded up to a multiple of this where steps are compiled, which is once for each shape."""
STEPS = 500
"""Number of steps of a stage, over which the time of compilation is spread."""


def pays() -> bool:
    """Whether compiling saves time, as measured with this device and this MLX; if not measured, yes on Metal, no on
    CUDA.

    On an H100, the first step of each length took 17 s, and a later one 7 ms instead of 8. Never on a CPU: MLX would
    call a C++ compiler, whose cache has no lock between the workers of a machine.
    """
    if on_cpu():
        return False
    try:
        measured: dict[str, dict[str, float]] = read_json(record())
        return gain(measured[machine()]) > 1
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
        return mx.metal.is_available()


def gain(seconds: dict[str, float]) -> float:
    """Return how many times faster a compiled stage is, from the seconds of a plain, a compiled and a first step."""
    return STEPS * seconds["plain"] / (seconds["first"] + STEPS * seconds["compiled"])


def remember(seconds: dict[str, float]) -> None:
    """Write a measurement to the cache of models."""
    try:
        known = read_json(record())
    except (OSError, ValueError):
        known = {}
    write_json(record(), {**known, machine(): seconds})


def record() -> Path:
    return cache_root() / "compilation.json"


def machine() -> str:
    return f"{mx.default_device()}, mlx {version('mlx')}"
