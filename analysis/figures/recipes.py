"""What each training of the published experiment does, one choice at a time, at one seed that all have in common."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.data.numbers import share
from analysis.data.results import Results
from analysis.drawing.axes import legend_above, panels
from analysis.drawing.description import Drawing
from analysis.drawing.style import COLOURS, NEUTRAL
from analysis.outcomes.recipes import EXPERIMENT, HURT, most_common_seed
from study.config.recipes import AS_PUBLISHED, CORRECTED

EMERGES, NONE = (COLOURS[0], "o"), (NEUTRAL, "s")
LOSS, OTHER = (COLOURS[1], "v"), ("#000000", "D")
NAMED = (CORRECTED, AS_PUBLISHED)
"""Recipes whose seeds together are shown as well."""
BESIDE = 0.3
"""How far below the mark of one seed the mean over seeds stands, in lines."""


def by_choice(results: Results, measured: pd.DataFrame) -> list[Drawing]:
    """Describe a picture a model: p at the trained layer and the change in answers, by recipe and experiment."""
    by_model = {model: measured[measured["model"] == model] for model in results.model_names}
    return [_by_choice(results, model, rows) for model, rows in by_model.items() if rows["seed"].notna().any()]


def _by_choice(results: Results, model: str, measured: pd.DataFrame) -> Drawing:
    parts, seeds = [], []
    for _, rows in measured.groupby(EXPERIMENT, sort=False):
        seed = most_common_seed(list(rows["seed"].dropna()))
        seeds.append(seed)
        several = rows["seed"].isna() & rows["recipe"].isin(NAMED) & (rows["seeds"] > 1)
        parts.append(_with_ranges(rows).loc[(rows["seed"] == seed) | several])
    shown = pd.concat(parts, ignore_index=True)
    at_one = shown[shown["seed"].notna()]
    recipes = sorted(dict.fromkeys(shown["recipe"]), key=lambda name: name.startswith(AS_PUBLISHED))
    emerging = [recipe for recipe in recipes if at_one.loc[at_one["recipe"] == recipe, "emerges"].astype(bool).all()]
    several = shown.loc[shown["seed"].isna(), "seeds"]
    beside = (
        f" Hollow, below the two named recipes: the mean of {several.max()} seeds, and the range of the seeds."
        if len(several)
        else ""
    )
    return Drawing(
        name=f"recipes_{model}",
        data=shown,
        alt=(
            f"Probability of the class token and change in answers by recipe of training, {model}. A classifier "
            f"emerges in every experiment by: {', '.join(emerging) or 'none'}."
        ),
        caption=(
            f"{model}: what each training does on held-out symbolic prompts at one seed "
            f"({' or '.join(f'{seed:.0f}' for seed in dict.fromkeys(seeds))}), which the recipes have in common, with "
            f"{share(results.decisions.confidence)} intervals over templates.{beside} Left the class token's mean "
            "probability at the trained layer, the dotted line is the bound of emergent; right the answers' accuracy "
            "minus that after stage 1."
        ),
        draw=lambda: _draw(results, shown, recipes),
    )


def _with_ranges(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of one experiment, with the lowest and highest seed of each recipe."""
    single = rows[rows["seed"].notna()].groupby("recipe")
    ranges = {
        f"{column}_{end}_seed": rows["recipe"].map(getattr(single[column], end)())
        for column in ("p", "answers")
        for end in ("min", "max")
    }
    return rows.assign(**ranges)


def _draw(results: Results, shown: pd.DataFrame, recipes: list[str]) -> Figure:
    groups = [rows for _, rows in shown.groupby(EXPERIMENT, sort=False)]
    figure, axes = panels(len(groups), 2, height=0.24 * len(recipes) + 0.5, x="col", y="all")
    for (left, right), rows in zip(axes, groups, strict=True):
        _panel(left, rows, recipes, "p", 1.0)
        _panel(right, rows, recipes, "answers", 100.0)
        first = rows.iloc[0]
        left.set_title(f"w {first['weight']:g}, {first['stage2']}, L{first['layer']}", loc="left")
        left.axvline(results.decisions.probability, color="#000000", lw=0.9, ls=":")
        right.axvline(0, color="#000000", lw=0.9, ls=":")
        left.set_xlim(-0.03, 1.03)
    axes[-1][0].set_xlabel("p at the trained layer")
    axes[-1][1].set_xlabel("answers minus stage 1, points")
    styles = (("emerges", EMERGES), ("does not", NONE), ("answers hurt", LOSS), ("not hurt, or undecided", OTHER))
    handles = [Line2D([], [], color=c, marker=m, ls="", label=name) for name, (c, m) in styles]
    if shown["seed"].isna().any():
        hollow: dict[str, Any] = {"marker": "o", "fillstyle": "none", "color": NEUTRAL}
        handles.append(Line2D([], [], label="mean of the seeds, and their range", **hollow))
    legend_above(figure, handles)
    return figure


def _panel(ax: Axes, rows: pd.DataFrame, recipes: list[str], column: str, scale: float) -> None:
    """A recipe a line, from the top: the common seed with its interval, and below it the seeds together."""
    for row in rows.to_dict("records"):
        y, x = recipes.index(row["recipe"]), scale * row[column]
        if row["seed"] != row["seed"]:
            ends = [scale * row[f"{column}_{end}_seed"] for end in ("min", "max")]
            ax.plot(ends, [y + BESIDE] * 2, color=NEUTRAL, lw=0.9)
            ax.plot(x, y + BESIDE, color=NEUTRAL, marker="o", fillstyle="none", ms=4.5, ls="")
            continue
        colour, marker = _look(column, row)
        ax.plot([scale * row[f"{column}_low"], scale * row[f"{column}_high"]], [y, y], color=colour, lw=1.2)
        ax.plot(x, y, color=colour, marker=marker, ls="")
    ax.set_yticks(range(len(recipes)), recipes)
    ax.set_ylim(len(recipes) - 0.4, -0.6)


def _look(column: str, row: dict[object, object]) -> tuple[str, str]:
    if column == "p":
        return EMERGES if row["emerges"] else NONE
    return LOSS if row["verdict"] == HURT else OTHER
