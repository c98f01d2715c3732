"""The questions of the first page about what a class loss costs, and whether the network uses what it trains."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.data.markdown import Markdown, escape
from analysis.data.numbers import share
from analysis.data.results import Results
from analysis.outcomes import Decided
from analysis.outcomes.effects import FLOOR, overall
from analysis.statistics.ratios import FARTHEST
from analysis.text.telling import (
    FEW_MODELS,
    NOT_RUN,
    Difference,
    Question,
    by_verdict,
    groups,
    how_decided,
    main_rows,
    number,
    span,
)

PARTS = {"class": "the class direction", "complement": "all but it", "paired_4": "the 4 directions of most difference"}
"""Of the state, those that the page tells of."""
NEAR_THE_END = "near the last layer the whole state holds the answer itself"
MOST_HURT = 4
"""Costs of other cells that the page names."""


def cost(results: Results, decided: Decided) -> Question:
    asks = "Does it cost answers?"
    rows = main_rows(results, overall(decided.effects, "cost against w = 0"))
    if rows.empty:
        return Question(
            asks, NOT_RUN, Markdown("no cell that learned its class has a finished one with w = 0 beside it")
        )
    margin = 100 * results.decisions.non_inferiority_margin
    words = {"preserved": f"kept within the margin of {margin:g} points", "hurt": "hurt", "undecided": "undecided"}
    words[FLOOR] = "too few are right to show it"
    told = Difference("Right answers, with the class loss minus the same steps without", rows, words)
    sure = f"{how_decided(results, told)}; {escape(_right_without(results, rows))}{escape(_dearest(results, decided))}"
    return Question(asks, by_verdict(results, told), Markdown(sure), [told])


def _right_without(results: Results, rows: pd.DataFrame) -> str:
    """How many answers are right with w = 0, of few models: of few right answers there are few to lose."""
    if rows["model"].nunique() > FEW_MODELS:
        return ""
    told = []
    for model, own in rows.groupby("model", sort=False):
        by_tier = dict(zip(own["tier"], own["value_beside"], strict=True))
        parts = ", ".join(f"{tier} {share(by_tier[tier])}" for tier in results.tiers if tier in by_tier)
        told.append(f"{model} {parts}")
    return f"right with w = 0: {'; '.join(told)}; "


def _dearest(results: Results, decided: Decided) -> str:
    """The largest cost of any plain cell at any depth and tier, where others than the first wordings are shown to hurt,
    and how far predictions on a neutral text have moved."""
    every = decided.effects[decided.effects["contrast"] == "cost against w = 0"]
    worst = every[every["depth"].notna() & (every["verdict"] != FLOOR)].sort_values("difference").to_dict("records")
    said = [f"the largest at one depth is {_cost_at(worst[0])}"] if worst else []
    first = set(main_rows(results, every).index)
    hurt = every[every["depth"].isna() & (every["verdict"] == "hurt") & ~every.index.isin(first)]
    if len(hurt):
        said.append(f"hurt elsewhere: {'; '.join(map(_cost_at, hurt.to_dict('records')[:MOST_HURT]))}")
    return "; ".join(said) + _drift(results)


def _cost_at(row: Mapping[Any, Any]) -> str:
    ends = " to ".join(number(100 * row[f"difference_{end}"]) for end in ("low", "high"))
    at = "" if math.isnan(row["depth"]) else f", {row['depth']:.2f}"
    seeds = ", one seed" if row["seeds"] == 1 else ""
    place = f"{row['model']}, {row['tier']}{at}, trained on {row['wordings']}{seeds}"
    return f"{number(100 * row['difference'])} [{ends}] ({place})"


def _drift(results: Results) -> str:
    moved = {
        of: [results.done[one.id].get("text_kl", {}).get("stage2", math.nan) for one in units if one.finished]
        for of, units in (
            ("with the class loss", results.plain),
            ("w = 0", [one for one in results.units.values() if one.kind == "cell" and one.layer is None]),
        )
    }
    before = _before(results)
    told = [
        f"{min(values):.2g} to {max(values):.2g} nats {of}"
        for of, values in moved.items()
        if values and min(values) >= 0
    ]
    return f"; predictions on a neutral text moved by {', '.join(told)} (KL){before}" if told else ""


def _before(results: Results) -> str:
    """How far stage 1 had moved the predictions of each of few models before."""
    moved: dict[str, list[float]] = {}
    for unit in results.units.values():
        kl = results.done.get(unit.id, {}).get("text_kl", {}).get("stage1")
        if unit.finished and kl is not None and not math.isnan(kl):
            moved.setdefault(unit.model, []).append(kl)
    if not 0 < len(moved) <= FEW_MODELS:
        return ""
    told = [f"{model} by {min(values):.2g} to {max(values):.2g} nats" for model, values in moved.items()]
    return f", after stage 1 had moved {', '.join(told)}"


def use(results: Results, decided: Decided) -> Question:
    asks = "Does the network use it?"
    rows, wordings = decided.shares, "+".join(results.plain[0].wordings)
    own = main_rows(results, rows)
    if own.empty:
        return Question(asks, NOT_RUN, Markdown("no exchange of states, or no prompt that is answered right"))
    zero = rows[(rows["weight"] == 0) & (rows["wordings"] == wordings) & rows["operations"].isin(own["operations"])]
    parts, sure = [], []
    for group, models in groups(own).items():
        possible, without = (of[of["model"].isin(models) & of["ceiling"].astype(bool)] for of in (own, zero))
        if possible.empty:
            parts.append(f"{group}: not even the exchange of the whole state at the layer is shown to move the answer")
            continue
        of_class = possible[possible["subspace"] == "class"]
        told = [
            f"{words} {_shares_of(possible, subspace, without)}"
            for subspace, words in PARTS.items()
            if (possible["subspace"] == subspace).any()
        ]
        parts.append(f"{group}: {', '.join(told)}")
        shown = int((of_class["moved_low"] > 0).sum())
        silent = int((own["model"].isin(models) & (own["subspace"] == "class") & ~own["ceiling"].astype(bool)).sum())
        layers = ", ".join(f"{depth:.2f}" for depth in sorted(set(of_class["depth"])))
        low, high = of_class["samples"].min(), of_class["samples"].max()
        counted = f"{low}" if low == high else f"{low} to {high}"
        sure.append(
            f"{group}: at depths {layers}, {counted} templates; class direction above a random direction in {shown} "
            f"of {len(of_class)} layers and tiers{_untold(silent)}"
        )
    whole = f"the whole state with that of the same prompt for another {results.terms.kind}"
    return Question(
        asks,
        escape(f"Of what it does to exchange {whole}: {'; '.join(parts)}"),
        escape("; ".join([*sure, NEAR_THE_END]) if sure else "the state at the layer may not be where it is read"),
    )


def _untold(places: int) -> str:
    return f" (in {places} others not even the whole state is shown to move the answer)" if places else ""


def _shares_of(rows: pd.DataFrame, subspace: str, without: pd.DataFrame) -> str:
    """`0 to 3 % (intervals -2 to 20; w = 0: 1 %)`."""
    own, zero = (of.loc[of["subspace"] == subspace, "share"] for of in (rows, without))
    beside = f"; w = 0: {span(zero, 100)} %" if len(zero) else ""
    ends = rows.loc[rows["subspace"] == subspace, ["share_low", "share_high"]]
    low, high = ends["share_low"].min(), ends["share_high"].max()
    reach = " to ".join("open" if abs(end) >= FARTHEST else f"{100 * end:.0f}" for end in (low, high))
    return f"{span(own, 100)} % (intervals {reach}{beside})"
