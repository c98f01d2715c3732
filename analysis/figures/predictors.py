"""What may explain where classifiers carry over: predictors against the outcome, and what each adds."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.drawing.axes import panels
from analysis.drawing.description import CELL, Axis, Drawing, Facet, Look, Panels, Scatter, Series
from analysis.drawing.style import series_style
from study.config.predictors import PREDICTORS

SIGNS = {"o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼", "P": "✚", "X": "✖", "*": "★"}


def predictors(
    models: list[str], cells: pd.DataFrame, by_model: pd.DataFrame, associations: pd.DataFrame, tier: str
) -> list[Scatter]:
    """Each predictor against the outcome, one colour and marker a model; none without a cell or a predictor.

    `cells` has a row a cell: its choice accuracy on the primary tier (`tier`) as `choice`, and a column a predictor.
    """
    names = [name for name in associations["predictor"] if name in cells]
    if cells.empty or not names:
        return []
    models = [model for model in models if model in set(cells["model"])]
    looks = {model: Look(*series_style(index)) for index, model in enumerate(models)}
    means = by_model.groupby("predictor", sort=False)["rho"].mean()
    found = [f"{PREDICTORS[name].words} {means[name]:+.2f}" for name in names if means.get(name) == means.get(name)]
    chart = Scatter(
        name="predictors",
        data=pd.concat([cells[["unit", *CELL, "choice"]].assign(predictor=name, value=cells[name]) for name in names]),
        alt=(
            f"Choice accuracy on {tier} prompts against each predictor. Mean rho within models: "
            f"{', '.join(found) or 'none'}."
        ),
        caption=(
            f"Measured before stage 2, against choice accuracy on {tier} prompts after it: one point a cell. rho is "
            "the rank correlation within each model, given depth, its square and weight."
        ),
        panels=Panels(
            Facet(
                "predictor", names, {name: f"{PREDICTORS[name].words}\n{_rho(name, looks, by_model)}" for name in names}
            ),
            wrap=3,
            title="{column}",
            title_style={"fontsize": 8},
            shared_x=False,
        ),
        x=Axis("value", ""),
        y=Axis("choice", f"choice accuracy, {tier}", page_label="choice accuracy", scale="share"),
        series=Series("model", looks),
        tooltip=("predictor", "value", *CELL, "choice"),
        size=(3.6, 2.6),
        page_size=(260, 190),
    )
    return [chart]


def _rho(name: str, looks: Mapping[str, Look], by_model: pd.DataFrame) -> str:
    """Each model's correlation behind its marker, four a line."""
    found = by_model[by_model["predictor"] == name].dropna(subset="rho").set_index("model")["rho"]
    texts = [f"{SIGNS[look.marker]} {found[model]:+.2f}" for model, look in looks.items() if model in found.index]
    lines = ["   ".join(texts[start : start + 4]) for start in range(0, len(texts), 4)]
    return "rho " + "\n".join(lines) if lines else "rho not defined"


def predictors_added(associations: pd.DataFrame) -> list[Drawing]:
    """What each predictor adds to depth, its square and weight, in models that were left out; none where unknown."""
    known = associations.sort_values("increment", kind="stable").dropna(subset="increment")
    if known.empty:
        return []
    best = known.iloc[-1]
    drawing = Drawing(
        name="predictors_added",
        data=associations,
        alt=(
            "Gain in R² over depth, its square and weight, in models left out. Largest: "
            f"{PREDICTORS[best['predictor']].words} {best['increment']:+.2f}."
        ),
        caption=(
            "What each predictor adds to depth, its square and weight where a model is predicted from the others; "
            "intervals over models."
        ),
        draw=lambda: _draw_added(associations),
    )
    return [drawing]


def _draw_added(associations: pd.DataFrame) -> Figure:
    figure, axes = panels(1, 1, width=7.5, height=0.6 + 0.34 * len(associations))
    ax: Axes = axes[0, 0]
    ax.axvline(0, color="#000000", lw=0.8)
    for y, row in enumerate(associations.to_dict("records")):
        ax.plot([row["increment_low"], row["increment_high"]], [y, y], color="#0072B2", lw=1.2)
        ax.plot(row["increment"], y, color="#0072B2", marker="o")
        text = f"rho > 0 in {row['signs']} of {row['models']} models · {row['words']}"
        ax.text(1.02, y, text, transform=ax.get_yaxis_transform(), va="center", fontsize=8)
    ax.set_yticks(range(len(associations)), [PREDICTORS[name].words for name in associations["predictor"]])
    ax.set_ylim(len(associations) - 0.5, -0.5)
    ax.set_xlabel("R² in models left out, minus that of depth, its square and weight alone")
    return figure
