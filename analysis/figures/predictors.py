"""What may explain where classifiers carry over: predictors against the outcome, and what each adds."""

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis.figures.style import SERIES, Picture, panels, save
from study.config.predictors import PREDICTORS

SIGNS = {"o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼", "P": "✚", "X": "✖", "*": "★"}
KEPT = ["unit", "model", "pair", "layer", "depth", "weight", "seed"]


def why(
    models: list[str],
    cells: pd.DataFrame,
    by_model: pd.DataFrame,
    associations: pd.DataFrame,
    tier: str,
    folder: Path,
) -> list[Picture]:
    """Predictors against the outcome, and what each adds; only what there are figures for.

    `cells` has a row a cell: its choice accuracy on the primary tier (`tier`) as `choice`, and a column a predictor.
    """
    names = [name for name in associations["predictor"] if name in cells]
    pictures = []
    if not cells.empty and names:
        pictures.append(_scatter(models, cells, names, by_model, tier, folder))
    if associations["increment"].notna().any():
        pictures.append(_increments(associations, folder))
    return pictures


def _scatter(
    models: list[str], cells: pd.DataFrame, names: list[str], by_model: pd.DataFrame, tier: str, folder: Path
) -> Picture:
    """One panel a predictor, one colour and marker a model."""
    models = [model for model in models if model in set(cells["model"])]
    styles = {model: SERIES[index % len(SERIES)] for index, model in enumerate(models)}
    columns = min(len(names), 3)
    figure, axes = panels(-(-len(names) // columns), columns, width=3.6, height=2.6, x="none")
    for ax, name in zip(axes.flat, names, strict=False):
        for model, (colour, marker) in styles.items():
            rows = cells[cells["model"] == model]
            ax.plot(rows[name], 100 * rows["choice"], color=colour, marker=marker, ls="", ms=4.5, alpha=0.8)
        ax.set_title(f"{PREDICTORS[name].words}\n{_rho(name, styles, by_model)}", fontsize=8)
        ax.yaxis.set_major_formatter("{x:.0f} %")
    for spare in axes.flat[len(names) :]:
        spare.set_visible(False)
    for ax in axes[:, 0]:
        ax.set_ylabel(f"choice accuracy, {tier}")
    figure.legend(
        handles=[Line2D([], [], color=colour, marker=m, ls="", label=model) for model, (colour, m) in styles.items()],
        loc="outside lower center",
        ncols=4,
    )
    data = pd.concat([cells[[*KEPT, "choice"]].assign(predictor=name, value=cells[name]) for name in names])
    caption = (
        f"Measured before stage 2, against choice accuracy on {tier} prompts after it: one point a cell. rho is the "
        "rank correlation within each model, given depth, its square and weight."
    )
    means = by_model.groupby("predictor", sort=False)["rho"].mean()
    found = [f"{PREDICTORS[name].words} {means[name]:+.2f}" for name in names if means.get(name) == means.get(name)]
    alt = (
        f"Choice accuracy on {tier} prompts against each predictor. Mean rho within models: "
        f"{', '.join(found) or 'none'}."
    )
    return save(figure, folder, "predictors", data, alt, caption)


def _rho(name: str, styles: dict[str, tuple[str, str]], by_model: pd.DataFrame) -> str:
    """Each model's correlation behind its marker, four a line."""
    found = by_model[by_model["predictor"] == name].dropna(subset="rho").set_index("model")["rho"]
    texts = [f"{SIGNS[marker]} {found[model]:+.2f}" for model, (_, marker) in styles.items() if model in found.index]
    lines = ["   ".join(texts[start : start + 4]) for start in range(0, len(texts), 4)]
    return "rho " + "\n".join(lines) if lines else "rho not defined"


def _increments(associations: pd.DataFrame, folder: Path) -> Picture:
    """What each predictor adds to depth, its square and weight, in models that were left out."""
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
    best = associations.sort_values("increment", kind="stable").dropna(subset="increment").iloc[-1]
    caption = (
        "What each predictor adds to depth, its square and weight where a model is predicted from the others; "
        "intervals over models."
    )
    alt = (
        "Gain in R² over depth, its square and weight, in models left out. Largest: "
        f"{PREDICTORS[best['predictor']].words} {best['increment']:+.2f}."
    )
    return save(figure, folder, "predictors_added", associations, alt, caption)
