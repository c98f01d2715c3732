"""Memory that tasks of each model reserve: an estimate at first, later the measured peak if that is larger."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

from study.config.json_files import read_json
from study.results.files import write_json
from study.results.store import MEMORY_FILE


class Reservation(TypedDict):
    """Memory of a task of one model, GB: the estimate, the measured peak, and what tasks reserve.

    The estimate is None if the catalogue does not give the model's parameters.
    """

    estimated_gb: float | None
    measured_gb: float
    reserved_gb: int


class Reservations:
    """The reservations of the models of one run, with the peaks that were measured in earlier runs of the study."""

    def __init__(self, estimated: Mapping[str, float | None], most: float, root: Path) -> None:
        """`most` is the memory of the largest node, GB: a task that reserves more would never run."""
        self._file, self._most = root / MEMORY_FILE, most
        measured = _measured(self._file)
        self._models = {
            name: Reservation(estimated_gb=gb, measured_gb=measured.get(name, 0.0), reserved_gb=0)
            for name, gb in estimated.items()
        }
        for name in self._models:
            self._reserve(name)

    def of(self, model: str) -> int:
        """Return the GB that a task of the model reserves."""
        return self._models[model]["reserved_gb"]

    def measured(self, model: str, gb: float) -> str:
        """Record the peak memory of a task; return a message if the next ones reserve more, else an empty string."""
        found = self._models[model]
        if gb <= found["measured_gb"]:
            return ""
        before = found["reserved_gb"]
        found["measured_gb"] = round(gb, 2)
        self._reserve(model)
        write_json(self._file, self._models)
        if found["reserved_gb"] == before or not before:  # a model of which nothing was estimated is a small one
            return ""
        return (
            f"{model}: a task took {gb:.1f} GB of memory, and {before} GB were reserved for it; the next ones reserve "
            f"{self.of(model)} GB"
        )

    def _reserve(self, model: str) -> None:
        found = self._models[model]
        found["reserved_gb"] = math.ceil(min(max(found["estimated_gb"] or 0.0, found["measured_gb"]), self._most))


def _measured(file: Path) -> dict[str, float]:
    """Return the peaks by model of earlier runs; empty if the file is missing or torn."""
    try:
        return {name: float(one["measured_gb"]) for name, one in read_json(file).items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
