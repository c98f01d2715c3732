"""Checkpoints, from which an interrupted training resumes: one file for each unit, while it trains."""

import io
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import mlx.core as mx

from study.config.json_files import parse_json
from study.results.files import write_bytes
from study.results.schema import Row

UNSEALED = 64 * "0"
"""Digest in the metadata of a checkpoint while its SHA-256 is computed."""
log = logging.getLogger(__name__)

MOMENTS = (".m", ".v")
"""Suffixes, after a parameter's name, of the arrays that AdamW keeps for it; SGD keeps only the second."""


@dataclass(frozen=True)
class State:
    """The state of one training between two steps, which determines all further steps, and its rows so far.

    It does not contain the batches to come: they follow from the seed and the number of the step.
    """

    arrays: dict[str, mx.array]
    """The trained arrays by name, and what the optimiser keeps for each of them."""
    curve: list[Row]
    """Rows of training, one for each step."""
    onset: list[Row] = field(default_factory=list)
    """Rows of the light evaluations."""

    @property
    def step(self) -> int:
        """The number of steps that are done."""
        return len(self.curve)


class Checkpoint:
    """The file with the last state of one unit's training. A checkpoint that cannot be used is a warning, no error."""

    def __init__(self, file: Path, unit_id: str, every: int, moments: Sequence[str] = MOMENTS) -> None:
        self.every = every
        """Steps between two checkpoints; 0 for none."""
        self._file, self._unit_id, self._moments = file, unit_id, moments

    def save(self, state: State) -> None:
        """Replace the last state by this one."""
        rows = {"curve": json.dumps(state.curve), "onset": json.dumps(state.onset)}
        stream = io.BytesIO()
        mx.save_safetensors(stream, state.arrays, {"unit": self._unit_id, **rows, "sha256": UNSEALED})
        content = stream.getvalue()
        try:
            write_bytes(self._file, content.replace(UNSEALED.encode(), sha256(content).hexdigest().encode(), 1))
        except OSError as error:
            log.warning("step %d is not saved in %s, training continues: %s", state.step, self._file, error)

    def load(self, shapes: Mapping[str, Sequence[int]]) -> State | None:
        """Return the last state if it is of this unit and its trained arrays have these shapes; else None."""
        if not self._file.is_file():
            return None
        try:
            return self._read({name + part: tuple(shapes[name]) for name in shapes for part in ("", *self._moments)})
        except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
            log.warning("%s cannot be used, training starts at its first step: %s", self._file, error)
            return None

    def remove(self) -> None:
        """Remove the file, since the training is over."""
        self._file.unlink(missing_ok=True)

    def _read(self, shapes: Mapping[str, tuple[int, ...]]) -> State:
        content = self._file.read_bytes()
        about = _sealed_metadata(content)
        arrays: Any = mx.load(io.BytesIO(content), format="safetensors")
        if about["unit"] != self._unit_id:
            raise ValueError(f"it is of the unit {about['unit']}, not of {self._unit_id}")
        if {name: value.shape for name, value in arrays.items()} != shapes:
            raise ValueError("its arrays are not those of the adapter and its optimiser")
        if not all(mx.isfinite(value).all().item() for value in arrays.values()):
            raise ValueError("it holds values that are not finite")
        return State(arrays, json.loads(about["curve"]), json.loads(about["onset"]))


def _sealed_metadata(content: bytes) -> dict[str, str]:
    """Return the metadata of a safetensors file, which begins with the length of its JSON header.

    Raises ValueError, KeyError or TypeError where the content is not what `save` wrote.
    """
    about: dict[str, str] = parse_json(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    written = about["sha256"]
    if sha256(content.replace(written.encode(), UNSEALED.encode(), 1)).hexdigest() != written:
        raise ValueError("it is damaged: its SHA-256 is not that of what was written")
    return about
