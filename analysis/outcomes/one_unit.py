"""The figures of one finished unit, from its own rows: those of it that a report has in `levels` and `accuracy`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.data.samples import by_sample, few_templates, mean_of_rows
from analysis.data.units import StudyUnit, study_unit
from analysis.outcomes.answers import STAGES
from analysis.outcomes.levels import KINDS
from study.results.schema import PROMPT
from study.results.values import read_table

SAMPLE = [name for name in PROMPT if name != "prompt_id"]


def figures_of_unit(entry: Mapping[str, Any], folder: Path) -> dict[str, float]:
    """Return the figures of a finished unit by name, none of units that are not evaluated.

    `answers/STAGE/TIER` is the share of right answers. Of a cell with a class loss, `choice/KIND/TIER` is the choice
    accuracy of its class tokens at its layer, in templates that no training saw (`unseen`) and in others (`seen`).
    `entry` is that of the unit in study.json, `folder` its folder. Raises FigureError where a figure in its rows is not
    finite, and the exceptions of study.results.finished.UNREADABLE.
    """
    unit = study_unit(dict(entry), "finished", "")
    if unit.kind not in STAGES:
        return {}
    answers = _rows(folder, unit, "answers", ["stage", *SAMPLE, "right"])
    few, found = few_templates([answers]), {}
    answers = answers[answers["right"].notna()]  # labels alone have no answers, and no stage 1
    stages = [stage for stage in STAGES[unit.kind] if (answers["stage"] == stage).any()]
    for tier, samples in by_sample([answers], ["right"], ["unit", "stage"], few).items() if stages else ():
        for stage in stages:
            rows = samples.rows([(unit.id, stage)])
            found[f"answers/{stage}/{tier}"] = mean_of_rows(samples.figures("right", rows, samples.of(rows))).item()
    if unit.layer is None:
        return found
    lens = _rows(folder, unit, "lens", ["stage", "pair", "layer", *SAMPLE, "choice"])
    lens = lens[lens["layer"] == unit.layer]
    for tier, samples in by_sample([lens], ["choice"], ["unit", "stage", "pair", "layer"], few).items():
        rows = samples.rows([unit.trained])
        for kind in KINDS:
            chosen = samples.of(rows, kind)
            if chosen.any():
                found[f"choice/{kind}/{tier}"] = mean_of_rows(samples.figures("choice", rows, chosen)).item()
    return found


def _rows(folder: Path, unit: StudyUnit, table: str, columns: list[str]) -> pd.DataFrame:
    rows: pd.DataFrame = read_table(folder / f"{table}.parquet", columns).to_pandas()
    return rows.assign(unit=unit.id)
