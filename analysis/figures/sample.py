"""Pictures of a sample of small models: how much of each tier is read over the depth of each model."""

import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.data.results import Results
from analysis.drawing.axes import legend_above, panels
from analysis.drawing.description import Drawing
from analysis.drawing.style import DIVERGING, MISSING, NEUTRAL, colour
from analysis.figures.series import counted
from analysis.outcomes.forecast import FEATURES
from analysis.outcomes.sample import learned
from analysis.statistics.intervals import Floats
from study.config.arms import adapters_of
from study.config.predictors import PREDICTORS

_WRITTEN = 30
"""With more models, numbers would not fit into the fields of the map."""


def model_map(results: Results, areas: pd.DataFrame) -> list[Drawing]:
    """Describe the area of every model and tier, means over seeds: models by their mean, tiers of a pair side by side;
    none without a sample."""
    areas = learned(areas)
    if areas.empty:
        return []
    means = areas.groupby(["model", "architecture", "pair", "tier"], sort=False, as_index=False)
    found = means.agg(seeds=("seed", "nunique"), samples=("samples", "sum"), area=("area", "mean"))
    order = found.groupby("model")["area"].mean().sort_values(ascending=False)
    tiers = {
        str(pair): [tier for tier in results.tiers if tier in set(rows["tier"])]
        for pair, rows in found.groupby("pair", sort=False)
    }
    by_tier = found.groupby("tier")["area"].mean()
    first = areas.iloc[0]
    drawing = Drawing(
        name="sample",
        data=found,
        alt=(
            f"Heat map of {len(order)} models by {len(by_tier)} tiers. Highest mean over models: {by_tier.idxmax()} "
            f"{by_tier.max():.2f}, lowest: {by_tier.idxmin()} {by_tier.min():.2f}. Highest mean over tiers: "
            f"{order.index[0]} {order.iloc[0]:.2f}, lowest: {order.index[-1]} {order.iloc[-1]:.2f}."
        ),
        caption=(
            "How much of each tier is read over the depth of each model: area under (choice accuracy - chance) / (1 - "
            f"chance) from relative depth {first['from_depth']:.2f} to {first['to_depth']:.2f}, on templates that no "
            f"training saw, at w = {first['weight']:g}; mean of {counted(found['seeds'], 'seed')}. 1 is always right, "
            "0 chance (white), below 0 more often wrong than right. Models from the highest mean to the lowest; a "
            "block of columns is a pair of class tokens. Grey: the model did not learn the task."
        ),
        draw=lambda: _draw(found, list(order.index), tiers),
    )
    return [drawing]


def points(results: Results, areas: pd.DataFrame) -> list[Drawing]:
    """Describe the area of every architecture and tier, means over its models and seeds: tiers of a pair from the most
    to the least, a point an architecture, coloured by pair; none without a sample."""
    known = learned(areas)
    if known.empty:
        return []
    means = known.groupby(["architecture", "pair", "tier"], sort=False, as_index=False)
    found = means.agg(models=("model", "nunique"), area=("area", "mean"))
    by_tier = found.groupby(["pair", "tier"], sort=False, as_index=False)["area"].agg(["mean", "min", "max"])
    order = {pair: rows.sort_values("mean", ascending=False) for pair, rows in by_tier.groupby("pair", sort=False)}
    told = ", ".join(
        f"{row['tier']} {row['mean']:.2f} ({row['min']:.2f} to {row['max']:.2f})"
        for rows in order.values()
        for row in rows.to_dict("records")
    )
    drawing = Drawing(
        name="areas",
        data=found,
        alt=f"Areas of {found['architecture'].nunique()} architectures by tier, mean and range: {told}.",
        caption=(
            "How much of each tier is read over the depth of a model (area): a point an architecture, mean over its "
            "models and seeds, of those that learned the task; the line is the mean, a colour a pair of class tokens, "
            "whose tiers stand from the most to the least. An architecture stands at the same place in every column. 1 "
            "is always right, 0 chance (dotted), below 0 more often wrong than right."
        ),
        draw=lambda: _draw_points(found, {str(pair): list(rows["tier"]) for pair, rows in order.items()}),
    )
    return [drawing]


def probed(foretold: pd.DataFrame) -> list[Drawing]:
    """Describe choice accuracy against what was measured before any class was trained: a point an architecture and
    tier, a panel for each way to train; none where nothing was foretold."""
    if foretold.empty:
        return []
    places = foretold.groupby(["arm", "pair", "tier", "architecture"], sort=False, as_index=False)
    figures = ["measured", "foretold", "choice"]
    found = places.agg(models=("model", "nunique"), **{name: (name, "mean") for name in figures})
    told = "; ".join(
        f"{adapters_of(str(arm))}: {len(own)} points, rank correlation "
        f"{own['measured'].corr(own['choice'], method='spearman'):.2f}"
        for arm, own in found.groupby("arm", sort=False)
    )
    drawing = Drawing(
        name="foretold",
        data=found,
        alt=f"Choice accuracy after training against the accuracy of a linear probe before: {told}.",
        caption=(
            "What a linear probe that is fitted on the labelled wording makes of another wording before any class is "
            "trained, and the choice accuracy there after training: a point an architecture and tier (mean over "
            "models, seeds and depths but the last), a colour a pair of class tokens. On the dotted line both are the "
            "same; 0.5 is chance, below it the classes are told apart the wrong way round."
        ),
        draw=lambda: _draw_probed(found),
    )
    return [drawing]


def _draw_probed(found: pd.DataFrame) -> Figure:
    arms, pairs = list(dict.fromkeys(found["arm"])), list(dict.fromkeys(found["pair"]))
    figure, axes = panels(1, len(arms), height=2.9)
    for ax, arm in zip(axes[0], arms, strict=True):
        ax.axline((0, 0), slope=1, color=NEUTRAL, linestyle=":", linewidth=0.8)
        for number, pair in enumerate(pairs):
            own = found[(found["arm"] == arm) & (found["pair"] == pair)]
            ax.scatter(own["measured"], own["choice"], s=9, color=colour(number), alpha=0.7, linewidths=0)
        ax.set_title(adapters_of(arm))
        ax.set_xlabel(PREDICTORS[FEATURES[arm][0]].words)
        ax.set_aspect("equal")
        ax.set_xlim(-0.02, 1.02)
        ax.set_ylim(-0.02, 1.02)
    axes[0][0].set_ylabel("choice accuracy")
    dots = [Line2D([], [], color=colour(n), marker="o", linestyle="", label=pair) for n, pair in enumerate(pairs)]
    legend_above(figure, dots)
    return figure


def _draw_points(found: pd.DataFrame, tiers: dict[str, list[str]]) -> Figure:
    architectures = list(found.groupby("architecture")["area"].mean().sort_values(ascending=False).index)
    places = dict(zip(architectures, np.linspace(-0.32, 0.32, len(architectures)), strict=True))
    figure, axes = panels(1, len(tiers), height=2.6, x="none", y="row")
    for number, (ax, (pair, columns)) in enumerate(zip(axes[0], tiers.items(), strict=True)):
        ax.axhline(0, color=NEUTRAL, linestyle=":", linewidth=0.8)
        for x, tier in enumerate(columns):
            own = found[(found["pair"] == pair) & (found["tier"] == tier)]
            at = [x + places[name] for name in own["architecture"]]
            ax.scatter(at, own["area"], s=11, color=colour(number), linewidths=0)
            ax.hlines(own["area"].mean(), x - 0.4, x + 0.4, color=colour(number), linewidth=1.2)
        ax.set_xticks(range(len(columns)), columns, rotation=45, ha="right")
        ax.set_xlim(-0.6, len(columns) - 0.4)
        ax.set_title(pair)
        ax.grid(False, axis="x")
    axes[0][0].set_ylabel("area")
    axes[0][0].set_ylim(-1.05, 1.05)
    return figure


def _draw(found: pd.DataFrame, models: list[str], tiers: dict[str, list[str]]) -> Figure:
    norm = TwoSlopeNorm(0, -1, 1)
    figure, axes = panels(1, len(tiers), height=0.6 + 0.17 * len(models), x="none", y="row")
    for ax, (pair, columns) in zip(axes[0], tiers.items(), strict=True):
        own = found[found["pair"] == pair].pivot_table(index="model", columns="tier", values="area")
        table = own.reindex(index=models, columns=columns).to_numpy(float)
        ax.set_facecolor(MISSING)
        ax.imshow(table, cmap=DIVERGING, norm=norm, aspect="auto")
        for (row, column), value in _fields(table) if len(models) <= _WRITTEN else ():
            ink = "#FFFFFF" if abs(value) > 0.65 else "#000000"
            ax.text(column, row, f"{value:.2f}".replace("0.", "."), ha="center", va="center", fontsize=6, color=ink)
        ax.set_xticks(range(len(columns)), columns, rotation=45, ha="right")
        ax.set_yticks(range(len(models)), models, fontsize=7 if len(models) <= _WRITTEN else 5)
        ax.set_title(pair)
        ax.grid(False)
    bar = figure.colorbar(
        ScalarMappable(norm, DIVERGING), ax=axes, aspect=30, label="area", ticks=[-1, -0.5, 0, 0.5, 1]
    )
    bar.ax.set_yscale("linear")
    return figure


def _fields(table: Floats) -> list[tuple[tuple[int, int], float]]:
    """The places of a table that have a value, each with it."""
    return [((row, column), value) for (row, column), value in np.ndenumerate(table) if not np.isnan(value)]
