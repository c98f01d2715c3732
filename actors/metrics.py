"""What Ray's metrics show of a study: a few gauges under a few tags, for Prometheus and Grafana."""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

PREFIX = "study"
TASK_TAGS = ("model", "stage")
STATES_SECONDS = 2.0
FIGURES = {
    "loss": "loss of the training step, nats, mean over the cells that train side by side",
    "class_probability": "geometric mean of the class token's probability in training",
    "tokens_per_second": "real tokens a second of the step, all cells of a stack together",
    "memory_gb": "memory that MLX holds, GB",
}


class Metrics:
    """The gauges of one process; a name may be registered once a process only."""

    def __init__(self) -> None:
        from ray.util.metrics import Gauge

        self._gauges = {name: Gauge(f"{PREFIX}_{name}", text, TASK_TAGS) for name, text in FIGURES.items()}

    def tell(self, notes: Iterable[Mapping[str, Any]]) -> None:
        """Set them from the progress of the units that run here."""
        for name, (value, note) in figures(list(notes)).items():
            self._gauges[name].set(value, {"model": note["model"], "stage": note["stage"]})


def figures(notes: list[Mapping[str, Any]]) -> dict[str, tuple[float, Mapping[str, Any]]]:
    """Of each gauge its value and a note that it comes from; without those that nobody told."""
    found: dict[str, tuple[float, Mapping[str, Any]]] = {}
    for name in ("loss", "tokens_per_second", "memory_gb"):
        told = [note for note in notes if name in note]
        if told:
            found[name] = sum(note[name] for note in told) / len(told), told[0]
    if told := [note for note in notes if "class_loss" in note]:
        mean = sum(note["class_loss"] for note in told) / len(told)
        found["class_probability"] = math.exp(-mean), told[0]
    return found


class States:
    """How many units of the run are in which state; told by the process that submits them."""

    def __init__(self, study: str) -> None:
        from ray.util.metrics import Gauge

        self._study, self._due = study, 0.0
        self._gauge = Gauge(f"{PREFIX}_units", "units of the run by state", ("study", "state"))

    def tell(self, count: Callable[[], Mapping[str, int]]) -> None:
        """Units by state, counted at most once in some seconds."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + STATES_SECONDS
        for state, units in count().items():
            self._gauge.set(units, {"study": self._study, "state": state})
