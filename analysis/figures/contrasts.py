"""What one thing changes in choice accuracy: paired differences by depth, a row of panels a contrast."""

import pandas as pd

from analysis.data.numbers import share, signed_points
from analysis.data.results import Results
from analysis.drawing.axes import step_aside
from analysis.drawing.description import ROW, Axis, Chart, Marks, Rule
from analysis.figures.series import (
    Shown,
    aside,
    bounded,
    counted,
    cut_off,
    depth_axis,
    in_panel,
    looks,
    sampled,
    stacked,
    with_series,
)
from analysis.outcomes.contrasts import CONTRASTS
from analysis.statistics.intervals import interval_of
from study.config.arms import arms_that_are

COLUMNS = [
    *("contrast", "model", "pair", "weight", "wordings", "depth", "at", "seed", "tier", "templates", "samples"),
    *("seeds", "value", "value_beside", "difference", "difference_low", "difference_high", "verdict"),
]
LEAST = 0.1
"""Half of the shortest axis: noise is not to fill a panel."""
MARKS = (
    Marks("effect", "intervals", width=1.0, opacity=0.55),
    Marks("seed", "ticks", size=5.0, width=0.9, opacity=0.9, label="single seeds", sample="_"),
    Marks("effect", "line", width=0.8, opacity=0.45),
    Marks("effect", "points", size=4.2),
)


def contrasts(
    results: Results, effects: pd.DataFrame, differences: pd.DataFrame, means: pd.DataFrame, shown: Shown
) -> list[Chart]:
    """Describe every contrast in choice accuracy of the cells that are shown; none without one."""
    drawn = {one.name for one in CONTRASTS if (one.column, one.asks) == ("choice", "control")}
    chosen = shown.of(effects[effects["contrast"].isin(drawn)]).dropna(subset=["depth", "difference"])
    if chosen.empty:
        return []
    single = shown.of(differences[differences["measure"] == "choice"])
    there = ["contrast", "model", "pair", "tier", "depth"]
    single = single.merge(chosen.loc[chosen["seeds"] > 1, there], on=there)
    headings = {one.name: _heading(one.words) for one in CONTRASTS if one.name in set(chosen["contrast"])}
    names = looks(results, chosen)
    step = step_aside(chosen["depth"], len(names))
    parts, several = {}, chosen["pair"].nunique() > 1
    for part, rows in {"effect": chosen, "seed": single}.items():
        rows = in_panel(with_series(rows, several), rows["contrast"].map(headings), rows["tier"])
        parts[part] = rows.assign(at=aside(rows, list(names), step))
    data = stacked(parts, COLUMNS)
    ends = {heading: bounded(data[data[ROW] == heading], LEAST) for heading in headings.values()}
    lows, highs = (data[ROW].map({heading: own[end] for heading, own in ends.items()}) for end in (0, 1))
    chart = Chart(
        name="contrasts",
        data=data,
        alt=(
            "Paired differences in choice accuracy against relative depth, by contrast and tier of wording. "
            f"{_largest(chosen, headings)}"
        ),
        caption=_caption(results, chosen, means, shown) + cut_off(data, lows, highs),
        rows={
            heading: [tier for tier in results.tiers if tier in set(chosen.loc[chosen["contrast"] == name, "tier"])]
            for name, heading in headings.items()
        },
        x=depth_axis("at"),
        y=Axis("difference", "difference in choice accuracy, points", "points", "points"),
        looks=names,
        marks=MARKS if len(single) else [marks for marks in MARKS if marks.of != "seed"],
        rules=(Rule(0),),
        tooltip=("contrast", "model", "pair", "tier", "depth", "seed", "seeds", "samples"),
        legend="model",
        wrap=4,
        height=1.35,
        page_size=(155, 120),
        ends=ends,
    )
    return [chart]


def _heading(words: str) -> str:
    return f"{words[0].upper()}{words[1:].replace('_', ' ')}"


def _caption(results: Results, chosen: pd.DataFrame, means: pd.DataFrame, shown: Shown) -> str:
    seeds = chosen["seeds"]
    ticks = "; ticks are the differences of single seeds" if seeds.max() > 1 else ""
    memory = (
        " Labels that are shuffled are compared on templates whose labels were seen in training, where they can be "
        "remembered; all else is on templates that no training saw."
        if (chosen["templates"] == "labelled").any()
        else " All are on templates that no training saw."
    )
    return (
        f"Differences in choice accuracy between cells that differ in one thing, paired by template and seed, trained "
        f"on {shown.words} at w = {shown.weight:g}: points are means of {counted(seeds, 'seed')} and "
        f"{counted(chosen['samples'], 'template')}, with {share(results.decisions.confidence)} intervals over "
        f"{sampled(seeds)}"
        f"{ticks}. Models stand side by side at a depth. The line is no difference.{memory}{_not_fitted(means)}"
    )


def _not_fitted(means: pd.DataFrame) -> str:
    """How many controls are left out since they have not learned their own labels."""
    controls = means[means["arm"].isin(arms_that_are("control"))]
    if controls.empty:
        return ""
    cells = controls.drop_duplicates(["model", "pair", "arm", "weight", "wordings", "layer"])
    failed, every = int(cells["not_fitted"].sum()), int((cells["not_fitted"] + cells["seeds"]).sum())
    if not failed:
        return f" All {every} controls learned their own labels."
    return f" {failed} of {every} controls did not learn their own labels, and are left out."


def _largest(chosen: pd.DataFrame, headings: dict[str, str]) -> str:
    found = []
    for name, heading in headings.items():
        own = chosen[chosen["contrast"] == name]
        row = own.sort_values("difference", key=abs).iloc[-1]
        found.append(
            f"{heading} {signed_points(interval_of(row, 'difference'))} on {row['tier']} at {row['depth']:.2f}"
        )
    return f"Largest differences in points: {'; '.join(found)}."
