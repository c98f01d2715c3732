"""Whether a training step is compiled, as `study doctor` measured it on this machine."""

import json
from importlib.metadata import version
from pathlib import Path

import mlx.core as mx

from study.models.activations import on_cpu
from study.models.cache import cache_root
from study.results.store import write_json

BUCKET = 8
"""Lengths are rounded up to multiples of this where steps are compiled, once for each shape."""
STEPS = 500
"""Steps of a stage, over which the time of compiling is spread."""


def pays() -> bool:
    """What was measured here with this device and this MLX; where nothing was, yes on Metal and no with CUDA.

    There the first step of each length took 17 s on an H100, and a later one 7 ms instead of 8. Never on a CPU: MLX
    then calls a C++ compiler, whose cache has no lock between the workers of a machine.
    """
    if on_cpu():
        return False
    try:
        measured: dict[str, dict[str, float]] = json.loads(record().read_text())
        return gain(measured[machine()]) > 1
    except (OSError, ValueError, KeyError):
        return mx.metal.is_available()


def gain(seconds: dict[str, float]) -> float:
    """How many times faster a stage is compiled: seconds of a plain and of a compiled step, and of the first one."""
    return STEPS * seconds["plain"] / (seconds["first"] + STEPS * seconds["compiled"])


def remember(seconds: dict[str, float]) -> None:
    """Keep a measurement beside the models."""
    try:
        known = json.loads(record().read_text())
    except (OSError, ValueError):
        known = {}
    write_json(record(), {**known, machine(): seconds})


def record() -> Path:
    return cache_root() / "compilation.json"


def machine() -> str:
    return f"{mx.default_device()}, mlx {version('mlx')}"
