"""The interval of a mean over clusters, such as models, by the wild cluster bootstrap."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.statistics.intervals import Floats, Interval

_FEW = 12
_WEBB = np.sqrt([0.5, 1.0, 1.5])
_DRAWS = 9999


def pooled(values: Floats, clusters: npt.NDArray[Any], confidence: float) -> Interval:
    """Return the interval of the mean of `values` [n] in [-1, 1], such as effects of cells, over `clusters` [n].

    The means that `wild_cluster_p` does not reject at 1 - confidence; an end is -1 or 1 where so few clusters reject
    nothing. It holds over the clusters, for the templates at hand: `effects` of a table [templates, models] holds over
    templates as well, and is what decides where templates differ.
    """
    p_of = _p_values(values, clusters)
    estimate = float(np.mean(values))

    def end(limit: float) -> float:
        inside, outside = estimate, limit
        if p_of(limit) > 1 - confidence:
            return limit
        for _ in range(40):
            middle = (inside + outside) / 2
            if p_of(middle) > 1 - confidence:
                inside = middle
            else:
                outside = middle
        return outside

    return Interval(estimate, end(-1.0), end(1.0))


def wild_cluster_p(values: Floats, clusters: npt.NDArray[Any], null: float = 0.0) -> float:
    """Return the two-sided p of the mean of `values` [n] being `null`, with the null imposed.

    Cameron, Gelbach & Miller's (2008) wild cluster bootstrap of t, with Webb's (2014) six-point weights below 12
    clusters and Rademacher's from there on.
    """
    return _p_values(values, clusters)(null)


def _p_values(values: Floats, clusters: npt.NDArray[Any]) -> Callable[[float], float]:
    """p as a function of the null."""
    codes = np.unique(clusters, return_inverse=True)[1].ravel()
    sums, sizes = np.bincount(codes, values), np.bincount(codes).astype(float)
    weights = _weights(len(sums))

    def t(scores: Floats) -> Floats:
        shift = scores.sum(-1, keepdims=True) / sizes.sum()
        spread = np.sqrt(((scores - sizes * shift) ** 2).sum(-1))
        with np.errstate(divide="ignore", invalid="ignore"):
            found: Floats = np.nan_to_num(np.abs(scores.sum(-1)) / spread, nan=0.0, posinf=np.inf)
        return found

    def p_of(null: float) -> float:
        scores = sums - sizes * null
        # Rounding must not part draws that are equal to what was seen up to their sign.
        as_far = t(weights * scores) >= t(scores) * (1 - 1e-9)
        return float((1 + as_far.sum()) / (1 + _DRAWS))

    return p_of


@lru_cache(maxsize=16)
def _weights(clusters: int) -> Floats:
    """Weights [draws, clusters]."""
    points = np.concatenate([-_WEBB, _WEBB]) if clusters < _FEW else np.array([-1.0, 1.0])
    return np.random.default_rng(0).choice(points, size=(_DRAWS, clusters))
