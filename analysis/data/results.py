"""A folder of results as typed units and data frames; only finished units carry rows."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.data.samples import FewTemplates, Flags, Samples, by_sample, few_templates, order_of_pairs
from analysis.data.stored import read_stored
from analysis.data.terms import ARITHMETIC, LABELS, OWN, Terms
from analysis.data.unit_rows import UnitRows
from analysis.data.units import StudyUnit, study_unit
from study.config.evaluation import Decisions
from study.config.lenses import LENSES
from study.config.names import Names
from study.config.nursery import Nursery
from study.config.units import commonest_weight
from study.results.description import ResultsError, read_description

SETTINGS = ("model", "layer", "pair", "arm", "wordings", "weight", "seed")
"""What tells the cells with a class loss of a study apart."""


@dataclass(frozen=True)
class Results:
    """Everything that a report may use; frames are by unit id and hold finished units only."""

    name: str
    config: dict[str, Any]
    models: dict[str, dict[str, Any]]
    units: dict[str, StudyUnit] = field(default_factory=dict)
    apart: dict[str, StudyUnit] = field(default_factory=dict)
    """Cells of another recipe, or with another stage 2: beside the study, not among its outcomes."""
    done: dict[str, dict[str, Any]] = field(default_factory=dict)
    rows: dict[str, UnitRows] = field(default_factory=dict)
    """By table of study.results.schema, then by unit id. `lens` has the prompts where a cell is trained and at the last
    layer, `profile` the means over prompts at every layer."""

    known: dict[tuple[object, ...], Any] = field(default_factory=dict, repr=False, compare=False)
    """What was computed before of single units, since several decisions are made from it."""

    @cached_property
    def everything(self) -> dict[str, StudyUnit]:
        return self.units | self.apart

    @cached_property
    def decisions(self) -> Decisions:
        return Decisions.model_validate(self.config.get("decisions", {}), context=Names((), self.tiers))

    @property
    def class_name(self) -> str:
        """How class names are read; a study that was written before there was a choice has single tokens."""
        return str(self.config.get("class_name", "single"))

    @property
    def named_by_path(self) -> list[str]:
        """The names of models and prompts that the study gave by their path, of which the name alone is recorded."""
        data, asked = self.config.get("data", {}), self.config.get("models", [])
        models = [self.models.get(name, {}).get("source", {}) for name in asked]
        paths = [source.get("folder") or source.get("gguf") for source in models]
        here = [name for name, path in zip(asked, paths, strict=True) if path and Path(path).name.startswith(name)]
        return here + [data[key] for key in ("file", "dataset") if data.get(key)]

    @property
    def lens(self) -> str:
        """The lens by which classes are trained and read, in words."""
        return LENSES[self.config.get("lens", "logit")]

    @cached_property
    def nursery(self) -> Nursery | None:
        """The small models that the study trained itself."""
        written = self.config.get("nursery")
        return Nursery.model_validate(written) if written else None

    @cached_property
    def tiers(self) -> tuple[str, ...]:
        """Of wording, in the order in which they are told."""
        return next(iter(self.units.values())).tiers

    @cached_property
    def terms(self) -> Terms:
        own = OWN if self.has_answers else LABELS
        return own if "file" in self.config.get("data", {}) else ARITHMETIC

    @cached_property
    def has_answers(self) -> bool:
        """Whether prompts have answers; where they have labels alone there is no stage 1, and no answer is scored."""
        return self.config.get("data", {}).get("answers") is not False

    @property
    def before_stage(self) -> str:
        """The stage after which a reference has the model that cells train on."""
        return "stage1" if self.has_answers else "baseline"

    @property
    def zero_stage(self) -> str:
        """The stage after which `zero_of` a cell is read."""
        return "stage2" if self.has_answers else "baseline"

    @cached_property
    def cells(self) -> list[StudyUnit]:
        """All cells with a class loss, finished or not.

        Ordered by model, pair, wordings and arm (as listed, plain first), layer, weight and seed.
        """
        cells = [unit for unit in self.units.values() if unit.kind == "cell" and unit.layer is not None]
        models, pairs, arms = self.model_names, self.pairs, _distinct(["plain", *(cell.arm for cell in cells)])
        wordings = _distinct("+".join(cell.wordings) for cell in cells)
        return sorted(
            cells,
            key=lambda c: (
                models.index(c.model),
                pairs.index(c.pair),
                wordings.index("+".join(c.wordings)),
                arms.index(c.arm),
                c.layer or 0,
                c.weight or 0,
                c.seed,
            ),
        )

    @cached_property
    def plain(self) -> list[StudyUnit]:
        """The cells that are no control: figures and prose about where classifiers emerge are of these alone."""
        return [cell for cell in self.cells if cell.arm == "plain"]

    @cached_property
    def wordings(self) -> list[tuple[str, ...]]:
        """The sets of wordings on which plain cells were trained."""
        return list(dict.fromkeys(cell.wordings for cell in self.plain))

    @cached_property
    def has_several_wordings(self) -> bool:
        """Whether cells, controls among them, were trained on several sets of wordings."""
        return len({cell.wordings for cell in self.cells}) > 1

    @cached_property
    def weights(self) -> list[float]:
        """Of plain cells."""
        return sorted({cell.weight or 0.0 for cell in self.plain})

    @cached_property
    def shown_weight(self) -> float:
        """Of pictures at one weight: the one that most plain cells have, further seeds among them."""
        return commonest_weight(cell.weight or 0.0 for cell in self.plain)

    @cached_property
    def model_names(self) -> list[str]:
        return _distinct(unit.model for unit in self.units.values())

    @cached_property
    def pairs(self) -> list[str]:
        return _distinct(unit.pair for unit in self.units.values() if unit.pair)

    @cached_property
    def seeds(self) -> list[int]:
        return sorted({unit.seed for unit in self.units.values()})

    @cached_property
    def asked_depths(self) -> list[float]:
        """The relative depths that the grid asks for as such; of each model the nearest layers are trained."""
        parts = [self.config.get("grid", {}), *self.config.get("also", [])]
        return sorted({layer for part in parts for layer in part.get("layers") or () if isinstance(layer, float)})

    def reference_of(self, cell: StudyUnit) -> StudyUnit | None:
        """The finished evaluation of the baseline and of stage 1 that `cell` is compared with."""
        reference = self.units.get(cell.reference or "")
        return reference if reference and reference.finished else None

    def zero_of(self, cell: StudyUnit) -> StudyUnit | None:
        """The finished w = 0 cell of the same model, seed, operations and wordings; without answers, where there is
        nothing else to train, the reference of the model as it came."""
        return self._zeros.get(_without_class(cell)) if self.has_answers else self.reference_of(cell)

    def partners(self, cell: StudyUnit, **changed: object) -> list[StudyUnit]:
        """The finished cells with a class loss that differ from `cell` in what is `changed` alone, by the names of
        StudyUnit."""
        return self._by_settings.get(tuple(changed.get(key, getattr(cell, key)) for key in SETTINGS), [])

    @cached_property
    def _zeros(self) -> dict[object, StudyUnit]:
        found: dict[object, StudyUnit] = {}
        for unit in self.units.values():
            if unit.kind == "cell" and unit.layer is None and unit.finished:
                found.setdefault(_without_class(unit), unit)
        return found

    @cached_property
    def _by_settings(self) -> dict[tuple[object, ...], list[StudyUnit]]:
        found: dict[tuple[object, ...], list[StudyUnit]] = {}
        for cell in self.cells:
            if cell.finished:
                found.setdefault(tuple(getattr(cell, key) for key in SETTINGS), []).append(cell)
        return found

    @cached_property
    def few_templates(self) -> FewTemplates:
        """The units and tiers whose samples are groups of operands, since they have few templates."""
        return few_templates(self.rows["answers"].chunks())

    def sample_of(self, tier: str) -> str:
        """What the figures of a tier are means over, in words: templates, or groups where there are few of these."""
        return f"{self.terms.group}s" if any(own == tier for _, own in self.few_templates) else "templates"

    @property
    def samples_are(self) -> str:
        """What the figures of all tiers are means over, in words."""
        return " and ".join(dict.fromkeys(map(self.sample_of, self.tiers)))

    @cached_property
    def answered(self) -> dict[str, Samples]:
        """By tier the answers of every unit and stage: `right`, `number_right` and `nll`; of no tier where prompts have
        none."""
        if not self.has_answers:
            return {}
        columns = ["right", "number_right", "nll"]
        return self._by_tier(by_sample(self.rows["answers"].chunks(), columns, ["unit", "stage"], self.few_templates))

    @cached_property
    def readouts(self) -> dict[str, Samples]:
        """By tier the read-outs of every unit, stage, pair and layer at which a cell of its model is trained: `choice`,
        `p` and `order`."""
        apart = ["unit", "stage", "pair", "layer"]
        chosen = (rows[self._at_trained_layers(rows)] for rows in self.rows["lens"].chunks())
        read = (rows.assign(p=np.exp(rows["log_p"]), order=order_of_pairs(rows, apart)) for rows in chosen)
        return self._by_tier(by_sample(read, ["choice", "p", "order"], apart, self.few_templates))

    def _by_tier(self, found: dict[str, Samples]) -> dict[str, Samples]:
        return {tier: found[tier] for tier in self.tiers if tier in found}

    def _at_trained_layers(self, lens: pd.DataFrame) -> Flags:
        """Which rows are of a layer at which a cell of the unit's model is trained; of a cell, of its own one."""
        trained: dict[str, set[int]] = {}
        for unit in self.everything.values():
            if unit.layer is not None:
                trained.setdefault(unit.model, set()).add(unit.layer)
        units = lens["unit"].cat.categories
        layers = lens["layer"].to_numpy(np.intp)
        most = max([int(layers.max(initial=0)), *(layer for own in trained.values() for layer in own)])
        wanted = np.zeros((len(units), most + 1), bool)
        for row, unit in enumerate(map(self.everything.__getitem__, units)):
            wanted[row, [unit.layer] if unit.layer is not None else sorted(trained.get(unit.model, ()))] = True
        return np.asarray(wanted[lens["unit"].cat.codes.to_numpy(), layers])


def _without_class(unit: StudyUnit) -> tuple[object, ...]:
    """What a cell has in common with the one that is trained in the same way without a class loss."""
    return unit.model, unit.seed, frozenset(unit.operations), frozenset(unit.wordings)


def read_results(folder: Path) -> Results:
    """Read results/<study>, or the same packed. Raises ResultsError where there is no readable study.json."""
    study = read_description(folder)
    try:
        json.dumps(study, ensure_ascii=False).encode()  # which text with halves of characters has no form for
        stored = read_stored(folder, study)
        units = [study_unit(entry, *stored.unfinished.get(entry["id"], ("finished", ""))) for entry in study["units"]]
        main, apart = ({unit.id: unit for unit in units if unit.apart == beside} for beside in (False, True))
        results = Results(study["name"], study["config"], study["models"], main, apart, stored.done, stored.rows)
        _ = results.decisions, results.nursery  # validated here, where a mistake still has the file's name
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ResultsError(
            f"{folder / 'study.json'} is not a study's description: {type(error).__name__}: {error}"
        ) from error
    return results


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
