"""At which layers the class can be read once it was trained at one of them: choice accuracy along the depth."""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from analysis.data.numbers import share
from analysis.data.results import Results
from analysis.data.units import StudyUnit
from analysis.drawing.description import PANEL, ROW, SERIES, Chart, Look, Marks
from analysis.drawing.style import NEUTRAL, colour
from analysis.figures.series import (
    Shown,
    chance_in_words,
    choice_axis,
    choice_rules,
    counted,
    depth_axis,
    paneled_models,
    short,
    spread,
    stacked,
)

COLUMNS = ["model", "pair", "weight", "wordings", "trained_layer", "tier", "layer", "depth", "prompts", "choice"]
TRAINED = "trained layer"
MARKS = (
    Marks("trained", "bands", width=5.0, opacity=0.3),
    Marks("stage 1", "line", width=0.9, line=":", label="after stage 1"),
    Marks("stage 2", "line", width=1.5),
    Marks("stage 2", "points", size=1.8),
)


def lens(results: Results, shown: Shown) -> list[Chart]:
    """Describe choice accuracy at every layer, a panel a trained layer; none where no cell has a profile.

    Of the first pair of class tokens; means over seeds.
    """
    models = paneled_models(results)
    cells = [cell for cell in results.plain if cell.finished and shown.has(cell) and cell.model in models]
    cells = [cell for cell in cells if cell.pair == cells[0].pair]
    kept = {m: spread(c.depth for c in cells if c.model == m) for m in dict.fromkeys(c.model for c in cells)}
    cells = [cell for cell in cells if cell.depth in kept[cell.model]]
    parts = {
        "stage 2": _means(results, [(cell, cell, "stage2") for cell in cells]),
        "stage 1": _means(results, [(c, one, results.before_stage) for c in cells if (one := results.reference_of(c))]),
    }
    after = parts["stage 2"]
    if after.empty:
        return []
    places = after.drop_duplicates(["model", "trained_layer"])
    blocks = {cell.model: cell.blocks for cell in cells}
    depths = (places["trained_layer"] + 1) / places["model"].map(blocks)
    parts["trained"] = places.assign(layer=places["trained_layer"], depth=depths, **{SERIES: TRAINED})
    data = stacked(parts, COLUMNS)
    tiers = [tier for tier in results.tiers if tier in set(after["tier"])]
    names = {tier: Look(colour(i), "o", "-") for i, tier in enumerate(tiers)}
    chart = Chart(
        name="lens",
        data=data,
        alt=f"Choice accuracy at every layer after stage 2, by model, trained layer and tier. {_reach(parts)}",
        caption=_caption(results, cells, after, shown),
        rows={
            short(model): list(dict.fromkeys(places.loc[places["model"] == model, PANEL]))
            for model in models
            if model in set(places["model"])
        },
        x=depth_axis(label="relative depth of the read-out"),
        y=choice_axis(min(data["choice"].min(), *(cell.chance for cell in results.plain))),
        looks=names | {TRAINED: Look(NEUTRAL, line="-")},
        marks=[replace(mark, label=_before(results)) if mark.of == "stage 1" else mark for mark in MARKS],
        rules=choice_rules(results),
        tooltip=("model", "trained_layer", "tier", "layer", "depth", "prompts"),
        legend="tier",
        height=1.35,
        page_size=(200, 130),
    )
    return [chart]


def _means(results: Results, sources: Sequence[tuple[StudyUnit, StudyUnit, str]]) -> pd.DataFrame:
    """Choice accuracy of cells' own class tokens by layer and tier, in a unit and stage; the mean over seeds."""
    frames = []
    for cell, unit, stage in sources:
        profile = results.rows["profile"][unit.id]
        rows = profile[(profile["stage"] == stage) & (profile["pair"] == cell.readout)]
        about = {"model": cell.model, "pair": cell.pair, "weight": cell.weight, "wordings": "+".join(cell.wordings)}
        about |= {"trained_layer": cell.layer, ROW: short(cell.model), PANEL: f"L{cell.layer} ({cell.depth:.2f})"}
        rows = rows[["layer", "tier", "prompts", "choice"]].astype({"tier": str})
        frames.append(rows.assign(depth=(rows["layer"] + 1) / cell.blocks, **about))
    filled = [frame for frame in frames if not frame.empty]
    if not filled:
        return pd.DataFrame(columns=[*COLUMNS, ROW, PANEL, SERIES])
    keys = [*COLUMNS[:8], ROW, PANEL]
    means = pd.concat(filled).groupby(keys, sort=False, as_index=False)[["prompts", "choice"]].mean()
    return means.assign(**{SERIES: means["tier"]})


def _caption(results: Results, cells: Sequence[StudyUnit], after: pd.DataFrame, shown: Shown) -> str:
    seeds = pd.Series([cell.model + str(cell.layer) for cell in cells]).value_counts()
    return (
        f"Choice accuracy of {cells[0].pair} at every layer after stage 2, trained on {shown.words} at w = "
        f"{shown.weight:g} at the layer with the grey band (panels: layer, relative depth), by tier; dotted and thin: "
        f"{_before(results)}. Means of {counted(seeds, 'seed')} over the {counted(after['prompts'], 'prompt')} a tier "
        "that were read at every layer, of templates both seen and unseen. Dotted: chance, "
        f"{chance_in_words(results)}; grey: 75 %."
    )


def _before(results: Results) -> str:
    return "after stage 1" if results.has_answers else results.terms.before


def _reach(parts: dict[str, pd.DataFrame]) -> str:
    """The accuracy at the trained layer, by tier."""
    after = parts["stage 2"]
    at_it = after[after["layer"] == after["trained_layer"]].groupby("tier", sort=False)["choice"]
    found = [f"{tier} {share(values.min())} to {share(values.max())}" for tier, values in at_it]
    return f"At the trained layers: {', '.join(found)}."
