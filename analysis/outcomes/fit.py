"""Whether a cell has learned its class tokens; a control that has not is used nowhere."""

import math

from analysis.data.results import Results
from analysis.data.units import StudyUnit
from analysis.statistics.intervals import Floats
from study.config.arms import ARMS, is_control
from study.config.stages import RUNNING_STEPS, Stage2


def final_class_loss(losses: Floats) -> float:
    """Return the mean of the class losses of the last RUNNING_STEPS steps of a training, nats."""
    return float(losses[-RUNNING_STEPS:].mean())


def class_loss(results: Results, cell: StudyUnit) -> float:
    """Return the class loss at the end of a finished cell's training, nats."""
    if ("class loss", cell.id) not in results.known:
        results.known["class loss", cell.id] = final_class_loss(results.rows["curves"].values_of(cell.id, "class_loss"))
    return float(results.known["class loss", cell.id])


def has_fitted(results: Results, cell: StudyUnit) -> bool:
    """Return whether a finished cell has fitted: a control if its class loss ended as low as `stage2.fitted_loss`, or
    as that of the plain cell beside it; another cell if it ended below ln K, the loss of guessing among K classes."""
    loss = class_loss(results, cell)
    if cell.arm not in ARMS or not is_control(cell.arm):
        return loss < math.log(len(cell.operations))
    settings = results.config.get("stage2", {})
    allowed = float(settings.get("fitted_loss", Stage2.model_fields["fitted_loss"].default))
    beside = [class_loss(results, plain) for plain in results.partners(cell, arm="plain")]
    return loss <= max([allowed, *beside])
