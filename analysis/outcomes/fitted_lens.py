"""How near the lens that a study fitted comes to what its models predict themselves, beside the logit lens."""

import pandas as pd

from analysis.data.results import Results

COLUMNS = ["model", "seed", "text", "layer", "kl", "kl_logit"]
TEXTS = {"held_out": "", "neutral": "_neutral"}
"""The suffix of the keys of `done.json` that tell of each text."""


def lens_fits(results: Results) -> pd.DataFrame:
    """Return one row for each model, seed, text and layer of a study whose lens was fitted.

    `kl` is the mean of KL(model's own prediction || prediction of the lens), nats, `kl_logit` that of the logit lens;
    `text` is `held_out`, texts that the model wrote and the lens was not fitted on, or `neutral`.
    """
    rows = []
    for unit, done in results.done.items():
        made, lens = results.everything[unit], done.get("lens", {})
        for text, suffix in TEXTS.items():
            told = zip(lens.get(f"kl{suffix}", []), lens.get(f"kl{suffix}_logit", []), strict=True)
            rows += [[made.model, made.seed, text, layer, *both] for layer, both in enumerate(told)]
    return pd.DataFrame(rows, columns=COLUMNS)
