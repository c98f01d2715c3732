"""What choice accuracy is to be expected of a model in which no class was trained: a regression on a sample of models.

A sample of small models says how choice accuracy after stage 2 follows from what is measured before it. Only figures
without a unit are used, which mean the same in a large model; architecture, sizes and wording are left out, since a
model of a user's own has others.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from analysis.outcomes.depth import READABLE
from analysis.statistics.depth import areas, first_crossing
from analysis.statistics.intervals import Floats

FEATURES = {"plain": ("probe_below",), "lora_at": ("probe",)}
"""Predictors that forecasts rest on, by the arm that is foretold. Of those that a sample tests, these foretold
architectures that were left out best, and none of the others, nor depth, added to them."""
ACCURACIES = ("probe_below", "probe", "a_lin")
"""Predictors that chance is the floor of."""
DEPTH = ("depth", "depth_squared")
"""What a forecast is held against."""
SHARE = 0.8
"""Of the places in architectures that were left out, how many lie in the band."""
FEWEST = 6
"""Architectures below which nothing is foretold."""
HELD_OUT = [
    *("arm", "architectures", "models", "places", "rank", "baseline_rank", "error", "baseline_error", "below", "above"),
]
FORETOLD = [
    *("arm", "architecture", "model", "seed", "pair", "tier", "layer", "depth", "measured", "foretold", "choice"),
]
PENALTY = 0.1
"""Of the ridge regression."""
FORECAST = Path(__file__).parent / "forecast.json"


@dataclass(frozen=True)
class Forecast:
    """A fitted regression of the logit of choice accuracy, with where it comes from and how well it held."""

    features: list[str]
    centres: list[float]
    spreads: list[float]
    slopes: list[float]
    level: float
    below: float
    """What is added to a forecast logit for the lower end of the band, at most 0."""
    above: float
    study: str
    rows: str
    """Commit of the rows that it was fitted on."""
    architectures: int
    models: int
    places: int
    rank: float
    """Mean, over the models of architectures that were left out, of the rank correlation of forecast and measured
    choice accuracy over layers and tiers."""
    baseline_rank: float
    """The same of a forecast from depth alone."""
    error: float
    """Mean absolute error of choice accuracy in architectures that were left out."""
    baseline_error: float

    def of(self, measured: pd.DataFrame) -> pd.DataFrame:
        """Return a forecast of choice accuracy, with the ends of its band, for each row of predictors; `chance` is that
        of its classes.

        The samples have two classes. Of more, accuracies are put where they would lie between the chance of two and 1,
        and the forecast is put back.
        """
        chance = measured["chance"].to_numpy(float)
        known = measured.assign(depth_squared=measured["depth"] ** 2)
        for name in {*ACCURACIES} & {*self.features}:
            known[name] = 1 - (1 - known[name]) / (1 - chance) / 2
        columns = (known[self.features].to_numpy(float) - self.centres) / self.spreads
        logit = self.level + columns @ np.array(self.slopes)
        ends = {"foretold_low": logit + self.below, "foretold": logit, "foretold_high": logit + self.above}
        told = {name: 1 - 2 * (1 - chance) / (1 + np.exp(value)) for name, value in ends.items()}
        return pd.DataFrame({name: value.clip(0) for name, value in told.items()}, index=measured.index)


def fit(cells: pd.DataFrame, study: str, rows: str, features: Sequence[str]) -> Forecast:
    """Return the forecast that a sample's cells give: a row a place (model, seed, pair, layer, tier), with its
    predictors and `target`, the logit of choice accuracy.

    Each architecture counts alike. The band holds SHARE of the places of architectures that were left out.
    """
    columns = list(features)
    cells = cells.dropna(subset=[*columns, *DEPTH, "target"])
    told, baseline = left_out(cells, columns), left_out(cells, list(DEPTH))
    residual = cells["target"].to_numpy(float) - told
    below, above = np.quantile(residual, [(1 - SHARE) / 2, (1 + SHARE) / 2])
    centre, spread, slopes, level = _ridge(cells, columns)
    return Forecast(
        columns,
        centre.tolist(),
        spread.tolist(),
        slopes.tolist(),
        level,
        min(0.0, float(below)),
        max(0.0, float(above)),
        study,
        rows,
        int(cells["architecture"].nunique()),
        int(cells["model"].nunique()),
        len(cells),
        ranks(cells, told),
        ranks(cells, baseline),
        _error(cells, told),
        _error(cells, baseline),
    )


class Pair(NamedTuple):
    """A forecast, and the one from depth alone that it is held against."""

    forecast: Forecast
    depth_alone: Forecast


def held_out(places: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return, for each arm, how well its forecast held in architectures that were left out; without those that fewer
    than FEWEST architectures have. `places` are `sample_cells` by arm."""
    rows = [{"arm": arm, **asdict(fit(cells, "", "", FEATURES[arm]))} for arm, cells in _enough(places).items()]
    return pd.DataFrame(rows).reindex(columns=HELD_OUT)


def foretold_places(places: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return every place of the arms that `held_out` tells of: what was `measured` before (the predictor that the
    forecast rests on), the choice accuracy `foretold` from all other architectures, and the one that came."""
    found = []
    for arm, cells in _enough(places).items():
        (name,) = FEATURES[arm]
        told = 1 / (1 + np.exp(-left_out(cells, [name])))
        came = 1 / (1 + np.exp(-cells["target"].to_numpy(float)))
        found.append(cells.assign(arm=arm, measured=cells[name], foretold=told, choice=came)[FORETOLD])
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=FORETOLD)


def _enough(places: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The places of each arm that have their predictor, of arms that FEWEST architectures have."""
    known = {
        arm: cells.dropna(subset=[*FEATURES[arm], *DEPTH, "target"]) for arm, cells in places.items() if len(cells)
    }
    return {arm: cells for arm, cells in known.items() if cells["architecture"].nunique() >= FEWEST}


def left_out(cells: pd.DataFrame, columns: list[str]) -> Floats:
    """Return a forecast logit of every row, each architecture from a regression on all others."""
    told = np.empty(len(cells))
    for architecture in cells["architecture"].unique():
        own = (cells["architecture"] == architecture).to_numpy(bool)
        centre, spread, slopes, level = _ridge(cells[~own], columns)
        told[own] = level + (cells.loc[own, columns].to_numpy(float) - centre) / spread @ slopes
    return told


def ranks(cells: pd.DataFrame, told: Floats) -> float:
    """Return the mean, over models, of the rank correlation of forecast and target over layers, tiers and seeds."""
    found = [
        spearmanr(own["told"], own["target"]).statistic
        for _, own in cells.assign(told=told).groupby(["model", "pair"])
        if own["told"].nunique() > 1 and own["target"].nunique() > 1
    ]
    return float(np.mean(found)) if found else float("nan")


def _ridge(cells: pd.DataFrame, columns: list[str]) -> tuple[Floats, Floats, Floats, float]:
    """Return centres, spreads and slopes of standardised columns, and the level; every architecture has one weight.

    A forecast from accuracies alone passes through chance: were the names of two classes exchanged, an accuracy a of a
    probe would be 1 - a, and so would choice accuracy.
    """
    x, y = cells[columns].to_numpy(float), cells["target"].to_numpy(float)
    weights = 1 / cells.groupby("architecture")["target"].transform("size").to_numpy(float)
    weights = weights / weights.sum() * len(cells)
    if {*columns} <= {*ACCURACIES}:
        centre, spread, level = np.full(len(columns), 0.5), np.ones(len(columns)), 0.0
    else:
        centre = np.average(x, axis=0, weights=weights)
        spread = np.sqrt(np.average((x - centre) ** 2, axis=0, weights=weights))
        spread, level = np.where(spread > 0, spread, 1.0), float(np.average(y, weights=weights))
    z = (x - centre) / spread
    slopes: Floats = np.linalg.solve(
        (z * weights[:, None]).T @ z + PENALTY * np.eye(len(columns)), (z * weights[:, None]).T @ (y - level)
    )
    return centre, spread, slopes, level


def _error(cells: pd.DataFrame, told: Floats) -> float:
    true, expected = (1 / (1 + np.exp(-value)) for value in (cells["target"].to_numpy(float), told))
    return float(np.abs(true - expected).mean())


def write_forecasts(forecasts: Mapping[str, Pair], file: Path = FORECAST) -> None:
    """Write the forecasts of every arm as JSON."""
    content = {arm: {name: asdict(one) for name, one in pair._asdict().items()} for arm, pair in forecasts.items()}
    file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_forecasts(file: Path = FORECAST) -> dict[str, Pair]:
    """Read the forecasts of every arm."""
    content = json.loads(file.read_text(encoding="utf-8"))
    return {arm: Pair(**{name: Forecast(**one) for name, one in pair.items()}) for arm, pair in content.items()}


def depths_of(forecast: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each arm, pair and tier of a forecast by layer: the area under its curve, and the first depth at
    which it reaches READABLE, each with the ends that the band gives.

    The area is that under (choice accuracy - chance) / (1 - chance) from the first layer to the last that is foretold.
    """
    rows = []
    for (arm, pair, tier), own in forecast.groupby(["arm", "pair", "tier"], sort=False):
        own = own.sort_values("depth")
        at = own["depth"].to_numpy(float)
        row: dict[str, object] = {"arm": arm, "pair": pair, "tier": tier, "from_depth": at[0], "to_depth": at[-1]}
        curves = {end: own[f"foretold{end}"].to_numpy(float) for end in ("", "_low", "_high")}
        for end, curve in curves.items():
            row[f"area{end}"] = float(areas(curve[None, None], at, float(own["chance"].iloc[0]), at[0], at[-1])[0, 0])
        # A higher curve crosses earlier.
        for end, other in (("", ""), ("_low", "_high"), ("_high", "_low")):
            row[f"readable_from{end}"] = first_crossing(curves[other], at, READABLE)
        rows.append(row)
    return pd.DataFrame(rows)
