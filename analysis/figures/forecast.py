"""The picture of a forecast: choice accuracy that is to be expected at every layer, a panel a tier."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from analysis.drawing.axes import panels
from analysis.drawing.description import Drawing
from analysis.drawing.style import DEPTH_LABEL, NEUTRAL, colour
from analysis.outcomes.depth import READABLE
from analysis.outcomes.forecast import SHARE

ACROSS = 4
"""Panels side by side."""


def forecast_curves(model: str, foretold: pd.DataFrame) -> Drawing:
    """Describe the forecast of one model by layer: a panel a tier, a colour a pair of class tokens."""
    tiers = list(dict.fromkeys(foretold["tier"]))
    best = foretold.loc[foretold.groupby("tier", sort=False)["foretold"].idxmax()].to_dict("records")
    highest = ", ".join(f"{row['tier']} {100 * row['foretold']:.0f} % at {row['depth']:.2f}" for row in best)
    return Drawing(
        name="curves",
        data=foretold,
        alt=f"Choice accuracy foretold for {model}, by relative depth, in {len(tiers)} tiers. Highest: {highest}.",
        caption=(
            f"Choice accuracy that is to be expected of {model} at the layer that a class token is trained into, on "
            f"wordings that the class loss does not see. Shaded: the band that held {100 * SHARE:.0f} % of the places "
            f"of architectures that were left out. Dotted: {100 * READABLE:.0f} %, and chance."
        ),
        draw=lambda: _draw(foretold, tiers),
    )


def _draw(foretold: pd.DataFrame, tiers: list[str]) -> Figure:
    columns = min(ACROSS, len(tiers))
    figure, axes = panels(-(-len(tiers) // columns), columns, height=2.0)
    pairs = list(dict.fromkeys(foretold["pair"]))
    for ax, tier in zip(axes.flat, tiers, strict=False):
        for number, pair in enumerate(pairs):
            own = foretold[(foretold["tier"] == tier) & (foretold["pair"] == pair)].sort_values("depth")
            if own.empty:
                continue
            ax.fill_between(
                own["depth"], own["foretold_low"], own["foretold_high"], color=colour(number), alpha=0.18, linewidth=0
            )
            ax.plot(own["depth"], own["foretold"], color=colour(number), linewidth=2, label=pair)
        for level in {*foretold["chance"], READABLE}:
            ax.axhline(level, color=NEUTRAL, linestyle=":", linewidth=0.8)
        ax.set_title(tier)
    for ax in axes.flat[len(tiers) :]:
        ax.set_visible(False)
    axes[0][0].set_ylim(0, 1.02)
    axes[0][0].set_xlim(0, 1)
    axes[0][0].yaxis.set_major_formatter(PercentFormatter(1.0))
    for row in axes:
        row[0].set_ylabel("choice accuracy")
    figure.supxlabel(DEPTH_LABEL, fontsize=8)
    if len(pairs) > 1:
        figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside upper left", ncols=len(pairs))
    return figure
