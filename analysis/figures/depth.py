"""How well class tokens are read at each trained depth: a panel a tier, a colour a model."""

import math

import pandas as pd

from analysis.data.files import short_name
from analysis.data.numbers import share
from analysis.data.results import Results
from analysis.drawing.description import Chart, Marks
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
from study.config.study import Stage1

COLUMNS = [
    *("model", "pair", "weight", "wordings", "layer", "depth", "seed", "tier", "templates", "samples", "seeds"),
    *("choice", "choice_low", "choice_high", "lowest_seed", "highest_seed"),
]
MARKS = (
    Marks("seed", "line", by=("seed",), width=0.7, opacity=0.5, label="single seeds"),
    Marks("seed", "points", size=2.2, opacity=0.5),
    Marks("w = 0", "line", width=1.2, line=":", label="without a class loss (w = 0)"),
    Marks("mean", "line", width=2.0),
    Marks("mean", "points", size=5.0),
)


def depth(results: Results, levels: pd.DataFrame, means: pd.DataFrame, shown: Shown, name: str) -> list[Chart]:
    """Describe choice accuracy by depth of the plain cells that are shown; none without one that has fitted."""
    chosen = _unseen(shown.of(means[means["arm"] == "plain"]))
    drawn = chosen[chosen["seeds"] > 0]
    if drawn.empty:
        return []
    single = _unseen(shown.of(levels[(levels["arm"] == "plain") & levels["fitted"]]))
    several = drawn.loc[drawn["seeds"] > 1, ["model", "pair", "layer", "tier"]]
    single = single.merge(several, on=list(several))
    panels = {tier: _title(results, shown, drawn, tier) for tier in results.tiers if tier in set(drawn["tier"])}
    zero = drawn[drawn["zero_choice"].notna()]
    zero = zero.assign(choice=zero["zero_choice"], choice_low=math.nan, choice_high=math.nan)
    parts = {"mean": drawn, "seed": single, "w = 0": zero.assign(lowest_seed=math.nan, highest_seed=math.nan)}
    pairs = drawn["pair"].nunique() > 1
    parts = {part: in_panel(with_series(rows, pairs), "", rows["tier"].map(panels)) for part, rows in parts.items()}
    data = stacked(parts, COLUMNS)
    chart = Chart(
        name=short_name(name),  # it may hold several wordings
        data=data,
        alt=f"Choice accuracy against relative depth of the trained layer, by tier of wording. {_best(drawn)}",
        caption=_caption(results, shown, drawn, chosen),
        rows={"": list(panels.values())},
        x=depth_axis(),
        y=choice_axis(min(data["choice"].min(), *(cell.chance for cell in results.plain))),
        looks=looks(results, drawn),
        marks=[mark for mark in MARKS if len(parts[mark.of])],
        rules=choice_rules(results),
        tooltip=("model", "pair", "tier", "layer", "depth", "seed", "seeds", "samples"),
        legend="model",
        wrap=4,
        height=2.1,
        page_size=(155, 140),
    )
    return [chart]


def _unseen(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of templates that no training saw, and all rows of a tier that has no such templates."""
    unseen = frame["templates"] == "unseen"
    return frame[unseen | ~frame["tier"].isin(set(frame.loc[unseen, "tier"]))]


def _title(results: Results, shown: Shown, drawn: pd.DataFrame, tier: str) -> str:
    own = drawn[drawn["tier"] == tier]
    first = results.config.get("stage1", {}).get("wordings", Stage1.model_fields["wordings"].get_default())
    kind = "answers trained" if tier in first else "not trained"
    kind = "class trained" if tier in shown.wordings.split("+") else kind
    known = "" if (own["templates"] == "unseen").all() else ", all templates"
    return f"{tier}\n({kind}{known})"


def _caption(results: Results, shown: Shown, drawn: pd.DataFrame, chosen: pd.DataFrame) -> str:
    templates, seeds = counted(drawn["samples"], "template"), counted(drawn["seeds"], "seed")
    zero = drawn["zero_choice"].dropna()
    lines = "; thin lines are single seeds, the thick line is their mean" if drawn["seeds"].max() > 1 else ""
    lines += "; a dotted line is the same model after the same steps without a class loss" if len(zero) else ""
    failed = int(chosen.drop_duplicates(["model", "pair", "layer"])["not_fitted"].sum())
    left_out = f" {failed} cells whose class loss stayed above chance are left out." if failed else ""
    seen = "" if (drawn["templates"] == "unseen").all() else " (all templates of tiers of which some training saw all)"
    return (
        f"Choice accuracy at the trained layer on {results.terms.held_out} that were held out and templates that no "
        f"training saw{seen}, {' and '.join(dict.fromkeys(drawn['pair']))}, trained on {shown.words} at w = "
        f"{shown.weight:g}. A panel is a tier, below whose name stands what was trained on other templates of it; a "
        f"colour is a model{lines} ({seeds} a depth, {templates} a tier). Dotted: chance, {chance_in_words(results)}; "
        f"grey: 75 %. Intervals are in the table of means.{left_out}"
    )


def _best(drawn: pd.DataFrame) -> str:
    best = drawn.loc[drawn.groupby("tier", sort=False)["choice"].idxmax()].to_dict("records")
    found = ", ".join(f"{row['tier']} {share(row['choice'])} in {row['model']} at {row['depth']:.2f}" for row in best)
    return f"Best mean: {found}."
