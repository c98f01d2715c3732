"""Token ids of prompts, answers and class names: one encoder for training and for evaluation."""

import random
import re
import unicodedata
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import mlx.core as mx
from jaxtyping import Int

from study.config.names import ClassName, Operation
from study.config.units import Readout
from study.models.limits import CheckedTokenizer, EncodingError
from study.tasks.prompts import Prompt


@runtime_checkable
class Tokenizer(Protocol):
    """The part of the interface of Hugging Face tokenizers, and of mlx-lm's wrapper, that the study uses."""

    @property
    def eos_token_ids(self) -> Any: ...
    def encode(self, text: str, **options: Any) -> list[int]: ...
    def decode(self, ids: list[int]) -> str: ...


COMMON_WORDS = Path(__file__).parent / "words.txt"
"""Common English words, none of them about arithmetic."""
_NUMBER_GOES_ON = re.compile(r"[.,'\u2019\u00b7\u066b\u066c\u00a0\u2009\u202f/]\d|[eE][-+]?\d|[%\u2030]")
MATCHED = 20
"""Number of common words, those nearest to a class token by id, from which a random word is drawn."""


class ClassTokenError(Exception):
    """A class name cannot be read as the study asks, such as one of several tokens: the cell is skipped by rule."""


@dataclass(frozen=True)
class Encoded:
    """A prompt with its token ids, and the ids of its answer with the stop token at the end: without an answer, the
    stop token alone, which nothing trains or reads."""

    prompt: Prompt
    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]


@dataclass(frozen=True)
class ClassToken:
    """How one class name is read: by one token, or by the tokens that follow it too. The variant with a leading space
    is preferred."""

    text: str
    """The text that is read: of a name of several tokens that is read by its first one, the text of that."""
    id: int
    """The token, or the first one."""
    leading_space: bool
    rest: tuple[int, ...] = ()
    """The tokens that follow it in a name that is read as a sequence."""

    @property
    def ids(self) -> tuple[int, ...]:
        """All its tokens."""
        return (self.id, *self.rest)


Readouts = Sequence[tuple[Readout, dict[Operation, ClassToken]]]
"""Read-outs, each with the class token of every operation."""


def encode(tokenizer: Tokenizer, prompt: Prompt, special: bool = True) -> Encoded:
    """Return the ids of the prompt, with special tokens such as BOS or without, and of ` answer` + EOS.

    Raises EncodingError where the ids of the prompt are not a prefix of those of prompt and answer, or where the model
    cannot take them, as `CheckedTokenizer` says.
    """
    text, with_answer, plain = as_prompted(tokenizer, prompt)
    prompt_ids = tokenizer.encode(text, add_special_tokens=special and plain)
    whole = tokenizer.encode(with_answer, add_special_tokens=special and plain)
    if whole[: len(prompt_ids)] != prompt_ids or (prompt.answer and len(whole) == len(prompt_ids)):
        raise EncodingError(
            f"the ids of {text!r} are not a prefix of those of {with_answer!r}: "
            f"{prompt_ids} and {whole}; the study cannot use this tokenizer"
        )
    return Encoded(prompt, tuple(prompt_ids), (*whole[len(prompt_ids) :], stop_id(tokenizer)))


def as_prompted(tokenizer: Tokenizer, prompt: Prompt) -> tuple[str, str, bool]:
    """Return the text of a prompt, the same with its answer, and whether special tokens are to be added: a chat
    template has its own, and the answer begins its last part."""
    if isinstance(tokenizer, CheckedTokenizer) and tokenizer.chats:
        text = tokenizer.in_chat(prompt.text)
        return text, text + prompt.answer, False
    return prompt.text, f"{prompt.text} {prompt.answer}" if prompt.answer else prompt.text, True


def stop_id(tokenizer: Tokenizer) -> int:
    """Return the token that ends a trained answer: the lowest EOS id."""
    return int(min(tokenizer.eos_token_ids))


def class_tokens(
    tokenizer: Tokenizer, readout: Readout, seed: int = 0, taken: Set[str] = frozenset()
) -> dict[Operation, ClassToken]:
    """Return the token of each operation's class name, or of a random word instead, which is not one of `taken`. Of a
    name that is read as a sequence, random words are as many as it has tokens.

    Raises ClassTokenError where a name is not a single token though it has to be, two names begin with the same one, or
    no random word is found.
    """
    pair = readout.pair
    tokens = {operation: token_of(tokenizer, name, readout.class_name) for operation, name in pair.items()}
    if len({token.id for token in tokens.values()}) < len(tokens):
        shared = "share a token" if readout.class_name == "single" else "begin with the same token"
        raise ClassTokenError(f"the class names {', '.join(pair.values())} {shared}")
    return _matched_words(tokenizer, tokens, seed, taken) if readout.random else tokens


def _matched_words(
    tokenizer: Tokenizer, tokens: dict[Operation, ClassToken], seed: int, taken: Set[str]
) -> dict[Operation, ClassToken]:
    """Return, for each class token, a random word of similar frequency.

    Byte-pair vocabularies are in the order in which their pieces were merged, the most frequent first, so that tokens
    with neighbouring ids are about equally frequent in the text that the tokenizer was trained on.
    """
    taken = taken | {token.text.strip().lower() for token in tokens.values()}
    known = {}
    for word in COMMON_WORDS.read_text().split():
        if word not in taken and (one := _one_token(tokenizer, f" {word}")):
            known[word] = one.id
    drawn: dict[Operation, ClassToken] = {}
    for operation, token in tokens.items():
        rng = random.Random(f"word {seed} {operation} {token.text}")
        words: dict[str, int] = {}
        for own in token.ids:
            near = sorted(known, key=lambda word: abs(known[word] - own))[:MATCHED]
            if not near:
                raise ClassTokenError(
                    f"the vocabulary has no word of {COMMON_WORDS.name} to put in the place of {token.text!r}"
                )
            word = rng.choice(near)
            words[word] = known.pop(word)
        text, (first, *rest) = "".join(f" {word}" for word in words), words.values()
        drawn[operation] = ClassToken(text, first, True, tuple(rest))
    return drawn


def check_templates(encoded: Sequence[Encoded], tokens: dict[Operation, ClassToken]) -> None:
    """Raises ClassTokenError where a prompt contains the token of a class, or all those of a name that is read as a
    sequence, which the model could copy."""
    names = {token.ids: token.text for token in tokens.values()}
    for item in encoded:
        for ids, text in names.items():
            starts = range(len(item.prompt_ids) - len(ids) + 1)
            if any(item.prompt_ids[start : start + len(ids)] == ids for start in starts):
                raise ClassTokenError(f"the class token {text!r} stands in the prompt {item.prompt.text!r}")


def ends_answer(tokenizer: Tokenizer, token: int) -> bool:
    """Whether the token is EOS or begins a new line."""
    return token in set(tokenizer.eos_token_ids) or tokenizer.decode([token]).startswith("\n")


def continues_answer(tokenizer: Tokenizer, answer: Sequence[int], token: int) -> bool:
    """Whether the token continues the number or the word that the answer ends with.

    A word goes on with a letter or a combining mark. A number goes on with a digit; with a decimal or thousands
    separator (. , ' · a no-break or a thin space) and a digit; with / and a digit; with an exponent; and with % or ‰:
    3 is not 3.5, 12 not 12,000 and 50 not 50%. A token that is a separator alone ends the answer, since it may end the
    sentence too, and one token does not tell.
    """
    text = tokenizer.decode(list(answer))
    follows = tokenizer.decode([*answer, token])[len(text) :]
    if text[-1:].isdigit():
        return follows[:1].isdigit() or _NUMBER_GOES_ON.match(follows) is not None
    return follows[:1].isalpha() or unicodedata.category(follows[:1] or " ")[0] == "M"


def token_of(tokenizer: Tokenizer, name: str, class_name: ClassName = "single") -> ClassToken:
    """Return the one token of a word: with a leading space if there is such a token, else without; a word that is given
    with a leading space is tried only so. A name of several tokens is read as `class_name` says. Raises ClassTokenError
    where it is several tokens though it has to be one, or the vocabulary lacks it."""
    tried: list[str] = []
    texts = list(dict.fromkeys([name if name.startswith(" ") else f" {name}", name]))
    for text in texts:
        if token := _one_token(tokenizer, text, tried):
            return ClassToken(text, token.id, text != name)
    if class_name == "single":
        several = "" if any("tokens" not in reason for reason in tried) else "; class_name: first or sequence reads it"
        raise ClassTokenError(
            f"class name {name!r} is not a single token of this vocabulary: {', '.join(tried)}{several}"
        )
    return _several_tokens(tokenizer, name, texts, class_name)


def _several_tokens(tokenizer: Tokenizer, name: str, texts: Sequence[str], class_name: ClassName) -> ClassToken:
    """Return how a name of several tokens is read: in the first of the texts whose first token is no mere space, with
    which every name would begin."""
    for text in texts:
        try:
            first, *rest = tokenizer.encode(text, add_special_tokens=False)
        except EncodingError as error:
            raise ClassTokenError(f"class name {name!r} cannot be read: {error}") from error
        if (back := tokenizer.decode([first, *rest])).strip() != text.strip():
            raise ClassTokenError(f"the tokens of the class name {name!r} stand for {back!r}")
        if (piece := tokenizer.decode([first])).strip():
            whole = class_name == "sequence"
            return ClassToken(text if whole else piece, first, text != name, tuple(rest) if whole else ())
    raise ClassTokenError(f"class name {name!r} begins with a token that is a mere space, as every name would")


def _one_token(tokenizer: Tokenizer, text: str, reasons: list[str] | None = None) -> ClassToken | None:
    """Return the token that the whole text is; None, with the reason added to `reasons`, where there is none."""
    try:
        ids = tokenizer.encode(text, add_special_tokens=False)
    except EncodingError as error:
        reason = str(error)
    else:
        if len(ids) == 1 and (back := tokenizer.decode(ids)).strip() == text.strip():
            return ClassToken(text, ids[0], text.startswith(" "))
        reason = f"{text!r} is {len(ids)} tokens" if len(ids) != 1 else f"the token of {text!r} stands for {back!r}"
    if reasons is not None:
        reasons.append(reason)
    return None


def padded(sequences: Sequence[Sequence[int]], bucket: int = 1) -> Int[mx.array, "batch seq"]:
    """Return the sequences padded on the right with 0 to the longest, rounded up to a multiple of `bucket`."""
    longest = rounded_up(max(len(sequence) for sequence in sequences), bucket)
    return mx.array([[*sequence, *[0] * (longest - len(sequence))] for sequence in sequences])


def rounded_up(number: int, multiple: int) -> int:
    """Return the smallest multiple of `multiple` that is not less than `number`."""
    return -(-number // multiple) * multiple
