"""The dual reward of a stack of cells, as a pure function of a model's lens and a batch."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx
from jaxtyping import Float, Int

from study.config.names import Operation
from study.config.recipes import Choice
from study.lens.hooks import Edit, Lens, at
from study.lens.logits import cross_entropy
from study.lens.tokens import Encoded, padded, rounded_up


@dataclass(frozen=True)
class ClassLoss:
    """The class loss of one cell."""

    layer: int
    """Index of the block whose output the lens reads, 0-based."""
    weight: float
    """Weight w of the class loss; the answer loss has 1 - w."""
    tokens: dict[Operation, int]
    """Ids of the class tokens by operation."""
    rests: dict[Operation, tuple[int, ...]] = field(default_factory=dict)
    """Ids of the tokens that follow in the names that are read as sequences, by operation."""
    shuffled: bool = False
    """Whether the labels are shuffled."""
    detached: bool = False
    """Whether the gradient of the answer loss is stopped at the output of the layer."""


@dataclass(frozen=True)
class Batch:
    """Prompts with their answers, padded on the right to the longest.

    Causal blocks never attend to the right, so the padding needs no mask. Answer logits are needed only at (`rows`,
    `positions`), where the next token is `targets`. Where a class name is read as a sequence, a further row is the
    prompt with the name but its last token, and class logits are needed also at (`name_rows`, `name_positions`).
    """

    ids: Int[mx.array, "all_rows seq"]
    last: Int[mx.array, " batch"]
    """Position of the last prompt token of each row, where the class is read, or where a recipe trains it instead."""
    classes: Sequence[Int[mx.array, " batch"]]
    """For each cell that trains on the batch, the right class token of each row; zeros if it trains no class."""
    rows: Int[mx.array, " m"]
    positions: Int[mx.array, " m"]
    targets: Int[mx.array, " m"]
    shares: Float[mx.array, " m"]
    """Weight of each answer token in the mean over all of them; 0 for padding."""
    name_rows: Int[mx.array, " s"]
    name_positions: Int[mx.array, " s"]
    name_targets: Int[mx.array, " s"]
    name_shares: Sequence[Float[mx.array, " s"]]
    """For each cell, the weight of each further token of a name in its class loss, which is the mean over the prompts
    of the sum over the tokens of the right name; 0 for padding and for other cells' names."""

    @property
    def all_rows(self) -> Int[mx.array, " batch"]:
        """The indices of the prompts' rows."""
        return mx.arange(len(self.last))


def make_batch(
    encoded: Sequence[Encoded],
    bucket: int = 1,
    cells: Sequence[ClassLoss | None] = (),
    shuffled: Sequence[Operation] = (),
    choices: Collection[Choice] = (),
) -> Batch:
    """Return a batch of encoded prompts; the stop token is a target but never an input.

    `cells` are the class losses of the cells that train on it, `shuffled` the labels for those whose labels are
    shuffled, `choices` those of their recipe. The length, and the number of answer tokens for each row, are rounded up
    to multiples of `bucket`, since a compiled step is compiled again for every new shape.
    """
    sequences = [[*item.prompt_ids, *item.answer_ids[:-1]] for item in encoded]
    names = _names(encoded, cells, shuffled)
    unshifted = "unshifted_answers" in choices
    spots = [
        (row, len(item.prompt_ids) - (not unshifted) + offset, target)
        for row, item in enumerate(encoded)
        for offset, target in enumerate(item.answer_ids[:-1] if unshifted else item.answer_ids)
    ]
    last = sequences if "class_at_sequence_end" in choices else [item.prompt_ids for item in encoded]
    real = len(spots)
    if bucket > 1:
        spots += [spots[0]] * (rounded_up(real, bucket * len(encoded)) - real)
    rows, positions, targets = (mx.array(column) for column in zip(*spots, strict=True))
    return Batch(
        ids=padded([*sequences, *([*encoded[row].prompt_ids, *name[:-1]] for row, name in names)], bucket),
        last=mx.array([len(ids) - 1 for ids in last]),
        classes=[_class_tokens(target, encoded, shuffled) for target in cells],
        rows=rows,
        positions=positions,
        targets=targets,
        shares=mx.array([1 / real] * real + [0.0] * (len(spots) - real)),
        **_name_spots(encoded, names, len(cells), bucket),
    )


def tokens_in(
    encoded: Sequence[Encoded], cells: Sequence[ClassLoss | None] = (), shuffled: Sequence[Operation] = ()
) -> int:
    """Return the number of input tokens of the batch that `make_batch` makes of these, without padding; the stop token
    is not an input."""
    answers = sum(len(item.prompt_ids) + len(item.answer_ids) - 1 for item in encoded)
    return answers + sum(len(encoded[row].prompt_ids) + len(name) - 1 for row, name in _names(encoded, cells, shuffled))


Names = dict[tuple[int, tuple[int, ...]], set[int]]
"""The cells that train a class name of several tokens on a prompt, by the prompt's row and the name's ids."""


def _names(encoded: Sequence[Encoded], cells: Sequence[ClassLoss | None], shuffled: Sequence[Operation]) -> Names:
    names: Names = {}
    for g, target in enumerate(cells):
        if target and target.rests:
            for row, label in enumerate(_labels(target, encoded, shuffled)):
                if rest := target.rests.get(label):
                    names.setdefault((row, (target.tokens[label], *rest)), set()).add(g)
    return names


def _name_spots(encoded: Sequence[Encoded], names: Names, cells: int, bucket: int) -> dict[str, Any]:
    """Return the fields of a batch about the further tokens of class names, whose rows follow those of the prompts."""
    spots = [
        (len(encoded) + k, len(encoded[row].prompt_ids) + offset, target, trained_by)
        for k, ((row, name), trained_by) in enumerate(names.items())
        for offset, target in enumerate(name[1:])
    ]
    shares = [[(g in trained_by) / len(encoded) for *_, trained_by in spots] for g in range(cells)] if spots else []
    missing = rounded_up(len(spots), bucket * len(encoded)) - len(spots) if bucket > 1 else 0
    spots += spots[:1] * missing
    rows, positions, targets, _ = zip(*spots, strict=True) if spots else ((), (), (), ())
    columns = {"name_rows": rows, "name_positions": positions, "name_targets": targets}
    return {
        **{name: mx.array(list(column), mx.int32) for name, column in columns.items()},
        "name_shares": [mx.array([*one, *[0.0] * missing]) for one in shares],
    }


def _class_tokens(
    target: ClassLoss | None, encoded: Sequence[Encoded], shuffled: Sequence[Operation]
) -> Int[mx.array, " batch"]:
    """Return the right class token of each row; zeros without a target."""
    if target is None:
        return mx.zeros(len(encoded), mx.int32)
    return mx.array([target.tokens[label] for label in _labels(target, encoded, shuffled)])


def _labels(target: ClassLoss, encoded: Sequence[Encoded], shuffled: Sequence[Operation]) -> Sequence[Operation]:
    return shuffled if target.shuffled else [item.prompt.operation for item in encoded]


Losses = dict[str, Float[mx.array, " cells"]]
"""Losses of each cell, by name, nats."""


def dual_reward(
    lens: Lens, batch: Batch, targets: Sequence[ClassLoss | None], shared: int = 0
) -> tuple[Float[mx.array, ""], Losses]:
    """Return w * CE(lens of layer L at the last prompt token, class) + (1 - w) * CE(answer tokens), in nats.

    The class loss of a name that is read as a sequence is the sum over its tokens, each read at layer L after the
    prompt and the tokens before it.

    `targets` are those that the batch was made for. Returns the sum over cells, whose gradients are independent because
    each cell has its own adapter, and the losses of each cell: `loss`, `class_loss`, `answer_loss`, the latter two NaN
    where they are not computed. A cell without a target trains the answers alone. Where all cells have w = 1, the
    blocks above their layers and the answers' logits are never computed.
    """
    cells, size, spots, rows = len(targets), len(batch.last), len(batch.targets), len(batch.ids)
    edits = _detachments(targets, rows)
    states = lens.hidden(batch.ids, cells, shared, edits)
    # The answers are read from the edited output of the last block.
    last = edits[lens.blocks - 1](states[-1]) if lens.blocks - 1 in edits else states[-1]
    told = {g: target for g, target in enumerate(targets) if target}
    answering = [g for g, target in enumerate(targets) if target is None or target.weight < 1]
    named = [g for g, target in told.items() if batch.name_shares and target.rests]

    def at_layer(g: int, rows: mx.array, positions: mx.array) -> mx.array:
        layer = told[g].layer
        return lens.translated(at(states[layer], _rows(states, batch, told[g], g, rows), positions), layer)

    read = [at_layer(g, batch.all_rows, batch.last) for g in told]
    wanted = [batch.classes[g] for g in told]
    for g in named:
        read.append(at_layer(g, batch.name_rows, batch.name_positions))
        wanted.append(batch.name_targets)
    for g in answering:
        read.append(at(last, batch.rows + g * rows, batch.positions))
        wanted.append(batch.targets)
    losses = cross_entropy(lens.read_out(mx.concatenate(read)), mx.concatenate(wanted))
    after_class = len(told) * size
    after_names = after_class + len(named) * len(batch.name_targets)
    class_losses = losses[:after_class].reshape(-1, size).mean(axis=1)
    answer_losses = (losses[after_names:].reshape(-1, spots) * batch.shares).sum(axis=1)
    of_class = dict(zip(told, class_losses, strict=True))
    for i, g in enumerate(named):
        start = after_class + i * len(batch.name_targets)
        of_class[g] += (losses[start : start + len(batch.name_targets)] * batch.name_shares[g]).sum()
    of_answer = dict(zip(answering, answer_losses, strict=True))
    weights = [target.weight if target else 0.0 for target in targets]
    each = mx.stack([_weighted(weights[g], of_class.get(g), of_answer.get(g)) for g in range(cells)])
    absent = mx.array(float("nan"))
    columns = {
        "class_loss": mx.stack([of_class.get(g, absent) for g in range(cells)]),
        "answer_loss": mx.stack([of_answer.get(g, absent) for g in range(cells)]),
    }
    return each.sum(), {"loss": each, **columns}


def _detachments(targets: Sequence[ClassLoss | None], rows: int) -> dict[int, Edit]:
    """Return, by layer, the edit that stops the gradient in the rows of the cells that are detached there."""
    cells: dict[int, set[int]] = {}
    for g, target in enumerate(targets):
        if target and target.detached:
            cells.setdefault(target.layer, set()).add(g)
    return {layer: _detachment([g in at_layer for g in range(len(targets))], rows) for layer, at_layer in cells.items()}


def _detachment(detached: Sequence[bool], rows: int) -> Edit:
    mask = mx.repeat(mx.array(list(detached)), rows)[:, None, None]

    def edit(states: mx.array) -> mx.array:
        # Below the lowest adapter all cells share their rows, and there is nothing to train.
        return mx.where(mask, mx.stop_gradient(states), states) if len(states) == len(mask) else states

    return edit


def _rows(states: Sequence[mx.array], batch: Batch, target: ClassLoss, cell: int, rows: mx.array) -> mx.array:
    """Return the indices of a cell's own among `rows`; below the lowest adapter all cells have the same ones."""
    size = len(batch.ids)
    return rows + (cell * size if len(states[target.layer]) > size else 0)


def _weighted(weight: float, of_class: mx.array | None, of_answer: mx.array | None) -> mx.array:
    parts = [(weight, of_class), (1 - weight, of_answer)]
    return sum((share * loss for share, loss in parts if loss is not None and share > 0), mx.array(0.0))
