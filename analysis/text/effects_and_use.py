"""The rows of the report's tables about depths, contrasts, controls that fitted, and the exchange of states."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.data.numbers import probability, share, signed_points
from analysis.data.results import Results
from analysis.outcomes import Decided
from analysis.outcomes.contrasts import CONTRASTS, Asks, words_of_contrasts
from analysis.statistics.intervals import Interval, interval_of
from analysis.text.rows import Row, Rows, first_groups, first_rows
from study.config.arms import words_of
from study.config.units import number_text

CUE_WORDS = 6
"""Of a cue, that a table shows."""


def depth_rows(results: Results, depths: pd.DataFrame) -> Rows:
    """One row a series of cells and tier: the area under the curve, and from which depth it is readable."""

    def row(number: int) -> Row:
        of = depths.iloc[number]
        area = "" if pd.isna(of["area"]) else probability(interval_of(of, "area"))
        series = f"{of['model']} · {words_of(of['arm'])} · {of['pair']} · w {number_text(of['weight'])}"
        trained = f" · {of['wordings']}" if len(results.wordings) > 1 else ""
        counts = [str(of["seeds"]), str(of["samples"])]
        return [series + trained, of["tier"], area, _crossing(interval_of(of, "crossing")), *counts]

    return first_rows(range(len(depths)), row)


def _crossing(found: Interval) -> str:
    """`0.57 [0.40, 0.80]`; `first` is at or before the first trained depth, `never` after the last."""
    told = [
        "first" if part == -math.inf else "never" if part == math.inf else "" if math.isnan(part) else f"{part:.2f}"
        for part in found
    ]
    return told[0] if len(set(told)) == 1 else f"{told[0]} [{told[1]}, {told[2]}]"


def cue_rows(results: Results, cues: pd.DataFrame) -> Rows:
    """One row a series of plain cells and tier: its cues with the lowest and the highest choice accuracy."""

    def row(here: pd.DataFrame) -> Row:
        ordered, first = here.sort_values("choice", kind="stable"), here.iloc[0]
        place = _where(results, first["model"], first["pair"], float(first["weight"]), first["wordings"])
        told = [f"{_short(cue['cue'])}: {share(cue['choice'])}" for cue in ordered.iloc[[0, -1]].to_dict("records")]
        return [f"{place} · L{first['layer']} ({first['depth']:.2f})", first["tier"], str(len(here)), *told]

    return first_groups(cues, ["model", "pair", "weight", "wordings", "layer", "tier"], row)


def _short(cue: str) -> str:
    words = cue.split()
    return " ".join(words[:CUE_WORDS]) + " …" if len(words) > CUE_WORDS else cue


def contrast_rows(results: Results, effects: pd.DataFrame, asks: Asks) -> Rows:
    """One row a contrast, model, pair, weight and wordings, over all depths: a column for each tier."""
    words = words_of_contrasts(results)
    asked = [contrast.name for contrast in CONTRASTS if contrast.asks == asks]

    def row(here: pd.DataFrame) -> Row:
        by_tier, first = {of["tier"]: of for of in here.to_dict("records")}, here.iloc[0]
        where = _where(results, first["model"], first["pair"], float(first["weight"]), first["wordings"])
        told = [_effect(by_tier[tier]) if tier in by_tier else "" for tier in results.tiers]
        return [f"{words[first['contrast']]}: {where}", *told, f"{first['seeds']} x {first['depths']}"]

    own = effects[effects["contrast"].isin(asked) & effects["depth"].isna()]
    return first_groups(own, ["contrast", "model", "pair", "weight", "wordings"], row)


def _where(results: Results, model: str, pair: str, weight: float, wordings: str) -> str:
    parts = [model]
    if len(results.pairs) > 1:
        parts.append(pair)
    if len(results.weights) > 1:
        parts.append(f"w {number_text(weight)}")
    if len(results.wordings) > 1:
        parts.append(wordings)
    return " · ".join(parts)


def _effect(row: Mapping[Any, Any]) -> str:
    return f"{signed_points(interval_of(row, 'difference'))}: {row['verdict']}"


def pooled_rows(results: Results, pooled: pd.DataFrame) -> Rows:
    """One row a contrast, pair, weight and wordings, over models: a column for each tier."""
    words = words_of_contrasts(results)

    def row(here: pd.DataFrame) -> Row:
        first, by_tier = here.iloc[0], {of["tier"]: of for of in here.to_dict("records")}
        where = _where(results, "", first["pair"], float(first["weight"]), first["wordings"]).strip(" ·")
        told = [_over_models(by_tier[tier]) if tier in by_tier else "" for tier in results.tiers]
        return [": ".join(filter(None, [words[first["contrast"]], where])), *told, str(first["models"])]

    return first_groups(pooled, ["contrast", "pair", "weight", "wordings"], row)


def _over_models(row: Mapping[Any, Any]) -> str:
    low, high = (100 * row[f"{end}_model"] for end in ("lowest", "highest"))
    return f"{signed_points(interval_of(row, 'difference'))}, models {low:+.1f} to {high:+.1f}, p {row['p_models']:.3f}"


def fit_rows(results: Results, decided: Decided) -> list[Row]:
    """One row a model and control: how many of its cells fitted, and their class loss beside that of plain cells."""
    rows = []
    cells = decided.levels.drop_duplicates("unit")
    for (model, arm), own in cells.groupby(["model", "arm"], sort=False):
        if arm in {cell.arm for cell in results.cells}:
            span = f"{own['class_loss'].min():.3f} to {own['class_loss'].max():.3f}"
            steps = own["unit"].map(results.rows["curves"].count)
            long = f"{steps.min()} to {steps.max()}" if steps.min() < steps.max() else str(steps.min())
            rows.append([str(model), words_of(str(arm)), f"{int(own['fitted'].sum())} of {len(own)}", span, long])
    return rows


def not_fitted(decided: Decided) -> list[str]:
    """The names of the cells that did not fit, controls among them, which are used nowhere."""
    cells = decided.levels.drop_duplicates("unit")
    labels = decided.outcomes.drop_duplicates("unit").set_index("unit")["label"]
    return [str(labels[unit]) for unit in cells.loc[~cells["fitted"].astype(bool), "unit"]]


def share_rows(results: Results, shares: pd.DataFrame) -> Rows:
    """One row a model, weight, layer and tier: the share of the whole exchange that each subspace makes."""
    names = list(dict.fromkeys(shares["subspace"]))

    def row(here: pd.DataFrame) -> Row:
        by_name, first = {of["subspace"]: of for of in here.to_dict("records")}, here.iloc[0]
        where = f"{first['model']} · w {number_text(float(first['weight']))}"
        if len(results.wordings) > 1:
            where += f" · {first['wordings']}"
        levels = [share(float(first[name])) for name in ("floor_p", "ceiling_p")]
        told = [_share(by_name[name]) if name in by_name else "" for name in names]
        place = f"{where} · L{first['layer']} ({first['depth']:.2f})"
        return [place, first["tier"], *levels, *told, str(first["samples"])]

    return first_groups(shares, ["model", "weight", "wordings", "layer", "depth", "tier"], row)


def share_head(shares: pd.DataFrame) -> list[str]:
    """The heads of the columns of `share_rows`."""
    return ["Cells", "Tier", "floor", "ceiling", *dict.fromkeys(shares["subspace"]), "templates"]


def _share(row: Mapping[Any, Any]) -> str:
    if not row["ceiling"]:
        return "cannot tell"
    found = interval_of(row, "share")
    return f"{found.estimate:.2f} [{found.low:.2f}, {found.high:.2f}]"
