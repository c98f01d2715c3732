"""What a small task consists of: templates by tier, contents that fill them, and prompts made of both."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from study.config.names import Operation, Tier
from study.config.wordings import Template
from study.tasks.prompts import Prompt
from study.tasks.templated import share_of

HELD_OUT = 0.5
"""Share of the templates of a tier that are held out from all training."""

Content = tuple[str | int, ...]
"""What fills a template: numbers or words. All classes of a task have the same contents."""


class Source(Protocol):
    """A small task. Its prompts are words between single spaces, each a token of the model."""

    operations: tuple[Operation, Operation]
    tiers: tuple[Tier, ...]

    def templates(self, tier: Tier, held_out: bool) -> Sequence[Template]:
        """Return the templates of a tier on one side of the split."""
        ...

    def contents(self, tier: Tier, held_out: bool) -> Sequence[Content]:
        """Return what fills the templates of a tier, on one side of the split."""
        ...

    def pretrained(self, tier: Tier) -> Sequence[Content]:
        """Return what fills the templates of a tier in the text that a model is trained on from random weights: nothing
        that is held out, and all that is not, or more."""
        ...

    def prompt(self, template: Template, operation: Operation, content: Content) -> Prompt:
        """Return the prompt of a class, with its answer."""
        ...

    def facts(self) -> Sequence[str]:
        """Return the sentences that tell what answers need and prompts do not say; none of them names a class."""
        ...

    def senses(self, operation: Operation) -> Sequence[str]:
        """Return three sentences with WORD in the place of the class's name: what it means, in words that no prompt
        has."""
        ...


@dataclass(frozen=True)
class Parts:
    """What a template is made of."""

    cue: str
    """What it is about; in *swaps* the words of its moves."""
    texts: dict[Operation, str]
    split_by: str = ""
    """What is hashed to hold it out, where that is not all that it is about."""


@cache
def made(grammar: Callable[[Tier], Iterator[Parts]], tier: Tier, held_out: bool) -> tuple[Template, ...]:
    """Return the templates of a tier on one side of the split, which is made by a hash."""
    templates = (
        Template(tier, f"{tier}-{number}", one.texts, one.cue, share_of(f"{tier}|{one.split_by or one.cue}") < HELD_OUT)
        for number, one in enumerate(grammar(tier))
    )
    return tuple(template for template in templates if template.held_out == held_out)
