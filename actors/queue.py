"""The queue of units: the order in which they are submitted, and the number of cells that train side by side."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from study.config.study import RaySettings
from study.config.units import Cell, Pretraining, StageOne, Unit, foundations, model_and_seed
from study.plan.stacks import StackSize, cost_key, stack_key


class Queue:
    """Units that wait to be submitted: each turn takes a stack of cells, or one other unit."""

    def __init__(
        self,
        units: Sequence[Unit],
        settings: RaySettings,
        slots: int,
        trained: set[str],
        ranks: Mapping[str, int] | None = None,
        grows: bool = False,
    ) -> None:
        """`ranks`: by unit id, what is taken first, as `study.plan.order.ranks` returns it; without, all are alike.
        `grows`: stacks may become larger, as `StackSize` says."""
        self.grows = grows
        self.trained = trained
        """Ids of the finished units that others build on: trainings of the nursery and stage 1."""
        self._settings, self._slots = settings, slots
        self._ranks = ranks or {}
        self._groups: dict[str, list[Unit]] = {}
        self._again: set[str] = set()
        self._sizes: dict[tuple[str, int], int] = {}
        self._largest: defaultdict[str, StackSize] = defaultdict(lambda: StackSize(grows))
        self._current: tuple[str, int] | None = None
        for unit in units:
            key = unit.id if _is_foundation(unit) else f"{stack_key(unit)} {self._rank(unit)}"
            self._groups.setdefault(key, []).append(unit)

    def __bool__(self) -> bool:
        return bool(self._groups)

    def take(self, ahead: bool = False, waiting: Sequence[Unit] = ()) -> Sequence[Unit]:
        """Take the units of the next task, of the smallest rank that is ready: first those that others build on, so
        that no worker idles for lack of them; then those of the model that was taken last, since workers have it in
        memory; then those of the next model. Empty if nothing is ready or, for a task that has no free worker
        (`ahead`), where units of a smaller rank are still to come, or are `waiting` for a worker: Ray may give it
        the next task that asks for as much memory as its last one, before earlier ones that ask for more or less.
        """
        order = {key: unit for key, (unit, *_) in self._groups.items()}
        ready = [key for key, unit in order.items() if self._is_ready(unit)]
        key = min(
            ready,
            key=lambda k: (
                self._rank(order[k]),
                not _is_foundation(order[k]),
                model_and_seed(order[k]) != self._current,
            ),
            default=None,
        )
        if key is None or (ahead and self._rank(order[key]) > min(map(self._rank, [*order.values(), *waiting]))):
            return []
        group = self._groups[key]
        size = len(group) if key in self._again else self._size(key, group)
        stack, rest = group[:size], group[size:]
        if rest:
            self._groups[key] = rest
        else:
            del self._groups[key]
        self._current = model_and_seed(stack[0])
        return stack

    def put_back(self, stack: Sequence[Unit]) -> None:
        """Queue units once more, as one task, before all others."""
        key = stack[0].id if _is_foundation(stack[0]) else f"{stack[0].id} again"
        self._groups = {key: list(stack), **self._groups}
        self._again.add(key)

    def learn(self, cell: Cell, cells: int, seconds: float) -> None:
        """Take note of the seconds that a step took for `cell`, which trained in a stack of so many cells."""
        self._largest[cost_key(cell)].learn(cells, seconds)

    def clear(self) -> None:
        """Remove all units."""
        self._groups.clear()

    def take_orphans(self, pending: set[str]) -> list[Unit]:
        """Remove and return the units that build on one that is neither done, waiting nor `pending`."""
        coming = self.trained | self._groups.keys() | pending  # the key of a unit that others build on is its id
        orphans = [key for key, (unit, *_) in self._groups.items() if not _needed(unit) <= coming]
        return [unit for key in orphans for unit in self._groups.pop(key)]

    def _rank(self, unit: Unit) -> int:
        return self._ranks.get(unit.id, 0)

    def _is_ready(self, unit: Unit) -> bool:
        return _needed(unit) <= self.trained

    def _size(self, key: str, group: Sequence[Unit]) -> int:
        """Return the cells of a stack: as the settings say or, if `auto`, so that every slot gets equally many
        stacks."""
        first = group[0]
        if not isinstance(first, Cell):
            return 1
        if self._settings.stack != "auto":
            return self._settings.stack
        largest = self._largest[cost_key(first)].largest
        rounds = math.ceil(len(group) / (largest * self._slots))
        return self._sizes.setdefault((key, largest), math.ceil(len(group) / (rounds * self._slots)))


def _is_foundation(unit: Unit) -> bool:
    return isinstance(unit, Pretraining | StageOne)


def _needed(unit: Unit) -> set[str]:
    return {needed.id for needed in foundations(unit)}
