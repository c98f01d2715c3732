"""Of a sample of small models: which measurement, taken before stage 2, explains where a class is read in architectures
that were left out."""

import math

import numpy as np
import pandas as pd
from statsmodels.stats.multitest import multipletests

from analysis.data.results import Results
from analysis.outcomes.prediction import CLAMP, DOES_NOT, EXPLAINS, NEGLIGIBLE, TOO_FEW, UNDECIDED
from analysis.outcomes.sample import learned, main_cells
from analysis.statistics.explained import explained
from analysis.statistics.intervals import Floats, bounds
from study.config.arms import PLAIN

EXPLAINED = [
    *("predictor", "architectures", "models", "places", "baseline", "increment", "increment_low", "increment_high"),
    *("p", "p_holm", "words"),
]
FEWEST = 6
"""Architectures below which nothing is decided."""
PERMUTATIONS = 5000
SIZES = ("blocks", "hidden_size", "attention_heads")
_GROUP, _PLACE = "architecture", ["number", "seed", "pair", "tier", "position"]


def explanations(results: Results, cells: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each predictor that the study tests, from `sample_cells`; empty without a designed sample.

    The outcome is the logit of choice accuracy, clamped to CLAMP, on templates that no training saw, of `main_cells`
    that fitted, of models that learned the task (`areas` says which), on tiers that they did not train on, at all
    trained layers but the last block, which shares its distribution with the answer. The baseline is what is known
    without the predictor: tier, depth, its square, the accuracy of answers after stage 1, and the sizes of the model.
    Whole architectures are left out, and whole architectures exchange their predictors under the null.
    """
    if cells.empty:
        return pd.DataFrame(columns=EXPLAINED)
    rows = []
    for name in results.decisions.predictors:
        own = _complete(cells.dropna(subset=[name]))
        groups = own[_GROUP].nunique()
        about = {"predictor": name, "architectures": groups, "models": own["model"].nunique()}
        about |= {"places": len(own) // max(groups, 1)}
        if groups < FEWEST:
            rows.append({**about, "words": TOO_FEW})
            continue
        tables = (_table(own, [column]) for column in ("target", name))
        outcome, predictor = (table[..., 0] for table in tables)
        found = explained(
            outcome,
            predictor,
            _baseline(own),
            PERMUTATIONS,
            results.decisions.resamples,
            results.decisions.confidence,
        )
        rows.append({**about, "baseline": found.baseline, **bounds("increment", found.increment), "p": found.p})
    frame = pd.DataFrame(rows).reindex(columns=EXPLAINED).astype({"words": object})
    tested = frame["p"].notna()
    if tested.any():
        frame.loc[tested, "p_holm"] = multipletests(frame.loc[tested, "p"], method="holm")[1]
        level = 1 - results.decisions.confidence
        frame.loc[tested, "words"] = [_words(row, level) for _, row in frame[tested].iterrows()]
    return frame


def _words(row: "pd.Series[float]", level: float) -> str:
    if row["p_holm"] <= level and row["increment_low"] > 0:
        return EXPLAINS
    return DOES_NOT if row["increment_high"] < NEGLIGIBLE else UNDECIDED


def sample_cells(
    results: Results, areas: pd.DataFrame, levels: pd.DataFrame, measured: pd.DataFrame, arm: str = PLAIN
) -> pd.DataFrame:
    """Return a row for each of the `main_cells` of an arm that fitted, and each tier that it did not train on, but for
    the last block: `target`, the logit of its choice accuracy, its predictors and what is known of its model. Of models
    that learned the task, and of seeds that have an area, in which the cell of every depth fitted. Empty without a
    sample.
    """
    sample = results.nursery.sample if results.nursery else None
    if sample is None or measured.empty or areas.empty:
        return pd.DataFrame()
    units = {cell.id: cell for cell in main_cells(results, arm)}
    own = levels[(levels["templates"] == "unseen") & levels["unit"].isin(units) & levels["fitted"].astype(bool)]
    if own.empty:
        return pd.DataFrame()
    # Not the last block, and not tiers that the cell trained on.
    kept = [
        layer < units[unit].blocks - 1 and tier not in units[unit].wordings
        for unit, layer, tier in zip(own["unit"], own["layer"].astype(int), own["tier"], strict=True)
    ]
    own = own[kept]
    choice = own["choice"].astype(float).clip(CLAMP, 1 - CLAMP)
    own = own[["unit", "model", "seed", "pair", "layer", "depth", "tier"]].assign(
        target=np.log(choice / (1 - choice)), readout=[units[unit].readout for unit in own["unit"]]
    )
    known = learned(areas)[["model", "seed", "pair", "tier", "answers"]]
    own = own.merge(known.astype({"seed": own["seed"].dtype}))
    predictors = measured.rename(columns={"pair": "readout"}).drop(columns="depth")
    own = own.astype({"readout": str}).merge(
        predictors.astype({"readout": str}), on=["model", "seed", "readout", "layer", "tier"]
    )
    sizes = pd.DataFrame(
        [
            {"model": name, _GROUP: one.architecture, "number": i // len(sample.architectures)}
            | {size: math.log(getattr(one, size)) for size in SIZES}
            for i, (name, one) in enumerate(sample.models.items())
        ]
    )
    own = own.merge(sizes, on="model")
    own["depth_squared"] = own["depth"] ** 2
    # Of the depths that were asked for, the how manieth: the same in models of few and of many blocks.
    return own.assign(position=own.groupby(["model", "seed", "pair", "tier"])["layer"].rank().astype(int))


def _complete(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the architectures that have every place that any has, in the order of places: row i is of the
    same place in all of them."""
    places = cells.groupby(_PLACE).ngroup()
    count = places.groupby(cells[_GROUP]).nunique()
    whole = count.index[count == places.nunique()]
    return cells[cells[_GROUP].isin(whole)].sort_values([_GROUP, *_PLACE])


def _table(cells: pd.DataFrame, columns: list[str]) -> Floats:
    """Return columns of complete cells as an array [architectures, places, columns]."""
    values: Floats = cells[columns].to_numpy(float)
    return values.reshape(cells[_GROUP].nunique(), -1, len(columns))


def _baseline(cells: pd.DataFrame) -> Floats:
    """Return [architectures, places, columns]: level, depth and its square of each tier, answers and sizes."""
    tiers = pd.get_dummies(cells["tier"], dtype=float)
    curves = [tiers, tiers.mul(cells["depth"], axis=0), tiers.mul(cells["depth_squared"], axis=0)]
    known = cells[["answers", *SIZES]]
    both = pd.concat([*(part.add_suffix(f" {i}") for i, part in enumerate(curves)), known], axis=1)
    return _table(pd.concat([cells[[_GROUP]], both], axis=1), list(both.columns))
