"""The training loop of both stages: the cells of a stack train side by side over one frozen model."""

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import fmean
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_flatten, tree_map

from study.config.data import AnyData
from study.config.names import Operation, Tier
from study.config.recipes import Choice
from study.config.stages import RUNNING_STEPS, Stage1, Stage2
from study.lens.hooks import Lens, attached
from study.lens.tokens import Encoded, Tokenizer, encode
from study.lens.translators import Translators
from study.results.schema import Row
from study.tasks import task_of
from study.tasks.prompts import shuffled_label
from study.training import adapters, compilation
from study.training.checkpoints import State
from study.training.flat import NAME, Flat, clip_each
from study.training.objectives import Batch, ClassLoss, dual_reward, make_batch, tokens_in


class TrainingError(Exception):
    """A loss, gradient norm or weight is not finite."""


@dataclass(frozen=True)
class Objective:
    """The objective of one cell: the answers, and a class token at a layer if `target` is given."""

    learning_rate: float
    target: ClassLoss | None = None
    adapted: range | None = None
    """Indices of the blocks whose adapters are trained; None to train all."""
    fitted: float | None = None
    """Training goes on after the settings' steps until the running mean of the class loss is as low as this, nats; None
    to end with them."""
    most: int = 0
    """Largest number of steps where `fitted` is given."""

    def ends(self, curve: Sequence[Row], steps: int) -> bool:
        """Whether training ends after these rows, of the settings' `steps`."""
        if len(curve) < steps or self.fitted is None:
            return len(curve) >= steps
        return len(curve) >= self.most or running_class_loss(curve) <= self.fitted


@dataclass
class Trained:
    """The outcome of training one cell."""

    weights: adapters.Weights = field(default_factory=dict)
    curve: list[Row] = field(default_factory=list)
    """Rows of training, one for each step."""
    error: TrainingError | None = None
    """The reason for which the cell was dropped from its stack; None if it was trained to the end."""


@dataclass(frozen=True)
class TrainingData:
    """The training data. The batch of a step is a function of the seed and the step, so that cells can share it."""

    data: AnyData
    operations: Sequence[Operation]
    seed: int
    wordings: Sequence[Tier] = ("symbolic",)
    """Tiers of wording to draw prompts from."""
    choices: Collection[Choice] = ()
    """The choices of a recipe that change the training."""

    def batch(self, tokenizer: Tokenizer, step: int, size: int) -> tuple[list[Encoded], list[Operation]]:
        """Return the encoded prompts of a step, and the operation that the shuffled label of each names."""
        prompts = task_of(self.data).training_prompts(self.operations, self.wordings, self.seed, step, size)
        encoded = [encode(tokenizer, prompt, "bos_in_evaluation_only" not in self.choices) for prompt in prompts]
        return encoded, [shuffled_label(prompt, self.operations, self.seed) for prompt in prompts]


@dataclass(frozen=True)
class Callbacks:
    """Functions that are called while a stack trains; a cell is given by its index in the stack."""

    on_step: Callable[[int, Row], None] = lambda cell, row: None
    """Called after a step with a cell and the row of its step."""
    watch: Callable[[int, Lens, Sequence[int]], None] = lambda step, lens, cells: None
    """Called with a step that has ended, the lens on the stacked model, and the cells that still train."""
    save_every: int = 0
    """Steps between two calls of `save`, which is also called after the last step; 0 for none."""
    save: Callable[[int, State], None] = lambda cell, state: None
    """Called with a cell and the state from which its training can resume."""


def train(
    model: nn.Module,
    tokenizer: Tokenizer,
    settings: Stage1 | Stage2,
    data: TrainingData,
    objectives: Sequence[Objective],
    callbacks: Callbacks = Callbacks(),
    start: Sequence[State] = (),
    compiled: bool | None = None,
    translators: Translators | None = None,
) -> list[Trained]:
    """Train a new adapter for each objective, remove all of them again, and return the outcome of each, in their order.

    A cell whose loss or gradient norm is not finite is dropped with its error, and one that has fitted with its
    weights, which leaves the others unchanged. With `start`, one state for each objective, all after the same step,
    training resumes from there. Steps are compiled where that saves time, or as `compiled` says. Classes are read
    through `translators`, or by the logit lens. Raises AdapterError where the model lacks a layer to adapt.
    """
    (done,) = {state.step for state in start} or {0}
    adapters.stack(model, settings.lora, [data.seed] * len(objectives))
    cells = [Trained(curve=list(state.curve)) for state in start] or [Trained() for _ in objectives]
    alive = list(range(len(cells)))
    with attached(model, translators) as lens:
        compiles = compilation.pays() if compiled is None else compiled
        stack = _Stack(model, lens, settings, objectives, compiles, start, "plain_sgd" in data.choices)
        step = done
        while going := [g for g in alive if not objectives[g].ends(cells[g].curve, settings.steps)]:
            if len(going) < len(alive):
                _take_weights(cells, alive, going, adapters.weights_of(model))
                stack.keep([alive.index(g) for g in going])
                alive = going
            step += 1
            began = time.perf_counter()
            encoded, shuffled = data.batch(tokenizer, step, settings.batch_size)
            bucket = compilation.BUCKET if stack.compiled else 1
            targets = [objectives[g].target for g in alive]
            figures = stack.step(make_batch(encoded, bucket, targets, shuffled, data.choices))
            spent = {
                "tokens": tokens_in(encoded, targets, shuffled),
                "seconds": (time.perf_counter() - began) / len(alive),
            }
            finite = []
            for i, g in enumerate(alive):
                row = {"step": step, **{name: values[i] for name, values in figures.items()}, **spent}
                if math.isfinite(row["loss"]) and math.isfinite(row["grad_norm"]):
                    cells[g].curve.append({**row, "stacked": len(alive)})
                    callbacks.on_step(g, row)
                    finite.append(i)
                else:
                    cells[g].error = _error(row, objectives[g])
            if len(finite) < len(alive):
                alive = [alive[i] for i in finite]
                if not alive:
                    break
                stack.keep(finite)
            callbacks.watch(step, lens, alive)
            every = callbacks.save_every
            ended = [objectives[g].ends(cells[g].curve, settings.steps) for g in alive]
            if every and (step % every == 0 or any(ended)):
                for g, arrays, is_last in zip(alive, stack.arrays(), ended, strict=True):
                    if step % every == 0 or is_last:
                        callbacks.save(g, State(arrays, list(cells[g].curve)))
    _take_weights(cells, alive, [], adapters.unstack(model))
    for cell, objective in zip(cells, objectives, strict=True):
        if not all(mx.isfinite(value).all() for value in cell.weights.values()):  # the last update has no loss after it
            cell.error = _error({**cell.curve[-1], "loss": math.nan}, objective)
    return cells


def running_class_loss(curve: Sequence[Row]) -> float:
    """Return the mean class loss of the last RUNNING_STEPS steps, or of all of a shorter training, nats."""
    return fmean(row["class_loss"] for row in curve[-RUNNING_STEPS:])


def _take_weights(
    cells: Sequence[Trained], alive: Sequence[int], going: Sequence[int], weights: Sequence[adapters.Weights]
) -> None:
    """Give the cells that no longer train their weights, of those of all that are alive."""
    for g, own in zip(alive, weights, strict=False):
        if g not in going:
            cells[g].weights = own


class _Stack:
    """The cells that still train, with the optimiser, and one step of all of them.

    No attribute refers back to it, so that it is freed, with the optimiser's state, as soon as the training ends.
    """

    def __init__(
        self,
        model: nn.Module,
        lens: Lens,
        settings: Stage1 | Stage2,
        objectives: Sequence[Objective],
        compiled: bool,
        start: Sequence[State],
        plain: bool,
    ) -> None:
        self.compiled = compiled
        self._model, self._lens = model, lens
        self._objectives = list(objectives)
        self._rates = {"rates": _rates(objectives)}
        schedule = partial(_warmed, self._rates, 0 if plain else settings.warmup_steps)
        self._limit = math.inf if plain else settings.clip_norm
        self._optimizer: optim.Optimizer = (
            optim.SGD(schedule) if plain else optim.AdamW(schedule, weight_decay=settings.weight_decay)
        )
        self._flat = Flat(model)
        self._optimizer.init(self._flat.tree)
        if start:
            stacked = {name: mx.stack([state.arrays[name] for state in start]) for name in start[0].arrays}
            self._flat.go_on(stacked, self._optimizer, start[0].step)
        self._update = self._prepared()

    def step(self, batch: Batch) -> dict[str, list[float]]:
        """Update every cell and return its losses and gradient norm before the update, by name."""
        figures = self._update(vars(batch))
        mx.eval(figures, self._model.trainable_parameters(), self._flat.tree, self._optimizer.state)
        return {name: np.array(value).tolist() for name, value in figures.items()}

    def keep(self, cells: Sequence[int]) -> None:
        """Drop all cells but these, given by their indices."""
        chosen = mx.array(list(cells))
        self._flat.hold(self._flat.tree[NAME][chosen])
        self._objectives = [self._objectives[i] for i in cells]
        self._rates["rates"] = _rates(self._objectives)
        self._optimizer.state = tree_map(lambda value: value[chosen] if value.ndim else value, self._optimizer.state)
        self._update = self._prepared()

    def arrays(self) -> list[dict[str, mx.array]]:
        """Return the arrays of each cell's adapter and of the optimiser's state, by name."""
        stacked = self._flat.arrays(self._optimizer.state[NAME])
        return [{name: value[g] for name, value in stacked.items()} for g in range(len(self._objectives))]

    def _prepared(self) -> Callable[[dict[str, Any]], dict[str, mx.array]]:
        model, flat, optimizer, lens, limit = self._model, self._flat, self._optimizer, self._lens, self._limit
        targets, shared = [objective.target for objective in self._objectives], adapters.lowest_adapted(model)
        trained = _trained(flat, adapters.blocks_of(model), self._objectives)

        def update(columns: dict[str, Any]) -> dict[str, mx.array]:
            loss = partial(dual_reward, lens, Batch(**columns), targets, shared)
            (_, losses), gradients = nn.value_and_grad(model, loss)()
            joined = flat.joined(dict(tree_flatten(gradients)))
            if trained is not None:
                joined = mx.where(trained, joined, 0.0)
            clipped, norms = clip_each(joined, limit)
            flat.hold(optimizer.apply_gradients({NAME: clipped}, flat.tree)[NAME])
            return {**losses, "grad_norm": norms}

        if not self.compiled:
            return update
        state = [model.state, flat.tree, optimizer.state]
        compiled: Callable[[dict[str, Any]], dict[str, mx.array]] = mx.compile(update, inputs=state, outputs=state)
        return compiled


def _rates(objectives: Sequence[Objective]) -> mx.array:
    return mx.array([objective.learning_rate for objective in objectives])[:, None]


def _warmed(rates: dict[str, mx.array], warmup_steps: int, step: mx.array) -> mx.array:
    """Return the learning rates [cells, 1] at a step counted from 0; above zero at the first, so that it trains."""
    return mx.minimum((step + 1) / (warmup_steps + 1), 1.0) * rates["rates"]


def _trained(flat: Flat, blocks: Mapping[str, int], objectives: Sequence[Objective]) -> mx.array | None:
    """Return whether each cell trains each element of the joined parameters; None if all cells train all of them."""
    block_of = {path: blocks[path.rpartition(".")[0]] for path in flat.paths}
    every = range(max(block_of.values()) + 1)
    adapted = [every if one.adapted is None else one.adapted for one in objectives]
    trains = {path: mx.array([block in own for own in adapted]) for path, block in block_of.items()}
    if all(each.all() for each in trains.values()):
        return None
    shape = flat.parted(flat.tree[NAME])
    return flat.joined({path: mx.broadcast_to(each[:, None, None], shape[path].shape) for path, each in trains.items()})


def _error(row: Row, objective: Objective) -> TrainingError:
    return TrainingError(
        f"step {row['step']}: the loss is {row['loss']} and the gradient norm {row['grad_norm']}; "
        f"lower the learning rate ({objective.learning_rate:g})"
    )
