"""What the lens reads along the depth of a model, before and after each stage: one picture a model."""

import numpy as np
import pandas as pd

from analysis.data.numbers import probability
from analysis.data.results import Results, StudyUnit
from analysis.drawing.description import Axis, Facet, LensProfile, Look, Panels, Series
from analysis.drawing.style import STAGE_STYLES
from analysis.figures.cells import planned_cells

COLUMNS = ["layer", "log_p", "model", "pair", "trained_layer", "weight", "seed", "stage", "depth"]


def lens_profile(results: Results, model: str) -> LensProfile:
    """The lens by layer at each stage, rows are pairs and columns trained layers."""
    weight, tier = results.shown_weight, results.plain[0].wordings[0]
    cells = [cell for cell in results.plain if cell.model == model and cell.weight == weight]
    layers = sorted({cell.layer or 0 for cell in cells})
    in_panels = [
        cell for pair in results.pairs for layer in layers for cell in cells if (cell.pair, cell.layer) == (pair, layer)
    ]
    data = _under_each_other([_rows(results, cell, tier) for cell in in_panels])
    looks = {
        stage: Look(colour, line=line, width=2 if stage == "stage 2" else 1.3)
        for stage, (colour, line) in STAGE_STYLES.items()
    }
    return LensProfile(
        name=f"lens_profile_{model}",
        data=data,
        alt=(
            f"Lens profiles of {model}: probability of the right class token along depth, for each stage. "
            f"{_peaks(data)}"
        ),
        caption=(
            f"{model}: geometric mean of the right class token's p by layer and stage, {tier} prompts, w = {weight:g}."
        ),
        heading=f"{model}: the right class token's p by layer (w = {weight:g}, {tier})",
        panels=Panels(
            Facet("trained_layer", layers, page_prefix="trained at L"),
            Facet("pair", results.pairs),
            title="L{column} · {row}",
        ),
        x=Axis("depth", "relative depth of the read-out", ends=(0, 1.02)),
        y=Axis("log_p", "p (geometric mean)", scale="log"),
        series=Series("stage", looks),
        mark_label="trained layer",
        tooltip=("model", "pair", "trained_layer", "stage", "layer", "depth", "p"),
        size=(2.5, 2.2),
        page_size=(210, 170),
        planned=planned_cells(cells).rename(columns={"layer": "trained_layer"}),
    )


def _rows(results: Results, cell: StudyUnit, tier: str) -> pd.DataFrame:
    """Mean log p by layer for each stage that a finished unit has."""
    reference, zero = results.reference_of(cell), results.zero_of(cell)
    sources: list[tuple[str, StudyUnit | None, str]] = [
        ("baseline", reference, "baseline"),
        ("stage 1", reference, "stage1"),
    ]
    sources += [("w = 0", zero, "stage2"), ("stage 2", cell if cell.finished else None, "stage2")]
    frames = []
    for stage, unit, stored in sources:
        if unit is not None:
            profile = results.rows["profile"][unit.id]
            shown = (profile["stage"] == stored) & (profile["pair"] == cell.readout) & (profile["tier"] == tier)
            means = profile.loc[shown, ["layer", "log_p"]]
            about = {"model": cell.model, "pair": cell.pair, "trained_layer": cell.layer, "weight": cell.weight}
            depth = (means["layer"] + 1) / cell.blocks
            frames.append(means.assign(**about, seed=cell.seed, stage=stage, depth=depth))
    return _under_each_other(frames)


def _under_each_other(profiles: list[pd.DataFrame]) -> pd.DataFrame:
    filled = [profile for profile in profiles if not profile.empty]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=COLUMNS)


def _peaks(data: pd.DataFrame) -> str:
    after = data[data["stage"] == "stage 2"] if not data.empty else data
    if after.empty:
        return "No cell has finished."
    return f"After stage 2 its geometric mean peaks at {probability(float(np.exp(after['log_p'].max())))}."
