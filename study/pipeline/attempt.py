"""The record of one attempt at a unit: its progress while it runs, and `done.json` at its end."""

import math
import os
import resource
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from study.config.units import Unit, kind, origin
from study.measures.answers import divergence
from study.models import machine
from study.pipeline.gates import Gate
from study.pipeline.held_model import HeldModel
from study.results.files import write_json
from study.results.finished import DONE, PROGRESS
from study.results.schema import LOSSES, Row
from study.results.store import LOG
from study.results.values import FigureError
from study.training.checkpoints import Checkpoint, State


class Attempt:
    """One attempt at a unit, which records its progress while it runs and `done.json` at its end."""

    def __init__(self, unit: Unit, folder: Path, checkpoint: Checkpoint) -> None:
        self.unit, self.folder, self.checkpoint = unit, folder, checkpoint
        self.started = datetime.now(UTC)
        self.seconds: dict[str, float] = {}
        self.gates: list[Gate] = []
        self.held: dict[str, Any] = {}
        """The form of the model in memory, as `HeldModel.description` gives it."""
        self.tokens: dict[str, Any] = {}
        self.warnings: list[str] = []
        """What may mislead in this unit's results, for the report."""
        self.text_kl: dict[str, float] = {}
        """By stage, KL(model before the stage || model after it) along the neutral text, nats."""
        self.facts: dict[str, Any] = {}
        """Facts about a model that the unit trained from random weights: its parameters, modules and configuration."""
        self.lens: dict[str, Any] = {}
        """How a lens was fitted that is not the logit lens, and its divergence from the model's own prediction."""
        self.error: Exception | None = None
        """The error because of which the unit did not finish; None if it did."""
        self.resumed_at = 0
        """The step after which training resumed from an earlier attempt; 0 if it began in this one."""
        self._last_progress = 0.0
        mx.reset_peak_memory()
        self.tell(f"{unit.label} on {socket.gethostname()}, process {os.getpid()}, {mx.default_device()}")

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Add the time of the context to that of `part`."""
        with timed([self], part):
            yield

    def resume(self, shapes: Mapping[str, Sequence[int]]) -> State | None:
        """Return the last state of an earlier attempt, if its arrays have these shapes; its time is added to this
        one's."""
        state = self.checkpoint.load(shapes)
        if state:
            self.resumed_at = state.step
            self.seconds["train"] = sum(row["seconds"] for row in state.curve)
            self.tell(f"training resumes after step {state.step}")
        return state

    def on_step(self, stage: str, steps: int, row: Row) -> None:
        figures = {name: row[name] for name in LOSSES if math.isfinite(row.get(name, math.nan))}
        speed = {"tokens_per_second": row["tokens"] / row["seconds"], "memory_gb": mx.get_active_memory() / 1e9}
        self.progress(stage, row["step"], steps, **figures, **speed)

    def take_down(self, held: HeldModel, gates: Sequence[Gate] = ()) -> None:
        """Record the form of the model in memory, its warnings, and its gates with those of the unit itself."""
        self.warn(held.warnings)
        self.held, self.gates = held.description, [*held.gates, *gates]

    def compare_text(self, stage: str, before: np.ndarray | None, after: np.ndarray | None) -> None:
        """Record the divergence along the neutral text, if both models could take it."""
        if before is not None and after is not None:
            self.text_kl[stage] = divergence(before, after)

    def warn(self, warnings: Sequence[str]) -> None:
        """Record warnings, each once."""
        for warning in warnings:
            if warning not in self.warnings:
                self.warnings.append(warning)
                self.tell(f"warning: {warning}")

    def tell(self, text: str) -> None:
        """Write a line to the unit's log."""
        with suppress(OSError), (self.folder / LOG).open("a") as file:
            file.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {text}\n")

    def progress(self, stage: str, step: int, steps: int, force: bool = False, **figures: float) -> None:
        """Write the progress for people to read, at most once in two seconds unless `force` is set."""
        if not force and time.monotonic() - self._last_progress < 2:
            return
        self._last_progress = time.monotonic()
        process = {"host": socket.gethostname(), "pid": os.getpid()}
        model = origin(self.unit).model_name
        about = {"label": self.unit.label, "kind": kind(self.unit), "id": self.unit.id, "model": model, **process}
        where = {"started": self.started.isoformat(), "stage": stage, "step": step, "steps": steps}
        with suppress(OSError):  # a disk that is full now may have space again at the end
            write_json(self.folder / PROGRESS, {**about, **where, **figures})
        told = [f"{name.replace('_', ' ')} {value:.4g}" for name, value in figures.items()]
        self.tell(", ".join([f"{stage} {step}/{steps}" if steps else stage, *told]))

    def finish(self) -> None:
        """Write `done.json`. Raises FigureError where one of its figures is not finite."""
        figures = {f"text KL of {stage}": value for stage, value in self.text_kl.items()}
        figures |= {f"gate: {gate.gate}": gate.figure for gate in self.gates}
        figures |= {
            f"{name} of the lens at block {block}": value
            for name, values in self.lens.items()
            if isinstance(values, list)
            for block, value in enumerate(values)
        }
        if wrong := [f"{name} is {value}" for name, value in figures.items() if not math.isfinite(value)]:
            raise FigureError(", ".join(wrong))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e9 if sys.platform == "darwin" else 1e6)
        content = {
            "label": self.unit.label,
            "started": self.started.isoformat(timespec="seconds"),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": {part: round(seconds, 3) for part, seconds in self.seconds.items()},
            **machine.described(),
            **({"certificate": told} if (told := machine.certificate()) else {}),
            "resumed_at_step": self.resumed_at,
            "peak_memory_gb": round(mx.get_peak_memory() / 1e9, 3),
            "process_peak_gb": round(peak, 3),
            "held": self.held,
            "gates": [{**asdict(gate), "passed": gate.passed} for gate in self.gates],
            "tokens": self.tokens,
            "warnings": self.warnings,
            "text_kl": self.text_kl,
            **({"facts": self.facts} if self.facts else {}),
            **({"lens": self.lens} if self.lens else {}),
        }
        self.tell("finished")
        write_json(self.folder / DONE, content)


@contextmanager
def timed(attempts: Sequence[Attempt], part: str) -> Iterator[None]:
    """Time the context, which the units spend together, and add an equal share of it to `part` of each."""
    began = time.perf_counter()
    for attempt in attempts:
        attempt.progress(part, 0, 0, force=True)
    yield
    for attempt in attempts:
        attempt.seconds[part] = attempt.seconds.get(part, 0.0) + (time.perf_counter() - began) / len(attempts)
