"""What several lenses read of a model: class tokens at every layer, and how far they are from its own prediction."""

from collections.abc import Sequence
from dataclasses import replace

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from jaxtyping import Float

from study.config.wordings import NEUTRAL
from study.lens.head import head_of
from study.lens.hooks import attached
from study.lens.readout import divergence_from_last, last_states, read_every_layer
from study.lens.texts import Texts, states_along
from study.lens.tokens import Encoded, Readouts
from study.lens.translators import Translators
from study.models.limits import CheckedTokenizer
from study.results.schema import Row

EVERY = 8
"""Positions from one that a divergence is measured at to the next: what neighbours in a text tell is nearly the
same."""


def lens_choices(
    model: nn.Module, lenses: Sequence[Translators], readouts: Readouts, encoded: Sequence[Encoded], batch_size: int
) -> list[Row]:
    """Return one row for each lens, pair of class tokens, layer and prompt: whether the right class token outranks the
    others at the last token of the prompt (`choice`), and by how many nats (`margin`)."""
    every = sorted({token.id for _, tokens in readouts for token in tokens.values()})
    # Logits are those of the class tokens alone, whose ids are then their places.
    pairs = [{name: replace(one, id=every.index(one.id)) for name, one in tokens.items()} for _, tokens in readouts]
    rows: list[Row] = []
    with attached(model) as lens:
        states = last_states(lens, encoded, batch_size)
        head = head_of(model, lens, states[0])
        for translators in lenses:
            moved = translators(states)
            with head.with_only(mx.array(every)):
                read = read_every_layer(lens, moved, encoded, pairs)
            for (readout, tokens), figures in zip(readouts, read, strict=True):
                for i, item in enumerate(encoded):
                    if item.prompt.operation not in tokens:
                        continue
                    about = {"lens": translators.kind, "pair": readout.name, **_about(item)}
                    rows += [
                        {
                            **about,
                            "layer": layer,
                            "depth": (layer + 1) / lens.blocks,
                            "choice": bool(figures["choice"][i, layer]),
                            "margin": float(figures["margin"][i, layer]),
                        }
                        for layer in range(lens.blocks)
                    ]
    return rows


def divergences(
    model: nn.Module, lenses: Sequence[Translators], texts: Texts, held_out: int, skipped: int
) -> list[Float[np.ndarray, " blocks"]]:
    """Return, for each lens, the mean of KL(model's prediction || prediction of the lens) at every block, nats, over
    positions of the last `held_out` texts."""
    with attached(model) as lens:
        states = states_along(lens, texts.ids[-held_out:], skipped)[::EVERY]
        # It is not negative but by rounding.
        return [np.maximum(divergence_from_last(lens, moved(states)).mean(axis=0), 0) for moved in lenses]


def neutral_text(tokenizer: CheckedTokenizer) -> Texts:
    """Return the text that is unrelated to the task. Raises EncodingError where the model cannot take it."""
    return Texts(np.array([tokenizer.encode(NEUTRAL)]), "the neutral text")


def _about(item: Encoded) -> Row:
    prompt = item.prompt
    return {
        "tier": prompt.tier,
        "template": prompt.template,
        "operation": prompt.operation,
        "operands": prompt.operands,
    }
