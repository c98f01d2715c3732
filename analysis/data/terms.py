"""What a report calls the things of its task."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from analysis.data.markdown import Markdown


@dataclass(frozen=True)
class Terms:
    """The words that differ between arithmetic and a custom task."""

    kind: str
    """What a prompt asks for, and is named by its class token."""
    a_kind: str
    kinds: str
    token: str
    group: str
    """What the split is made by."""
    held_out: str
    """What figures are on."""
    right: str
    """What is followed by a stop in a right answer."""
    other: str
    """What `the other answer` is; empty where it needs no words."""
    before: str = "stage 1"
    """What of the model cells train on."""
    without: str = "the same steps without a class loss (w = 0)"
    """What a cell is held against, to see what the class loss brings."""
    zero: str = "w = 0"
    """The same in short."""
    examples: Mapping[str, Markdown] = field(default_factory=dict)
    """An example of each tier, where there is one."""


ARITHMETIC = Terms(
    kind="operation",
    a_kind="an operation",
    kinds="operations",
    token="the operation's class token",
    group="operand pair",
    held_out="operands",
    right="the number",
    other="",
    examples={
        "symbolic": Markdown("`7 * 8 =`"),
        "semantic": Markdown("`seven times eight =`"),
        "construction": Markdown("`the product of 7 and 8 is`"),
        "story": Markdown("`Sam has 7 bags with 8 pens in each …`"),
    },
)
OWN = Terms(
    kind="class",
    a_kind="a class",
    kinds="classes",
    token="the class token of the prompt",
    group="group",
    held_out="groups",
    right="the answer",
    other=" The source of a prompt is a test prompt of the next class in the same wording, of the same group where "
    "there is one.",
)
LABELS = replace(
    OWN,
    before="the model as it came",
    without="the model as it came",
    zero="the model as it came",
)
"""Of a custom task whose prompts have labels alone: without a class loss there is nothing to train."""
