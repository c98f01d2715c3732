"""A binomial mixed model of an effect, in log odds: an alternative to `effects` that was tried and decides nothing."""

import numpy as np
import pandas as pd
from scipy import stats

from analysis.statistics.intervals import Interval

GROUPS = ("template", "operands", "seed", "model")


def mixed_effect(rows: pd.DataFrame, confidence: float) -> Interval:
    """Return the interval of the effect of `arm` on `right`, in log odds.

    `rows` has a row a prompt and arm: `right` (0 or 1), `arm` (0 or 1), `template`, `operands`, `seed` and `model`.
    Each of the four that has two values or more gets crossed random intercepts; all but operands also get random
    effects of the arm, without which the prompts of a template would count as independent.

    The fit is statsmodels' BinomialBayesMixedGLM by mean-field variational Bayes (Jaakkola & Jordan 1997; Blei,
    Kucukelbir & McAuliffe 2017), with standard normal priors on the log standard deviations and normal ones of
    standard deviation 2 on the fixed effects. It takes fixed and random effects for independent given the data, and
    thereby gives intervals that are too narrow where seeds or models differ: in simulations (simulations/RESULTS.md)
    they cover about 90 % of the time with one seed and 60 % with three that differ. Hence `effects` decides alone.
    """
    from statsmodels.genmod.bayes_mixed_glm import BinomialBayesMixedGLM  # takes a second to import

    centred = rows.assign(arm=rows["arm"] - 0.5)
    grouped = [name for name in GROUPS if rows[name].nunique() > 1]
    parts = {name: f"0 + C({name})" for name in grouped}
    parts |= {f"{name} x arm": f"0 + C({name}):arm" for name in grouped if name != "operands"}
    model = BinomialBayesMixedGLM.from_formula("right ~ arm", parts, centred, vcp_p=1.0, fe_p=2.0)
    # Without deviations to start from, statsmodels draws them at random.
    fitted = model.fit_vb(fit_method="L-BFGS-B", sd=np.full(model.k_fep + model.k_vcp + model.k_vc, 0.5))
    estimate, deviation = float(fitted.fe_mean[1]), float(fitted.fe_sd[1])
    half = float(stats.norm.ppf((1 + confidence) / 2)) * deviation
    return Interval(estimate, estimate - half, estimate + half)
