"""What a report calls the things of its task."""

from dataclasses import dataclass

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
    wordings: Markdown
    """The tiers with examples; empty where the file has them."""


ARITHMETIC = Terms(
    kind="operation",
    a_kind="an operation",
    kinds="operations",
    token="the operation's class token",
    group="operand pair",
    held_out="operands",
    right="the number",
    other="",
    wordings=Markdown(
        "symbolic `7 * 8 =`, semantic `seven times eight =`, construction `the product of seven and eight is`, story"
    ),
)
OWN = Terms(
    kind="class",
    a_kind="a class",
    kinds="classes",
    token="the class token of the prompt",
    group="group",
    held_out="groups",
    right="the answer",
    other=" The other class's answer is that of a test prompt of the next class in the same wording, of the same group "
    "where there is one.",
    wordings=Markdown(""),
)
