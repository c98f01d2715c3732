"""What may explain where class tokens can be read: correlations within each model, and what each predictor adds."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.drawing.axes import panels
from analysis.drawing.description import PANEL, ROW, SERIES, Axis, Chart, Drawing, Look, Marks, Rule
from analysis.drawing.style import COLOURS, NEUTRAL, colour, marker
from analysis.figures.series import short, stacked
from study.config.predictors import PREDICTORS

FEWEST = 3
"""Models with a correlation below which there is no picture."""
TOLD_APART = 8
"""Models above which points have no colours: a legend of more is looked up by nobody."""
MEAN, MODEL = "mean of the models", "a model"
COLUMNS = ["predictor", "words", "model", "rho", "cells", "models"]
MARKS = (Marks("mean", "points", size=11.0, opacity=0.5), Marks("model", "points", size=5.0, opacity=0.9))


def predictors(models: list[str], by_model: pd.DataFrame, tier: str) -> list[Chart]:
    """Describe each predictor's correlation with the outcome, a point a model; none below FEWEST models."""
    known = by_model.dropna(subset="rho").reset_index(drop=True)
    counts = known.groupby("predictor", sort=False)["model"].nunique()
    known = known[known["predictor"].isin(counts.index[counts >= FEWEST])]
    if known.empty:
        return []
    there = [model for model in models if model in set(known["model"])]
    own = {short(model): Look(colour(i), marker(i)) for i, model in enumerate(models) if model in there}
    apart = len(there) <= TOLD_APART
    looks = (own if apart else {MODEL: Look(COLOURS[0], "o")}) | {MEAN: Look(NEUTRAL, "D")}
    means = known.groupby("predictor", sort=False, as_index=False).agg(rho=("rho", "mean"), models=("model", "nunique"))
    means = means.sort_values("rho", ascending=False, kind="stable", key=abs)
    named = known["model"].map(short) if apart else MODEL
    parts = {"model": known.assign(**{SERIES: named}), "mean": means.assign(**{SERIES: MEAN})}
    parts = {
        part: rows.assign(words=[PREDICTORS[name].words for name in rows["predictor"]], **{ROW: "", PANEL: ""})
        for part, rows in parts.items()
    }
    found = [f"{row['words']} {row['rho']:+.2f}" for row in parts["mean"].to_dict("records")]
    chart = Chart(
        name="predictors",
        data=stacked(parts, COLUMNS),
        alt=f"Correlation of each predictor with choice accuracy within each model. Means: {', '.join(found)}.",
        caption=(
            f"What was measured before stage 2 against choice accuracy on {tier} prompts after it: the rank "
            "correlation of the cells of one model, given depth, its square and weight. A point is one of "
            f"{len(there)} models, the large grey mark their mean; lines are in the order of its size."
        ),
        rows={"": [""]},
        x=Axis("rho", "partial rank correlation within a model", ends=(-1.05, 1.05), values=(-1, -0.5, 0, 0.5, 1)),
        y=Axis("words", "", scale="named", names=list(dict.fromkeys(parts["mean"]["words"]))),
        values="x",
        looks=looks,
        marks=MARKS,
        rules=(Rule(0),),
        tooltip=("words", "model", "cells", "models"),
        legend="model",
        height=0.4 + 0.27 * len(means),
        page_size=(190, 30 + 22 * len(means)),
    )
    return [chart]


def predictors_added(associations: pd.DataFrame) -> list[Drawing]:
    """Describe what each predictor adds to depth, its square and weight, in models that were left out; none where it is
    known of no predictor, or there are fewer than FEWEST models."""
    known = associations.dropna(subset="increment").sort_values("increment", kind="stable")
    known = known[known["models"] >= FEWEST]
    if known.empty:
        return []
    best = known.iloc[-1]
    interval = "; intervals over models" if known["increment_low"].notna().any() else ""
    drawing = Drawing(
        name="predictors_added",
        data=known[::-1].reset_index(drop=True),
        alt=(
            "Gain in R² over depth, its square and weight, in models left out. Largest: "
            f"{PREDICTORS[best['predictor']].words} {best['increment']:+.2f}."
        ),
        caption=(
            "What each predictor adds to depth, its square and weight where a model is predicted from the others"
            f"{interval}."
        ),
        draw=lambda: _draw_added(known[::-1]),
    )
    return [drawing]


def _draw_added(associations: pd.DataFrame) -> Figure:
    figure, axes = panels(1, 1, height=0.3 + 0.3 * len(associations))
    ax: Axes = axes[0, 0]
    ax.axvline(0, color="#000000", lw=0.8)
    for y, row in enumerate(associations.to_dict("records")):
        ax.plot([row["increment_low"], row["increment_high"]], [y, y], color=COLOURS[0], lw=1.2)
        ax.plot(row["increment"], y, color=COLOURS[0], marker="o")
        text = f"rho > 0 in {row['signs']} of {row['models']}\n{row['words']}"
        ax.text(1.02, y, text, transform=ax.get_yaxis_transform(), va="center", fontsize=7)
    ax.set_yticks(range(len(associations)), [PREDICTORS[name].words for name in associations["predictor"]])
    ax.set_ylim(len(associations) - 0.5, -0.5)
    ax.set_xlabel("gain in R² in models left out")
    return figure
