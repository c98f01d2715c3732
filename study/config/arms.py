"""The arms of a grid: the experiment itself, its controls, and changes in how a cell is trained.

An arm is declared only here. The configuration, training, the report and the documentation take it from ARMS.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ArmSettings:
    """How an arm differs from the experiment, and how it is described."""

    role: Literal["experiment", "control", "manipulation"]
    """A control changes the class labels or tokens and tests whether a classifier was learned at all; a manipulation
    changes how it is trained and tests why it emerges where it does."""
    words: str
    """Its name in reports."""
    changes: str
    """How it differs from the experiment, in a phrase."""
    asks: str
    """The question that it answers, in a phrase."""
    tokens: Literal["own", "next", "random"] = "own"
    """The class token that an operation is trained with: its own, that of the next operation, or a random word."""
    shuffled_labels: bool = False
    """Whether the labels of the operations are exchanged at random in every template."""
    adapters_above: bool = True
    """Whether there are adapters above the layer."""
    adapters_below: bool = True
    """Whether there are adapters below the layer."""
    answer_below: bool = True
    """Whether the answer loss reaches the adapters at and below the layer."""
    class_rows: Literal["own", "aligned", "orthogonal"] = "own"
    """The rows of the unembedding that the class tokens have: their own, rows along the directions from the mean of all
    classes to each class at the layer, or rows at right angles to these."""


PLAIN = "plain"

ARMS: dict[str, ArmSettings] = {
    PLAIN: ArmSettings("experiment", "plain", "nothing", "where a classifier emerges"),
    "shuffled_labels": ArmSettings(
        "control",
        "shuffled labels",
        "in every template the operations have one another's labels, at random",
        "whether labels that have to be remembered, template by template, reach the same accuracy",
        shuffled_labels=True,
    ),
    "swapped_tokens": ArmSettings(
        "control",
        "swapped tokens",
        "each operation has the next one's class token",
        "whether the meaning of the words counts",
        tokens="next",
    ),
    "random_words": ArmSettings(
        "control",
        "random words",
        "words drawn at random, as frequent in the vocabulary as the class names",
        "whether any word would do",
        tokens="random",
    ),
    "lora_below": ArmSettings(
        "manipulation",
        "adapters at and below the layer only",
        "no adapter above the layer",
        "whether layers above have to adapt",
        adapters_above=False,
    ),
    "lora_at": ArmSettings(
        "manipulation",
        "adapters at the layer only",
        "no adapter above or below the layer",
        "whether layers below adapt",
        adapters_above=False,
        adapters_below=False,
    ),
    "detached_answer": ArmSettings(
        "manipulation",
        "no answer gradient below the layer",
        "the answer loss reaches no adapter at or below the layer",
        "whether the two losses compete there",
        answer_below=False,
    ),
    "aligned_rows": ArmSettings(
        "manipulation",
        "class rows along the classes",
        "the class tokens' rows of the unembedding point to the class means at the layer before stage 2",
        "whether the class rows lie along what the model tells apart",
        class_rows="aligned",
    ),
    "orthogonal_rows": ArmSettings(
        "manipulation",
        "class rows across the classes",
        "the class tokens' rows of the unembedding are at right angles to the class means at the layer before stage 2",
        "whether the class rows lie across what the model tells apart",
        class_rows="orthogonal",
    ),
}


ARMS_IN_WORDS = "`plain` is the experiment, the others are controls or manipulations. " + " ".join(
    f"`{name}`: {arm.changes}." for name, arm in ARMS.items() if name != PLAIN
)


def is_control(arm: str) -> bool:
    """Whether cells of the arm are controls, which train until they fit."""
    return ARMS[arm].role == "control"


def arms_that_are(role: Literal["control", "manipulation"]) -> tuple[str, ...]:
    """Return the names of all controls, or of all manipulations, in the order of ARMS."""
    return tuple(name for name, arm in ARMS.items() if arm.role == role)


def adapters_of(arm: str) -> str:
    """Return which adapters the cells of an arm train, in words."""
    return "adapters everywhere" if arm == PLAIN else words_of(arm)


def words_of(arm: str) -> str:
    """What a report calls an arm; its name where it is not declared here, as in results of another version."""
    return ARMS[arm].words if arm in ARMS else arm
