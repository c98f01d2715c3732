"""What a classifier costs: accuracy kept against class probability."""

import pandas as pd

from analysis.data.numbers import share
from analysis.data.results import Results
from analysis.drawing.description import CELL, Axis, Comparison, Facet, Look, Panels, Rule, Series
from analysis.drawing.style import fill, series_style


def preservation(results: Results, judged: pd.DataFrame, kept: pd.DataFrame) -> Comparison:
    """Accuracy kept against class probability; rows are models, columns the judged tiers."""
    trained = judged[judged["tier"] == results.plain[0].wordings[0]].set_index("unit")
    data = kept[(kept["against"] == "stage 1") & kept["unit"].isin(trained.index)].reset_index(drop=True)
    for column in ("p", "p_low", "p_high"):
        data[column] = data["unit"].map(trained[column])
    tiers = list(dict.fromkeys(kept["tier"])) or [results.judged_tiers[0]]
    weights = sorted({cell.weight or 0.0 for cell in results.plain})
    margin = 100 * results.decisions.non_inferiority_margin
    worst = "" if data.empty else f" Differences run from {_span(100 * data['difference'])} points."
    return Comparison(
        name="preservation",
        data=data,
        alt=f"Accuracy kept against class probability.{worst}",
        caption=(
            f"Answer accuracy after stage 2 minus after stage 1, against mean p on the trained wording; "
            f"{share(results.decisions.confidence)} intervals."
        ),
        panels=Panels(Facet("tier", tiers), Facet("model", results.model_names)),
        x=Axis("p", "mean p of the right class token (log odds)", scale="log odds", low="p_low"),
        y=Axis(
            "difference",
            "accuracy minus stage 1, points",
            page_label="change of accuracy, points",
            scale="points",
        ),
        series=Series(
            "weight",
            {weight: Look(*series_style(index)) for index, weight in enumerate(weights)},
            labels={weight: f"w = {weight:g}" for weight in weights},
        ),
        fills=Series("pair", {pair: Look(fill=fill(index)) for index, pair in enumerate(results.pairs)}),
        rules=(Rule(0), Rule(-margin, line=":", label=f"margin, -{margin:g} points", on_page=False)),
        tooltip=(*CELL, "p", "difference", "difference_low", "difference_high", "verdict"),
        size=(4.0, 2.6),
        page_size=(300, 200),
    )


def _span(values: "pd.Series[float]") -> str:
    return f"{values.min():+.1f} to {values.max():+.1f}"
