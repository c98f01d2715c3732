"""`make bench`: what stage 1, stage 2 and evaluation of a model cost in time, memory and arithmetic.

Operations of a LoRA step, with n real tokens, m rows of logits, P parameters of the blocks' linear layers:

    F = 2nP + 2nP + 6n * P_lora + 4m * V * d + 12 * B * T^2 * d_q * N

(forward, backward to the activations, adapters, head, attention). Utilisation is F a second over the best
single-precision matrix product (256 x 2048 x 2048) measured in the same run; padding counts against it.
"""

import argparse
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import study.models  # noqa: F401 - loads the BLAS before MLX

# isort: split
import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten
from rich.console import Console
from rich.table import Table

from study import adapters
from study.arithmetic import evaluation_prompts, training_prompts
from study.catalogue import Model
from study.config import Data, Evaluation, Operation, Stage1, Stage2, Training
from study.encoding import Tokenizer, class_tokens, encode
from study.evaluation import evaluate
from study.models.weights import load
from study.objectives import Batch, ClassLoss, make_batch
from study.reading import read_catalogue
from study.speed import gflops
from study.training import Objective, train

DATA = Data()
OPERATIONS: list[Operation] = ["multiply", "add"]
PAIR: dict[Operation, str] = {"multiply": "multiply", "add": "add"}


@dataclass(frozen=True)
class Measured:
    """One line of the table."""

    part: str
    seconds: float
    """Median of a step, or of the whole evaluation."""
    tokens: int
    flops: float
    peak_gb: float


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m", help="a name in configs/models.yaml")
    parser.add_argument("--steps", type=int, default=12, help="steps to time, after three that are not counted")
    options = parser.parse_args()
    mistakes: list[str] = []
    entry = (read_catalogue(Path("configs/models.yaml"), mistakes) or parser.error("\n".join(mistakes)))[options.model]
    peak = 1e9 * gflops()[0]
    lines = [_stage(entry, Stage1(), options.steps), _stage(entry, Stage2(), options.steps), _evaluation(entry)]
    table = Table(title=f"{options.model}, sgemm {peak / 1e9:.0f} GFLOP/s")
    for column in ("", "median s", "real tokens/s", "GFLOP", "GFLOP/s", "utilisation", "peak GB"):
        table.add_column(column, justify="left" if not column else "right")
    for line in lines:
        rate = line.flops / line.seconds
        cells = (f"{line.seconds:.3f}", f"{line.tokens / line.seconds:.0f}", f"{line.flops / 1e9:.1f}")
        table.add_row(line.part, *cells, f"{rate / 1e9:.1f}", f"{rate / peak:.0%}", f"{line.peak_gb:.2f}")
    Console(width=100).print(table)


def _stage(entry: Model, settings: Stage1 | Stage2, steps: int) -> Measured:
    loaded = load(entry)
    adapters.attach(loaded.model, settings.lora, seed=0)
    target = None
    if isinstance(settings, Stage2):
        tokens = {name: token.id for name, token in class_tokens(loaded.tokenizer, PAIR).items()}
        target = ClassLoss(layer=loaded.blocks // 2, weight=0.5, tokens=tokens)
    timed = settings.model_copy(update={"steps": steps + 3})
    mx.reset_peak_memory()
    curve = train(
        loaded.model, loaded.tokenizer, timed, settings.batch_size, DATA, Objective(OPERATIONS, target), seed=0
    )
    counted = curve[3:]
    flops = [
        _step_flops(loaded.model, _batch(loaded.tokenizer, timed, settings.batch_size, row["step"]), target is not None)
        for row in counted
    ]
    return Measured(
        part=f"stage {1 if target is None else 2}, step of {settings.batch_size}",
        seconds=statistics.median(row["seconds"] for row in counted),
        tokens=round(statistics.mean(row["tokens"] for row in counted)),
        flops=statistics.mean(flops),
        peak_gb=mx.get_peak_memory() / 1e9,
    )


def _evaluation(entry: Model) -> Measured:
    loaded, settings = load(entry), Evaluation()
    prompts = evaluation_prompts(DATA, OPERATIONS, 16, seed=0)
    encoded = [encode(loaded.tokenizer, prompt) for prompt in prompts]
    readouts = [(PAIR, class_tokens(loaded.tokenizer, PAIR))]
    mx.reset_peak_memory()
    began = time.perf_counter()
    evaluate(loaded.model, loaded.tokenizer, dict(enumerate(encoded)), readouts, settings.batch_size, "baseline")
    seconds = time.perf_counter() - began
    batch = make_batch(encoded)
    linear, _, embedding = _parameters(loaded.model)
    rows = len(batch.targets) + len(encoded) * loaded.blocks
    flops = 2 * batch.tokens * linear + 2 * rows * embedding + _attention(loaded.model, encoded_lengths(batch)) / 3
    return Measured(f"evaluation of {len(encoded)}", seconds, batch.tokens, flops, mx.get_peak_memory() / 1e9)


def _batch(tokenizer: Tokenizer, settings: Training, size: int, step: int) -> Batch:
    prompts = training_prompts(DATA, OPERATIONS, settings.wordings, 0, step, size)
    return make_batch([encode(tokenizer, prompt) for prompt in prompts])


def _step_flops(model: nn.Module, batch: Batch, with_class: bool) -> float:
    linear, lora, head = _parameters(model)
    rows = len(batch.targets) + (batch.ids.shape[0] if with_class else 0)
    n = batch.tokens
    return 4 * n * linear + 6 * n * lora + 4 * rows * head + _attention(model, encoded_lengths(batch))


def encoded_lengths(batch: Batch) -> list[int]:
    """Positions that each row has with its padding."""
    return [batch.ids.shape[1]] * batch.ids.shape[0]


def _attention(model: nn.Module, lengths: list[int]) -> float:
    """12 * T^2 * d_q a block and sequence, forward and backward."""
    width = max(m.weight.shape[0] for name, m in _linear(model).items() if "q_proj" in name)
    return float(12 * sum(length**2 for length in lengths) * width * len(model.layers))


def _linear(model: nn.Module) -> dict[str, nn.Linear]:
    return {
        f"{i}.{name}": m
        for i, block in enumerate(model.layers)
        for name, m in block.named_modules()
        if isinstance(m, nn.Linear)
    }


def _parameters(model: nn.Module) -> tuple[int, int, int]:
    """Of the blocks' linear layers, of the adapters, and of the head (vocabulary x hidden)."""
    linear = sum(m.weight.size for m in _linear(model).values())
    lora = sum(value.size for _, value in tree_flatten(model.trainable_parameters()))
    embedding = max(value.size for _, value in tree_flatten(model.parameters()))
    return linear, lora, embedding


if __name__ == "__main__":
    main()
