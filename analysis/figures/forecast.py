"""The picture of a forecast: choice accuracy that is to be expected at every layer, a panel a tier."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from analysis.drawing.axes import panels
from analysis.drawing.description import Drawing
from analysis.drawing.style import DEPTH_LABEL, NEUTRAL, colour
from analysis.outcomes.depth import READABLE
from analysis.outcomes.forecast import SHARE
from study.config.arms import words_of

ACROSS = 4
"""Panels side by side."""


def forecast_curves(model: str, foretold: pd.DataFrame) -> Drawing:
    """Describe the forecast of one model by layer: a panel a tier of a pair of class tokens, a colour an arm."""
    best = foretold.loc[foretold.groupby(["arm", "pair", "tier"], sort=False)["foretold"].idxmax()].to_dict("records")
    highest = ", ".join(
        f"{row['tier']} ({row['arm']}) {100 * row['foretold']:.0f} % at {row['depth']:.2f}" for row in best
    )
    return Drawing(
        name="curves",
        data=foretold,
        alt=f"Choice accuracy foretold for {model}, by relative depth and wording. Highest: {highest}.",
        caption=(
            f"Choice accuracy that is to be expected of {model} at the layer that a class token is trained into, on "
            f"wordings that the class loss does not see. Shaded: the band that held {100 * SHARE:.0f} % of the places "
            f"of architectures that were left out. Dotted: {100 * READABLE:.0f} %, and chance."
        ),
        draw=lambda: _draw(foretold),
    )


def _draw(foretold: pd.DataFrame) -> Figure:
    parts = list(foretold.groupby(["pair", "tier"], sort=False))
    several = foretold["pair"].nunique() > 1
    columns = min(ACROSS, len(parts))
    figure, axes = panels(-(-len(parts) // columns), columns, height=2.0)
    for ax, ((pair, tier), here) in zip(axes.flat, parts, strict=False):
        for number, (arm, own) in enumerate(here.sort_values("depth").groupby("arm", sort=False)):
            ink = colour(number)
            ax.fill_between(own["depth"], own["foretold_low"], own["foretold_high"], color=ink, alpha=0.13, linewidth=0)
            ax.plot(own["depth"], own["foretold"], color=ink, linewidth=2, label=words_of(str(arm)))
        for level in {*here["chance"], READABLE}:
            ax.axhline(level, color=NEUTRAL, linestyle=":", linewidth=0.8)
        ax.set_title(f"{pair}\n{tier}" if several else tier)
    for ax in axes.flat[len(parts) :]:
        ax.set_visible(False)
    axes[0][0].set_ylim(0, 1.02)
    axes[0][0].set_xlim(0, 1)
    axes[0][0].yaxis.set_major_formatter(PercentFormatter(1.0))
    for row in axes:
        row[0].set_ylabel("choice accuracy")
    figure.supxlabel(DEPTH_LABEL, fontsize=8)
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return figure
