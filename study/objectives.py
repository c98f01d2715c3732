"""The two losses as pure functions of a model's lens and a batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn
from jaxtyping import Float, Int

from study.config import Operation
from study.encoding import Encoded
from study.lens import Lens, at


@dataclass(frozen=True)
class Batch:
    """Prompts with their answers, padded on the right to the longest.

    Causal blocks never look to the right, so the padding needs no mask. Logits are needed at `rows`,
    `positions` only, where the next token is `targets`.
    """

    ids: Int[mx.array, "batch seq"]
    last: Int[mx.array, " batch"]
    """The last prompt token of each row, where the class is read."""
    rows: Int[mx.array, " m"]
    positions: Int[mx.array, " m"]
    targets: Int[mx.array, " m"]
    tokens: int
    """Real tokens, padding left out."""

    @property
    def all_rows(self) -> Int[mx.array, " batch"]:
        return mx.arange(self.ids.shape[0])


def make_batch(encoded: Sequence[Encoded]) -> Batch:
    """A batch of encoded prompts; the stop token is a target but never an input."""
    sequences = [[*item.prompt_ids, *item.answer_ids[:-1]] for item in encoded]
    longest = max(len(sequence) for sequence in sequences)
    spots = [
        (row, len(item.prompt_ids) - 1 + offset, target)
        for row, item in enumerate(encoded)
        for offset, target in enumerate(item.answer_ids)
    ]
    rows, positions, targets = (mx.array(column) for column in zip(*spots, strict=True))
    return Batch(
        ids=mx.array([sequence + [0] * (longest - len(sequence)) for sequence in sequences]),
        last=mx.array([len(item.prompt_ids) - 1 for item in encoded]),
        rows=rows,
        positions=positions,
        targets=targets,
        tokens=sum(len(sequence) for sequence in sequences),
    )


@dataclass(frozen=True)
class ClassLoss:
    """Where and how much a class token is trained."""

    layer: int
    weight: float
    tokens: dict[Operation, int]
    """Class token id by operation."""


def sft_loss(lens: Lens, batch: Batch) -> tuple[mx.array, dict[str, mx.array]]:
    """Mean cross-entropy of the answer tokens, in nats."""
    last = lens.hidden(batch.ids)[-1]
    loss = _cross_entropy(lens.read_out(at(last, batch.rows, batch.positions)), batch.targets)
    return loss, {"answer_loss": loss}


def dual_reward_loss(
    lens: Lens, batch: Batch, target: ClassLoss, classes: Int[mx.array, " batch"]
) -> tuple[mx.array, dict[str, mx.array]]:
    """w * CE(lens of layer L at the last prompt token, class) + (1 - w) * CE(answer), in nats.

    With w = 1 the blocks above L and the answer's logits are never computed.
    """
    states = lens.hidden(batch.ids)
    at_class = at(states[target.layer], batch.all_rows, batch.last)
    if target.weight == 1:
        loss = _cross_entropy(lens.read_out(at_class), classes)
        return loss, {"class_loss": loss}
    at_answer = at(states[-1], batch.rows, batch.positions)
    logits = lens.read_out(mx.concatenate([at_class, at_answer]))
    class_loss = _cross_entropy(logits[: len(classes)], classes)
    answer_loss = _cross_entropy(logits[len(classes) :], batch.targets)
    loss = target.weight * class_loss + (1 - target.weight) * answer_loss
    return loss, {"class_loss": class_loss, "answer_loss": answer_loss}


def _cross_entropy(logits: Float[mx.array, "n vocab"], targets: Int[mx.array, " n"]) -> mx.array:
    loss: mx.array = nn.losses.cross_entropy(logits.astype(mx.float32), targets, reduction="mean")
    return loss
