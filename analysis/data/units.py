"""The units of a study, as reports tell of them."""

from dataclasses import dataclass
from typing import Any

from analysis.data.samples import Key
from analysis.data.stored import UnitState
from study.config.names import TIERS
from study.config.recipes import TRAINING, recipe_of
from study.config.units import Kind

PLACE = ("unit", "model", "pair", "layer", "depth", "weight", "seed")


@dataclass(frozen=True)
class StudyUnit:
    """One piece of the study: the training of a small model, a stage 1, what is read of it (baseline and stage 1,
    predictors), or a cell."""

    kind: Kind
    id: str
    folder: str
    label: str
    model: str
    blocks: int
    seed: int
    operations: tuple[str, ...]
    tiers: tuple[str, ...]
    """Of wording, those of the task."""
    layer: int | None
    pair: str
    """Class names of the grid's pair joined by `/`, the same in every arm; empty where there is none (w = 0)."""
    readout: str
    """The cell's own class tokens, as they stand in the column `pair` of rows; empty where w = 0."""
    arm: str
    """`plain` or the name of a control; empty for all but cells."""
    wordings: tuple[str, ...]
    """Tiers that stage 2 trained on; empty for all but cells."""
    weight: float | None
    choices: tuple[str, ...]
    """Of its recipe, those that change the training; empty for all but cells, and where it is the corrected one."""
    stage2: str
    """`500 steps at 0.0002`; empty for all but cells."""
    apart: bool
    """Whether it is trained by another recipe, or another stage 2, than most of the study."""
    reference: str | None
    status: UnitState
    reason: str
    class_names: tuple[str, ...] = ()
    """Those of `pair`, in the order of `operations`."""
    changed: str = ""
    """In what its stage 2 is another than most of the study's: `steps=200`; empty where it is not."""

    @property
    def finished(self) -> bool:
        return self.status == "finished"

    @property
    def recipe(self) -> str:
        """By which a cell is trained."""
        return recipe_of(self.choices, TRAINING)

    @property
    def chance(self) -> float:
        return 1 / len(self.operations)

    @property
    def trained(self) -> Key:
        """Of a cell, the key of its own class tokens at its trained layer after stage 2, in Results.readouts."""
        return self.id, "stage2", self.readout, self.layer

    @property
    def depth(self) -> float:
        """Relative depth (L+1)/N of the trained layer; NaN where there is none."""
        return float("nan") if self.layer is None else (self.layer + 1) / self.blocks


def place(unit: StudyUnit) -> dict[str, object]:
    """Where the unit stands in the study: the columns PLACE."""
    return {name: getattr(unit, "id" if name == "unit" else name) for name in PLACE}


def study_unit(entry: dict[str, Any], status: UnitState, reason: str) -> StudyUnit:
    """Return the unit of an entry of study.json."""
    operations, pair = tuple(entry["operations"]), entry["pair"]
    return StudyUnit(
        kind=entry["kind"],
        id=entry["id"],
        folder=entry["folder"],
        label=entry["label"],
        model=entry["model"],
        blocks=entry["blocks"],
        seed=entry["seed"],
        operations=operations,
        tiers=tuple(entry.get("tiers", TIERS)),  # which were the only ones before custom tasks
        layer=entry["layer"],
        pair="/".join(pair[operation] for operation in operations) if pair else "",
        class_names=tuple(pair[operation] for operation in operations) if pair else (),
        readout=entry["readout"] or "",
        arm=entry["arm"] or "",
        wordings=tuple(entry["wordings"] or ()),
        weight=entry["weight"],
        choices=tuple(entry.get("choices") or ()),  # which there were none of before recipes
        stage2=_stage2(entry) if entry["kind"] == "cell" else "",
        apart=bool(entry.get("choices") or entry.get("changed")),
        reference=entry["reference"],
        status=status,
        reason=reason.encode(errors="replace").decode(),
        changed=", ".join(f"{name}={entry['settings']['stage2'][name]}" for name in entry.get("changed") or ()),
    )


def _stage2(entry: dict[str, Any]) -> str:
    settings = entry.get("settings", {}).get("stage2")
    if not settings:
        return ""
    more = [name for name in entry.get("changed") or () if name not in ("steps", "learning_rate")]
    others = [f", {name.replace('_', ' ')} {settings[name]}" for name in more]
    return f"{settings['steps']} steps at {settings['learning_rate']:g}{''.join(others)}"
