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

FIGURES = {"choice": "choice accuracy", "order": "pairs in order"}
"""What is drawn, each in a row of panels."""


def lens_curves(model: str, told: pd.DataFrame, confidence: float) -> Drawing:
    """Describe the choice accuracy of every lens by layer: a panel a tier of a pair of class tokens."""
    best = "; ".join(
        f"{row['tier']}, {LENSES[row['lens']]}: {100 * row['choice']:.0f} % at block {row['at']:.0f}"
        for row in read_from(told).to_dict("records")
    )
    return Drawing(
        name="lenses",
        data=told,
        alt=f"Choice accuracy and pairs in order in {model} by relative depth, wording and lens. Highest: {best}.",
        caption=(
            f"Choice accuracy between the class tokens in {model}, in which no class was trained, and the share of "
            f"pairs of prompts in the right order, as three lenses read them after every block. Shaded: "
            f"{100 * confidence:.0f} % intervals over templates. Dotted: {100 * READABLE:.0f} %, at which a class is "
            "called readable, and chance."
        ),
        draw=lambda: _draw(told),
    )


def _draw(told: pd.DataFrame) -> Figure:
    rows = [(pair, name) for pair in told["pair"].unique() for name in FIGURES if _has(told, pair, name)]
    tiers = list(told["tier"].unique())
    figure, axes = panels(len(rows), len(tiers), height=1.7)
    several = told["pair"].nunique() > 1
    for across, (pair, name) in zip(axes, rows, strict=True):
        for ax, tier in zip(across, tiers, strict=True):
            here = told[(told["pair"] == pair) & (told["tier"] == tier)]
            for number, (lens, own) in enumerate(here.groupby("lens", sort=False)):
                ink = colour(number)
                low, high = own[f"{name}_low"], own[f"{name}_high"]
                ax.fill_between(own["depth"], low, high, color=ink, alpha=0.13, linewidth=0)
                label = LENSES[str(lens)]
                ax.plot(own["depth"], own[name], color=ink, linestyle=line(number), linewidth=1.6, label=label)
            for level in {*here["chance"], READABLE} if name == "choice" else {*here["chance"]}:
                ax.axhline(level, color=NEUTRAL, linestyle=":", linewidth=0.8)
            ax.set_title(f"{pair}\n{tier}" if several else tier)
        across[0].set_ylabel(FIGURES[name])
    axes[0][0].set_ylim(0, 1.02)
    axes[0][0].set_xlim(0, 1)
    axes[0][0].yaxis.set_major_formatter(PercentFormatter(1.0))
    figure.supxlabel("relative depth of the layer that is read", fontsize=8)
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside upper left", ncols=3)
    return figure


def _has(told: pd.DataFrame, pair: str, name: str) -> bool:
    return bool(told.loc[told["pair"] == pair, name].notna().any())
