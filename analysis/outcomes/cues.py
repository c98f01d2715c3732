"""Choice accuracy by what tells the operations apart in a template: its operator or noun, or the frame of a story."""

import pandas as pd

from analysis.data.results import Results, StudyUnit
from analysis.data.samples import shown
from analysis.data.terms import ARITHMETIC
from analysis.outcomes.fit import has_fitted
from study.config.wordings import cues_of

SERIES = ["model", "pair", "weight", "wordings", "layer", "depth"]
COLUMNS = [*SERIES, "tier", "cue", "templates", "seeds", "choice", "order"]


def cues(results: Results) -> pd.DataFrame:
    """Return a row for each series of plain cells that differ in their seed alone, tier of arithmetic and cue: means
    over templates and seeds, on the templates that no training saw where a tier has some. Tiers of one cue are left
    out."""
    if results.terms is not ARITHMETIC:
        return pd.DataFrame(columns=COLUMNS)
    of_tier = {tier: cues_of(tier) for tier in results.tiers}
    parts = [
        _by_cue(results, cell, tier, names)
        for tier, names in of_tier.items()
        if len(set(names.values())) > 1
        for cell in results.plain
        if cell.finished and has_fitted(results, cell)
    ]
    if not parts:
        return pd.DataFrame(columns=COLUMNS)
    keys = [*SERIES, "tier", "cue"]
    found = pd.concat(parts).groupby(keys, sort=False, as_index=False)
    return found.agg(
        templates=("sample", "nunique"), seeds=("seed", "nunique"), choice=("choice", "mean"), order=("order", "mean")
    )[COLUMNS]


def _by_cue(results: Results, cell: StudyUnit, tier: str, names: dict[str, str]) -> pd.DataFrame:
    samples = shown(results.trained_by_sample(cell), tier)[0].reset_index()
    about = {name: getattr(cell, name) for name in ("model", "pair", "weight", "layer", "depth", "seed")}
    return samples.assign(**about, wordings="+".join(cell.wordings), cue=samples["sample"].map(names))
