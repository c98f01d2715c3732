"""Figures of a cell by sample: prompts averaged within a template, since templates are the sample of a wording."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from study.config.names import NOBODY
from study.config.study import FEWEST_TEMPLATES

Codes = npt.NDArray[np.intp]


def by_sample(rows: pd.DataFrame, columns: Sequence[str], apart: Sequence[str] = ()) -> pd.DataFrame:
    """Average columns of rows of prompts over the operations and operands of a template, or of a group.

    The operations of a template count alike. Rows that differ in the columns `apart` are averaged apart. Returns a row
    for each, with these columns, the tier and the sample as index, and `seen` and the number of `prompts` beside the
    averages; a group of which a training saw some templates is seen. Reports do this for every cell: hence numpy.
    """
    samples = _samples(rows)
    keys = [*(rows[name] for name in apart), rows["tier"]]
    group = _joined([*(pd.factorize(key)[0] for key in keys), pd.factorize(samples)[0]])
    first = np.unique(group, return_index=True)[1]
    operations = pd.factorize(rows["operation"])[0]
    kinds = int(operations.max(initial=-1)) + 1
    size = len(first) * kinds
    within = group * kinds + operations
    counts = np.bincount(within, minlength=size).reshape(len(first), kinds)
    values = {}
    for name in columns:
        sums = np.bincount(within, rows[name].to_numpy(float), size).reshape(len(first), kinds)
        means = np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)
        values[name] = means.sum(axis=1) / (counts > 0).sum(axis=1)
    index = pd.MultiIndex.from_arrays(
        [*(key.iloc[first].astype(str if key.dtype == "category" else key.dtype) for key in keys), samples[first]],
        names=[*apart, "tier", "sample"],
    )
    told = rows["seen"].astype(str).to_numpy(object)
    seen_first = np.argsort(told == NOBODY, kind="stable")
    seen = told[seen_first[np.unique(group[seen_first], return_index=True)[1]]]
    return pd.DataFrame({**values, "prompts": counts.sum(axis=1), "seen": seen}, index=index)


def shown(samples: pd.DataFrame, tier: str) -> tuple[pd.DataFrame, bool]:
    """Return the samples of a tier that no training saw, and whether there are any; all where there are none."""
    at_tier = of_tier(samples, tier)
    unseen = at_tier[at_tier["seen"] == NOBODY]
    return (unseen, True) if len(unseen) else (at_tier, False)


def of_tier(samples: pd.DataFrame, tier: str) -> pd.DataFrame:
    """Return the samples of a tier, none where there are none."""
    return samples[samples.index.get_level_values("tier") == tier]


def values_of(samples: pd.DataFrame, column: str) -> npt.NDArray[np.float64]:
    """Return the values of a column as floats, [samples]."""
    return samples[column].to_numpy(float)


def _samples(rows: pd.DataFrame) -> npt.NDArray[np.object_]:
    """Return the sample of each row: its template, or its operands in tiers with few templates."""
    templates = rows["template"].astype(str).to_numpy(object)
    tiers, names = pd.factorize(rows["tier"])
    several = _joined([tiers, pd.factorize(templates)[0]])
    first = np.unique(several, return_index=True)[1]
    few = np.bincount(tiers[first], minlength=len(names)) < FEWEST_TEMPLATES
    return np.where(few[tiers], rows["operands"].astype(str).to_numpy(object), templates) if few.any() else templates


def _joined(codes: Sequence[Codes]) -> Codes:
    """Return one code for each combination of codes, numbered in the order in which they appear."""
    joined = codes[0].astype(np.int64)
    for more in codes[1:]:
        joined = pd.factorize(joined * (int(more.max(initial=0)) + 1) + more)[0]
    return pd.factorize(joined)[0]
