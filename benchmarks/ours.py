"""One part of the study, timed in a process of its own: `python -m benchmarks.ours SPEC.json OUT.json`.

The specification says which part; the results look like those of the peers (`benchmarks/peers/exchange.py`).
"""

import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from study.commands.speed import gflops
from study.config.catalogue import Model
from study.config.data import Data
from study.config.evaluation import Evaluation
from study.config.grid import Grid
from study.config.names import Operation
from study.config.stages import Stage1, Stage2
from study.config.study import Study
from study.config.units import Cell, Predictors, Readout
from study.lens.tokens import class_tokens, encode
from study.measures.answers import evaluate
from study.models.load import load
from study.pipeline.units import run_units
from study.plan.expand import expand
from study.plan.read import read_catalogue
from study.tasks.arithmetic import Arithmetic
from study.training import adapters
from study.training.loop import Objective, TrainingData, train
from study.training.objectives import Batch, ClassLoss, make_batch, tokens_in

DATA, OPERATIONS = Data(), list[Operation](["multiply", "add"])
PAIR = Readout(pair={"multiply": "multiply", "add": "add"})


def main() -> None:
    spec: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    mistakes: list[str] = []
    entry = (read_catalogue(Path("configs/models.yaml"), mistakes) or sys.exit("\n".join(mistakes)))[spec["name"]]
    out = {"sgemm": sgemm, "stage1": step, "stage2": step, "evaluation": evaluation, "grid": grid}[spec["part"]](
        entry, spec
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9
    Path(sys.argv[2]).write_text(json.dumps({**out, "peak_gb": peak, "mlx_peak_gb": mx.get_peak_memory() / 1e9}) + "\n")


def sgemm(entry: Model, spec: dict[str, Any]) -> dict[str, Any]:
    return {"gflops": gflops()[0]}


def step(entry: Model, spec: dict[str, Any]) -> dict[str, Any]:
    """Steps of a stage with so many cells side by side; seconds and operations are those of the whole stack."""
    loaded = load(entry)
    settings = (Stage1 if spec["part"] == "stage1" else Stage2)(steps=spec["steps"])
    tokens = {name: token.id for name, token in class_tokens(loaded.tokenizer, PAIR).items()}
    target = ClassLoss(loaded.blocks // 2, 0.5, tokens) if spec["part"] == "stage2" else None
    cells = spec["cells"]
    mx.reset_peak_memory()
    trained = train(
        loaded.model,
        loaded.tokenizer,
        settings,
        TrainingData(DATA, OPERATIONS, 0),
        [Objective(settings.learning_rate, target)] * cells,
    )
    curve = trained[0].curve[spec["warmup"] :]
    adapters.stack(loaded.model, settings.lora, [0])
    gflop = []
    for row in curve:
        prompts = Arithmetic(DATA).training_prompts(OPERATIONS, ["symbolic"], 0, row["step"], settings.batch_size)
        batch = make_batch([encode(loaded.tokenizer, prompt) for prompt in prompts])
        gflop.append(cells * _operations(loaded.model, batch, row["tokens"], target is not None) / 1e9)
    return {
        "seconds": [row["seconds"] * cells for row in curve],
        "real_tokens": [row["tokens"] * cells for row in curve],
        "gflop": gflop,
    }


def evaluation(entry: Model, spec: dict[str, Any]) -> dict[str, Any]:
    """Seconds of the answers alone, and with the lens at every layer for one pair of class tokens."""
    loaded = load(entry)
    prompts = Arithmetic(DATA).evaluation_prompts(
        OPERATIONS, Evaluation(prompts_per_class=spec["prompts"] // 8), seed=0
    )
    encoded = dict(enumerate(encode(loaded.tokenizer, prompt) for prompt in prompts))
    seconds = []
    for readouts in ([], [], [(PAIR, class_tokens(loaded.tokenizer, PAIR))]):  # the first one warms up
        began = time.perf_counter()
        evaluate(loaded.model, loaded.tokenizer, encoded, readouts, Evaluation().batch_size, "baseline")
        seconds.append(time.perf_counter() - began)
    base, _, head = _sizes(loaded.model)
    items = list(encoded.values())
    tokens, longest = tokens_in(items), make_batch(items).ids.shape[1]
    read = sum(len(item.answer_ids) for item in items) + len(items) * loaded.blocks
    flop = 2 * tokens * base + 2 * read * head + _attention(loaded.model, len(items), longest) / 3
    figures = {"answers": seconds[1], "prompts": len(encoded)}
    return {**figures, "seconds": [seconds[2]], "real_tokens": [tokens], "gflop": [flop / 1e9]}


def grid(entry: Model, spec: dict[str, Any]) -> dict[str, Any]:
    """A whole grid of 24 cells in this process: stage 1, reference, cells in stacks of eight, rows written.

    Without the predictors and the swap of the class direction, for which no peer has anything.
    """
    layers = [round(entry.blocks * (i + 1) / 13) for i in range(12)]
    study = Study(
        name="bench",
        models=[spec["name"]],
        grid=Grid(layers=layers, pairs=[PAIR.pair], weights=[0.2, 0.5]),
        stage1=Stage1(steps=spec["stage1_steps"]),
        stage2=Stage2(steps=spec["stage2_steps"]),
        evaluation=Evaluation(prompts_per_class=spec["prompts"] // 8, causal_prompts=0),
    )
    units = [unit for unit in expand(study, {spec["name"]: entry}) if not isinstance(unit, Predictors)]
    cells = [unit for unit in units if isinstance(unit, Cell)]
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        groups = [[unit] for unit in units if not isinstance(unit, Cell)]
        for group in [*groups, *(cells[i : i + 8] for i in range(0, len(cells), 8))]:
            outcomes = run_units(group, Path(folder))
            if any(outcome.state != "done" for outcome in outcomes):
                sys.exit(f"a unit did not finish: {outcomes}")
        return {"seconds": [time.perf_counter() - began], "cells": len(cells), "units": len(units)}


def _operations(model: nn.Module, batch: Batch, tokens: int, with_class: bool) -> float:
    """Floating-point operations of one cell's LoRA step.

    With n real tokens, m rows of logits, P parameters of the blocks' linear layers, T positions of each of B rows:
    4nP (forward, and backward to the activations) + 6n P_lora + 4mVd (head) + 12 B T² d_q N (attention).
    """
    base, lora, head = _sizes(model)
    rows, longest = batch.ids.shape
    read = len(batch.targets) + (rows if with_class else 0)
    return float(4 * tokens * base + 6 * tokens * lora + 4 * read * head + _attention(model, rows, longest))


def _attention(model: nn.Module, rows: int, longest: int) -> float:
    """Forward and backward; forward alone is a third."""
    width = max(m.weight.shape[0] for name, m in _linear(model).items() if "q_proj" in name)
    return float(12 * rows * longest**2 * width * len(model.layers))


def _sizes(model: nn.Module) -> tuple[int, int, int]:
    """Parameters of the blocks' linear layers, of the adapters, and of the head."""
    base = sum(m.weight.size for m in _linear(model).values())
    lora = sum(value.size for _, value in tree_flatten(model.trainable_parameters()))
    return base, lora, max(value.size for _, value in tree_flatten(model.parameters()))


def _linear(model: nn.Module) -> dict[str, nn.Linear]:
    blocks = enumerate(model.layers)
    return {f"{i}.{name}": m for i, block in blocks for name, m in block.named_modules() if isinstance(m, nn.Linear)}


if __name__ == "__main__":
    main()
