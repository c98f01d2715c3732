"""Figures of a cell by sample: prompts averaged within a template, since templates are the sample of a wording."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from study.config.names import NOBODY
from study.config.study import FEWEST_TEMPLATES

Codes = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float64]


def by_sample(
    rows: pd.DataFrame, columns: Sequence[str], apart: Sequence[str] = (), among: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Average columns of rows of prompts over the operations and operands of a template, or of a group.

    The operations of a template count alike. Rows that differ in the columns `apart` are averaged apart. Returns a row
    for each, with these columns, the tier and the sample as index, and `seen` and the number of `prompts` beside the
    averages; a group of which a training saw some templates is seen. Reports do this for every cell: hence numpy.

    A sample is a template, or the operands in tiers with few templates: of `rows`, or of the rows `among` which these
    were chosen, so that a choice of few prompts has the same samples as all.
    """
    samples = _samples(rows, rows if among is None else among)
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


def order_of_pairs(rows: pd.DataFrame) -> Floats:
    """Return, for each row of read-outs, whether its matched pair of prompts is in the right order.

    A pair is two prompts that differ in their operation alone, of the same template and operands. It is in order where
    the logit of one class token minus that of the other is higher in the prompt of that class than in its partner: 1,
    or 0 where it is lower, 0.5 where they are equal. What favours one class in both prompts, such as a bias toward one
    token, has no part in it, as in two-alternative forced choice (Green & Swets 1966). NaN where there are not two
    classes, or a prompt has no partner.
    """
    found = np.full(len(rows), np.nan)
    operations = pd.factorize(rows["operation"])[0]
    if len(rows) == 0 or operations.max() != 1:
        return found
    keys = (pd.factorize(rows[name])[0] for name in ("tier", "template", "operands"))
    pair = _joined([*keys])
    counts = np.stack([np.bincount(pair, operations == operation) for operation in (0, 1)])
    margin = rows["margin"].to_numpy(float)  # of the right one over the other; the two log-probabilities lose it
    margins = np.stack([np.bincount(pair, margin * (operations == operation)) for operation in (0, 1)])
    with np.errstate(divide="ignore", invalid="ignore"):
        together = (margins / counts).sum(axis=0)
    order = np.where(np.isfinite(together), (np.sign(together) + 1) / 2, np.nan)
    found[:] = order[pair]
    return found


def shown(samples: pd.DataFrame, tier: str) -> tuple[pd.DataFrame, bool]:
    """Return the samples of a tier that no training saw, and whether there are any; all where there are none."""
    at_tier = of_tier(samples, tier)
    unseen = at_tier[at_tier["seen"] == NOBODY]
    return (unseen, True) if len(unseen) else (at_tier, False)


def of_tier(samples: pd.DataFrame, tier: str) -> pd.DataFrame:
    """Return the samples of a tier, none where there are none."""
    return samples[samples.index.get_level_values("tier") == tier]


def values_of(samples: pd.DataFrame, column: str) -> Floats:
    """Return the values of a column as floats, [samples]."""
    return samples[column].to_numpy(float)


def _samples(rows: pd.DataFrame, among: pd.DataFrame) -> npt.NDArray[np.object_]:
    """Return the sample of each row: its template, or its operands in tiers with few templates."""
    templates = rows["template"].astype(str).to_numpy(object)
    tiers, names = pd.factorize(among["tier"].astype(str))
    several = _joined([tiers, pd.factorize(among["template"])[0]])
    first = np.unique(several, return_index=True)[1]
    few = names[np.bincount(tiers[first], minlength=len(names)) < FEWEST_TEMPLATES]
    if not len(few):
        return templates
    return np.where(rows["tier"].astype(str).isin(few), rows["operands"].astype(str).to_numpy(object), templates)


def _joined(codes: Sequence[Codes]) -> Codes:
    """Return one code for each combination of codes, numbered in the order in which they appear."""
    joined = codes[0].astype(np.int64)
    for more in codes[1:]:
        joined = pd.factorize(joined * (int(more.max(initial=0)) + 1) + more)[0]
    return pd.factorize(joined)[0]
