"""What a model can be given: ids that its tables hold, and texts no longer than its positions.

MLX does not check an index: a lookup beyond the end of a table returns whatever lies there, without an error
(ml-explore/mlx issues 206 and 594). Every text of the study is therefore encoded by a `CheckedTokenizer`.
"""

import math
import unicodedata
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, Self

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.tokenizer_utils import TokenizerWrapper

from study.models.configuration import Reading

KEPT_TEXTS = 2**16
"""Number of texts whose ids are kept: some 20 MB."""


class EncodingError(Exception):
    """A text cannot be encoded as the study needs it, or the model cannot take its ids."""


class TooLongError(EncodingError):
    """A text has more tokens than the model has positions, or than it can be computed with as is meant."""

    def __init__(self, message: str, tokens: int) -> None:
        super().__init__(message)
        self.tokens = tokens
        """Number of tokens of the text."""


@dataclass(frozen=True)
class Limits:
    """What a model can be given; None where that is not known or has no bound."""

    rows: int | None = None
    """Number of ids: the rows of the smallest table that is read with ids, the unembedding included."""
    learned_positions: int | None = None
    """Rows of the model's table of positions: no text can be longer."""
    trained_positions: int | None = None
    """Length of text for which the model was made (`max_position_embeddings`); it computes longer ones, but was not
    trained on them."""
    window: int | None = None
    """Length up to which mlx-lm computes the model as its config.json means it: that of a sliding window that it leaves
    out, say."""
    window_words: str = ""
    """What the window is, as messages about longer texts say it."""

    def within(self, reading: Reading) -> "Limits":
        """Return these limits, with that of what mlx-lm computes of a config.json."""
        return replace(self, window=reading.longest, window_words=reading.longest_words)

    @property
    def longest(self) -> tuple[int, str] | None:
        """The number of tokens that no text may exceed, and what it is in words; None where there is none."""
        bounds = [(self.learned_positions, f"the {self.learned_positions} positions of the model")]
        bounds.append((self.window, self.window_words))
        return min(((tokens, words) for tokens, words in bounds if tokens is not None), default=None)


def limits_of(model: nn.Module, config: Mapping[str, Any]) -> Limits:
    """Return the limits of a model by the tables that it reads; its config.json gives the trained positions alone.

    The model is called on two tokens, of which nothing but the indices of its tables is computed.
    """
    lookups: list[tuple[int, mx.array]] = []
    originals = {nn.Embedding: nn.Embedding.__call__, nn.QuantizedEmbedding: nn.QuantizedEmbedding.__call__}

    def recording(original: Any) -> Any:
        def call(self: nn.Module, indices: mx.array) -> mx.array:
            lookups.append((self.weight.shape[0], indices))
            result: mx.array = original(self, indices)
            return result

        return call

    ids = mx.array([[3, 2]])  # neither equal nor in order, so that they are not mistaken for positions
    try:
        for kind, original in originals.items():
            setattr(kind, "__call__", recording(original))  # noqa: B010 - mypy refuses to assign to a method
        width = model(ids).shape[-1]
    finally:
        for kind, original in originals.items():
            setattr(kind, "__call__", original)  # noqa: B010
    of_ids = [rows for rows, indices in lookups if indices.size == 2 and indices.reshape(-1).tolist() == [3, 2]]
    of_positions = [rows for rows, indices in lookups if indices.size == 2 and indices.reshape(-1).tolist() == [0, 1]]
    learned = min(of_positions, default=None)
    trained = None if learned else _whole_number(_text_config(config), "max_position_embeddings")
    return Limits(min([*of_ids, width]), learned, trained)


class CheckedTokenizer:
    """A tokenizer of mlx-lm that refuses texts which the model cannot take; all else is the tokenizer's own."""

    def __init__(self, tokenizer: TokenizerWrapper, limits: Limits) -> None:
        self.own, self.limits = tokenizer, limits
        self.chats = False
        """Whether prompts are put into the chat template."""
        self._encoded: dict[tuple[str, str], tuple[int, ...]] = {}
        self._unknown: int | None = getattr(tokenizer, "unk_token_id", None)
        self._unknown_text: str = getattr(tokenizer, "unk_token", None) or ""
        ends = list(tokenizer.eos_token_ids)
        if not (ends and all(isinstance(one, int) for one in ends) and 0 <= min(ends) < (limits.rows or math.inf)):
            raise ValueError(f"its tokenizer ends texts with {ends}, and the model has the ids below {limits.rows}")

    def encode(self, text: str, **options: Any) -> list[int]:
        """Return the ids of a text. Raises EncodingError where one is not in the model's tables, where the text has
        something that the vocabulary lacks, or is longer than the model's table of positions, or than mlx-lm computes
        it as is meant.

        Texts are encoded once: a training draws the same prompts again and again.
        """
        key = text, repr(options)
        if key not in self._encoded:
            if len(self._encoded) >= KEPT_TEXTS:
                self._encoded.clear()
            self._encoded[key] = tuple(self._checked(text, options))
        return list(self._encoded[key])

    def in_chat(self, text: str) -> str:
        """Return the chat template with the text as a user's message, up to where the answer begins."""
        message = [{"role": "user", "content": text}]
        rendered: str = self.own.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
        return rendered

    def for_chat(self) -> Self:
        """Return the same tokenizer with prompts put into its chat template. Raises EncodingError where it has none."""
        if not getattr(self.own, "chat_template", None):
            raise EncodingError("the tokenizer has no chat template: give `prompts: [plain]`")
        other = copy(self)
        other.chats = True
        return other

    def __getattr__(self, name: str) -> Any:
        if name == "own":  # not there yet, as while it is copied
            raise AttributeError(name)
        return getattr(self.own, name)

    def __len__(self) -> int:
        return len(self.own)

    def decode(self, ids: list[int]) -> str:
        """Return the text of ids."""
        text: str = self.own.decode(ids)
        return text

    @property
    def eos_token_ids(self) -> Any:
        """The ids that end a text."""
        return self.own.eos_token_ids

    def _checked(self, text: str, options: Mapping[str, Any]) -> list[int]:
        ids: list[int] = self.own.encode(text, **options)
        if self.limits.rows is not None and ids and max(ids) >= self.limits.rows:
            raise EncodingError(
                f"{_shown(text)} has the token id {max(ids)} ({self.own.decode([max(ids)])!r}), and the model's "
                f"embedding has {self.limits.rows} rows: the tokenizer has tokens that the model lacks"
            )
        if self._unknown in ids and ids.count(self._unknown) > self._expected_unknown(text, options):
            raise EncodingError(f"{_shown(text)} has {self._lacking(text)}, which the vocabulary lacks")
        if dropped := self._dropped(text):
            raise EncodingError(f"{_shown(text)} has {dropped!r}, which the vocabulary lacks, and the tokenizer drops")
        longest = self.limits.longest
        if longest is not None and len(ids) > longest[0]:
            raise TooLongError(
                f"{_shown(text)} has {len(ids)} tokens, more than {longest[1]}: shorten it, or use another model",
                len(ids),
            )
        return ids

    def _expected_unknown(self, text: str, options: Mapping[str, Any]) -> int:
        """Return how often the unknown token stands for itself: written in the text, or added as a special token."""
        written = text.count(self._unknown_text) if self._unknown_text else 0
        added: list[int] = self.own.encode("", **options)
        return written + sum(one == self._unknown for one in added)

    def _dropped(self, text: str) -> str:
        """Return the first visible character that no token stands for: without an unknown token, a vocabulary that
        lacks one leaves it out."""
        fast: Any = getattr(self.own, "_tokenizer", None)
        if not getattr(fast, "is_fast", False):
            return ""
        spans = fast(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        covered = {place for start, end in spans for place in range(start, end)}
        return next((c for i, c in enumerate(text) if i not in covered and unicodedata.category(c)[0] in "LNPS"), "")

    def _lacking(self, text: str) -> str:
        """Return the first character that is unknown, or the first word where its characters are known."""
        parts = (
            part for part in (*text, *text.split()) if self._unknown in self.own.encode(part, add_special_tokens=False)
        )
        return repr(next(parts, text))


def _text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the part of a config.json about the language model, which models of several kinds nest."""
    nested = config.get("text_config")
    return {**config, **nested} if isinstance(nested, dict) else config


def _whole_number(config: Mapping[str, Any], key: str) -> int | None:
    value = config.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _shown(text: str) -> str:
    return repr(text if len(text) <= 100 else text[:100] + "…")
