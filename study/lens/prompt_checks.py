"""Checks of a unit's prompts and class tokens before it starts, with warnings about what it may do but should not."""

from collections.abc import Iterable, Mapping, Sequence, Set

from study.config.names import Operation
from study.config.units import Readout
from study.lens.tokens import ClassToken, Encoded, check_templates, class_tokens, encode
from study.models.limits import CheckedTokenizer, EncodingError, TooLongError
from study.tasks.prompts import Prompt

SHOWN = 100
"""Largest number of characters of a prompt that a message shows."""


def check_prompts(tokenizer: CheckedTokenizer, prompts: Iterable[Prompt]) -> list[str]:
    """Encode all prompts; return warnings about them.

    Raises EncodingError where the model cannot take one, or the study cannot use it; of prompts that are too long for
    the model, it tells of the longest.
    """
    lengths: list[tuple[int, Prompt]] = []
    too_long: list[tuple[int, Prompt]] = []
    for prompt in prompts:
        try:
            item = encode(tokenizer, prompt)
            lengths.append((len(item.prompt_ids) + len(item.answer_ids), prompt))
        except TooLongError as error:
            too_long.append((error.tokens, prompt))
    limits = tokenizer.limits
    if too_long and limits.longest:
        raise EncodingError(
            f"prompts are longer than {limits.longest[1]}: {_longest(too_long)}; shorten them, or use another model"
        )
    beyond = [one for one in lengths if limits.trained_positions is not None and one[0] > limits.trained_positions]
    if not beyond:
        return []
    bound = f"the {limits.trained_positions} positions that the model was trained on"
    return [f"prompts are longer than {bound}: {_longest(beyond)}"]


def _longest(prompts: list[tuple[int, Prompt]]) -> str:
    tokens, prompt = max(prompts, key=lambda one: one[0])
    text = prompt.text if len(prompt.text) <= SHOWN else prompt.text[:SHOWN] + "…"
    return f"the longest, {text!r} ({prompt.tier}), has {tokens} tokens with its answer"


def usable_tokens(
    tokenizer: CheckedTokenizer, readout: Readout, seed: int, words: Set[str], evaluated: Sequence[Encoded]
) -> dict[Operation, ClassToken]:
    """Return the class tokens of a read-out; `words` are those of the task, `evaluated` its held-out prompts.

    Raises ClassTokenError where a class name cannot be read as the study asks, or where a prompt contains it.
    """
    tokens = class_tokens(tokenizer, readout, seed, words)
    check_templates(evaluated, tokens)
    return tokens


def answers_named(tokens: Mapping[Operation, ClassToken], evaluated: Sequence[Encoded]) -> list[str]:
    """Return a warning for each class token that is itself the answer: both losses then ask for the same token."""
    warnings = []
    for operation, token in tokens.items():
        own = [item for item in evaluated if item.prompt.operation == operation]
        same = sum(item.answer_ids[: len(token.ids)] == token.ids for item in own)
        if same:
            warnings.append(
                f"the class token {token.text!r} is also the answer, or its first token, in {same} of {len(own)} "
                f"prompts of {operation}: class loss and answer loss ask for the same token"
            )
    return warnings
