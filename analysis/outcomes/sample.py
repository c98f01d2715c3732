"""Of a sample of small models: the area of each model, tier and seed, and what its variance comes from."""

import numpy as np
import pandas as pd

from analysis.data.results import Results
from analysis.data.units import StudyUnit
from analysis.outcomes.depth import by_arm, curves
from analysis.statistics.depth import areas as of_templates
from analysis.statistics.depth import common_range
from analysis.statistics.variance import shares
from study.config.arms import PLAIN

PLACE = ["model", "architecture", "pair", "weight", "wordings", "tier"]
AREAS = [*PLACE, "from_depth", "to_depth", "seed", "samples", "area", "answers", "learned"]
VARIANCE = ["pair", "tiers", "architectures", "models", "seeds", "component", "share", "share_low", "share_high"]
ALL_TASKS = "all pairs"


def main_cells(results: Results, arm: str = PLAIN) -> list[StudyUnit]:
    """Return the cells of one arm of the sample's models, of one weight, the one that most have, and for each pair of
    the wordings that come first: cells that differ in nothing else than model, pair, layer and seed. None without a
    sample."""
    sample = results.nursery.sample if results.nursery else None
    own = [cell for cell in results.cells if sample and cell.model in sample.models and cell.arm == arm]
    own = [cell for cell in own if cell.weight == results.shown_weight]
    first: dict[str, tuple[str, ...]] = {}
    for cell in own:
        first.setdefault(cell.pair, cell.wordings)
    return [cell for cell in own if cell.wordings == first[cell.pair]]


def answers_of(accuracy: pd.DataFrame) -> dict[tuple[str, int, str], float]:
    """Return the accuracy of answers after stage 1 by model, seed and tier."""
    own = accuracy[accuracy["stage"] == "stage1"]
    return {
        (str(model), int(seed), str(tier)): float(right)
        for model, seed, tier, right in zip(own["model"], own["seed"], own["tier"], own["right"], strict=True)
    }


def areas(results: Results, accuracy: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each model of a designed sample, pair, tier and seed, of `main_cells`. Empty without a sample.

    `area` is that under (choice accuracy - chance) / (1 - chance) over the depths that all models have in common, a
    mean over templates. `answers` is the accuracy of answers after stage 1 on the tier, and `learned` whether that on
    the tier that labels were given on is at least `decisions.learned`.
    """
    sample = results.nursery.sample if results.nursery else None
    series = by_arm(results).get("plain", {}) if sample else {}
    main = {(cell.model, cell.pair, cell.weight or 0.0, "+".join(cell.wordings)) for cell in main_cells(results)}
    drawn = {key: cells for key, cells in series.items() if key in main}
    if sample is None or not drawn:
        return pd.DataFrame(columns=AREAS)
    answers = answers_of(accuracy)
    low, high = common_range([np.array(sorted(cells)) for cells in drawn.values()])
    rows = []
    for (model, pair, weight, wordings), cells in drawn.items():
        about: dict[str, object] = {"model": model, "architecture": sample.models[model].architecture, "pair": pair}
        about |= {"weight": weight, "wordings": wordings, "from_depth": low, "to_depth": high}
        for tier in results.readouts:
            found, _, seeds = curves(results, cells, tier)
            if found is None or low >= high:
                continue
            chance = next(iter(cells.values()))[0].chance
            table = of_templates(found, np.array(sorted(cells)), chance, low, high)
            for seed, column in zip(seeds, table.T, strict=True):
                known = column[~np.isnan(column)]
                if len(known):
                    right, first = (answers.get((model, seed, one), np.nan) for one in (tier, wordings.split("+")[0]))
                    own = {"tier": tier, "seed": seed, "samples": len(known), "area": known.mean()}
                    rows.append({**about, **own, "answers": right, "learned": first >= results.decisions.learned})
    return pd.DataFrame(rows, columns=AREAS)


def learned(found: pd.DataFrame) -> pd.DataFrame:
    """Return the areas of the models and pairs whose task was learned with every seed."""
    if found.empty:
        return found
    of_all = found["learned"].astype(bool).groupby([found["model"], found["pair"]]).transform("all")
    return found[of_all]


def variance(results: Results, found: pd.DataFrame) -> pd.DataFrame:
    """Return the share of each component in the variance of areas, for each pair, and for all pairs together.

    Of the architectures of which every model, seed and tier is there and was learned; empty with fewer than three such.
    """
    found = learned(found)
    parts = {pair: rows for pair, rows in found.groupby("pair", sort=False)}
    rows = []
    for pair, own in (parts | ({ALL_TASKS: found} if len(parts) > 1 else {})).items():
        table = own.pivot_table(index=["architecture", "model"], columns=["seed", "tier"], values="area", sort=False)
        whole = table.sort_index(axis=1).dropna()  # seed by seed
        per = whole.groupby("architecture", sort=False).size()
        complete = per.index[per == per.max()]
        kept = whole[whole.index.get_level_values("architecture").isin(complete)]
        architectures = kept.index.get_level_values("architecture").nunique()
        if architectures < 3:
            continue
        seeds = kept.columns.get_level_values("seed").nunique()
        values = kept.to_numpy(float).reshape(architectures, -1, seeds, kept.shape[1] // seeds)
        about = {"pair": pair, "tiers": values.shape[3], "architectures": architectures}
        about |= {"models": len(kept), "seeds": seeds}
        told = shares(values, results.decisions.confidence, results.decisions.resamples)
        for name, one in told.items():
            ends = {"share": one.estimate, "share_low": one.low, "share_high": one.high}
            rows.append({**about, "component": name, **ends})
    return pd.DataFrame(rows, columns=VARIANCE)
