"""Where a training stands, on disk while it lasts, so that one that is interrupted goes on: one file a unit."""

import io
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx

from study.results.schema import Row
from study.results.store import write_bytes

log = logging.getLogger(__name__)

MOMENTS = (".m", ".v")
"""What AdamW keeps of a parameter is named as the parameter, with one of these behind it; SGD has the second alone."""


@dataclass(frozen=True)
class State:
    """One cell between two steps of its training: what its further steps follow from, and its rows so far.

    The batches to come are not in it: they follow from the seed and the number of the step.
    """

    arrays: dict[str, mx.array]
    """The adapter, and for each of its arrays what the optimiser keeps of it."""
    curve: list[Row]
    """One row a step."""
    onset: list[Row] = field(default_factory=list)

    @property
    def step(self) -> int:
        """The steps that are done."""
        return len(self.curve)


class Checkpoint:
    """The file that holds the last state of one unit. It is an aid: nothing that is wrong with it is an error."""

    def __init__(self, file: Path, unit_id: str, every: int, moments: Sequence[str] = MOMENTS) -> None:
        self.every = every
        """Steps from one state that is saved to the next; 0 where none is."""
        self._file, self._unit_id, self._moments = file, unit_id, moments

    def save(self, state: State) -> None:
        """Put this state in the place of the one before."""
        about = {"unit": self._unit_id, "curve": json.dumps(state.curve), "onset": json.dumps(state.onset)}
        content = io.BytesIO()
        mx.save_safetensors(content, state.arrays, about)
        try:
            write_bytes(self._file, content.getvalue())
        except OSError as error:
            log.warning("step %d is not saved in %s, training goes on: %s", state.step, self._file, error)

    def load(self, shapes: Mapping[str, Sequence[int]]) -> State | None:
        """The state that was saved last, where it is of this unit and of an adapter of these shapes; else None."""
        if not self._file.is_file():
            return None
        try:
            return self._read({name + part: tuple(shapes[name]) for name in shapes for part in ("", *self._moments)})
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            log.warning("%s is of no use, training begins at its first step: %s", self._file, error)
            return None

    def remove(self) -> None:
        """The training is over."""
        self._file.unlink(missing_ok=True)

    def _read(self, shapes: Mapping[str, tuple[int, ...]]) -> State:
        loaded: Any = mx.load(str(self._file), format="safetensors", return_metadata=True)
        arrays, about = loaded
        if about["unit"] != self._unit_id:
            raise ValueError(f"it is of the unit {about['unit']}, not of {self._unit_id}")
        if {name: value.shape for name, value in arrays.items()} != shapes:
            raise ValueError("its arrays are not those of the adapter and its optimiser")
        if not all(mx.isfinite(value).all().item() for value in arrays.values()):
            raise ValueError("it holds values that are not finite")
        return State(arrays, json.loads(about["curve"]), json.loads(about["onset"]))
