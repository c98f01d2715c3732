"""The logit lens along one text: the next token that each layer predicts at each position."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from jaxtyping import Float

from study.config.lenses import LENSES, LensKind
from study.lens.hooks import LensError, attached
from study.lens.logits import log_sums
from study.lens.readout import portions
from study.lens.tokens import ClassTokenError, token_of
from study.lens.translators import Translators
from study.models.limits import CheckedTokenizer

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

MARKS = {" ": "␣", "\n": "⏎", "\t": "⇥"}
"""Characters by which white space in tokens is shown."""


@dataclass(frozen=True)
class Trace:
    """The hidden states of a model along one text, mapped by the translators of a lens, and read with the model's final
    norm and unembedding.

    Layer L is the output of block L, 0-based; the last layer gives the model's own predictions. Log-probabilities are
    in nats. Logits are computed on request and not kept: those of all layers may be larger than the model.
    """

    model: nn.Module
    tokenizer: CheckedTokenizer
    text: str
    ids: tuple[int, ...]
    """Token ids of the text, with the special tokens that the tokenizer adds."""
    states: Float[mx.array, "layers positions hidden"]
    """As the translators give them; those of the logit lens (nostalgebraist, 2020) leave them as they are."""
    kind: LensKind = "logit"

    @property
    def layers(self) -> int:
        """The number of layers, equal to the number of the model's blocks."""
        return int(self.states.shape[0])

    @cached_property
    def tokens(self) -> list[str]:
        """The text of each position's token."""
        return [self.tokenizer.decode([token]) for token in self.ids]

    def top(self, k: int = 5) -> pd.DataFrame:
        """Return the k most likely next tokens at each layer and position, one row each, with their log-probability.

        Columns: layer, depth, position, token (of the text), rank (from 1), next, log_p. Raises ValueError where k is
        no whole number between 1 and the size of the vocabulary.
        """
        import pandas as pd

        frames = []
        for where, values, totals in self._logits():
            if isinstance(k, bool) or k not in range(1, values.shape[1] + 1):
                raise ValueError(
                    f"k is {k!r}: it must be a whole number from 1 to {values.shape[1]}, the size of the vocabulary"
                )
            best = np.argpartition(-values, k - 1, axis=1)[:, :k]
            best = np.take_along_axis(best, np.argsort(-np.take_along_axis(values, best, 1), axis=1, kind="stable"), 1)
            log_p = np.take_along_axis(values, best, axis=1) - totals[:, None]
            rows = np.repeat(where, k)
            frames.append(
                self._places(rows).assign(
                    rank=np.tile(np.arange(1, k + 1), len(where)),
                    next=[self.tokenizer.decode([token]) for token in best.ravel().tolist()],
                    log_p=log_p.ravel(),
                )
            )
        return pd.concat(frames, ignore_index=True)

    def log_prob(self, word: str) -> Float[np.ndarray, "layers positions"]:
        """Return the log-probability of one token at each layer and position, nats.

        `" multiply"` is that token; `"multiply"` is the same one if the vocabulary has it with a leading space, as
        within a text, else the one without. Raises ClassTokenError where the word is not one token.
        """
        if not isinstance(word, str) or not word:
            raise ClassTokenError(f"a word is asked for, such as ' multiply', not {word!r}")
        token = token_of(self.tokenizer, word).id
        found = [values[:, token] - totals for _, values, totals in self._logits()]
        return np.concatenate(found).reshape(self.layers, len(self.ids))

    def to_frame(self, *words: str) -> pd.DataFrame:
        """Return one row for each layer and position: the most likely next token, its log-probability, the entropy of
        the distribution (nats), and a column `log_p_WORD` for each word, as `log_prob` gives it."""
        frame = self.top(1).drop(columns="rank").assign(entropy=self._entropy())
        return frame.assign(**{f"log_p_{word.strip()}": self.log_prob(word).ravel() for word in words})

    def plot(self, word: str | None = None, ax: Axes | None = None) -> Axes:
        """Draw layers against positions: the most likely next token at each, coloured by its probability or, if a
        `word` is given, by that of the word. Returns the axes; needs matplotlib."""
        import matplotlib.pyplot as plt

        best = self.top(1)
        p = np.exp(best["log_p"].to_numpy().reshape(self.layers, -1) if word is None else self.log_prob(word))
        if ax is None:
            size = (1.2 + 0.85 * len(self.ids), 0.9 + 0.24 * self.layers)
            _, ax = plt.subplots(figsize=size, layout="constrained")
        image = ax.imshow(p, origin="lower", aspect="auto", cmap="viridis", vmin=0, vmax=1)
        for layer, position, name in zip(best["layer"], best["position"], best["next"], strict=True):
            colour = "white" if p[layer, position] < 0.6 else "black"
            ax.text(position, layer, _shown(name), ha="center", va="center", fontsize=7, color=colour)
        ax.set_xticks(range(len(self.ids)), [_shown(token) for token in self.tokens])
        ax.set(xlabel="token of the text", ylabel="layer")
        ax.grid(False)
        ax.set_title(f"next token by the {LENSES[self.kind]}", fontsize=9)
        figure = ax.get_figure()
        if figure is not None:
            figure.colorbar(image, ax=ax, label="its probability" if word is None else f"probability of {word!r}")
        return ax

    def _logits(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield parts of the flattened states in order: their indices [n], logits [n, vocab] and logsumexps [n]."""
        flat = self.states.reshape(-1, self.states.shape[-1])
        with attached(self.model) as lens:
            lens.hidden(mx.array([self.ids[:1]]))  # so that it knows what the blocks return in addition to their states
            for part in portions(lens, flat):
                logits = lens.read_out(flat[part]).astype(mx.float32)
                yield np.arange(part.start, part.stop), np.array(logits), log_sums(logits)

    def _entropy(self) -> np.ndarray:
        found = []
        for _, values, totals in self._logits():
            log_p = values - totals[:, None]
            found.append(-(np.exp(log_p) * log_p).sum(axis=1))
        return np.concatenate(found)

    def _places(self, rows: np.ndarray) -> pd.DataFrame:
        """Return the layer, relative depth, position and token of indices into the flattened states."""
        import pandas as pd

        layer, position = np.divmod(rows, len(self.ids))
        tokens = [self.tokens[i] for i in position]
        return pd.DataFrame({"layer": layer, "depth": (layer + 1) / self.layers, "position": position, "token": tokens})


def trace(model: nn.Module, tokenizer: CheckedTokenizer, text: str, translators: Translators | None = None) -> Trace:
    """Run a model along one text and return its hidden states as a lens reads them, the logit lens if no translators
    are given; warn of a text that is longer than those on which the
    model was trained.

    Raises ValueError where the text has no tokens, EncodingError where the model cannot take it, and LensError where
    the lens cannot read the architecture, or a hidden state is not finite.
    """
    ids = tuple(tokenizer.encode(text))
    if not ids:
        raise ValueError("the text has no tokens: the lens needs at least one")
    trained = tokenizer.limits.trained_positions
    if trained is not None and len(ids) > trained:
        warnings.warn(f"the text has {len(ids)} tokens, and the model was trained on {trained}", stacklevel=3)
    with attached(model) as lens:
        states = mx.concatenate(lens.hidden(mx.array([ids])))
        finite = mx.isfinite(states).all(axis=(1, 2))
        mx.eval(states, finite)
    wrong = np.flatnonzero(~np.array(finite))
    if len(wrong):
        raise LensError(f"the hidden states are not finite from layer {wrong[0]} on: the model computes no numbers")
    if translators is None:
        return Trace(model, tokenizer, text, ids, states)
    moved = translators(states.transpose(1, 0, 2)).transpose(1, 0, 2)
    return Trace(model, tokenizer, text, ids, moved, translators.kind)


def _shown(token: str) -> str:
    """Return the token with its white space made visible and `$` escaped for matplotlib."""
    return "".join(MARKS.get(character, character) for character in token).replace("$", r"\$")
