"""Small studies and the frames that are decided from them, made by hand: every value in them is known."""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from analysis.data.results import Results
from analysis.data.unit_rows import Gathering, UnitRows
from analysis.data.units import StudyUnit
from analysis.figures.emergence import EVALUATIONS
from analysis.outcomes.effects import DIFFERENCES, EFFECTS
from analysis.outcomes.levels import LEVELS, MEANS
from analysis.outcomes.prediction import ASSOCIATIONS, BY_MODEL
from analysis.outcomes.recipes import MEASURED
from analysis.outcomes.use import DOSES, SHARES
from study.config.names import TIERS
from study.results.schema import COLUMNS

MANY = [f"model-{letter}-135m" for letter in "abcdefgh"]
PAIR = "multiply/add"


def made_study(
    models: Mapping[str, int] | None = None,
    layers: Sequence[int] = (1, 3),
    seeds: Sequence[int] = (0, 1, 2),
    pairs: Sequence[str] = (PAIR,),
    wordings: Sequence[tuple[str, ...]] = (("symbolic",),),
    weight: float = 0.5,
) -> Results:
    """A study whose plain cells have all finished; none has rows."""
    places = product((models or {"alpha": 4, "beta": 4}).items(), pairs, wordings, layers, seeds)
    cells = [_cell(*place, weight) for place in places]
    units = {cell.id: cell for cell in cells}
    references = {(cell.model, cell.seed): _reference(cell) for cell in cells}
    units |= {unit.id: unit for unit in references.values()}
    rows = {name: made_rows(name, {}) for name in COLUMNS}
    return Results("made", {"stage1": {"wordings": ["symbolic", "semantic"]}}, {}, units, rows=rows)


def made_rows(name: str, frames: Mapping[str, pd.DataFrame]) -> UnitRows:
    """The rows of a table by unit; columns that frames lack have no values."""
    gathered = Gathering(COLUMNS[name])
    for unit, frame in frames.items():
        gathered.add(pa.Table.from_pandas(frame.assign(unit=unit), preserve_index=False))
    return gathered.together(list(frames))


def _cell(
    model: tuple[str, int], pair: str, wordings: tuple[str, ...], layer: int, seed: int, weight: float
) -> StudyUnit:
    name, blocks = model
    label = f"{name}|L{layer}|{pair}|{'+'.join(wordings)}|s{seed}"
    return StudyUnit(
        kind="cell",
        id=label,
        folder=label,
        label=label,
        model=name,
        blocks=blocks,
        seed=seed,
        operations=("multiply", "add"),
        tiers=TIERS,
        layer=layer,
        pair=pair,
        readout=pair,
        arm="plain",
        wordings=wordings,
        weight=weight,
        choices=(),
        stage2="60 steps at 0.0002",
        apart=False,
        reference=f"{name}|reference|s{seed}",
        status="finished",
        reason="",
    )


def _reference(cell: StudyUnit) -> StudyUnit:
    empty = {"layer": None, "pair": "", "readout": "", "arm": "", "wordings": (), "weight": None, "reference": None}
    about = vars(cell) | empty | {"kind": "reference", "id": cell.reference, "label": cell.reference}
    return StudyUnit(**about)


Value = Callable[[StudyUnit, str], float]
"""The choice accuracy of a cell on a tier."""


def by_depth(cell: StudyUnit, tier: str) -> float:
    """More with depth, less with distance of the wording, and other for every seed and model."""
    return 0.5 + 0.4 * cell.depth - 0.08 * TIERS.index(tier) + 0.02 * cell.seed + 0.01 * (cell.blocks % 7)


def made_levels(results: Results, value: Value = by_depth, templates: str = "unseen") -> pd.DataFrame:
    """The rows of LEVELS of the plain cells."""
    rows = [
        {
            **_about(cell),
            "unit": cell.id,
            "seed": cell.seed,
            "tier": tier,
            "templates": templates,
            "samples": 27,
            "fitted": True,
            **_around("choice", value(cell, tier)),
        }
        for cell in results.plain
        for tier in TIERS
    ]
    return pd.DataFrame(rows).reindex(columns=LEVELS)


def made_means(levels: pd.DataFrame) -> pd.DataFrame:
    """The rows of MEANS over the seeds of levels that have fitted."""
    keys = ["model", "pair", "arm", "weight", "wordings", "layer", "depth", "tier", "templates", "samples"]
    rows = []
    for key, own in levels.groupby(keys, sort=False):
        fitted = own[own["fitted"].astype(bool)]
        counts = {"seeds": len(fitted), "not_fitted": len(own) - len(fitted)}
        ends = {"lowest_seed": fitted["choice"].min(), "highest_seed": fitted["choice"].max()}
        rows.append(
            {**dict(zip(keys, key, strict=True)), **counts, **_around("choice", fitted["choice"].mean()), **ends}
        )
    return pd.DataFrame(rows).reindex(columns=MEANS)


def made_contrast(
    results: Results, name: str, measure: str, tiers: Sequence[str], value: Value, templates: str = "unseen"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of DIFFERENCES, and of EFFECTS at each depth and over all, of one contrast."""
    about = {"contrast": name, "measure": measure, "templates": templates, "samples": 54}
    single = pd.DataFrame(
        [
            {**about, **_about(cell), "unit": cell.id, "seed": cell.seed, "tier": tier}
            | _around("difference", value(cell, tier))
            for cell in results.plain
            for tier in tiers
        ]
    )
    keys = ["contrast", "measure", "model", "pair", "weight", "wordings", "tier", "templates", "samples"]
    rows = []
    for depths in ([], ["depth"]):
        for key, own in single.groupby([*keys, *depths], sort=False):
            mean = _around("difference", own["difference"].mean(), 0.04)
            counts = {"seeds": own["seed"].nunique(), "depths": own["depth"].nunique(), "verdict": "undecided"}
            rows.append({**dict(zip([*keys, *depths], key, strict=True)), **counts, **mean})
    return single.reindex(columns=DIFFERENCES), pd.DataFrame(rows).reindex(columns=EFFECTS)


def made_doses(results: Results, tiers: Sequence[str] = ("symbolic",)) -> pd.DataFrame:
    """The rows of DOSES of the plain cells, and of the models with w = 0."""
    places = {(cell.model, cell.pair, cell.layer, cell.depth) for cell in results.plain}
    moves: dict[tuple[str, float], float] = {("none", 1.0): 0.01, ("full", 1.0): 0.8, ("complement", 1.0): 0.6}
    moves |= {("paired_1", 1.0): 0.3, ("paired_4", 1.0): 0.5, ("random_4", 1.0): 0.02}
    moves |= {(name, s): 0.05 * s * (1 + 5 * (name == "class")) / 4 for name in ("class", "random") for s in STRENGTHS}
    rows = []
    for (model, pair, layer, depth), tier in product(sorted(places), tiers):
        where = {"model": model, "wordings": "symbolic", "layer": layer, "depth": depth, "tier": tier}
        counts = {"seeds": len(results.seeds), "samples": 27, "prompts": 80, "followed": 0.1}
        for (subspace, strength), p in moves.items():
            move = {"subspace": subspace, "strength": strength}
            rows.append({**where, "pair": pair, "weight": results.shown_weight, **counts, **move, **_around("p", p)})
            rows.append({**where, "pair": "", "weight": 0.0, **counts, **move, **_around("p", p / 3, 0.01)})
    return pd.DataFrame(rows).drop_duplicates().reindex(columns=DOSES)


def made_shares(doses: pd.DataFrame, ceiling: bool = True) -> pd.DataFrame:
    """The rows of SHARES of the class direction."""
    chosen = doses[(doses["subspace"] == "class") & (doses["strength"] == 1)]
    return chosen.assign(ceiling=ceiling).reindex(columns=SHARES)


STRENGTHS = (0.5, 1.0, 2.0, 4.0, 8.0)


def add_profiles(results: Results) -> None:
    """Give every cell and reference rows of `profile`: choice accuracy is by_depth at the trained layer, else a half;
    after stage 1 it is .4."""
    profiles = {}
    for cell in results.plain:
        places = product(range(cell.blocks), TIERS)
        values = [by_depth(cell, tier) if layer == cell.layer else 0.5 for layer, tier in places]
        profiles[cell.id] = _profile(cell, "stage2", [cell.readout], values)
        profiles[str(cell.reference)] = _profile(cell, "stage1", results.pairs, [0.4] * len(values))
    results.rows["profile"] = made_rows("profile", profiles)


def _profile(cell: StudyUnit, stage: str, pairs: Sequence[str], values: Sequence[float]) -> pd.DataFrame:
    places = list(product(range(cell.blocks), TIERS))
    rows = [[stage, pair, *place, 24, value] for pair in pairs for place, value in zip(places, values, strict=True)]
    return pd.DataFrame(rows, columns=["stage", "pair", "layer", "tier", "prompts", "choice"])


def made_evaluations(results: Results, tiers: Sequence[str] = TIERS, flat: Sequence[str] = ()) -> pd.DataFrame:
    """Evaluations in training that end at 1 at the trained layer, and stay at chance on the tiers that are `flat`."""
    rows = [
        [*about, step, layer, tier, 16, choice, choice]
        for cell in results.plain
        for about in [[cell.model, cell.pair, "symbolic", cell.layer, cell.blocks, 0.5, cell.weight, cell.seed]]
        for step, layer, tier in product(range(20, 201, 20), range(cell.blocks), tiers)
        for choice in [0.5 + (tier not in flat) * 0.5 * step / 200 * np.exp(-abs(layer - (cell.layer or 0)))]
    ]
    return pd.DataFrame(rows, columns=EVALUATIONS)


def made_correlations(models: Sequence[str], names: Sequence[str]) -> pd.DataFrame:
    """A correlation of every predictor in every model."""
    rows = [
        [name, model, 0.9 - 0.2 * n - 0.03 * m, 7] for n, name in enumerate(names) for m, model in enumerate(models)
    ]
    return pd.DataFrame(rows, columns=BY_MODEL)


def made_associations(names: Sequence[str], models: int) -> pd.DataFrame:
    """What every predictor adds."""
    rows = [
        {"predictor": name, "models": models, "signs": models, "words": "undecided", **_around("increment", 0.1 * n)}
        for n, name in enumerate(names)
    ]
    return pd.DataFrame(rows).reindex(columns=ASSOCIATIONS)


def made_recipes(recipes: Mapping[str, Sequence[int]], model: str = "alpha") -> pd.DataFrame:
    """The rows of MEASURED: p is a tenth of the seed, or its mean over seeds; compared are the seeds that all have."""
    about = {"model": model, "pair": PAIR, "layer": 3, "weight": 0.5, "stage2": "60 steps at 0.0002"}
    rows: list[dict[str, Any]] = []
    common = sorted(set.intersection(*map(set, recipes.values())))
    for recipe, seeds in recipes.items():
        for seed, own in [*((float(seed), [seed]) for seed in seeds), (np.nan, common)]:
            value = float(np.mean(own)) / 10
            row = {**about, "recipe": recipe, "seed": seed, "seeds": len(own), "compared": set(own) <= set(common)}
            row |= {"lowest_seed": min(own) / 10, "highest_seed": max(own) / 10}
            row |= _around("p", value) | _around("answers", -value) | {"emerges": value > 0.5, "verdict": "undecided"}
            rows.append(row)
    return pd.DataFrame(rows).reindex(columns=MEASURED)


def _about(cell: StudyUnit) -> dict[str, Any]:
    about = {name: getattr(cell, name) for name in ("model", "pair", "arm", "weight", "layer", "depth")}
    return about | {"wordings": "+".join(cell.wordings)}


def _around(name: str, value: float, half: float = 0.05) -> dict[str, float]:
    return {name: value, f"{name}_low": value - half, f"{name}_high": value + half}
