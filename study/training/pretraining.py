"""Training all weights of a small model from random ones, on prompts with answers and on sentences."""

import math
import time
from collections.abc import Callable, Sequence
from functools import partial

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from mlx.utils import tree_flatten

from study.config.nursery import NurseryTraining
from study.lens.hooks import Lens, at, attached
from study.lens.logits import cross_entropy
from study.lens.tokens import Tokenizer, padded, stop_id
from study.results.schema import Row
from study.tasks import TrainingText
from study.training.checkpoints import State
from study.training.flat import NAME, Flat, Joined, clip_each
from study.training.loop import TrainingError

BETAS = [0.9, 0.98]
"""AdamW's betas: the second averages squared gradients over some fifty steps, not a thousand, as batches are small."""

PADDING_SAVED = 0.1
"""Share of a batch's tokens that have to be padding for it to be divided in two by length."""


def pretrain(
    model: nn.Module,
    tokenizer: Tokenizer,
    settings: NurseryTraining,
    text: TrainingText,
    seed: int,
    on_step: Callable[[Row], None] = lambda row: None,
    start: State | None = None,
    save_every: int = 0,
    save: Callable[[State], None] = lambda state: None,
) -> list[Row]:
    """Train all weights of the model, freeze them again, and return one row for each step.

    loss = CE(answer tokens of prompts) + CE(all tokens of sentences), each a mean over its tokens, in nats. The batch
    of a step is a function of the seed and the step alone. Training resumes from `start`; states are saved every
    `save_every` steps and after the last one, or never if it is 0. A row's `held_out` is the number of held-out
    contents in the batch, which must be 0. Raises TrainingError where the loss or the gradient norm is not finite.
    """
    model.unfreeze()
    flat = Flat(model, stacked=False)
    optimizer = optim.Adam(partial(_rate, settings), betas=BETAS, bias_correction=True)
    optimizer.init(flat.tree)
    curve = list(start.curve) if start else []
    if start:
        flat.go_on(start.arrays, optimizer, start.step)
        # The weight decay of a step uses the learning rate of the step before.
        optimizer.state["learning_rate"] = _rate(settings, optimizer.step - 1)
    decay = settings.weight_decay * _decays(flat)
    share = max(1, round(settings.sentences * settings.batch_size))
    words = WordIds(tokenizer)
    for step in range(len(curve) + 1, settings.steps + 1):
        began = time.perf_counter()
        prompts = text.prompts(seed, step, settings.batch_size - share)
        sentences = text.sentences(seed, step, share)
        held_out = text.held_out(prompts, sentences)
        asked = [(words.ids(one.text), [*words.following(one.answer), words.stop]) for one in prompts]
        told = [(ids[:1], [*ids[1:], words.stop]) for ids in (words.ids(one.text) for one in sentences)]
        with attached(model) as lens:
            figures = _step(lens, model, flat, optimizer, decay, settings.clip_norm, asked, told)
        tokens = sum(len(given) + len(targets) - 1 for given, targets in (*asked, *told))
        spent = {"tokens": tokens, "seconds": time.perf_counter() - began}
        row: Row = {"step": step, **figures, "held_out": held_out, **spent}
        if not math.isfinite(row["loss"]) or not math.isfinite(row["grad_norm"]):
            raise TrainingError(
                f"step {step}: the loss is {row['loss']} and the gradient norm {row['grad_norm']}; "
                f"lower nursery.training.learning_rate ({settings.learning_rate:g})"
            )
        curve.append(row)
        on_step(row)
        if save_every and (step % save_every == 0 or step == settings.steps):
            save(State(flat.arrays(optimizer.state[NAME]), list(curve)))
    model.freeze()
    return curve


class WordIds:
    """The ids of texts, word by word: the tokenizers of models that are built locally divide a word alike wherever it
    stands, so that each is encoded once. A batch of a hundred new texts would take them a quarter of a step."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer, self._known = tokenizer, dict[str, list[int]]()
        self._begin = tokenizer.encode("")
        self.stop = stop_id(tokenizer)

    def ids(self, text: str) -> list[int]:
        """Return the ids of a text with the token that begins it, as its tokenizer does."""
        first, *others = text.split(" ")
        return [*self._begin, *self._word(first), *(id for word in others for id in self._word(f" {word}"))]

    def following(self, text: str) -> list[int]:
        """Return the ids of a text that follows another one and a space."""
        return [id for word in text.split(" ") for id in self._word(f" {word}")]

    def _word(self, word: str) -> list[int]:
        if word not in self._known:
            self._known[word] = self._tokenizer.encode(word, add_special_tokens=False)
        return self._known[word]


Part = Sequence[tuple[Sequence[int], Sequence[int]]]
"""Sequences of token ids, each a pair of the given ids and the ids to predict after them."""


def _step(
    lens: Lens,
    model: nn.Module,
    flat: Flat,
    optimizer: optim.Optimizer,
    decay: Joined,
    clip_norm: float,
    asked: Part,
    told: Part,
) -> dict[str, float]:
    """Update the model once; return the losses and the gradient norm before the update, by name."""
    # Each token to predict counts as one of all answers, or of all sentences.
    answers, others = (sum(len(following) for _, following in part) for part in (asked, told))
    weighed = [(pair, (1 / answers, 0.0)) for pair in asked] + [(pair, (0.0, 1 / others)) for pair in told]
    batches = [_batch(part) for part in _by_length(weighed)]

    def loss() -> tuple[mx.array, mx.array]:
        parts = mx.zeros(2)
        for ids, rows, positions, targets, weights in batches:
            # Logits of the positions that are scored alone.
            last = at(lens.hidden(ids)[-1], rows, positions)
            parts = parts + cross_entropy(lens.read_out(last), targets) @ weights
        return parts.sum(), parts

    (total, parts), gradients = nn.value_and_grad(model, loss)()
    clipped, norms = clip_each(flat.joined(dict(tree_flatten(gradients)))[None], clip_norm)
    kept = {NAME: flat.tree[NAME] * (1 - decay * optimizer.learning_rate)}
    flat.hold(optimizer.apply_gradients({NAME: clipped[0]}, kept)[NAME])
    mx.eval(total, norms, model.parameters(), flat.tree, optimizer.state)
    figures = {"loss": total, "answer_loss": parts[0], "text_loss": parts[1], "grad_norm": norms}
    return {"class_loss": math.nan, **{name: float(value.item()) for name, value in figures.items()}}


Weighed = Sequence[tuple[tuple[Sequence[int], Sequence[int]], tuple[float, float]]]
"""Sequences as in Part, each with the weights of its tokens in the two losses."""


def _by_length(sequences: Weighed) -> list[Weighed]:
    """Return the sequences in two batches, of short and of long ones, where that leaves at least PADDING_SAVED fewer
    tokens than one batch, which is as long as its longest row; else as they are."""
    ordered = sorted(sequences, key=lambda one: _length(one[0]))
    lengths = [_length(pair) for pair, _ in ordered]
    count, longest = len(ordered), lengths[-1]
    tokens, cut = min((cut * lengths[cut - 1] + (count - cut) * longest, cut) for cut in range(1, count + 1))
    return [ordered[:cut], ordered[cut:]] if tokens <= (1 - PADDING_SAVED) * count * longest else [sequences]


def _length(pair: tuple[Sequence[int], Sequence[int]]) -> int:
    given, targets = pair
    return len(given) + len(targets) - 1


def _batch(sequences: Weighed) -> tuple[mx.array, mx.array, mx.array, mx.array, mx.array]:
    """Return padded ids [rows, tokens]; and row, position, target and weights in the losses of each scored token."""
    ids = padded([[*given, *targets[:-1]] for (given, targets), _ in sequences])
    scored = [
        (row, len(given) - 1 + offset, target, weights)
        for row, ((given, targets), weights) in enumerate(sequences)
        for offset, target in enumerate(targets)
    ]
    rows, positions, targets, weights = (mx.array(column) for column in zip(*scored, strict=True))
    return ids, rows, positions, targets, weights


def _rate(settings: NurseryTraining, step: mx.array) -> mx.array:
    """Return the learning rate at a step counted from 0: a linear warm-up, times cosine decay to zero."""
    warm = mx.minimum((step + 1) / (settings.warmup_steps + 1), 1.0)
    return settings.learning_rate * warm * 0.5 * (1 + mx.cos(math.pi * step / settings.steps))


def _decays(flat: Flat) -> Joined:
    """Return 1 for each weight that decays, which those of norms and biases do not, and 0 for the others."""
    parted = flat.parted(mx.ones_like(flat.tree[NAME]))
    return flat.joined({path: one * (one.ndim > 1) for path, one in parted.items()})
