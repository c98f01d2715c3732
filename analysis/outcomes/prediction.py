"""Which measurement of a model, taken before stage 2, says where classifiers will carry over; with few models.

Cells of one model are not independent, so a model counts once: every statistic is computed within a model, and only
whole models are resampled, left out or flipped.
"""

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pandas as pd
from statsmodels.stats.multitest import multipletests

from analysis.data.results import Results
from analysis.statistics.intervals import Floats, Interval, bounds
from study.config.evaluation import Decisions
from study.config.predictors import PREDICTORS
from study.config.units import CHAT
from study.results.schema import COLUMNS

BASELINE = ("depth", "weight")
CLAMP = 0.01
"""Choice accuracies are held within [CLAMP, 1 - CLAMP] before their logit is taken."""
FEW_CELLS = 7
"""A model with fewer cells has no partial correlation worth the name: three covariates leave 2 degrees of freedom."""
FEW_MODELS = 6
"""With fewer models not even the most one-sided sign-flip test falls below 5 %: 2 / 2^5 = 0.0625."""
PENALTY = 1.0
"""Of the ridge regression, on standardised predictors."""

BY_MODEL = ["predictor", "model", "rho", "cells"]
ASSOCIATIONS = [
    *("predictor", "models", "signs", "mean_rho", "p", "smallest_p", "p_holm"),
    *("increment", "increment_low", "increment_high", "words"),
]
EXPLAINS, DOES_NOT, UNDECIDED, TOO_FEW = "explains", "does not explain", "undecided", "undecided: too few models"
NEGLIGIBLE = 0.05
"""An increment of R2 whose interval lies below this is none."""


def predictors(results: Results) -> pd.DataFrame:
    """All rows of predictors of the finished units, with model and seed.

    A predictor that was declared after a unit had been measured is NaN there.
    """
    frames = [
        frame.assign(model=results.units[unit].model, seed=results.units[unit].seed)
        for unit, frame in results.rows["predictors"].items()
    ]
    if not frames:
        return pd.DataFrame(columns=["model", "seed", *COLUMNS["predictors"]])
    measured = pd.concat(frames, ignore_index=True)
    missing = [name for name in PREDICTORS if name not in measured]
    measured = measured.assign(**dict.fromkeys(missing, math.nan))
    return measured[["model", "seed", *measured.columns.drop(["model", "seed"])]]


def predicted_cells(results: Results, judged: pd.DataFrame) -> pd.DataFrame:
    """One row a plain cell that did not train on the primary tier: its predictors there, weight and target.

    `target` is the logit of the choice accuracy on that tier, clamped to [CLAMP, 1 - CLAMP].
    """
    measured = predictors(results)
    if measured.empty:
        return pd.DataFrame(columns=["unit", "model", "target", *BASELINE])
    tier = results.decisions.primary_tier
    cells = judged[(judged["arm"] == "plain") & (judged["tier"] == tier) & judged["transfer"].astype(bool)]
    cells = cells[~cells["model"].str.endswith(CHAT)]  # which is no further model
    choice = cells["choice"].astype(float).clip(CLAMP, 1 - CLAMP)
    readouts = {unit.id: unit.readout for unit in results.plain}
    cells = cells[["unit", "model", "seed", "layer", "weight"]].assign(
        pair=cells["unit"].map(readouts), target=np.log(choice / (1 - choice))
    )
    measured = measured[measured["tier"] == tier].drop(columns="tier")
    keys = ["model", "seed", "pair", "layer"]
    return cells.astype({"pair": str}).merge(measured.astype({"pair": str}), on=keys, how="inner")


def associations_by_model(cells: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """One row a predictor and model: the partial Spearman correlation with the target."""
    rows = [
        [name, model, partial_spearman(rows, name), len(rows)]
        for name in names
        for model, rows in cells.groupby("model", sort=False)
    ]
    return pd.DataFrame(rows, columns=BY_MODEL)


def associations(cells: pd.DataFrame, by_model: pd.DataFrame, decisions: Decisions) -> pd.DataFrame:
    """One row a pre-registered predictor: what its correlations within models say together.

    `models` counts those in which it has a correlation, `signs` the positive ones. `p` is the sign-flip test's,
    `p_holm` the same corrected for the number of predictors tested (Holm 1979). `increment` is `r2_increment`.
    """
    if cells.empty:
        return pd.DataFrame(columns=ASSOCIATIONS)
    rows = []
    for name in decisions.predictors:
        rho = by_model.loc[by_model["predictor"] == name, "rho"].dropna().to_numpy(float)
        p, smallest = sign_flip(rho)
        rows.append(
            {
                "predictor": name,
                "models": len(rho),
                "signs": int((rho > 0).sum()),
                "mean_rho": float(rho.mean()) if len(rho) else math.nan,
                "p": p,
                "smallest_p": smallest,
                **bounds("increment", r2_increment(cells, name, decisions)),
            }
        )
    frame = pd.DataFrame(rows).reindex(columns=ASSOCIATIONS)
    tested = frame["p"].notna()
    if tested.any():
        frame.loc[tested, "p_holm"] = multipletests(frame.loc[tested, "p"], method="holm")[1]
    frame["words"] = [_words(row, int(tested.sum()), decisions) for _, row in frame.iterrows()]
    return frame


def partial_spearman(cells: pd.DataFrame, predictor: str) -> float:
    """Spearman correlation of predictor and target within one model, given depth and weight.

    Ranks of both are freed of what ranks of depth, their square and ranks of weight explain linearly, then correlated
    (Conover 1999). A raw correlation would reward any predictor that rises with depth, since transfer does too; without
    the square, any that bends with depth as transfer does. For `depth` itself the weight alone is given. NaN where
    nothing is left: a predictor that is constant within the model, or ordered exactly as depth is.
    """
    rows = cells[list(dict.fromkeys(["target", predictor, *BASELINE]))].dropna()
    if len(rows) < FEW_CELLS:
        return math.nan
    ranks = rows.rank()
    design = np.column_stack([np.ones(len(ranks)), _baseline(ranks, predictor)])
    x, y = (_residuals(ranks[name].to_numpy(float), design) for name in (predictor, "target"))
    spread = float(np.sqrt((x @ x) * (y @ y)))
    # What rounding leaves of a residual that is zero is some 1e-14 of the ranks, whose spread grows with their number.
    return float(x @ y) / spread if min(x @ x, y @ y) > 1e-12 * len(ranks) ** 3 else math.nan


def sign_flip(statistics: Floats) -> tuple[float, float]:
    """Two-sided p of the mean of one statistic a model, and the smallest p that so many models allow.

    Under the null each model's statistic is as likely negative as positive: p is the share of all 2^M patterns of signs
    whose mean is at least as far from zero (Fisher 1935). NaN without a model.
    """
    if len(statistics) == 0:
        return math.nan, math.nan
    sums = np.zeros(1)
    for value in statistics:
        sums = np.concatenate([sums + value, sums - value])
    extreme = np.abs(sums) >= abs(float(np.sum(statistics))) - 1e-12
    return float(extreme.mean()), min(1.0, 2 / 2 ** len(statistics))


def r2_increment(cells: pd.DataFrame, predictor: str, decisions: Decisions) -> Interval | None:
    """Out-of-model R2 of ridge with the predictor, minus that of depth, its square and weight alone.

    Each model is predicted from all others; R2 = 1 - SSE / SST, with SST about the mean of the others. The interval is
    a percentile bootstrap of whole models over their sums of squares, without fitting again: NaN below FEW_MODELS; None
    below three models.
    """
    rows = cells[list(dict.fromkeys(["model", "target", *BASELINE, predictor]))].dropna()
    models = list(rows["model"].unique())
    if len(models) < 3:
        return None
    sums = np.array([_squares(rows, (rows["model"] == model).to_numpy(bool), predictor) for model in models])
    gain, total = sums[:, 0] - sums[:, 1], sums[:, 2]
    estimate = float(gain.sum() / total.sum()) if total.sum() > 0 else math.nan
    if len(models) < FEW_MODELS:
        return Interval(estimate, math.nan, math.nan)
    weights = _resampling_weights(len(models), decisions.resamples)
    tails = [(1 - decisions.confidence) / 2, (1 + decisions.confidence) / 2]
    low, high = np.quantile((weights @ gain) / (weights @ total), tails)
    return Interval(estimate, float(low), float(high))


def can_decide(models: int, tested: int, decisions: Decisions) -> bool:
    """Whether any outcome of the sign-flip test, corrected for `tested` predictors, could reach significance."""
    return models >= FEW_MODELS and tested * 2 / 2**models <= 1 - decisions.confidence


def _squares(rows: pd.DataFrame, own: npt.NDArray[np.bool_], predictor: str) -> tuple[float, float, float]:
    """Sums of squares in one model, whose cells `own` marks, when it is predicted from the others: error of the
    baseline, error with the predictor added, and distance from the others' mean."""
    # Imported here, since it takes half a second that most reports need not wait.
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    target = rows["target"].to_numpy(float)

    def error(features: Floats) -> float:
        ridge = make_pipeline(StandardScaler(), Ridge(PENALTY)).fit(features[~own], target[~own])
        return float(np.sum((target[own] - ridge.predict(features[own])) ** 2))

    baseline = _baseline(rows, predictor)
    distance = float(np.sum((target[own] - target[~own].mean()) ** 2))
    return error(baseline), error(np.column_stack([baseline, rows[predictor]])), distance


def _words(row: "pd.Series[float]", tested: int, decisions: Decisions) -> str:
    """An effect needs both: a corrected p below the level, and a better prediction of models that were left out. That
    there is none has to be shown too: the interval of the increment lies below NEGLIGIBLE."""
    if not can_decide(int(row["models"]), tested, decisions):
        return TOO_FEW
    if row["p_holm"] <= 1 - decisions.confidence and row["increment_low"] > 0:
        return EXPLAINS
    return DOES_NOT if row["increment_high"] < NEGLIGIBLE else UNDECIDED


def _baseline(rows: pd.DataFrame, predictor: str) -> Floats:
    """Weight, depth and its square as columns; weight alone where depth is the predictor."""
    weight, depth = (rows[name].to_numpy(float) for name in ("weight", "depth"))
    centred = depth - depth.mean()
    return weight[:, None] if predictor == "depth" else np.column_stack([weight, centred, centred**2])


@lru_cache(maxsize=8)
def _resampling_weights(clusters: int, resamples: int) -> Floats:
    """How often each cluster is drawn in a bootstrap, [resamples, clusters]."""
    draws = np.random.default_rng(0).multinomial(clusters, np.full(clusters, 1 / clusters), size=resamples)
    return draws.astype(np.float64)


def _residuals(values: Floats, design: Floats) -> Floats:
    return np.asarray(values - design @ np.linalg.lstsq(design, values, rcond=None)[0])
