"""Metrics of a study in Ray's metrics, for Prometheus and Grafana: a few gauges with a few tags."""

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
    """The gauges of one process; a name may be registered only once in a process."""

    def __init__(self) -> None:
        from ray.util.metrics import Gauge

        self._gauges = {name: Gauge(f"{PREFIX}_{name}", text, TASK_TAGS) for name, text in FIGURES.items()}

    def tell(self, notes: Iterable[Mapping[str, Any]]) -> None:
        """Set the gauges from the progress of the units that run in this process."""
        for name, (value, note) in figures(list(notes)).items():
            self._gauges[name].set(value, {"model": note["model"], "stage": note["stage"]})


def figures(notes: list[Mapping[str, Any]]) -> dict[str, tuple[float, Mapping[str, Any]]]:
    """Return the value of each gauge and one of the notes that it comes from; gauges without a value are left out."""
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
    """A gauge of the units of the run by state, set by the process that submits them."""

    def __init__(self, study: str) -> None:
        from ray.util.metrics import Gauge

        self._study, self._due = study, 0.0
        self._gauge = Gauge(f"{PREFIX}_units", "units of the run by state", ("study", "state"))

    def tell(self, count: Callable[[], Mapping[str, int]]) -> None:
        """Set the gauge to the units by state, which are counted at most once in STATES_SECONDS."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + STATES_SECONDS
        for state, units in count().items():
            self._gauge.set(units, {"study": self._study, "state": state})
