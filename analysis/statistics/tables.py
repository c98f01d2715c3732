"""Prompts averaged into one value a template, from which every interval and test starts."""

from collections.abc import Sequence

import pandas as pd


def by_template(rows: pd.DataFrame, value: str, cell: Sequence[str]) -> pd.DataFrame:
    """Return the mean `value` of each cell (rows, by the columns `cell`) in each template (columns).

    `rows` has a row a prompt, with its `template` and its class in `operation`. Prompts are averaged within a class
    and classes within a template, which makes shares balanced accuracies. A template of which a cell lacks a class is
    NaN: half of it would favour cells that lean to the other class.
    """
    means = rows.groupby([*cell, "template", "operation"])[value].mean()
    templates = means.groupby([*cell, "template"]).agg(["mean", "count"])
    balanced = templates["mean"].where(templates["count"] == rows["operation"].nunique())
    return balanced.unstack("template")
