"""Whether the model uses its classifier: what a swap of the class direction does, beside a random one as large."""

from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.data.numbers import share
from analysis.data.results import Results
from analysis.drawing.axes import intervals, legend_beside, panels, step_aside
from analysis.drawing.description import Drawing
from analysis.drawing.style import DEPTH_LABEL, Style, tier_styles


class Effect(NamedTuple):
    """A column of panels."""

    title: str
    """In it KIND stands for what a prompt asks for."""
    swap: str
    random: str | None
    """Column of the random direction's effect; None where `swap` is already the difference of the two."""
    unit: float
    """What one is multiplied by: 100 for percent."""


EFFECTS = [
    Effect("answers whose verdict changes,\nswap minus random, %", "answers_moved", None, 100),
    Effect("change of the right answer's\nNLL, nats", "nll_swap", "nll_random", 1),
    Effect("lead over the other KIND's\nanswer, swap minus random, nats", "towards_other", None, 1),
    Effect("classes that flip at the\nlast layer, %", "carried", "carried_random", 100),
]


def causal_use(results: Results, causal: pd.DataFrame) -> list[Drawing]:
    """Four effects by relative depth of the trained layer; rows are models. None where nothing was swapped."""
    if causal.empty:
        return []
    moved = 100 * causal["answers_moved"]
    drawing = Drawing(
        name="causal",
        data=causal,
        alt=(
            "Effect of swapping the class direction against relative depth, by model. Answers moved, swap minus "
            f"random: {moved.min():+.0f} to {moved.max():+.0f} %."
        ),
        caption=(
            "Cells that are emergent where they were trained: what exchanging the classes' directions at the trained "
            "layer does, beside a move as far in a random direction; "
            f"{share(results.decisions.confidence)} intervals. No effect is the line at 0; a negative lead means that "
            f"the answer moves towards the other {results.terms.kind}'s."
        ),
        draw=lambda: _draw(results, causal),
    )
    return [drawing]


def _draw(results: Results, causal: pd.DataFrame) -> Figure:
    models = [model for model in results.model_names if model in set(causal["model"])]
    styles = {tier: style for tier, style in tier_styles(results.tiers).items() if tier in set(causal["tier"])}
    figure, axes = panels(len(models), len(EFFECTS), width=2.9, height=1.9, y="col")
    for row, model in enumerate(models):
        here = causal[causal["model"] == model]
        for ax, effect in zip(axes[row], EFFECTS, strict=True):
            ax.axhline(0, color="#000000", lw=0.8)
            _effect(ax, here, effect, styles)
            ax.set_xlim(0, 1.09)
        axes[row, 0].set_ylabel(model, fontweight="bold")
    for ax, effect in zip(axes[0], EFFECTS, strict=True):
        ax.set_title(effect.title.replace("KIND", results.terms.kind))
    for ax in axes[-1]:
        ax.set_xlabel(DEPTH_LABEL)
    legend_beside(figure, styles, "swap", "random direction")
    return figure


def _effect(ax: Axes, rows: pd.DataFrame, effect: Effect, styles: dict[str, Style]) -> None:
    sources = [(effect.swap, "full"), *([(effect.random, "none")] if effect.random else [])]
    aside = step_aside(rows["depth"], len(styles) * len(sources))
    for index, (tier, (name, filled)) in enumerate((tier, source) for tier in styles for source in sources):
        here = rows[rows["tier"] == tier]
        colour, marker = styles[tier]
        x = here["depth"] + (index - (len(styles) * len(sources) - 1) / 2) * aside
        if f"{name}_low" in here:
            intervals(ax, x, effect.unit * here[f"{name}_low"], effect.unit * here[f"{name}_high"], colour)
        ax.plot(x, effect.unit * here[name], color=colour, marker=marker, fillstyle=filled, ls="", ms=4.5)
