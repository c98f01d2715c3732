"""What each training of the published experiment does, one choice at a time."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.data.numbers import share
from analysis.data.results import Results
from analysis.drawing.axes import panels
from analysis.drawing.description import Drawing
from analysis.outcomes.preservation import Verdict
from analysis.outcomes.recipes import EXPERIMENT
from study.config.recipes import AS_PUBLISHED

EMERGES, NONE = ("#0072B2", "o"), ("#999999", "s")
HURT, OTHER = ("#D55E00", "v"), ("#000000", "D")


def by_choice(results: Results, measured: pd.DataFrame) -> list[Drawing]:
    """A picture a model: p at the trained layer and the change in answers, by recipe of training and by experiment."""
    by_model = {model: measured[measured["model"] == model] for model in results.model_names}
    return [_by_choice(results, model, rows) for model, rows in by_model.items() if not rows.empty]


def _by_choice(results: Results, model: str, measured: pd.DataFrame) -> Drawing:
    recipes = sorted(dict.fromkeys(measured["recipe"]), key=lambda name: name.startswith(AS_PUBLISHED))
    emerging = [recipe for recipe in recipes if measured[measured["recipe"] == recipe]["emerges"].all()]
    return Drawing(
        name=f"recipes_{model}",
        data=measured.reset_index(drop=True),
        alt=(
            f"Probability of the class token and change in answers by recipe of training, {model}. A classifier "
            f"emerges in every experiment by: {', '.join(emerging) or 'none'}."
        ),
        caption=(
            f"{model}: what each training does on held-out symbolic prompts, with "
            f"{share(results.decisions.confidence)} intervals. Left the class token's mean probability at the trained "
            "layer, the dotted line is the bound of emergent; right the answers' accuracy minus that after stage 1."
        ),
        draw=lambda: _draw(results, measured, recipes),
    )


def _draw(results: Results, measured: pd.DataFrame, recipes: list[str]) -> Figure:
    groups = [rows for _, rows in measured.groupby(EXPERIMENT, sort=False)]
    figure, axes = panels(len(groups), 2, width=3.8, height=0.21 * len(recipes) + 0.5, x="col", y="all")
    for (left, right), rows in zip(axes, groups, strict=True):
        _panel(left, rows, recipes, "p", 1.0, rows["emerges"].astype(bool), EMERGES, NONE)
        _panel(right, rows, recipes, "answers", 100.0, rows["verdict"] == Verdict.HURT, HURT, OTHER)
        first = rows.iloc[0]
        left.set_title(f"w {first['weight']:g}, {first['stage2']}", loc="left")
        left.axvline(results.decisions.probability, color="#000000", lw=0.9, ls=":")
        right.axvline(0, color="#000000", lw=0.9, ls=":")
        left.set_xlim(-0.03, 1.03)
    axes[-1][0].set_xlabel("p at the trained layer")
    axes[-1][1].set_xlabel("answers minus stage 1, points")
    styles = (("emerges", EMERGES), ("does not", NONE), ("answers hurt", HURT), ("not hurt, or undecided", OTHER))
    handles = [Line2D([], [], color=c, marker=m, ls="", label=name) for name, (c, m) in styles]
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure


def _panel(
    ax: Axes,
    rows: pd.DataFrame,
    recipes: list[str],
    column: str,
    scale: float,
    is_marked: "pd.Series[bool]",
    marked: tuple[str, str],
    other: tuple[str, str],
) -> None:
    """A recipe a line, from the top, with its interval."""
    for row, chosen in zip(rows.to_dict("records"), is_marked, strict=True):
        y = recipes.index(row["recipe"])
        colour, marker = marked if chosen else other
        ax.plot([scale * row[f"{column}_low"], scale * row[f"{column}_high"]], [y, y], color=colour, lw=1.2)
        ax.plot(scale * row[column], y, color=colour, marker=marker, ls="")
    ax.set_yticks(range(len(recipes)), recipes)
    ax.set_ylim(len(recipes) - 0.5, -0.5)
