"""What `import study` offers: load a model, read its lens, read a study, run a unit of it, and get the rows."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from study.config.units import Unit
from study.lens.trace import Trace, trace
from study.models.load import Loaded
from study.models.named import load_named
from study.pipeline.units import run_with_foundations
from study.plan.read import Plan, catalogue_of, read_study
from study.results.finished import verify
from study.results.store import ResultsError, Store

if TYPE_CHECKING:
    import pandas as pd


AnyUnit = TypeVar("AnyUnit", bound=Unit)


class UnitError(Exception):
    """A unit that was skipped by rule or failed; the reason is in the message."""


@dataclass(frozen=True)
class Model:
    """A frozen model that computes in float32, with its tokenizer."""

    name: str
    loaded: Loaded

    @property
    def layers(self) -> int:
        """The number of blocks."""
        return self.loaded.blocks

    def lens(self, text: str) -> Trace:
        """The logit lens along a text: every layer, at every position."""
        return trace(self.loaded.model, self.loaded.tokenizer, text)

    def __repr__(self) -> str:
        return f"<{self.name}: {self.layers} layers>"


def load(name: str | PathLike[str], weights: str = "float32", catalogue: str | PathLike[str] | None = None) -> Model:
    """Load a model by a short name of `models.yaml`, as a folder or a GGUF file, or by its id on the Hugging Face hub.

    `catalogue` is the `models.yaml` to look in; configs/models.yaml of this folder or of the project if left out.
    `weights` is how they are held where the catalogue does not say: `float32`, `8bit` or `4bit`. Raises ModelError.
    """
    entries = catalogue_of(Path(catalogue) if catalogue else None)
    return Model(str(name), load_named(str(name), entries, weights))


def read(file: str | PathLike[str]) -> Plan:
    """Read a study's YAML, with the models that it names and the units that it makes. Raises ConfigError, which lists
    all of its mistakes."""
    return read_study(Path(file))


def run(unit: AnyUnit, results: str | PathLike[str]) -> AnyUnit:
    """Run a unit in this process, without Ray, after what it builds on. What has finished in the folder is kept.

    `results` is the folder of one study, such as results/smoke. Returns the unit, so that it can be given to `rows`.
    Raises UnitError where the unit, or one that it builds on, is skipped or fails.
    """
    for one, ending in run_with_foundations(unit, Path(results)):
        if ending.state != "done":
            raise UnitError(f"{one.label} {ending.state}: {ending.reason}")
    return unit


def rows(results: str | PathLike[str], unit: Unit) -> dict[str, pd.DataFrame]:
    """The rows of a finished unit by the name of their table: `answers`, `lens`, `curves` and so on.

    Every file is held against the size and SHA-256 that were recorded for it. Raises ResultsError where the unit is not
    finished, DamagedError where a file is not what was written.
    """
    import pandas as pd

    store = Store(Path(results))
    if (status := store.status(unit)).state != "done":
        raise ResultsError(f"{unit.label} has no rows in {results}: {status.reason}")
    folder = store.folder(unit)
    verify(folder)
    return {file.stem: pd.read_parquet(file) for file in sorted(folder.glob("*.parquet"))}
