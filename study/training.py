"""The one training loop, for both stages: the cells of a stack train side by side over one frozen model."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from mlx.utils import tree_flatten, tree_map

from study import adapters
from study.arithmetic import training_prompts
from study.config import Data, Operation, Stage1, Stage2, Training
from study.encoding import Tokenizer, encode
from study.lens import attached
from study.objectives import ClassLoss, dual_reward, make_batch

Row = dict[str, Any]
OnStep = Callable[[int, Row], None]
"""Told the place of a cell in the stack and the row of its step."""


class TrainingError(Exception):
    """A loss or gradient that is not a number."""


@dataclass(frozen=True)
class Objective:
    """What one cell trains: answers, and a class token at a layer where `target` is given."""

    learning_rate: float
    target: ClassLoss | None = None


@dataclass
class Trained:
    """What became of one cell."""

    weights: adapters.Weights = field(default_factory=dict)
    curve: list[Row] = field(default_factory=list)
    """One row a step."""
    error: TrainingError | None = None
    """Why the cell was dropped from its stack."""


def train(
    model: nn.Module,
    tokenizer: Tokenizer,
    settings: Stage1 | Stage2,
    data: Data,
    operations: Sequence[Operation],
    objectives: Sequence[Objective],
    seed: int,
    on_step: OnStep = lambda cell, row: None,
) -> list[Trained]:
    """Train a new adapter for each objective and take all of them off again; what became of each, in their order.

    The batch of a step is a function of the seed and the step alone, which is why cells can share it. A cell whose loss
    or gradient norm is not finite is dropped with its error and leaves the others as they are.
    """
    adapters.stack(model, settings.lora, [seed] * len(objectives))
    shared = adapters.lowest_adapted(model)
    rates = mx.array([objective.learning_rate for objective in objectives])[:, None, None]
    optimizer = optim.AdamW(
        learning_rate=lambda step: _warmed(step, settings) * rates, weight_decay=settings.weight_decay
    )
    cells = [Trained() for _ in objectives]
    alive = list(range(len(cells)))
    with attached(model) as lens:
        for step in range(1, settings.steps + 1):
            began = time.perf_counter()
            prompts = training_prompts(data, operations, settings.wordings, seed, step, settings.batch_size)
            batch = make_batch([encode(tokenizer, prompt) for prompt in prompts])
            targets = [objectives[g].target for g in alive]
            loss = partial(dual_reward, lens, batch, [prompt.operation for prompt in prompts], targets, shared)
            (_, losses), gradients = nn.value_and_grad(model, loss)()
            gradients, norms = clip_each(gradients, settings.clip_norm)
            optimizer.update(model, gradients)
            mx.eval(model.trainable_parameters(), optimizer.state, losses, norms)
            seconds = (time.perf_counter() - began) / len(alive)
            figures = {**{name: value.tolist() for name, value in losses.items()}, "grad_norm": norms.tolist()}
            finite = []
            for i, g in enumerate(alive):
                row = {"step": step, **{name: values[i] for name, values in figures.items()}}
                if math.isfinite(row["loss"]) and math.isfinite(row["grad_norm"]):
                    cells[g].curve.append({**row, "tokens": batch.tokens, "seconds": seconds, "stacked": len(alive)})
                    on_step(g, row)
                    finite.append(i)
                else:
                    cells[g].error = _error(row, objectives[g])
            if len(finite) < len(alive):
                alive = [alive[i] for i in finite]
                if not alive:
                    break
                rates = rates[mx.array(finite)]
                _go_on_with(model, optimizer, mx.array(finite))
    for g, weights in zip(alive, adapters.unstack(model), strict=False):
        cells[g].weights = weights
        if not all(mx.isfinite(value).all() for value in weights.values()):  # the last update has no loss after it
            cells[g].error = _error({**cells[g].curve[-1], "loss": math.nan}, objectives[g])
    return cells


def clip_each(gradients: Any, limit: float) -> tuple[Any, mx.array]:
    """Gradients [cells, …] scaled down to a global norm of `limit` in each cell; also the norms before, [cells]."""
    squares = [mx.square(value).sum(axis=(1, 2)) for _, value in tree_flatten(gradients)]
    norms = mx.sqrt(mx.stack(squares).sum(axis=0))
    factors = mx.minimum(limit / (norms + 1e-6), 1.0)[:, None, None]
    return tree_map(lambda value: value * factors, gradients), norms


def _go_on_with(model: nn.Module, optimizer: optim.Optimizer, cells: mx.array) -> None:
    """Drop the other cells from the stack and from the optimiser's state."""
    adapters.keep(model, cells)
    optimizer.state = tree_map(lambda value: value[cells] if value.ndim else value, optimizer.state)


def _warmed(step: mx.array, settings: Training) -> mx.array:
    """The share of the learning rate at a step counted from 0; above zero at the first, which would be lost."""
    return mx.minimum((step + 1) / (settings.warmup_steps + 1), 1.0)


def _error(row: Row, objective: Objective) -> TrainingError:
    return TrainingError(
        f"step {row['step']}: the loss is {row['loss']} and the gradient norm {row['grad_norm']}; "
        f"lower the learning rate ({objective.learning_rate:g})"
    )
