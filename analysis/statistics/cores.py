"""Work on arrays in parts, on all cores: numpy lets threads run while it computes."""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Part = TypeVar("Part")
Result = TypeVar("Result")
FEW = 4
"""Parts for which threads are not worth their start."""


def of_parts(function: Callable[[Part], Result], parts: Sequence[Part]) -> Iterable[Result]:
    """Return what a function makes of each of the parts, in their order."""
    if len(parts) <= FEW:
        return map(function, parts)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(function, parts))
