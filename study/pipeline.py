"""A whole unit of work in this process, without Ray: stage 1, the reference read-outs, or a cell."""

import math
import os
import platform
import resource
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import study.models  # noqa: F401 - loads the BLAS before MLX

# isort: split
import mlx.core as mx

from study import __version__, adapters, blas, workbench
from study.arithmetic import Prompt, evaluation_prompts, prompt
from study.cells import Cell, Reference, StageOne, Unit, kind, pair_name
from study.config import Evaluation, Operation, TokenPair
from study.encoding import (
    ClassToken,
    ClassTokenError,
    Encoded,
    EncodingError,
    check_templates,
    class_tokens,
    encode,
)
from study.evaluation import evaluate
from study.lens import LensError
from study.models import ModelError
from study.objectives import ClassLoss
from study.store import DONE, PROGRESS, Outcome, Store, write_json, write_rows
from study.training import Objective, Row, TrainingError, train
from study.workbench import Bench, Gate, GateError

EXPECTED = (
    adapters.AdapterError,
    ClassTokenError,
    EncodingError,
    GateError,
    LensError,
    ModelError,
    TrainingError,
)
"""What a unit can fail of by its settings or its model; anything else is a fault of the program or the machine."""

Readouts = list[tuple[TokenPair, dict[Operation, ClassToken]]]


def run_unit(unit: Unit, results: Path) -> Outcome:
    """Carry out one unit and publish it; what it needs of earlier units is read from `results`.

    A class name that is not one token skips a cell, an expected error fails the unit; both are recorded.
    """
    began = time.perf_counter()
    store = Store(results)
    if store.is_done(unit):
        return Outcome("done", "was finished before", 0.0)
    state: Literal["done", "skipped", "failed"] = "done"
    reason = "finished"
    try:
        with store.attempt(unit) as folder:
            note = Notebook(unit, folder)
            {"stage1": _stage_one, "reference": _reference, "cell": _cell}[kind(unit)](unit, store, note)  # type: ignore[operator]
            note.finish()
    except EXPECTED as error:
        workbench.clear()  # a model that was left half-way would be wrong for the next unit
        state, reason = "failed", f"{type(error).__name__}: {error}"
        if isinstance(error, ClassTokenError):
            state, reason = "skipped", f"token: {error}"
        store.record(unit, state, reason, "" if state == "skipped" else traceback.format_exc())
    except BaseException:
        workbench.clear()
        raise
    return Outcome(state, reason, time.perf_counter() - began)


class Notebook:
    """What an attempt writes down: progress while it runs, `done.json` at its end."""

    def __init__(self, unit: Unit, folder: Path) -> None:
        self.unit, self.folder = unit, folder
        self.started = datetime.now(UTC)
        self.seconds: dict[str, float] = {}
        self.gates: list[Gate] = []
        self.tokens: dict[str, Any] = {}
        self._last_progress = 0.0
        mx.reset_peak_memory()

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        began = time.perf_counter()
        self.progress(part, 0, 0, force=True)
        yield
        self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - began

    def on_step(self, stage: str, steps: int, row: Row) -> None:
        figures = {name: row[name] for name in ("loss", "class_loss", "answer_loss") if math.isfinite(row[name])}
        self.progress(stage, row["step"], steps, **figures)

    def progress(self, stage: str, step: int, steps: int, force: bool = False, **figures: float) -> None:
        """At most one write in two seconds: it tells people, not the program, where the attempt is."""
        if not force and time.monotonic() - self._last_progress < 2:
            return
        self._last_progress = time.monotonic()
        about = {"label": self.unit.label, "kind": kind(self.unit), "id": self.unit.id, "pid": os.getpid()}
        where = {"started": self.started.isoformat(), "stage": stage, "step": step, "steps": steps}
        write_json(self.folder / PROGRESS, {**about, **where, **figures})

    def finish(self) -> None:
        loaded = blas.load()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e9 if sys.platform == "darwin" else 1e6)
        content = {
            "kind": kind(self.unit),
            "id": self.unit.id,
            "label": self.unit.label,
            "started": self.started.isoformat(timespec="seconds"),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": {part: round(seconds, 3) for part, seconds in self.seconds.items()},
            "versions": {
                "python": platform.python_version(),
                "mlx": version("mlx"),
                "mlx_lm": version("mlx-lm"),
                "study": __version__,
            },
            "machine": f"{platform.system()} {platform.machine()}, {mx.default_device()}",
            "blas": loaded.name if loaded else None,
            "peak_memory_gb": round(mx.get_peak_memory() / 1e9, 3),
            "process_peak_gb": round(peak, 3),
            "gates": [{**asdict(gate), "passed": gate.passed} for gate in self.gates],
            "tokens": self.tokens,
        }
        write_json(self.folder / DONE, content)


def _stage_one(unit: StageOne, store: Store, note: Notebook) -> None:
    settings = unit.stage1
    with note.timed("load"):
        bench = workbench.base(unit, _probe(unit))
    with note.timed("train"):
        keys = adapters.attach(bench.model, settings.lora, unit.seed)
        objective = Objective(list(unit.data.operations))
        curve = train(
            bench.model,
            bench.tokenizer,
            settings,
            settings.batch_size,
            unit.data,
            objective,
            unit.seed,
            lambda row: note.on_step("stage 1", settings.steps, row),
        )
    adapters.save(bench.model, settings.lora, keys, note.folder)
    write_rows(note.folder / "curves.parquet", curve)
    workbench.fuse(bench, unit, _probe(unit))
    note.gates = bench.gates


def _reference(unit: Reference, store: Store, note: Notebook) -> None:
    first = unit.stage_one
    operations = list(first.data.operations)
    with note.timed("load"):
        bench = workbench.base(first, _probe(first))
    encoded = _evaluation_set(bench, first, operations, unit.evaluation)
    readouts = _readouts(bench, unit.pairs, encoded, note, skip=True)
    before = _evaluate(bench, encoded, readouts, unit.evaluation, "baseline", note)
    with note.timed("load"):
        adapters.load(bench.model, first.stage1.lora, store.folder(first))
        workbench.fuse(bench, first, _probe(first))
    after = _evaluate(bench, encoded, readouts, unit.evaluation, "stage1", note)
    for i, name in enumerate(("answers", "lens")):
        write_rows(note.folder / f"{name}.parquet", [*before[i], *after[i]])
    note.gates = bench.gates


def _cell(unit: Cell, store: Store, note: Notebook) -> None:
    first, settings = unit.stage_one, unit.stage2
    with note.timed("load"):
        bench = workbench.fused(first, store.folder(first), _probe(first))
    operations = unit.operations
    encoded = _evaluation_set(bench, first, operations, unit.evaluation)
    readouts = _readouts(bench, unit.pairs, encoded, note, skip=unit.pair is None)
    target = None
    if unit.layer is not None:
        target = ClassLoss(unit.layer, unit.weight, {name: token.id for name, token in readouts[0][1].items()})
    with note.timed("train"):
        keys = adapters.attach(bench.model, settings.lora, first.seed)
        curve = train(
            bench.model,
            bench.tokenizer,
            settings,
            settings.batch_size,
            first.data,
            Objective(operations, target),
            first.seed,
            lambda row: note.on_step("stage 2", settings.steps, row),
        )
    answers, lens = _evaluate(bench, encoded, readouts, unit.evaluation, "stage2", note)
    adapters.save(bench.model, settings.lora, keys, note.folder)
    adapters.take_off(bench.model)
    for name, rows in (("curves", curve), ("answers", answers), ("lens", lens)):
        write_rows(note.folder / f"{name}.parquet", rows)
    note.gates = [*bench.gates, *_encoding_gates(bench, encoded, readouts)]


def _encoding_gates(bench: Bench, encoded: dict[int, Encoded], readouts: Readouts) -> list[Gate]:
    """What the encoder has refused already, counted again on the ids that this cell was trained and read with."""
    tokens = [token for _, by_operation in readouts for token in by_operation.values()]
    split = sum(bench.tokenizer.encode(token.text, add_special_tokens=False) != [token.id] for token in tokens)
    moved = 0
    for item in encoded.values():
        whole = bench.tokenizer.encode(f"{item.prompt.text} {item.prompt.answer}")
        moved += tuple(whole) != (*item.prompt_ids, *item.answer_ids[:-1])
    return [
        workbench.checked(Gate("class names that are not one token", split, 0)),
        workbench.checked(Gate("prompts that are no prefix of prompt and answer", moved, 0)),
    ]


def _probe(unit: StageOne) -> list[Prompt]:
    """The prompts that gates are checked on."""
    numbers = (unit.data.smallest, unit.data.largest)
    return [prompt("semantic", operation, 0, *numbers[::-1]) for operation in unit.data.operations]


def _evaluation_set(
    bench: Bench, unit: StageOne, operations: list[Operation], evaluation: Evaluation
) -> dict[int, Encoded]:
    """Held-out prompts of some operations by their number among those of all operations, the same in every unit."""
    prompts = evaluation_prompts(unit.data, unit.data.operations, evaluation.prompts_per_class, unit.seed)
    return {i: encode(bench.tokenizer, item) for i, item in enumerate(prompts) if item.operation in operations}


def _readouts(
    bench: Bench, pairs: list[TokenPair], encoded: dict[int, Encoded], note: Notebook, skip: bool
) -> Readouts:
    """Class tokens of each pair; where several pairs are read out, one that has none is left out and noted."""
    readouts: Readouts = []
    for pair in pairs:
        try:
            tokens = class_tokens(bench.tokenizer, pair)
            check_templates(list(encoded.values()), tokens)
        except ClassTokenError as error:
            if not skip:
                raise
            note.tokens[pair_name(pair)] = {"skipped": str(error)}
            continue
        readouts.append((pair, tokens))
        note.tokens[pair_name(pair)] = {operation: asdict(token) for operation, token in tokens.items()}
    return readouts


def _evaluate(
    bench: Bench, encoded: dict[int, Encoded], readouts: Readouts, evaluation: Evaluation, stage: str, note: Notebook
) -> tuple[list[Row], list[Row]]:
    with note.timed("evaluate"):
        return evaluate(
            bench.model,
            bench.tokenizer,
            encoded,
            readouts,
            evaluation.batch_size,
            stage,
            lambda done: note.progress("evaluation", done, len(encoded)),
        )
