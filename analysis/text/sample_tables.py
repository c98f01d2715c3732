"""Rows of the tables about a sample of small models: what areas vary with, designs compared, and a card for each
architecture."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.data.numbers import signed_points, signed_probability
from analysis.data.results import Results
from analysis.outcomes.factors import ALL_TIERS
from analysis.outcomes.forecast import FEATURES
from analysis.outcomes.sample import learned
from analysis.statistics.intervals import interval_of
from analysis.text.rows import Row, Rows, first_rows
from study.config.arms import adapters_of, words_of
from study.config.designs import CONTRASTS, DESIGNS
from study.config.predictors import PREDICTORS


def variance_rows(found: pd.DataFrame) -> Rows:
    """What the areas of a sample's models vary with, by pair."""

    def row(one: Mapping[Any, Any]) -> Row:
        told = f"{100 * one['share']:.0f} [{100 * one['share_low']:.0f}, {100 * one['share_high']:.0f}]"
        return [one[name] for name in ("pair", "tiers", "architectures", "models", "seeds", "component")] + [told]

    return first_rows(found.to_dict("records"), row)


def factor_rows(found: pd.DataFrame) -> Rows:
    """What the architectures of one design read more than others, over all tiers."""

    def row(one: Mapping[Any, Any]) -> Row:
        counts = f"{one['with_it']} against {one['without_it']}"
        told = "too few" if pd.isna(one["difference"]) else signed_probability(interval_of(one, "difference"))
        p = "" if pd.isna(one["p_holm"]) else f"{one['p_holm']:.3f}"
        return [CONTRASTS[one["contrast"]].words, counts, told, p]

    return first_rows(found[found["tier"] == ALL_TIERS].to_dict("records"), row)


def manipulation_table(found: pd.DataFrame) -> dict[str, list[Any]]:
    """Return what each manipulation changes: `head`, the manipulations in words, and `rows`, one a tier, the last of
    all tiers together with its corrected p."""
    arms = list(dict.fromkeys(found.loc[found["difference"].notna(), "arm"]))
    by_place = {(row["arm"], row["tier"]): row for row in found.to_dict("records")}
    rows: list[Row] = []
    for tier in dict.fromkeys(found["tier"]):
        told = [by_place.get((arm, tier)) for arm in arms]
        rows.append([str(tier), *map(_difference, told)])
    return {"head": [words_of(arm) for arm in arms], "rows": rows if arms else []}


def _difference(row: Mapping[Any, Any] | None) -> str:
    if row is None or pd.isna(row["difference"]):
        return ""
    p = "" if pd.isna(row["p_holm"]) else f", p = {row['p_holm']:.3f}" if row["p_holm"] >= 0.001 else ", p below 0.001"
    return f"{signed_points(interval_of(row, 'difference'))}{p}"


def forecast_rows(found: pd.DataFrame) -> list[Row]:
    """How well choice accuracy was foretold in architectures that were left out, an arm a row."""
    return [
        [
            *(adapters_of(str(row["arm"])), PREDICTORS[FEATURES[str(row["arm"])][0]].words),
            *(str(row["architectures"]), f"{row['places']:,}", f"{row['rank']:.2f}", f"{row['baseline_rank']:.2f}"),
            *(f"{100 * row['error']:.0f}", f"{100 * row['baseline_error']:.0f}"),
        ]
        for row in found.to_dict("records")
    ]


def card_rows(results: Results, areas: pd.DataFrame) -> list[tuple[str, list[Row]]]:
    """Return, for each architecture of a sample in the order of its names, a heading and a row a model and pair: its
    parameters, its areas by tier (means over seeds), and how often it answered before stage 2."""
    sample = results.nursery.sample if results.nursery else None
    if sample is None or areas.empty:
        return []
    made = [unit for unit in results.units.values() if unit.kind == "nursery" and unit.finished]
    size = {unit.model: results.done[unit.id].get("facts", {}).get("parameters") for unit in made}
    known = learned(areas)
    kept = set(zip(known["model"], known["pair"], strict=True)) if len(known) else set()
    cards = []
    for architecture in sorted(sample.architectures):
        own = areas[areas["architecture"] == architecture]
        rows: list[Row] = []
        for (model, pair), here in own.groupby(["model", "pair"], sort=False):
            means = here.groupby("tier", sort=False)[["area", "answers"]].mean()
            told = ", ".join(f"{tier} {row['area']:.2f}" for tier, row in means.iterrows())
            if (model, pair) not in kept:
                told = "task not learned"
            answers = f"{100 * means['answers'].iloc[0]:.0f}"
            rows.append([str(model), _thousands(size.get(str(model))), str(pair), told, answers])
        design = DESIGNS[architecture].words if architecture in DESIGNS else ""
        if rows:
            cards.append((f"{architecture}: {design}" if design else architecture, rows))
    return cards


def _thousands(count: int | None) -> str:
    return "" if count is None else f"{count / 1000:.0f}k"
