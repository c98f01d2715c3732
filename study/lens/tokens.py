"""From prompts and class names to token ids: one encoder for training and for evaluation."""

import random
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import mlx.core as mx
from jaxtyping import Int

from study.config.names import Operation
from study.config.units import Readout
from study.tasks.prompts import Prompt


@runtime_checkable
class Tokenizer(Protocol):
    """What is used of a Hugging Face tokenizer, or of mlx-lm's wrapper around one."""

    @property
    def eos_token_ids(self) -> Any: ...
    def encode(self, text: str, **options: Any) -> list[int]: ...
    def decode(self, ids: list[int]) -> str: ...


COMMON_WORDS = Path(__file__).parent / "words.txt"
"""Common English words, none of them about arithmetic."""
MATCHED = 20
"""How many of them, nearest to a class token in the vocabulary's order, a random word is drawn from."""


class EncodingError(Exception):
    """A prompt that cannot be encoded as the study needs it."""


class ClassTokenError(Exception):
    """A class name that is not one token: the cell is skipped by rule."""


@dataclass(frozen=True)
class Encoded:
    """A prompt with its special tokens, and the answer's ids with the stop token at the end."""

    prompt: Prompt
    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]


@dataclass(frozen=True)
class ClassToken:
    """One class name as one token; the variant with a leading space is preferred."""

    text: str
    id: int
    leading_space: bool


Readouts = Sequence[tuple[Readout, dict[Operation, ClassToken]]]
"""What is read, each with the token of every operation's class."""


def encode(tokenizer: Tokenizer, prompt: Prompt, special: bool = True) -> Encoded:
    """Ids of the prompt, with the special tokens of a text or without, and of ` answer` + EOS.

    Raises EncodingError where the prompt's ids are no prefix.
    """
    prompt_ids = tokenizer.encode(prompt.text, add_special_tokens=special)
    whole = tokenizer.encode(f"{prompt.text} {prompt.answer}", add_special_tokens=special)
    if whole[: len(prompt_ids)] != prompt_ids or len(whole) == len(prompt_ids):
        raise EncodingError(
            f"the ids of {prompt.text!r} are no prefix of those of {prompt.text + ' ' + prompt.answer!r}: "
            f"{prompt_ids} and {whole}; this tokenizer cannot be used"
        )
    return Encoded(prompt, tuple(prompt_ids), (*whole[len(prompt_ids) :], stop_id(tokenizer)))


def stop_id(tokenizer: Tokenizer) -> int:
    """The token that ends a trained answer: the lowest EOS id."""
    return int(min(tokenizer.eos_token_ids))


def class_tokens(
    tokenizer: Tokenizer, readout: Readout, seed: int = 0, taken: Set[str] = frozenset()
) -> dict[Operation, ClassToken]:
    """The token of each operation's class name, or the random word in its place, which is none of those `taken`.

    Raises ClassTokenError where a name is not a single token.
    """
    pair = readout.pair
    tokens = {operation: token_of(tokenizer, name) for operation, name in pair.items()}
    if len({token.id for token in tokens.values()}) < len(tokens):
        raise ClassTokenError(f"the class names {', '.join(pair.values())} share a token")
    return _matched_words(tokenizer, tokens, seed, taken) if readout.random else tokens


def _matched_words(
    tokenizer: Tokenizer, tokens: dict[Operation, ClassToken], seed: int, taken: Set[str]
) -> dict[Operation, ClassToken]:
    """For each class token a random word that is as frequent.

    Byte-pair vocabularies are in the order in which their pieces were merged, the most frequent first, so that
    neighbours in it are about equally frequent in the text that the tokenizer was made from.
    """
    taken = taken | {token.text.strip().lower() for token in tokens.values()}
    known = {}
    for word in COMMON_WORDS.read_text().split():
        ids = tokenizer.encode(f" {word}", add_special_tokens=False)
        if len(ids) == 1 and word not in taken:
            known[word] = ids[0]
    drawn: dict[Operation, ClassToken] = {}
    for operation, token in tokens.items():
        near = sorted(known, key=lambda word: abs(known[word] - token.id))[:MATCHED]
        if not near:
            raise ClassTokenError(
                f"the vocabulary has no word of {COMMON_WORDS.name} to put in the place of {token.text!r}"
            )
        word = random.Random(f"word {seed} {operation} {token.text}").choice(near)
        drawn[operation] = ClassToken(f" {word}", known.pop(word), True)
    return drawn


def check_templates(encoded: Sequence[Encoded], tokens: dict[Operation, ClassToken]) -> None:
    """Raises ClassTokenError where a prompt holds the token of a class: the read-out would be a copy."""
    ids = {token.id: token.text for token in tokens.values()}
    for item in encoded:
        for shared in ids.keys() & set(item.prompt_ids):
            raise ClassTokenError(f"the class token {ids[shared]!r} stands in the prompt {item.prompt.text!r}")


def ends_answer(tokenizer: Tokenizer, token: int) -> bool:
    """Whether the token is EOS or begins a new line."""
    return token in set(tokenizer.eos_token_ids) or tokenizer.decode([token]).startswith("\n")


def continues_answer(tokenizer: Tokenizer, answer: Sequence[int], token: int) -> bool:
    """Whether the token goes on with the number or the word that the answer ends with."""
    text = tokenizer.decode(list(answer))
    follows = tokenizer.decode([*answer, token])[len(text) :][:1]
    return follows.isdigit() if text[-1:].isdigit() else follows.isalpha()


def token_of(tokenizer: Tokenizer, name: str) -> ClassToken:
    """The one token of a word: with a leading space if there is such a token, else bare; a word that is given with its
    space has no other. Raises ClassTokenError where it is several tokens."""
    tried = []
    for text in dict.fromkeys([name if name.startswith(" ") else f" {name}", name]):
        ids = tokenizer.encode(text, add_special_tokens=False)
        if len(ids) == 1:
            return ClassToken(text, ids[0], text != name)
        tried.append(f"{text!r} is {len(ids)} tokens")
    raise ClassTokenError(f"class name {name!r} is not a single token of this vocabulary: {', '.join(tried)}")


def padded(sequences: Sequence[Sequence[int]], bucket: int = 1) -> Int[mx.array, "batch seq"]:
    """Filled up on the right to the longest, rounded up to a multiple of `bucket`."""
    longest = rounded_up(max(len(sequence) for sequence in sequences), bucket)
    return mx.array([[*sequence, *[0] * (longest - len(sequence))] for sequence in sequences])


def rounded_up(number: int, multiple: int) -> int:
    """The smallest multiple that is no less than the number."""
    return -(-number // multiple) * multiple
