"""The functions of `import study`: load a model and read it by a lens; read a study, run a unit, get its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from study.config.catalogue import WeightFormat
from study.config.lenses import LENSES, LensKind
from study.config.units import Unit
from study.lens.trace import Trace, trace
from study.models.load import Loaded
from study.models.named import load_named
from study.pipeline.fitted_lenses import FittedLenses
from study.pipeline.units import run_with_foundations
from study.plan.read import Plan, catalogue_of, read_study
from study.results.description import ResultsError, check_root
from study.results.store import Store, check_place
from study.results.values import read_table

if TYPE_CHECKING:
    import pandas as pd


AnyUnit = TypeVar("AnyUnit", bound=Unit)


class UnitError(Exception):
    """A unit was skipped by rule or failed; the message has the reason."""


@dataclass(frozen=True)
class Model:
    """A frozen model that computes in float32, with its tokenizer; made by `load`."""

    name: str
    loaded: Loaded

    @property
    def layers(self) -> int:
        """The number of blocks."""
        return self.loaded.blocks

    def lens(self, text: str, kind: LensKind = "logit") -> Trace:
        """Return a lens along a text, at every layer and position: `logit`, `tuned` or `jacobian`.

        The tuned and the Jacobian lens are fitted to the model when they are first asked for, which takes minutes, and
        kept in the cache. Raises TypeError where the text is none, ValueError where there is no such lens, and what
        `study.lens.trace.trace` and `study.pipeline.fitted_lenses.FittedLenses.lens` raise.
        """
        if not isinstance(text, str):
            raise TypeError(f"the lens reads a text, not {text!r:.100}")
        if not text.isascii() and any("\ud800" <= sign <= "\udfff" for sign in text):
            raise ValueError(f"the lens reads a text, and {text!a:.100} has halves of characters")
        if kind not in LENSES:
            raise ValueError(f"there is no lens {kind!r:.100}: {', '.join(LENSES)} are known")
        translators = None if kind == "logit" else self._fitted.lens(kind)
        return trace(self.loaded.model, self.loaded.tokenizer, text, translators)

    @cached_property
    def _fitted(self) -> FittedLenses:
        return FittedLenses(self.loaded)

    def __repr__(self) -> str:
        return f"<{self.name}: {self.layers} layers>"


def load(
    name: str | PathLike[str], weights: WeightFormat | None = None, catalogue: str | PathLike[str] | None = None
) -> Model:
    """Load a model by a short name of `models.yaml`, as a folder or a GGUF file, or by its id on the Hugging Face hub.

    `catalogue` is the `models.yaml` to look in; if left out, configs/models.yaml in this folder or in the project.
    `weights` is how the weights are kept in memory: `float32`, `8bit` or `4bit`; if left out, as the entry of
    `models.yaml` says, and float32 where there is none.
    Raises ModelError where the model is not found or cannot be loaded, ConfigError where the catalogue has mistakes.
    """
    entries = catalogue_of(Path(catalogue) if catalogue else None)
    return Model(str(name), load_named(str(name), entries, weights))


def read(file: str | PathLike[str], changes: Sequence[str] = ()) -> Plan:
    """Read a study's YAML file, with the models that it names; `units` of the plan are its units of work.

    `changes` are settings in place of the file's, as `--set` takes them, such as `["stage2.steps=200"]`.
    Raises ConfigError, which lists all mistakes of the file, TypeError where it is no path.
    """
    return read_study(_path(file, "a study's file"), changes)


def run(unit: AnyUnit, results: str | PathLike[str]) -> AnyUnit:
    """Run a unit in this process, without Ray, after the units that it builds on. Finished units are not run again.

    `results` is the folder of one study, such as results/smoke. Returns the unit, so that it can be given to `rows`.
    Raises UnitError where the unit, or one that it builds on, is skipped or fails, TypeError where it is no unit,
    ResultsError where `results` is the folder of something else.
    """
    _check_unit(unit)
    place = _path(results, "a results folder")
    check_place(place)
    for one, ending in run_with_foundations(unit, place):
        if ending.state != "done":
            raise UnitError(f"{one.label} {ending.state}: {ending.reason}")
    return unit


def _path(place: object, what: str) -> Path:
    """Return a path that was given. Raises TypeError where it is none."""
    if not isinstance(place, str | PathLike):
        raise TypeError(f"{what} is a path, not {place!r:.100}")
    return Path(place)


def _check_unit(unit: object) -> None:
    """Raises TypeError where something is no unit."""
    if not isinstance(unit, Unit):
        raise TypeError(f"{unit!r:.100} is no unit: take one of a plan, such as study.read(FILE).cells()[0]")


def rows(results: str | PathLike[str], unit: Unit) -> dict[str, pd.DataFrame]:
    """Return the rows of a finished unit by the name of their table: `answers`, `lens`, `curves` and so on.

    Every file is checked against the size and SHA-256 that were recorded for it. Raises ResultsError where the unit is
    not finished, DamagedError where a file is not what was written, FigureError where a figure is not finite, TypeError
    where it is no unit, or the folder no path.
    """
    _check_unit(unit)
    place = _path(results, "a results folder")
    check_root(place)
    if not place.is_dir():
        raise ResultsError(f"there is no folder {place}: `study.run` makes it")
    store = Store(place)
    if (status := store.status(unit)).state != "done":
        raise ResultsError(f"{unit.label} has no rows in {results}: {status.reason}")
    return {file.stem: read_table(file).to_pandas() for file in sorted(store.verified(unit).glob("*.parquet"))}
