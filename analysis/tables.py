"""A folder of results as typed units and data frames; only finished units carry rows."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from study.config import Decisions
from study.store import DONE, FOLDERS

Status = Literal["finished", "failed", "skipped", "missing", "unreadable"]

ROWS = {
    "stage1": ("curves",),
    "reference": ("answers", "lens"),
    "cell": ("curves", "answers", "lens"),
}
PROMPT = ("stage", "prompt_id", "tier", "template", "operation", "operands")
COLUMNS = {
    "answers": [*PROMPT, "right", "number_right", "nll"],
    "lens": [*PROMPT, "pair", "layer", "log_p", "log_mass", "rank", "margin", "choice"],
    "curves": ["step", "loss", "class_loss", "answer_loss", "seconds"],
}
CATEGORIES = ["stage", "tier", "template", "operation", "operands", "pair"]


class ResultsError(Exception):
    """The folder is not a study's results."""


@dataclass(frozen=True)
class Unit:
    """One piece of the study: a stage 1, a reference (baseline and stage 1 evaluated) or a cell."""

    kind: Literal["stage1", "reference", "cell"]
    id: str
    folder: str
    label: str
    model: str
    blocks: int
    seed: int
    operations: tuple[str, ...]
    layer: int | None
    pair: str
    """Class names joined by `/`; empty where there is none (w = 0)."""
    weight: float | None
    reference: str | None
    status: Status
    reason: str

    @property
    def finished(self) -> bool:
        return self.status == "finished"

    @property
    def chance(self) -> float:
        return 1 / len(self.operations)

    @property
    def depth(self) -> float:
        """Relative depth (L+1)/N of the trained layer; NaN where there is none."""
        return float("nan") if self.layer is None else (self.layer + 1) / self.blocks


@dataclass(frozen=True)
class Results:
    """Everything that a report may use; frames are by unit id and hold finished units only."""

    name: str
    config: dict[str, Any]
    models: dict[str, dict[str, Any]]
    units: dict[str, Unit]
    done: dict[str, dict[str, Any]]
    answers: dict[str, pd.DataFrame]
    lens: dict[str, pd.DataFrame]
    curves: dict[str, pd.DataFrame]

    @property
    def decisions(self) -> Decisions:
        return Decisions.model_validate(self.config.get("decisions", {}))

    @property
    def trained(self) -> tuple[str, ...]:
        """Tiers whose wording stage 2 was trained on."""
        return tuple(self.config.get("stage2", {}).get("wordings", ["symbolic"]))

    @property
    def cells(self) -> list[Unit]:
        """All cells with a class loss, finished or not, ordered by model (as listed), pair, layer, weight and seed."""
        cells = [unit for unit in self.units.values() if unit.kind == "cell" and unit.layer is not None]
        models, pairs = self.model_names, self.pairs
        return sorted(
            cells,
            key=lambda c: (
                models.index(c.model),
                pairs.index(c.pair),
                c.layer or 0,
                c.weight or 0,
                c.seed,
            ),
        )

    @property
    def model_names(self) -> list[str]:
        return _distinct(unit.model for unit in self.units.values())

    @property
    def pairs(self) -> list[str]:
        return _distinct(unit.pair for unit in self.units.values() if unit.pair)

    @property
    def seeds(self) -> list[int]:
        return sorted({unit.seed for unit in self.units.values()})

    def reference_of(self, cell: Unit) -> Unit | None:
        """The finished evaluation of the baseline and of stage 1 that `cell` is compared with."""
        reference = self.units.get(cell.reference or "")
        return reference if reference and reference.finished else None

    def zero_of(self, cell: Unit) -> Unit | None:
        """The finished w = 0 cell of the same model, seed and operations."""
        key = (cell.model, cell.seed, set(cell.operations))
        for unit in self.units.values():
            zero = unit.kind == "cell" and unit.layer is None and unit.finished
            if zero and (unit.model, unit.seed, set(unit.operations)) == key:
                return unit
        return None

    def answers_at(self, unit: Unit, stage: str) -> pd.DataFrame:
        """Answer rows of one stage, indexed by prompt_id."""
        answers = self.answers[unit.id]
        return answers[answers["stage"] == stage].set_index("prompt_id")


def read_results(folder: Path) -> Results:
    """Read results/<study>. Raises ResultsError where there is no readable study.json."""
    path = folder / "study.json"
    if not path.is_file():
        raise ResultsError(f"{folder} holds no study.json: give the folder of one study, such as results/grid")
    try:
        study = json.loads(path.read_text(encoding="utf-8"))
        results = Results(study["name"], study["config"], study["models"], {}, {}, {}, {}, {})
        for entry in study["units"]:
            _read_unit(folder, entry, results)
        _ = results.decisions  # validated here, where a mistake still has the file's name
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ResultsError(f"{path} is not a study's description: {type(error).__name__}: {error}") from error
    return results


def _read_unit(folder: Path, entry: dict[str, Any], results: Results) -> None:
    at = folder / FOLDERS[entry["kind"]] / entry["folder"]
    status, reason = _unfinished(folder / "unfinished" / f"{entry['folder']}.json")
    if (at / DONE).is_file():
        try:
            done = json.loads((at / DONE).read_text(encoding="utf-8"))
            rows = {name: _read_rows(at, name) for name in ROWS[entry["kind"]]}
        except (OSError, ValueError) as error:
            status, reason = "unreadable", f"{type(error).__name__}: {error}".replace(str(folder), folder.name)
        else:
            status, reason = "finished", ""
            results.done[entry["id"]] = done
            for name, frame in rows.items():
                getattr(results, name)[entry["id"]] = frame
    results.units[entry["id"]] = _unit(entry, status, reason)


def _unit(entry: dict[str, Any], status: Status, reason: str) -> Unit:
    operations, pair = tuple(entry["operations"]), entry.get("pair")
    return Unit(
        kind=entry["kind"],
        id=entry["id"],
        folder=entry["folder"],
        label=entry["label"],
        model=entry["model"],
        blocks=entry["blocks"],
        seed=entry["seed"],
        operations=operations,
        layer=entry.get("layer"),
        pair="/".join(pair[operation] for operation in operations) if pair else "",
        weight=entry.get("weight"),
        reference=entry.get("reference"),
        status=status,
        reason=reason,
    )


def _unfinished(path: Path) -> tuple[Status, str]:
    if not path.is_file():
        return "missing", "not run yet"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return ("skipped" if record["status"] == "skipped" else "failed"), str(record["reason"])
    except (ValueError, KeyError, TypeError):
        return "failed", f"its record {path.name} is unreadable"


def _read_rows(folder: Path, name: str) -> pd.DataFrame:
    frame = pd.read_parquet(folder / f"{name}.parquet", columns=COLUMNS[name])
    return frame.astype({column: "category" for column in CATEGORIES if column in frame})


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
