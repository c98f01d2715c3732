"""What the controls do beside the plain cells."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.data.numbers import share
from analysis.data.results import Results
from analysis.drawing.axes import choice_axis, intervals, legend_beside, outer_labels, panels, step_aside
from analysis.drawing.description import Drawing
from analysis.drawing.style import DEPTH_LABEL, Style, tier_styles

KEYS = ["model", "pair", "layer", "weight", "seed", "tier"]
DRAWN = [*KEYS, "depth", "arm", "choice", "choice_low", "choice_high"]


def controls_by_depth(results: Results, controls: pd.DataFrame, judged: pd.DataFrame) -> list[Drawing]:
    """Choice accuracy of each arm beside the plain cells; rows are models, columns arms. None without a control."""
    if controls.empty:
        return []
    plain = _partners(controls, judged)
    data = pd.concat([plain, controls])[DRAWN].reset_index(drop=True)
    drawing = Drawing(
        name="controls",
        data=data,
        alt=f"Choice accuracy of plain cells and controls against relative depth, by model and control. {_means(data)}",
        caption=(
            "Choice accuracy at the trained layer of each control (filled), to the right of the plain cell that "
            f"differs from it in that one thing (hollow), with {share(results.decisions.confidence)} intervals; the "
            "dotted line is chance."
        ),
        draw=lambda: _draw(results, controls, plain),
    )
    return [drawing]


def _draw(results: Results, controls: pd.DataFrame, plain: pd.DataFrame) -> Figure:
    arms = list(dict.fromkeys(controls["arm"]))
    models = [model for model in results.model_names if model in set(controls["model"])]
    styles = {tier: style for tier, style in tier_styles(results.tiers).items() if tier in set(controls["tier"])}
    chances = sorted({cell.chance for cell in results.plain})
    lowest = min([*chances, *plain["choice_low"], *controls["choice_low"]])
    shallowest = min(plain["depth"].min(), controls["depth"].min())
    figure, axes = panels(len(models), len(arms), width=2.9, height=2.1)
    for row, model in enumerate(models):
        for ax, arm in zip(axes[row], arms, strict=True):
            here = controls[(controls["model"] == model) & (controls["arm"] == arm)]
            _panel(ax, here, plain.merge(here[KEYS].drop_duplicates(), on=KEYS), styles)
            choice_axis(ax, chances, lowest)
            ax.set_title(f"{model} · {arm_name(arm)}")
            ax.set_xlim(max(0.0, shallowest - 0.2), 1.12)
    outer_labels(axes, DEPTH_LABEL, "choice accuracy")
    legend_beside(figure, styles, "control", "plain cell beside it")
    return figure


def arm_name(arm: str) -> str:
    return arm.replace("_", " ")


def _partners(controls: pd.DataFrame, judged: pd.DataFrame) -> pd.DataFrame:
    """The plain cells that the controls are compared with."""
    plain = judged[judged["arm"] == "plain"]
    found = controls[[*KEYS, "plain_choice"]].drop_duplicates().merge(plain, on=KEYS)
    # Plain cells that differ in the trained wordings alone have the same keys.
    return found[np.isclose(found["choice"], found["plain_choice"])].drop_duplicates(KEYS)


def _panel(ax: Axes, controls: pd.DataFrame, plain: pd.DataFrame, styles: dict[str, Style]) -> None:
    """At each depth the tiers side by side, and of each the plain cells and the controls."""
    series: list[tuple[str, pd.DataFrame, Any]] = [
        (tier, rows, filled) for tier in styles for rows, filled in ((plain, "none"), (controls, "full"))
    ]
    aside = step_aside(controls["depth"], len(series))
    for index, (tier, rows, filled) in enumerate(series):
        here = rows[rows["tier"] == tier]
        colour, marker = styles[tier]
        # Cells at one depth (seeds, pairs, weights) share the place of their series.
        at_depth = here.groupby("depth")["choice"]
        number, count = at_depth.cumcount(), at_depth.transform("size")
        shift = index - (len(series) - 1) / 2 + (number - (count - 1) / 2) * 0.6 / count
        x = here["depth"] + aside * shift
        intervals(ax, x, 100 * here["choice_low"], 100 * here["choice_high"], colour)
        ax.plot(x, 100 * here["choice"], color=colour, marker=marker, fillstyle=filled, ls="", ms=4.5)


def _means(data: pd.DataFrame) -> str:
    """Mean choice accuracy by arm and tier, for alt text."""
    parts = []
    for arm, rows in data.groupby("arm", sort=False):
        means = rows.groupby("tier", sort=False)["choice"].mean()
        parts.append(f"{arm_name(str(arm))} " + ", ".join(f"{tier} {share(mean)}" for tier, mean in means.items()))
    return f"Mean choice accuracy: {'; '.join(parts)}."
