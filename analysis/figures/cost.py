"""What the class loss costs: answer accuracy against the same training without it, a line a model and depth."""

import math

import pandas as pd

from analysis.data.numbers import share, signed_points
from analysis.data.results import Results
from analysis.drawing.description import PANEL, ROW, SERIES, Axis, Chart, Marks, Rule
from analysis.figures.series import Shown, counted, looks, short, stacked, with_series
from analysis.statistics.intervals import interval_of

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
    """Describe the cost at each depth and over all depths; none where no cell has one without class loss beside it."""
    chosen = shown.of(effects[effects["contrast"] == CONTRAST]).dropna(subset="difference")
    if chosen.empty:
        return []
    single = _seeds(shown.of(differences[differences["contrast"] == CONTRAST]), chosen)
    several = chosen["pair"].nunique() > 1
    overall = chosen["depth"].isna()
    parts = {"over depths": chosen[overall], "at a depth": chosen[~overall], "seed": single}
    for part, rows in parts.items():
        lines = [_line(row, several) for row in rows.to_dict("records")]
        parts[part] = with_series(rows).assign(line=lines, **{ROW: "", PANEL: rows["tier"]})
    data, margin = stacked(parts, COLUMNS), results.decisions.non_inferiority_margin
    names = list(looks(results, chosen))
    chart = Chart(
        name="cost",
        data=data,
        alt=f"Answer accuracy minus that of w = 0, by model, depth and tier. {_range(chosen[overall])}",
        caption=_caption(results, chosen, shown),
        rows={"": [tier for tier in results.tiers if tier in set(chosen["tier"])]},
        x=Axis("difference", "answer accuracy minus that of w = 0, points", "points", _ends(data, margin)),
        y=Axis("line", "", "named", names=_order(data, names)),
        values="x",
        looks=looks(results, chosen),
        marks=MARKS if len(single) else [marks for marks in MARKS if marks.of != "seed"],
        rules=(Rule(0), Rule(-margin, f"margin, −{100 * margin:g} points", ":", beyond=True)),
        tooltip=("model", "pair", "tier", "depth", "seed", "seeds", "samples", "verdict"),
        legend="model",
        wrap=4,
        height=0.35 + 0.16 * data["line"].nunique(),
        page_size=(170, 40 + 15 * data["line"].nunique()),
    )
    return [chart]


def _line(row: dict[str, object], several: bool) -> str:
    depth = float(str(row["depth"]))
    pair = f" {row['pair']}" if several else ""
    return f"{short(str(row['model']))}{pair}, {'all depths' if math.isnan(depth) else f'{depth:.2f}'}"


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
    return every.merge(chosen.loc[chosen["seeds"] > 1, [*keys, "depth"]], on=[*keys, "depth"])


def _ends(data: pd.DataFrame, margin: float) -> tuple[float, float]:
    """Ends of the axis, with the margin well within it."""
    columns = data[["difference", "difference_low", "difference_high"]]
    low, high = float(columns.min().min()), float(columns.max().max())
    return min(low, -1.6 * margin) - 0.008, max(high, 0.6 * margin) + 0.008


def _caption(results: Results, chosen: pd.DataFrame, shown: Shown) -> str:
    seeds = chosen["seeds"]
    over = "templates" if seeds.max() == 1 else "templates and seeds"
    ticks = ", ticks are single seeds" if seeds.max() > 1 else ""
    margin = 100 * results.decisions.non_inferiority_margin
    kept = chosen[chosen["depth"].isna()]["verdict"].value_counts()
    told = ", ".join(f"{kept.get(word, 0)} {word}" for word in ("preserved", "undecided", "hurt"))
    return (
        f"Answer accuracy after stage 2 with the class loss at w = {shown.weight:g} (trained on {shown.words}) minus "
        f"that of the same steps without it, w = 0, on all templates of a tier: over all depths (large) and at each "
        f"trained depth; {counted(seeds, 'seed')}, {share(results.decisions.confidence)} intervals over {over}{ticks}. "
        f"Dotted: the margin of −{margin:g} points; what lies in the shade is a larger loss than that. Over all depths: "
        f"{told}."
    )


def _range(overall: pd.DataFrame) -> str:
    if overall.empty:
        return "No mean over depths."
    found = [
        f"{row['model']} {row['tier']} {signed_points(interval_of(row, 'difference'))}" for _, row in overall.iterrows()
    ]
    return f"Over all depths, points: {'; '.join(found[:8])}."
