"""What every peer reads and writes: `python NAME.py SPEC.json OUT.json`. Import it before `mlx.core`."""

import ctypes
import json
import os
import resource
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any


def _read() -> dict[str, Any]:
    spec: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    if spec["blas"]:
        # The Linux wheel of MLX takes its matrix products from a library that was loaded before it.
        ctypes.CDLL(spec["blas"], mode=os.RTLD_GLOBAL | os.RTLD_NOW)
    return spec


SPEC = _read()


def write(peer: str, packages: list[str], **results: list[Any]) -> None:
    """The results, with the versions of `packages` (the peer's own first) and the most memory that was resident, and
    that MLX held if it is used."""
    versions = {name: version(name) for name in packages}
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
    out = {"peer": f"{peer} {versions[packages[0]]}", "versions": versions, **results, "peak_gb": peak}
    if mx := sys.modules.get("mlx.core"):
        out["mlx_peak_gb"] = mx.get_peak_memory() / 1e9
    Path(sys.argv[2]).write_text(json.dumps(out, indent=2) + "\n")


def real_tokens(batch: list[dict[str, Any]]) -> int:
    """Inputs of a batch, padding left out; the stop token is a target only."""
    return sum(len(item["prompt"]) + len(item["answer"]) - 1 for item in batch)
