"""Which units are submitted next: in what order, and how many cells side by side."""

import math
from collections.abc import Sequence

from study.cells import StageOne, Unit, stage_one_of
from study.config import RaySettings
from study.stacks import LARGEST_STACK, stack_key


class Queue:
    """Units that wait to be submitted, and their order: a stack of cells, or one other unit, a turn."""

    def __init__(self, units: Sequence[Unit], settings: RaySettings, slots: int, trained: set[str]) -> None:
        self.trained = trained
        """Ids of the stage 1s that are done."""
        self._settings, self._slots = settings, slots
        self._groups: dict[str, list[Unit]] = {}
        self._sizes: dict[str, int] = {}
        self._current = ""
        for unit in units:
            self._groups.setdefault(stack_key(unit), []).append(unit)

    def __bool__(self) -> bool:
        return bool(self._groups)

    def take(self) -> Sequence[Unit]:
        """Any stage 1 first, so that no worker idles for want of one; then what belongs to the model that ran last,
        since workers hold it loaded; then the next model. Empty where nothing is ready.
        """
        ready = [key for key, (unit, *_) in self._groups.items() if self._is_ready(unit)]
        order = {key: self._groups[key][0] for key in ready}
        key = min(
            ready,
            key=lambda k: (not isinstance(order[k], StageOne), stage_one_of(order[k]).id != self._current),
            default=None,
        )
        if key is None:
            return []
        group = self._groups[key]
        size = self._sizes.setdefault(key, self._size(len(group)))
        stack, rest = group[:size], group[size:]
        if rest:
            self._groups[key] = rest
        else:
            del self._groups[key]
        self._current = stage_one_of(stack[0]).id
        return stack

    def put_back(self, stack: Sequence[Unit]) -> None:
        """Units to be run once more, in one task, before others of their stage 1."""
        key = stack[0].id if isinstance(stack[0], StageOne) else f"{stack[0].id} again"
        self._groups = {key: list(stack), **self._groups}
        self._sizes[key] = len(stack)

    def clear(self) -> None:
        """Nothing waits any more."""
        self._groups.clear()

    def take_orphans(self, pending: set[str]) -> list[Unit]:
        """Units whose stage 1 is neither done nor going to be."""
        coming = self.trained | self._groups.keys() | pending  # the key of a stage 1 is its id
        orphans = [key for key, (unit, *_) in self._groups.items() if stage_one_of(unit).id not in coming]
        return [unit for key in orphans for unit in self._groups.pop(key)]

    def _is_ready(self, unit: Unit) -> bool:
        return isinstance(unit, StageOne) or unit.stage_one.id in self.trained

    def _size(self, cells: int) -> int:
        """As many cells as the settings say; otherwise the same number of stacks for every slot, as even as may be."""
        if self._settings.stack != "auto":
            return self._settings.stack
        rounds = math.ceil(cells / (LARGEST_STACK * self._slots))
        return math.ceil(cells / (rounds * self._slots))
