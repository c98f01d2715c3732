"""The rows of the report's tables about onsets in training, and about predictors."""

import pandas as pd

from analysis.data.numbers import probability, share, signed_probability
from analysis.data.results import Results
from analysis.outcomes import Decided
from analysis.statistics.intervals import Interval, interval_of
from analysis.text.rows import Row
from study.config.arms import words_of


def onset_rows(study: Results, onset: pd.DataFrame) -> list[Row]:
    """Per model and arm, on each tier: how many cells passed in training and when, and the width over layers."""
    rows = []
    for model in study.model_names:
        for arm in dict.fromkeys(cell.arm for cell in study.cells):
            here = onset[(onset["model"] == model) & (onset["arm"] == arm)]
            if not here.empty:
                tiers = [_onset(here[here["tier"] == tier]) for tier in study.tiers]
                rows.append([model, words_of(arm), *tiers])
    return rows


def fact_rows(study: Results, decided: Decided) -> list[Row]:
    """Models side by side: size, head, and the outcome on the primary tier."""
    tier, rows = study.decisions.primary_tier, []
    for model in study.model_names:
        blocks = next(unit.blocks for unit in study.units.values() if unit.model == model)
        tied = decided.predictors.loc[decided.predictors["model"] == model, "tied"]
        head = "unknown" if tied.empty else "tied" if tied.iloc[0] else "untied"
        here = decided.plain[(decided.plain["model"] == model) & (decided.plain["tier"] == tier)]
        rows.append([model, str(blocks), head, share(here["choice"].mean()) if len(here) else "none"])
    return rows


def association_rows(associations: pd.DataFrame) -> list[Row]:
    """One row a pre-registered predictor, over all models."""
    rows = []
    for row in associations.to_dict("records"):
        signs = f"{row['signs']} of {row['models']}"
        figures = [_number(row[name], 3) for name in ("p", "smallest_p", "p_holm")]
        increment = _interval(interval_of(row, "increment"))
        rows.append([row["predictor"], signs, _number(row["mean_rho"], 2), *figures, increment, row["words"]])
    return rows


def explained_rows(found: pd.DataFrame) -> list[Row]:
    """One row a pre-registered predictor, over the architectures of a sample."""
    rows = []
    for row in found.to_dict("records"):
        figures = [_number(row["baseline"], 2), _interval(interval_of(row, "increment"))]
        figures += [_number(row[name], 4) for name in ("p", "p_holm")]
        rows.append([row["predictor"], str(row["architectures"]), str(row["models"]), *figures, row["words"]])
    return rows


def correlation_rows(study: Results, by_model: pd.DataFrame) -> list[Row]:
    """One row a predictor, one column a model: rho and the number of cells."""
    rows = []
    for name, here in by_model.groupby("predictor", sort=False):
        found = {row["model"]: f"{_number(row['rho'], 2)} ({row['cells']})" for row in here.to_dict("records")}
        rows.append([str(name), *(found.get(model, "") for model in study.model_names)])
    return rows


def _onset(rows: pd.DataFrame) -> str:
    """`3 of 4, step 20; width 0.25`: medians, the step's over the cells that passed."""
    if rows.empty:
        return ""
    width = f"width {probability(rows['half_width'].median())}"
    watched, passed = rows["last_step"].notna().sum(), rows["onset_step"].dropna()
    if not watched:
        return f"not followed in training; {width}"
    step = f", step {passed.median():.0f}" if len(passed) else ""
    return f"{len(passed)} of {watched}{step}; {width}"


def _number(value: float, decimals: int) -> str:
    return "none" if pd.isna(value) else f"{value:.{decimals}f}"


def _interval(value: Interval) -> str:
    """An increment of R2, with its interval where there is one."""
    if pd.isna(value.low):
        return "none" if pd.isna(value.estimate) else f"{value.estimate:+.2f}, no interval"
    return signed_probability(value)
