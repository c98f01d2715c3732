"""Figures of a cell by sample: prompts averaged within a template, since templates are the sample of a wording."""

import numpy as np
import pandas as pd

FEWEST_TEMPLATES = 4
"""With fewer templates in a tier, as in a custom task that names none, its groups of operands are the sample."""
NOBODY = "nobody"
"""What the column `seen` says of templates that no training saw."""


def by_sample(rows: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Average columns of rows of prompts over the operations and operands of a template, or of a group.

    The operations of a template count alike. Returns a row a tier and sample, which are the index, with `seen` and the
    number of `prompts`.
    """
    tiers, templates = rows["tier"].astype(str), rows["template"].astype(str)
    few = templates.groupby(tiers).transform("nunique") < FEWEST_TEMPLATES
    sample = templates.where(~few, rows["operands"].astype(str))
    keys = [tiers.rename("tier"), sample.rename("sample")]
    values = rows[columns].astype(float)
    alike = values.groupby([*keys, rows["operation"].astype(str)], sort=False).mean()
    found = alike.groupby(level=["tier", "sample"], sort=False).mean()
    found["prompts"] = values.groupby(keys, sort=False).size()
    found["seen"] = rows["seen"].astype(str).groupby(keys, sort=False).first()
    return found


def shown(samples: pd.DataFrame, tier: str) -> tuple[pd.DataFrame, bool]:
    """Return the samples of a tier that no training saw, and whether there are any; all where there are none."""
    at_tier = samples.loc[[tier]] if tier in samples.index.get_level_values("tier") else samples.iloc[:0]
    unseen = at_tier[at_tier["seen"] == NOBODY]
    return (unseen, True) if len(unseen) else (at_tier, False)


def values_of(samples: pd.DataFrame, column: str) -> np.ndarray:
    """Return the values of a column as floats, [samples]."""
    return samples[column].to_numpy(float)
