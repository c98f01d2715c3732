"""Texts that lenses are fitted on: written by the model itself, or cut from a text of the user's."""

from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from jaxtyping import Float, Int
from mlx_lm.models.cache import make_prompt_cache

from study.config.lenses import LEAST, LensFitting
from study.lens.hooks import Lens
from study.lens.tokens import COMMON_WORDS
from study.models.limits import CheckedTokenizer, EncodingError

AT_ONCE = 64
"""Texts that are written side by side."""


@dataclass(frozen=True)
class Texts:
    """Token ids of texts of equal length, and where they are from."""

    ids: Int[np.ndarray, "texts tokens"]
    source: str
    """In words."""


def written(model: nn.Module, tokenizer: CheckedTokenizer, settings: LensFitting) -> Texts:
    """Return texts that the model writes: each goes on from a common English word, by sampling at temperature 1.

    Raises EncodingError where the vocabulary has none of these words.
    """
    rng = np.random.default_rng(settings.seed)
    begun = _beginnings(tokenizer)
    count = settings.texts + settings.held_out
    first = np.array([begun[i] for i in rng.integers(len(begun), size=count)])
    length = _length(tokenizer, settings)
    parts = [
        _continued(model, first[start : start + AT_ONCE], length, tokenizer.limits.rows, rng)
        for start in range(0, count, AT_ONCE)
    ]
    return Texts(np.concatenate(parts), "written by the model itself")


def cut(tokenizer: CheckedTokenizer, text: str, settings: LensFitting, name: str) -> Texts:
    """Return pieces of a text, spread over all of it, each with the special tokens that texts begin with.

    Raises EncodingError where the text is too short, or the model cannot take a line of it.
    """
    special = tokenizer.encode("")
    ids = [one for line in text.splitlines(keepends=True) for one in tokenizer.encode(line, add_special_tokens=False)]
    own, count = _length(tokenizer, settings) - len(special), settings.texts + settings.held_out
    if len(ids) < own * count:
        raise EncodingError(
            f"{name} has {len(ids)} tokens: lenses are fitted on {count} texts of {own}, which are {own * count}"
        )
    starts = np.linspace(0, len(ids) - own, count).astype(int)
    pieces = np.array([[*special, *ids[start : start + own]] for start in starts])
    return Texts(np.random.default_rng(settings.seed).permutation(pieces), name)


def _length(tokenizer: CheckedTokenizer, settings: LensFitting) -> int:
    """Return the number of tokens of each text: no more than the model takes. Raises EncodingError where these are too
    few."""
    longest, words = tokenizer.limits.longest or (settings.tokens, "")
    if longest < settings.skipped + LEAST:
        raise EncodingError(
            f"a lens is fitted on texts of at least {settings.skipped + LEAST} tokens (skipped, and {LEAST} more), and "
            f"the model takes {longest} ({words})"
        )
    return min(longest, settings.tokens)


def _beginnings(tokenizer: CheckedTokenizer) -> list[list[int]]:
    """Return the ids of common words with the special tokens before them: of those, the words of fewest tokens."""
    found: list[list[int]] = []
    for word in COMMON_WORDS.read_text().split():
        try:
            found.append(tokenizer.encode(f" {word}"))
        except EncodingError:
            continue
    if not found:
        raise EncodingError(
            f"the vocabulary has no word of {COMMON_WORDS.name}, with which the texts begin that lenses are fitted on: "
            "give study lenses a --text; a study has lens: logit"
        )
    fewest = min(map(len, found))
    return [ids for ids in found if len(ids) == fewest]


def _continued(
    model: nn.Module, first: Int[np.ndarray, "texts begun"], tokens: int, rows: int | None, rng: np.random.Generator
) -> Int[np.ndarray, "texts tokens"]:
    cache = make_prompt_cache(model)
    ids = first
    given = first
    while ids.shape[1] < tokens:
        logits = np.array(model(mx.array(given), cache=cache)[:, -1].astype(mx.float32))[:, :rows]
        given = np.array([[_drawn(one, rng)] for one in logits])
        ids = np.concatenate([ids, given], axis=1)
    return ids[:, :tokens]


def _drawn(logits: np.ndarray, rng: np.random.Generator) -> int:
    sums = np.cumsum(np.exp(logits - logits.max()), dtype=np.float64)
    return int(np.searchsorted(sums, rng.random() * sums[-1], side="right"))


def states_along(
    lens: Lens, ids: Int[np.ndarray, "texts tokens"], skipped: int
) -> Float[mx.array, "positions blocks hidden"]:
    """Return the hidden states after every block at all positions of texts but the first `skipped`."""
    parts = []
    for start in range(0, len(ids), AT_ONCE):
        states = mx.stack(lens.hidden(mx.array(ids[start : start + AT_ONCE])), axis=2)[:, skipped:]
        parts.append(states.reshape(-1, *states.shape[2:]))
        mx.eval(parts[-1])
    return mx.concatenate(parts)
