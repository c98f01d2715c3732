"""The picture of what several lenses read of a model at every layer, a panel a tier."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from analysis.drawing.axes import panels
from analysis.drawing.description import Drawing
from analysis.drawing.style import NEUTRAL, colour, line
from analysis.outcomes.depth import READABLE
from analysis.outcomes.lenses import read_from
from study.config.lenses import LENSES

ACROSS = 2
"""Panels side by side."""


def lens_curves(model: str, told: pd.DataFrame, confidence: float) -> Drawing:
    """Describe the choice accuracy of every lens by layer: a panel a tier of a pair of class tokens."""
    best = "; ".join(
        f"{row['tier']}, {LENSES[row['lens']]}: {100 * row['choice']:.0f} % at block {row['choice_at']:.0f}"
        for row in read_from(told).to_dict("records")
    )
    return Drawing(
        name="lenses",
        data=told,
        alt=f"Choice accuracy in {model} by relative depth, wording and lens. Highest: {best}.",
        caption=(
            f"Choice accuracy between the class tokens in {model}, in which no class was trained, as three lenses read "
            f"it after every block. Shaded: {100 * confidence:.0f} % intervals over templates. Dotted: "
            f"{100 * READABLE:.0f} %, at which a class is called readable, and chance."
        ),
        draw=lambda: _draw(told),
    )


def _draw(told: pd.DataFrame) -> Figure:
    parts = list(told.groupby(["pair", "tier"], sort=False))
    several = told["pair"].nunique() > 1
    across = min(ACROSS, len(parts))
    figure, axes = panels(-(-len(parts) // across), across, height=2.0)
    for ax, ((pair, tier), here) in zip(axes.flat, parts, strict=False):
        for number, (lens, own) in enumerate(here.groupby("lens", sort=False)):
            ink, dash = colour(number), line(number)
            ax.fill_between(own["depth"], own["choice_low"], own["choice_high"], color=ink, alpha=0.13, linewidth=0)
            ax.plot(own["depth"], own["choice"], color=ink, linestyle=dash, linewidth=1.8, label=LENSES[str(lens)])
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
    figure.supxlabel("relative depth of the layer that is read", fontsize=8)
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside upper left", ncols=3)
    return figure
