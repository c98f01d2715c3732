"""Which units are submitted next: in what order, and how many cells side by side."""

import math
from collections.abc import Sequence

from study.config.study import RaySettings
from study.config.units import Pretraining, StageOne, Unit, foundations, model_and_seed
from study.plan.stacks import LARGEST_STACK, stack_key


class Queue:
    """Units that wait to be submitted, and their order: a stack of cells, or one other unit, a turn."""

    def __init__(self, units: Sequence[Unit], settings: RaySettings, slots: int, trained: set[str]) -> None:
        self.trained = trained
        """Ids of the units that others build on and that are done: of the nursery, and stage 1s."""
        self._settings, self._slots = settings, slots
        self._groups: dict[str, list[Unit]] = {}
        self._sizes: dict[str, int] = {}
        self._current: tuple[str, int] | None = None
        for unit in units:
            self._groups.setdefault(stack_key(unit), []).append(unit)

    def __bool__(self) -> bool:
        return bool(self._groups)

    def take(self) -> Sequence[Unit]:
        """Any unit that others build on first, so that no worker idles for want of one; then what belongs to the model
        that ran last, since workers hold it loaded; then the next model. Empty where nothing is ready.
        """
        ready = [key for key, (unit, *_) in self._groups.items() if self._is_ready(unit)]
        order = {key: self._groups[key][0] for key in ready}
        key = min(
            ready,
            key=lambda k: (not _is_foundation(order[k]), model_and_seed(order[k]) != self._current),
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
        self._current = model_and_seed(stack[0])
        return stack

    def put_back(self, stack: Sequence[Unit]) -> None:
        """Units to be run once more, in one task, before others of their model."""
        key = stack[0].id if _is_foundation(stack[0]) else f"{stack[0].id} again"
        self._groups = {key: list(stack), **self._groups}
        self._sizes[key] = len(stack)

    def clear(self) -> None:
        """Nothing waits any more."""
        self._groups.clear()

    def take_orphans(self, pending: set[str]) -> list[Unit]:
        """Units that build on one which is neither done nor going to be."""
        coming = self.trained | self._groups.keys() | pending  # the key of a unit that others build on is its id
        orphans = [key for key, (unit, *_) in self._groups.items() if not _needed(unit) <= coming]
        return [unit for key in orphans for unit in self._groups.pop(key)]

    def _is_ready(self, unit: Unit) -> bool:
        return _needed(unit) <= self.trained

    def _size(self, cells: int) -> int:
        """As many cells as the settings say; otherwise the same number of stacks for every slot, as even as may be."""
        if self._settings.stack != "auto":
            return self._settings.stack
        rounds = math.ceil(cells / (LARGEST_STACK * self._slots))
        return math.ceil(cells / (rounds * self._slots))


def _is_foundation(unit: Unit) -> bool:
    return isinstance(unit, Pretraining | StageOne)


def _needed(unit: Unit) -> set[str]:
    return {needed.id for needed in foundations(unit)}
