"""Tasks whose prompts are templates that are filled: batches and evaluation sets, drawn by a hash of what they are."""

import hashlib
import random
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import zip_longest
from typing import TypeVar

from study.config.names import Operation
from study.config.wordings import Template
from study.tasks.prompts import Prompt

Content = TypeVar("Content", bound=Hashable)


def share_of(text: str) -> float:
    """Return a number in [0, 1) that is a function of a hash of the text alone, by which splits are made."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def in_turns(held_out: Iterable[Template], others: Iterable[Template]) -> list[Template]:
    """Return held-out templates and others in turn, so that few prompts are spread over both."""
    return [template for one in zip_longest(held_out, others) for template in one if template]


def spread(
    among: Sequence[Template],
    contents: Sequence[Content],
    operations: Sequence[Operation],
    per_class: int,
    seed: str,
    prompt_of: Callable[[Template, Operation, Content], Prompt],
    together: bool,
) -> list[Prompt]:
    """Return distinct prompts, `per_class` of each operation or all there are, spread evenly over the templates: one
    operation after the other, or in turn (`together`). All operations get the same contents in the same templates."""
    draws = {template.name: _shuffled(contents, f"{seed} {template.name}") for template in among[:per_class]}
    places = [(among[i % len(among)], i // len(among)) for i in range(min(per_class, len(among) * len(contents)))]
    columns = [
        [prompt_of(template, operation, draws[template.name][i]) for template, i in places] for operation in operations
    ]
    return [item for part in (zip(*columns, strict=True) if together else columns) for item in part]


def _shuffled(contents: Sequence[Content], seed: str) -> list[Content]:
    shuffled = list(contents)
    random.Random(seed).shuffle(shuffled)
    return shuffled
