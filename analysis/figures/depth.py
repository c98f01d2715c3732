"""How well class tokens are read, and told apart, at each trained depth: a panel a tier, a colour a model."""

from dataclasses import replace
from typing import Literal

import pandas as pd

from analysis.data.files import short_name
from analysis.data.numbers import share
from analysis.data.results import Results
from analysis.drawing.description import Axis, Chart, Marks
from analysis.figures.series import (
    Shown,
    chance_in_words,
    choice_axis,
    choice_rules,
    counted,
    depth_axis,
    in_panel,
    looks,
    stacked,
    with_series,
)
from study.config.stages import Stage1

Measure = Literal["choice", "order"]
COLUMNS = ["model", "pair", "weight", "wordings", "layer", "depth", "seed", "tier", "templates", "samples", "seeds"]
WORDS: dict[Measure, str] = {
    "choice": "Choice accuracy",
    "order": "Matched pairs of prompts in the right order",
}
"""What a chart shows."""
MARKS = (
    Marks("seed", "line", by=("seed",), width=0.7, opacity=0.5, label="single seeds"),
    Marks("seed", "points", size=2.2, opacity=0.5),
    Marks("w = 0", "line", width=1.2, line="--", label="without a class loss (w = 0)"),
    Marks("mean", "line", width=2.0),
    Marks("mean", "points", size=5.0),
)


def depth(
    results: Results,
    levels: pd.DataFrame,
    means: pd.DataFrame,
    shown: Shown,
    name: str,
    measure: Measure = "choice",
) -> list[Chart]:
    """Describe choice accuracy, or the order of matched pairs, by depth of the plain cells that are shown; none without
    one that has fitted."""
    chosen = _unseen(shown.of(means[means["arm"] == "plain"]))
    drawn = chosen[chosen["seeds"] > 0].dropna(subset=measure)
    if drawn.empty:
        return []
    single = _unseen(shown.of(levels[(levels["arm"] == "plain") & levels["fitted"]]))
    several = drawn.loc[drawn["seeds"] > 1, ["model", "pair", "layer", "tier"]]
    single = single.merge(several, on=list(several))
    panels = {tier: _title(results, shown, drawn, tier) for tier in results.tiers if tier in set(drawn["tier"])}
    zero = drawn.dropna(subset=f"zero_{measure}")
    zero = zero.drop(columns=[measure, f"{measure}_low", f"{measure}_high"]).rename(
        columns={f"zero_{measure}": measure}
    )
    parts = {"mean": drawn, "seed": single, "w = 0": zero}
    pairs = drawn["pair"].nunique() > 1
    parts = {part: in_panel(with_series(rows, pairs), "", rows["tier"].map(panels)) for part, rows in parts.items()}
    data = stacked(parts, [*COLUMNS, measure, f"{measure}_low", f"{measure}_high"])
    chart = Chart(
        name=short_name(name),  # it may hold several wordings
        data=data,
        alt=f"{WORDS[measure]} against relative depth of the trained layer, by tier. {_best(drawn, measure)}",
        caption=_caption(results, shown, drawn, chosen, measure),
        rows={"": list(panels.values())},
        x=depth_axis(),
        y=_axis(results, data, measure),
        looks=looks(results, drawn),
        marks=[_named(results, mark) for mark in MARKS if len(parts[mark.of])],
        rules=choice_rules(results),
        tooltip=("model", "pair", "tier", "layer", "depth", "seed", "seeds", "samples"),
        legend="model",
        wrap=4,
        height=2.1,
        page_size=(155, 140),
    )
    return [chart]


def _named(results: Results, marks: Marks) -> Marks:
    """What is drawn without a class loss is called as the study has it."""
    is_zero = marks.of == "w = 0" and not results.has_answers
    return replace(marks, label=results.terms.without) if is_zero else marks


def _axis(results: Results, data: pd.DataFrame, measure: Measure) -> Axis:
    axis = choice_axis(min(data[measure].min(), *(cell.chance for cell in results.plain)), measure)
    return axis if measure == "choice" else replace(axis, label="pairs in order")


def _unseen(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of templates that no training saw, and all rows of a tier that has no such templates."""
    unseen = frame["templates"] == "unseen"
    return frame[unseen | ~frame["tier"].isin(set(frame.loc[unseen, "tier"]))]


def _title(results: Results, shown: Shown, drawn: pd.DataFrame, tier: str) -> str:
    own = drawn[drawn["tier"] == tier]
    first = results.config.get("stage1", {}).get("wordings", Stage1.model_fields["wordings"].get_default())
    kind = "answers trained" if tier in first and results.has_answers else "not trained"
    kind = "class trained" if tier in shown.wordings.split("+") else kind
    known = "" if (own["templates"] == "unseen").all() else ", all templates"
    return f"{tier}\n({kind}{known})"


def _caption(results: Results, shown: Shown, drawn: pd.DataFrame, chosen: pd.DataFrame, measure: Measure) -> str:
    templates, seeds = counted(drawn["samples"], "template"), counted(drawn["seeds"], "seed")
    what, pair = WORDS[measure], f" A pair differs in the {results.terms.kind} alone"
    more = f"{pair}, and a bias toward one token has no part in its order." if measure == "order" else ""
    zero = drawn[f"zero_{measure}"].dropna()
    lines = "; thin lines are single seeds, the thick line is their mean" if drawn["seeds"].max() > 1 else ""
    without = "the same model after the same steps without a class loss" if results.has_answers else results.terms.zero
    lines += f"; a dashed line is {without}" if len(zero) else ""
    failed = int(chosen.drop_duplicates(["model", "pair", "layer"])["not_fitted"].sum())
    left_out = f" {failed} cells whose class loss stayed above chance are left out." if failed else ""
    seen = "" if (drawn["templates"] == "unseen").all() else " (all templates of tiers of which some training saw all)"
    return (
        f"{what} at the trained layer on {results.terms.held_out} that were held out and templates that no "
        f"training saw{seen}, {' and '.join(dict.fromkeys(drawn['pair']))}, trained on {shown.words} at w = "
        f"{shown.weight:g}. A panel is a tier, below whose name stands what was trained on other templates of it; a "
        f"colour is a model{lines} ({seeds} a depth, {templates} a tier). Dotted: chance, {chance_in_words(results)}; "
        f"grey: 75 %. Intervals are in the table of means.{more}{left_out}"
    )


def _best(drawn: pd.DataFrame, measure: Measure) -> str:
    best = drawn.loc[drawn.groupby("tier", sort=False)[measure].idxmax()].to_dict("records")
    found = ", ".join(f"{row['tier']} {share(row[measure])} in {row['model']} at {row['depth']:.2f}" for row in best)
    return f"Best mean: {found}."
