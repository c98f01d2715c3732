"""How much memory a task of each model asks for: an estimate at first, and what was measured where that is more."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

from study.results.store import write_json

MEMORY_FILE = "memory.json"
"""In the results folder: of each model the estimate, the most that a task of it took, and what tasks ask for, GB."""


class Reservation(TypedDict):
    """Of one model, GB; the estimate is None where the catalogue does not tell the model's parameters."""

    estimated_gb: float | None
    measured_gb: float
    reserved_gb: int


class Reservations:
    """Of the models of one run. What was measured in earlier runs of the study is known again."""

    def __init__(self, estimated: Mapping[str, float | None], most: float, root: Path) -> None:
        """`most`: what the node with most memory offers, GB; nothing larger is asked for, since it would never run."""
        self._file, self._most = root / MEMORY_FILE, most
        measured = _measured(self._file)
        self._models = {
            name: Reservation(estimated_gb=gb, measured_gb=measured.get(name, 0.0), reserved_gb=0)
            for name, gb in estimated.items()
        }
        for name in self._models:
            self._reserve(name)

    def of(self, model: str) -> int:
        """GB that a task of the model asks for."""
        return self._models[model]["reserved_gb"]

    def measured(self, model: str, gb: float) -> str:
        """Take note of what a task took at most; says so where the next ones ask for more, else empty."""
        found = self._models[model]
        if gb <= found["measured_gb"]:
            return ""
        before = found["reserved_gb"]
        found["measured_gb"] = round(gb, 2)
        self._reserve(model)
        write_json(self._file, self._models)
        if found["reserved_gb"] == before:
            return ""
        return f"{model}: a task took {gb:.1f} GB, and {before} were set aside; the next ones ask for {self.of(model)}"

    def _reserve(self, model: str) -> None:
        found = self._models[model]
        found["reserved_gb"] = math.ceil(min(max(found["estimated_gb"] or 0.0, found["measured_gb"]), self._most))


def _measured(file: Path) -> dict[str, float]:
    """By model, from an earlier run; nothing where the file is missing or torn."""
    try:
        return {name: float(one["measured_gb"]) for name, one in json.loads(file.read_bytes()).items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
