"""Trackers that show training curves and outcomes: TensorBoard, MLflow, Weights & Biases, each by its own library.

These libraries are optional extras, and nothing else in the program imports them.
"""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from study.config.names import TrackerName
from study.trackers.tracker import Tracker

CLASSES: dict[TrackerName, tuple[str, str]] = {
    "tensorboard": ("study.trackers.tensorboard", "TensorBoard"),
    "mlflow": ("study.trackers.mlflow", "MLflow"),
    "wandb": ("study.trackers.wandb", "WandB"),
}
"""The module and class of each tracker, which is imported when it is used."""
NEEDED: dict[TrackerName, tuple[str, ...]] = {
    "tensorboard": ("tensorboard",),
    "mlflow": ("mlflow", "sqlalchemy", "alembic"),
    "wandb": ("wandb",),
}
"""The packages of each extra that are imported."""


def open_tracker(name: TrackerName, results: Path, study: str) -> Tracker:
    """Return the tracker, which writes below the folder of results unless its own environment variables name a server.

    Raises what its library raises.
    """
    module, of_class = CLASSES[name]
    tracker: Tracker = getattr(import_module(module), of_class)(results, study)
    return tracker


def is_installed(name: TrackerName) -> bool:
    """Whether the packages of a tracker can be imported. A folder of such a name, as W&B makes one, is no package."""
    specs = [find_spec(package) for package in NEEDED[name]]
    return all(spec is not None and spec.origin is not None for spec in specs)
