"""The one training loop, for both stages."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim

from study.arithmetic import training_prompts
from study.config import Data, Operation, Training
from study.encoding import Tokenizer, encode
from study.lens import Lens, attached
from study.objectives import Batch, ClassLoss, dual_reward_loss, make_batch, sft_loss

Row = dict[str, Any]
OnStep = Callable[[Row], None]


class TrainingError(Exception):
    """A loss or gradient that is not a number."""


@dataclass(frozen=True)
class Objective:
    """What a stage trains: the answers of some operations, and a class token at a layer where `target` is given."""

    operations: list[Operation]
    target: ClassLoss | None = None


def train(
    model: nn.Module,
    tokenizer: Tokenizer,
    settings: Training,
    batch_size: int,
    data: Data,
    objective: Objective,
    seed: int,
    on_step: OnStep = lambda row: None,
) -> list[Row]:
    """Train what is not frozen in `model`; returns one row a step.

    The batch of a step is a function of the seed and the step alone, so cells of one seed share their batches.
    Raises TrainingError at the first step whose loss or gradient norm is not finite.
    """
    optimizer = optim.AdamW(learning_rate=_schedule(settings), weight_decay=settings.weight_decay)
    curve: list[Row] = []
    with attached(model) as lens:
        for step in range(1, settings.steps + 1):
            began = time.perf_counter()
            prompts = training_prompts(data, objective.operations, settings.wordings, seed, step, batch_size)
            batch = make_batch([encode(tokenizer, prompt) for prompt in prompts])
            loss = _loss(lens, batch, objective.target, [prompt.operation for prompt in prompts])
            (value, metrics), gradients = nn.value_and_grad(model, loss)()
            gradients, norm = optim.clip_grad_norm(gradients, settings.clip_norm)
            optimizer.update(model, gradients)
            mx.eval(model.trainable_parameters(), optimizer.state, value, metrics, norm)
            row = {
                "step": step,
                "loss": value.item(),
                **{
                    name: metrics[name].item() if name in metrics else math.nan
                    for name in ("class_loss", "answer_loss")
                },
                "grad_norm": norm.item(),
                "tokens": batch.tokens,
                "seconds": time.perf_counter() - began,
            }
            if not (math.isfinite(row["loss"]) and math.isfinite(row["grad_norm"])):
                raise TrainingError(
                    f"step {step}: the loss is {row['loss']} and the gradient norm {row['grad_norm']}; "
                    f"lower the learning rate ({settings.learning_rate:g})"
                )
            curve.append(row)
            on_step(row)
    return curve


def _loss(
    lens: Lens, batch: Batch, target: ClassLoss | None, operations: list[Operation]
) -> Callable[[], tuple[mx.array, dict[str, mx.array]]]:
    if target is None:
        return partial(sft_loss, lens, batch)
    return partial(dual_reward_loss, lens, batch, target, mx.array([target.tokens[name] for name in operations]))


def _schedule(settings: Training) -> Any:
    if settings.warmup_steps == 0:
        return settings.learning_rate
    # The first step has a rate above zero: it would change nothing otherwise.
    start = settings.learning_rate / (settings.warmup_steps + 1)
    return optim.linear_schedule(start, settings.learning_rate, settings.warmup_steps)
