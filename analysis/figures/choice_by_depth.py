"""How well classifiers are chosen by depth: on the cover with all pairs together, then pair by pair."""

import pandas as pd

from analysis.data.files import short_name
from analysis.data.numbers import share
from analysis.data.results import Results
from analysis.drawing.description import CELL, Axis, DepthCurves, Facet, Look, Panels, Series
from analysis.drawing.style import DEPTH_LABEL, fill, line, tier_styles
from analysis.figures.cells import best_by_tier, planned_cells

DEPTH = Axis("depth", DEPTH_LABEL, ends=(0, 1.03))
TOOLTIP = (*CELL, "tier", "outcome", "choice", "choice_low", "choice_high", "p")


def cover(results: Results, judged: pd.DataFrame) -> DepthCurves:
    """Choice accuracy by depth, one panel a model, all pairs in it."""
    weight = results.shown_weight
    data = judged[judged["weight"] == weight]
    lines = {
        pair: Look(line=line(index), fill=fill(index), width=1.0 if index else 1.6)
        for index, pair in enumerate(results.pairs)
    }
    return DepthCurves(
        name="cover",
        data=data,
        alt=f"Choice accuracy against relative depth of the trained layer at w = {weight:g}. {best_by_tier(data)}",
        caption=(
            f"Choice accuracy at the trained layer on held-out {results.terms.held_out}, w = {weight:g}, by wording "
            "and class tokens; the dotted line is chance."
        ),
        heading="Does the classifier carry over to wordings it was not trained on?",
        panels=Panels(
            Facet("model", results.model_names),
            wrap=4,
            title="{column}",
            title_style={"fontweight": "bold"},
        ),
        x=DEPTH,
        y=_choice(results),
        series=_tiers(results),
        lines=Series("pair", lines, title="class tokens"),
        tooltip=TOOLTIP,
        size=(4.0, 3.0),
        page_size=(300, 220),
    )


def transfer(results: Results, judged: pd.DataFrame, name: str) -> DepthCurves:
    """Choice accuracy by depth with intervals, rows are models and columns pairs."""
    weight = results.shown_weight
    data = judged[judged["weight"] == weight]
    return DepthCurves(
        name=short_name(name),  # it may hold several wordings
        data=data,
        alt=f"Choice accuracy with intervals against relative depth, by model and token pair. {best_by_tier(data)}",
        caption=(
            f"Cells trained on {' and '.join(results.plain[0].wordings)}, by depth at w = {weight:g}: one curve a "
            f"tier, with {share(results.decisions.confidence)} intervals; the dotted line is chance."
        ),
        panels=Panels(Facet("pair", results.pairs), Facet("model", results.model_names)),
        x=DEPTH,
        y=_choice(results),
        series=_tiers(results),
        tooltip=TOOLTIP,
        size=(4.0, 2.5),
        page_size=(300, 170),
        planned=planned_cells(cell for cell in results.plain if cell.weight == weight),
    )


def _choice(results: Results) -> Axis:
    chances = sorted({cell.chance for cell in results.plain})
    return Axis("choice", "choice accuracy", scale="share", low="choice_low", marked=tuple(chances))


def _tiers(results: Results) -> Series:
    looks = {tier: Look(colour, marker) for tier, (colour, marker) in tier_styles(results.tiers).items()}
    return Series("tier", looks, labels={tier: f"{tier} (trained)" for tier in results.plain[0].wordings})
