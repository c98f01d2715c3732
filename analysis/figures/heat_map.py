"""Where in a model classifiers emerge: one heat map a model, over depth and weight."""

import pandas as pd

from analysis.data.results import Results
from analysis.drawing.description import Axis, Facet, HeatMap, Panels
from analysis.figures.cells import best_by_tier, planned_cells

MEASURES = {"p": "mean p", "choice": "choice accuracy"}
COLUMNS = ["model", "pair", "tier", "layer", "depth", "weight", "seed", "p", "choice", "shown", "value"]


def where(results: Results, judged: pd.DataFrame, model: str) -> HeatMap:
    """Relative depth x weight: p on the trained wording, choice accuracy on the other tiers."""
    cells = [cell for cell in results.plain if cell.model == model]
    trained = results.plain[0].wordings
    shown = {tier: "p" for tier in results.tiers if tier in trained}
    shown |= {tier: "choice" for tier in results.tiers if tier not in trained}
    data = judged[judged["model"] == model]
    coloured = data["tier"].map(shown)
    data = data.assign(shown=coloured, value=data["p"].where(coloured == "p", data["choice"]))[COLUMNS]
    depths = {cell.layer or 0: cell.depth for cell in cells}
    weights = sorted({cell.weight or 0.0 for cell in cells})
    return HeatMap(
        name=f"where_{model}",
        data=data,
        alt=f"Heat maps of {model} over relative depth and weight. {best_by_tier(data)}",
        caption=(
            f"{model}: mean p of the right class token on the trained wording, choice accuracy on the others, at the "
            "trained layer (mean over seeds); hatched grey where no cell has finished."
        ),
        heading=model,
        panels=Panels(
            Facet("pair", results.pairs),
            Facet("tier", list(shown), names={tier: f"{MEASURES[measure]}, {tier}" for tier, measure in shown.items()}),
            title="{row}",
        ),
        x=Axis(
            "layer",
            "relative depth, layer",
            page_label="trained layer",
            scale="ordinal",
            names={layer: f"{depths[layer]:.2f}\nL{layer}" for layer in sorted(depths)},
        ),
        y=Axis("weight", "weight w", scale="ordinal", names={weight: f"{weight:g}" for weight in weights}),
        value_label="p or choice accuracy",
        tooltip=("model", "pair", "tier", "layer", "depth", "weight", "shown"),
        means=("choice", "p"),
        size=(1.4 + 0.62 * len(depths), 0.55 + 0.36 * len(weights)),
        page_size=(62, 34),
        planned=planned_cells(cells),
    )
