"""What a study asks of this machine before anything of it is run: memory, downloads and roughly hours, by model."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from huggingface_hub import try_to_load_from_cache

from study.catalogue import BuiltSource, FolderSource, GgufSource, HubSource, Model, WheelSource, cache_root
from study.cells import Cell, Predictors, Pretraining, Reference, StageOne, Unit, origin
from study.config import Evaluation, Study
from study.memory import MEMORY_SHARE, study_gb
from study.store import write_json
from study.tasks import task_of

FILLED = 0.5
"""Of the longest prompt with its answer, the tokens that one has on average."""
REACHED = 0.65
"""Of the speed of matrix products, what a study reaches. With it, the README's study is told as 2.6 hours on the two
cores where it took 2.0."""


@dataclass(frozen=True)
class Speed:
    """As `python -m study.doctor` measured it on this machine."""

    gflops: float
    """Of float32 matrix products in one worker."""
    workers: int


@dataclass(frozen=True)
class Demand:
    """What one model of a study asks for."""

    name: str
    model: Model
    memory_gb: float | None
    """At least, with one cell at a time; None where the catalogue does not tell its parameters."""
    download_gb: float | None
    """Still to be fetched; None where unknown."""
    petaflops: float | None
    """10^15 operations of the units that are still to run; None as for memory."""

    def fits(self, machine_gb: float) -> bool:
        """Whether a machine of so much memory can hold it; what is unknown is not refused."""
        return self.memory_gb is None or self.memory_gb <= MEMORY_SHARE * machine_gb


def demands(study: Study, models: Mapping[str, Model], todo: Sequence[Unit]) -> list[Demand]:
    """Of each model that has units to run, in their order."""
    by_model: dict[str, list[Unit]] = {}
    for unit in todo:
        by_model.setdefault(origin(unit).model_name, []).append(unit)
    return [
        Demand(
            name,
            models[name],
            study_gb(models[name], study, 1),
            _download(models[name]),
            _petaflops(models[name], study, units),
        )
        for name, units in by_model.items()
    ]


def machine_gb() -> float:
    """Memory of this machine."""
    return float(psutil.virtual_memory().total) / 1e9


def hours(petaflops: float, speed: Speed) -> float:
    """Roughly, with all workers busy."""
    return petaflops * 1e6 / (REACHED * speed.gflops * speed.workers) / 3600


def remember(speed: Speed) -> None:
    """Keep a measurement beside the models."""
    write_json(_record(), vars(speed))


def measured() -> Speed | None:
    """What was measured on this machine; None where nothing was."""
    try:
        found: dict[str, Any] = json.loads(_record().read_text())
        return Speed(float(found["gflops"]), int(found["workers"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _record() -> Path:
    return cache_root() / "speed.json"


def _petaflops(model: Model, study: Study, units: Sequence[Unit]) -> float | None:
    """4 operations for each parameter and trained token (the base is frozen), 2 for one that is only read."""
    if model.parameters is None:
        return None
    tokens = FILLED * task_of(study.data).longest
    return sum(_tokens(unit, study) for unit in units) * tokens * model.parameters / 1e15


def _tokens(unit: Unit, study: Study) -> float:
    """Operations for each parameter, counted in prompts."""
    if isinstance(unit, Pretraining):
        return 6.0 * unit.training.steps * unit.training.batch_size
    if isinstance(unit, StageOne):
        return 4.0 * unit.stage1.steps * unit.stage1.batch_size
    read = 2.0 * _prompts(unit.evaluation, study, len(unit.readouts[0].pair))
    if isinstance(unit, Cell):
        return 4.0 * unit.stage2.steps * unit.stage2.batch_size + read
    assert isinstance(unit, Reference | Predictors)
    return 2 * read  # both stages; predictors take about as long


def _prompts(evaluation: Evaluation, study: Study, classes: int) -> int:
    held_out = sum(evaluation.prompts_in(tier) for tier in study.data.tiers)
    causal = 3 * evaluation.causal_prompts * len(study.stage1.wordings)
    return classes * (held_out + causal)


def _download(model: Model) -> float | None:
    """GB that are not here yet. Of wheels a conversion counts as here whatever it was made from."""
    source = model.source
    if isinstance(source, BuiltSource | FolderSource | GgufSource):
        return 0.0
    if isinstance(source, HubSource):
        here = isinstance(try_to_load_from_cache(source.hub, "config.json", revision=source.revision), str)
    else:
        assert isinstance(source, WheelSource)
        name = next(iter(source.wheels)).partition("==")[0]
        here = any((cache_root() / "models").glob(f"{name}_*/complete.json"))
    return 0.0 if here else model.download
