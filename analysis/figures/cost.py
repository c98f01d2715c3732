"""What the class loss costs: answer accuracy against the same training without it, a line a model and depth."""

import math
from typing import Any

import pandas as pd

from analysis.data.numbers import share, signed_points
from analysis.data.results import Results
from analysis.drawing.description import SERIES, Axis, Chart, Marks, Rule
from analysis.figures.series import (
    Shown,
    bounded,
    counted,
    cut_off,
    in_panel,
    looks,
    sampled,
    short,
    stacked,
    with_series,
)
from analysis.statistics.intervals import interval_of

LABEL = "answer accuracy minus that of w = 0, points"
CONTRAST = "cost against w = 0"
COLUMNS = [
    *("model", "pair", "weight", "wordings", "depth", "line", "depths", "seed", "seeds", "tier", "samples"),
    *("value", "value_beside", "difference", "difference_low", "difference_high", "verdict"),
]
MARKS = (
    Marks("at a depth", "intervals", width=1.1, opacity=0.7),
    Marks("over depths", "intervals", width=2.6, opacity=0.45),
    Marks("seed", "ticks", size=6.5, width=0.9, label="single seeds", sample="|"),
    Marks("at a depth", "points", size=4.0),
    Marks("over depths", "points", size=6.5),
)


def cost(results: Results, effects: pd.DataFrame, differences: pd.DataFrame, shown: Shown) -> list[Chart]:
    """Describe the cost at each depth and over all depths, where there are several; none where no cell
    has one without class loss beside it."""
    chosen = shown.of(effects[effects["contrast"] == CONTRAST]).dropna(subset="difference")
    chosen = chosen[chosen["depth"].notna() | (chosen["depths"] > 1)]
    if chosen.empty:
        return []
    single = _seeds(shown.of(differences[differences["contrast"] == CONTRAST]), chosen)
    several = chosen["pair"].nunique() > 1
    overall = chosen["depth"].isna()
    parts: dict[str, pd.DataFrame]
    parts = {"over depths": chosen[overall], "at a depth": chosen[~overall], "seed": single}
    for part, rows in parts.items():
        lines = [_line(row, several) for _, row in rows.iterrows()]
        parts[part] = in_panel(with_series(rows, several).assign(line=lines), "", rows["tier"])
    data, margin = stacked(parts, COLUMNS), results.decisions.non_inferiority_margin
    ends, names = bounded(data, 1.5 * margin), list(looks(results, chosen))
    chart = Chart(
        name="cost",
        data=data,
        alt=f"Answer accuracy minus that of w = 0, by model, depth and tier. {_range(_told(chosen))}",
        caption=_caption(results, chosen, shown) + cut_off(data, *ends),
        rows={"": [tier for tier in results.tiers if tier in set(chosen["tier"])]},
        x=Axis("difference", LABEL, "points against w = 0", "points", ends),
        y=Axis("line", "", scale="named", names=_order(data, names)),
        values="x",
        looks=looks(results, chosen),
        marks=MARKS if len(single) else [marks for marks in MARKS if marks.of != "seed"],
        rules=(Rule(0), Rule(-margin, f"margin, -{100 * margin:g} points", ":", beyond=True)),
        tooltip=("model", "pair", "tier", "depth", "seed", "seeds", "samples", "verdict"),
        legend="model",
        wrap=4,
        height=0.35 + 0.16 * data["line"].nunique(),
        page_size=(170, 40 + 15 * data["line"].nunique()),
    )
    return [chart]


def _line(row: "pd.Series[Any]", several: bool) -> str:
    depth = float(row["depth"])
    pair = f" {row['pair']}" if several else ""
    return f"{short(row['model'])}{pair}, {'all depths' if math.isnan(depth) else f'{depth:.2f}'}"


def _order(data: pd.DataFrame, names: list[str]) -> list[str]:
    """The lines from the top: of each series that over all depths, then each depth."""
    order = data.assign(at=data[SERIES].map({name: i for i, name in enumerate(names)}), deep=data["depth"].fillna(-1))
    return list(dict.fromkeys(order.sort_values(["at", "deep"], kind="stable")["line"]))


def _seeds(single: pd.DataFrame, chosen: pd.DataFrame) -> pd.DataFrame:
    """The differences of single seeds where there are several: at each depth, and their means over depths."""
    keys = ["model", "pair", "tier"]
    means = single.groupby([*keys, "weight", "wordings", "seed"], as_index=False, sort=False)["difference"].mean()
    every = pd.concat([single, means.assign(depth=math.nan)], ignore_index=True)
    every = every.drop(columns=[name for name in every if str(name).startswith("difference_")])
    with_several: pd.DataFrame = every.merge(chosen.loc[chosen["seeds"] > 1, [*keys, "depth"]], on=[*keys, "depth"])
    return with_several


def _caption(results: Results, chosen: pd.DataFrame, shown: Shown) -> str:
    seeds, margin = chosen["seeds"], 100 * results.decisions.non_inferiority_margin
    ticks = ", ticks are single seeds" if seeds.max() > 1 else ""
    verdicts = _told(chosen)["verdict"].value_counts()
    told = ", ".join(f"{verdicts.get(word, 0)} {word}" for word in ("preserved", "undecided", "hurt"))
    several = chosen["depth"].isna().any()
    places = "over all depths (large) and at each trained depth" if several else "at the trained depth"
    return (
        f"Answer accuracy after stage 2 with the class loss at w = {shown.weight:g} (trained on {shown.words}) minus "
        f"that of the same steps without it, w = 0, on all templates of a tier: {places}; {counted(seeds, 'seed')}, "
        f"{share(results.decisions.confidence)} intervals over {sampled(seeds)}{ticks}. Dotted: the margin of "
        f"-{margin:g} points; the shade is a loss larger than that. Verdicts"
        f"{' over all depths' if several else ''}: {told}."
    )


def _told(chosen: pd.DataFrame) -> pd.DataFrame:
    """What words are of: means over all depths, where there are several."""
    overall = chosen[chosen["depth"].isna()]
    return chosen if overall.empty else overall


def _range(told: pd.DataFrame) -> str:
    found = [
        f"{row['model']} {row['tier']} {signed_points(interval_of(row, 'difference'))}" for _, row in told.iterrows()
    ]
    return f"In points: {'; '.join(found[:8])}."
