"""Named recipes: the choices in which the published experiment differs, each of which can be switched on its own.

`corrected` is the experiment as described, `as-published` makes all of the choices; any of them may be added to the
former or left out of the latter.
"""

import re
from collections.abc import Collection, Iterable
from typing import Literal, get_args

Choice = Literal[
    "unshifted_answers",
    "class_at_sequence_end",
    "plain_sgd",
    "bos_in_evaluation_only",
    "input_embedding_lens",
    "unmasked_lens",
    "maximum_score",
    "eight_prompts",
]
MEANING: dict[Choice, str] = {
    "unshifted_answers": "an answer token is scored at its own position, where it is seen; no stop is trained",
    "class_at_sequence_end": "the class is trained at the last token of prompt and answer, not at that of the prompt",
    "plain_sgd": "gradient descent at the same rate in place of AdamW, without warm-up and without clipping",
    "bos_in_evaluation_only": "training leaves out the special tokens that evaluation has",
    "input_embedding_lens": "the score reads states with the input embedding, also where the head is another matrix",
    "unmasked_lens": "the states of the score are computed without the causal mask",
    "maximum_score": "the score is the largest probability at any layer of any token that holds a word of the "
    "operation and is among the 20 most probable, and a mean over the prompts where there is one",
    "eight_prompts": "four symbolic and four worded prompts, with operands that training may have seen",
}
CHOICES: tuple[Choice, ...] = get_args(Choice)
TRAINING: tuple[Choice, ...] = CHOICES[:4]
"""Choices that change what a cell trains; the others change only how it is evaluated."""
READING: tuple[Choice, ...] = CHOICES[4:]
CORRECTED, AS_PUBLISHED = "corrected", "as-published"
FORM = f"{CORRECTED}, {AS_PUBLISHED}, `{CORRECTED} with CHOICE, …` or `{AS_PUBLISHED} without CHOICE, …`"


class RecipeError(ValueError):
    """A recipe that is malformed or makes an unknown choice."""


def choices_of(recipe: str) -> list[Choice]:
    """Return the choices that a recipe makes, in the order of CHOICES. Raises RecipeError where it is malformed."""
    found = re.fullmatch(rf"({CORRECTED}|{AS_PUBLISHED})(?: (with|without) (.+))?", recipe.strip())
    base, joined, named = found.groups() if found else (None, None, None)
    if base is None or joined == ("with" if base == AS_PUBLISHED else "without"):
        raise RecipeError(f"{recipe!r} is no recipe: it is {FORM}")
    names = [name.strip() for name in named.split(",")] if named else []
    if unknown := [name for name in names if name not in CHOICES]:
        raise RecipeError(f"{', '.join(unknown)} is no choice of a recipe; choices: {', '.join(CHOICES)}")
    return [choice for choice in CHOICES if (choice in names) == (base == CORRECTED)]


def recipe_of(choices: Collection[str], among: Iterable[Choice] = CHOICES) -> str:
    """Return the shorter name of the recipe that makes `choices`, where only the choices `among` count."""
    known = list(among)
    made = [choice for choice in known if choice in choices]
    left = [choice for choice in known if choice not in choices]
    if len(made) <= len(left):
        return f"{CORRECTED} with {', '.join(made)}" if made else CORRECTED
    return f"{AS_PUBLISHED} without {', '.join(left)}" if left else AS_PUBLISHED


def training_of(choices: Iterable[Choice]) -> list[Choice]:
    """Return those of the choices that change what a cell trains."""
    return [choice for choice in TRAINING if choice in set(choices)]
