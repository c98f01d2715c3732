"""What each training of the published experiment does, one choice at a time, at seeds that all have in common."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.data.numbers import share
from analysis.data.results import Results
from analysis.drawing.axes import legend_above, panels
from analysis.drawing.description import Drawing
from analysis.drawing.style import COLOURS, NEUTRAL
from analysis.outcomes.recipes import EXPERIMENT, HURT, together
from study.config.recipes import AS_PUBLISHED

EMERGES, OPEN, NONE = (COLOURS[0], "o"), (COLOURS[2], "^"), (NEUTRAL, "s")
LOSS, OTHER = (COLOURS[1], "v"), ("#000000", "D")
BELOW = 0.3
"""How far below a recipe's mark its seeds stand, in lines."""


def by_choice(results: Results, measured: pd.DataFrame) -> list[Drawing]:
    """Describe a picture a model: p at the trained layer and the change in answers, by recipe and experiment."""
    by_model = {model: measured[measured["model"] == model] for model in results.model_names}
    return [_by_choice(results, model, rows) for model, rows in by_model.items() if len(together(rows))]


def _by_choice(results: Results, model: str, measured: pd.DataFrame) -> Drawing:
    shown = measured[measured["compared"].astype(bool)]
    marks, single = together(shown), shown[shown["seed"].notna()]
    recipes = sorted(dict.fromkeys(marks["recipe"]), key=lambda name: name.startswith(AS_PUBLISHED))
    emerging = [recipe for recipe in recipes if marks.loc[marks["recipe"] == recipe, "emerges"].astype(bool).all()]
    several = marks["seeds"].max() > 1
    over = "templates and seeds" if several else "templates"
    seeds = ", ".join(f"{seed:.0f}" for seed in sorted(set(single["seed"])))
    dots = " Dots below a mark are single seeds." if several else ""
    return Drawing(
        name=f"recipes_{model}",
        data=shown,
        alt=(
            f"Probability of the class token and change in answers by recipe of training, {model}. A classifier "
            f"emerges in every experiment by: {', '.join(emerging) or 'none'}."
        ),
        caption=(
            f"{model}: what each training does on held-out symbolic prompts, all at the same seeds "
            f"({seeds}), with {share(results.decisions.confidence)} intervals over "
            f"{over}.{dots} Left the class token's mean probability at the trained layer, the dotted line is the bound "
            "of emergent; right the answers' accuracy minus that after stage 1."
        ),
        draw=lambda: _draw(results, shown, recipes),
    )


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
    styles = (
        *(("emerges", EMERGES), ("undecided", OPEN), ("none", NONE)),
        *(("answers hurt", LOSS), ("not hurt, or undecided", OTHER)),
    )
    handles = [Line2D([], [], color=c, marker=m, ls="", label=name) for name, (c, m) in styles]
    if together(shown)["seeds"].max() > 1:
        handles.append(Line2D([], [], color=NEUTRAL, marker=".", ls="", label="single seeds"))
    legend_above(figure, handles)
    return figure


def _panel(ax: Axes, rows: pd.DataFrame, recipes: list[str], column: str, scale: float) -> None:
    """A recipe a line, from the top: its seeds together with their interval, and below them each by itself."""
    for row in together(rows).to_dict("records"):
        y = recipes.index(row["recipe"])
        colour, marker = _look(column, row)
        ax.plot([scale * row[f"{column}_low"], scale * row[f"{column}_high"]], [y, y], color=colour, lw=1.2)
        ax.plot(scale * row[column], y, color=colour, marker=marker, ls="")
        if row["seeds"] > 1:
            single = scale * rows.loc[(rows["recipe"] == row["recipe"]) & rows["seed"].notna(), column]
            ax.plot(single, [y + BELOW] * len(single), color=NEUTRAL, marker=".", ms=3.5, ls="")
    ax.set_yticks(range(len(recipes)), recipes)
    ax.set_ylim(len(recipes) - 0.4, -0.6)


def _look(column: str, row: dict[object, object]) -> tuple[str, str]:
    if column == "p":
        return EMERGES if row["emerges"] else NONE if row["absent"] else OPEN
    return LOSS if row["verdict"] == HURT else OTHER
