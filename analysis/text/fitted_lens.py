"""The rows of the report's table on a lens that the study fitted."""

import pandas as pd

from analysis.text.rows import Row

TEXTS = {"held_out": "held-out texts", "neutral": "neutral text"}


def lens_rows(fits: pd.DataFrame) -> list[Row]:
    """Per model, seed and text: the divergence of the fitted lens and of the logit lens, at the first block, in the
    middle and at the last block but one, and at how many blocks the fitted one is the nearer."""
    rows = []
    for (model, seed, text), own in fits.groupby(["model", "seed", "text"], sort=False):
        own = own.sort_values("layer").iloc[:-1]  # the last block's is the model's own prediction
        shown = own.iloc[sorted({0, len(own) // 2, len(own) - 1})]
        told = [f"L{one.layer} {one.kl:.3g} ({one.kl_logit:.3g})" for one in shown.itertuples()]
        nearer = f"{int((own['kl'] < own['kl_logit']).sum())} of {len(own)}"
        rows.append([str(model), str(seed), TEXTS[str(text)], ", ".join(told), nearer])
    return rows
