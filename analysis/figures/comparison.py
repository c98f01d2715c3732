"""What differs between two sides: paired differences by depth, a row of panels a measure, a panel a tier."""

from collections.abc import Sequence

import pandas as pd

from analysis.data.matching import Matched
from analysis.data.numbers import share, signed_points
from analysis.drawing.axes import step_aside
from analysis.drawing.description import ROW, SERIES, Axis, Chart, Look, Marks, Rule
from analysis.drawing.style import colour, line, marker
from analysis.figures.series import (
    MOST_PANELED,
    aside,
    bounded,
    counted,
    cut_off,
    depth_axis,
    in_panel,
    sampled,
    short,
    stacked,
)
from analysis.outcomes.comparison import AT_DEPTHS, DECIDED, Comparison
from analysis.outcomes.comparison import SERIES as ALIKE
from analysis.statistics.intervals import interval_of

COLUMNS = [
    *("measure", *ALIKE, "tier", "templates", "depth", "at", "seed_a", "seed_b", "seeds", "samples", "a", "b"),
    *("difference", "difference_low", "difference_high", "together_low", "together_high", "verdict"),
]
LEAST = 0.1
"""Half of the shortest axis: noise is not to fill a panel."""
MARKS = (
    Marks("difference", "intervals", width=1.0, opacity=0.55),
    Marks("seed", "ticks", size=5.0, width=0.9, opacity=0.9, label="single seeds", sample="_"),
    Marks("difference", "line", width=0.8, opacity=0.45),
    Marks("difference", "points", size=4.2),
)


def comparison(matched: Matched, found: Comparison) -> list[Chart]:
    """Describe the differences at each depth of the cells that the first table is about; none without one."""
    chosen = found.differences[found.differences["family"] == AT_DEPTHS]
    if chosen.empty:
        return []
    models = list(dict.fromkeys(chosen["model"]))
    shown = models[:MOST_PANELED]
    chosen = chosen[chosen["model"].isin(shown)]
    single = found.single.assign(difference=found.single["b"] - found.single["a"])
    keys = ["measure", *ALIKE, "tier", "depth"]
    single = single.merge(chosen.loc[chosen["seeds"] > 1, keys], on=keys)
    names = {model: _name(matched, model) for model in shown}
    looks = {name: Look(colour(i), marker(i), line(0)) for i, name in enumerate(names.values())}
    step = step_aside(chosen["depth"], len(looks))
    parts = {"difference": chosen, "seed": single} if len(single) else {"difference": chosen}
    for part, rows in parts.items():
        rows = in_panel(rows.assign(**{SERIES: rows["model"].map(names)}), rows["measure"].map(_heading), rows["tier"])
        parts[part] = rows.assign(at=aside(rows, list(looks), step))
    data = stacked(parts, COLUMNS)
    headings = {measure: _heading(measure) for measure in DECIDED if measure in set(chosen["measure"])}
    ends = {heading: bounded(data[data[ROW] == heading], LEAST) for heading in headings.values()}
    lows, highs = (data[ROW].map({heading: own[end] for heading, own in ends.items()}) for end in (0, 1))
    return [
        Chart(
            name="comparison",
            data=data,
            alt=f"B minus A against relative depth, by measure and tier. {_largest(chosen, headings)}",
            caption=_caption(matched, chosen, models, shown) + cut_off(data, lows, highs),
            rows={
                heading: _tiers(matched, chosen[chosen["measure"] == measure]) for measure, heading in headings.items()
            },
            x=depth_axis("at"),
            y=Axis("difference", "B minus A, points", "points", "points"),
            looks=looks,
            marks=MARKS if len(single) else [marks for marks in MARKS if marks.of != "seed"],
            rules=(Rule(0),),
            tooltip=("measure", "model", "tier", "depth", "seed_a", "seed_b", "seeds", "samples", "a", "b"),
            legend="model",
            wrap=4,
            height=1.35,
            page_size=(155, 120),
            ends=ends,
        )
    ]


def _name(matched: Matched, model: str) -> str:
    """`beta minus alpha` where the models differ."""
    other = str(matched.axes["model"][model])
    return short(model) if other == model else f"{short(other)} minus {short(model)}"


def _heading(measure: str) -> str:
    return f"{measure[0].upper()}{measure[1:]}"


def _tiers(matched: Matched, rows: pd.DataFrame) -> list[str]:
    return [tier for tier in matched.a.results.tiers if tier in set(rows["tier"])]


def _caption(matched: Matched, chosen: pd.DataFrame, models: Sequence[str], shown: Sequence[str]) -> str:
    first, seeds = chosen.iloc[0], chosen["seeds"]
    ticks = "; ticks are single seeds" if seeds.max() > 1 else ""
    few = f" The first {len(shown)} of {len(models)} models." if len(shown) < len(models) else ""
    arm = "" if first["arm"] == "plain" else f", {str(first['arm']).replace('_', ' ')}"
    return (
        f"B minus A, paired by template and seed, {first['pair']} at w = {first['weight']:g}, trained on "
        f"{str(first['wordings']).replace('+', ' and ')}{arm}: points are means of {counted(seeds, 'seed')} and "
        f"{counted(chosen['samples'], 'template')}, with {share(matched.a.results.decisions.confidence)} intervals "
        f"over {sampled(seeds)}, each by itself{ticks}. The line is no difference.{few}"
    )


def _largest(chosen: pd.DataFrame, headings: dict[str, str]) -> str:
    found = []
    for measure, heading in headings.items():
        row = chosen[chosen["measure"] == measure].sort_values("difference", key=abs).iloc[-1]
        told = signed_points(interval_of(row, "difference"))
        found.append(f"{heading} {told} on {row['tier']} at {row['depth']:.2f}")
    return f"Largest differences in points: {'; '.join(found)}."
