"""How the variance of a figure of models divides into what was measured, architectures, sizes and seeds."""

import math

import numpy as np

from analysis.statistics.intervals import Floats, Interval

COMPONENTS = ("tier", "architecture", "model", "seed", "architecture x tier", "model x tier", "rest")
"""Of a figure of every tier, seed and model of every architecture: what tiers, architectures, models of an architecture
and seeds of one model have in common, what is particular to an architecture or model at a tier, and the rest."""


def components(values: Floats) -> dict[str, float]:
    """Return the variance components of a balanced table [architectures, models, seeds, tiers].

    By the method of moments: sums of squares of the nested and crossed analysis of variance are set to what is expected
    of them (Searle, Casella & McCulloch 1992, chapter 4). An estimate may be negative, where a component is about
    zero. NaN where the table has one level of what a component is about.
    """
    a, m, s, t = values.shape
    mean = values.mean()
    of_a, of_t = values.mean((1, 2, 3), keepdims=True), values.mean((0, 1, 2), keepdims=True)
    of_m, of_at = values.mean((2, 3), keepdims=True), values.mean((1, 2), keepdims=True)
    of_mt, of_s = values.mean(2, keepdims=True), values.mean(3, keepdims=True)
    squares = {
        "tier": (of_t - mean, a * m * s, t - 1),
        "architecture": (of_a - mean, m * s * t, a - 1),
        "model": (of_m - of_a, s * t, a * (m - 1)),
        "seed": (of_s - of_m, t, a * m * (s - 1)),
        "architecture x tier": (of_at - of_a - of_t + mean, m * s, (a - 1) * (t - 1)),
        "model x tier": (of_mt - of_m - of_at + of_a, s, a * (m - 1) * (t - 1)),
        "rest": (values - of_mt - of_s + of_m, 1, a * m * (s - 1) * (t - 1)),
    }
    ms = {
        name: float((each**2).sum() * times / free) if free else math.nan
        for name, (each, times, free) in squares.items()
    }
    # With one model of each architecture, or one seed, what cannot be told apart is the rest.
    rest = ms["rest"] if s > 1 else (ms["model x tier"] if m > 1 else ms["architecture x tier"])
    model_tier = ms["model x tier"] if m > 1 else rest
    seed = ms["seed"] if s > 1 else rest
    model = ms["model"] if m > 1 else seed + model_tier - rest
    return {
        "tier": (ms["tier"] - ms["architecture x tier"]) / (a * m * s),
        "architecture": (ms["architecture"] - ms["architecture x tier"] - model + model_tier) / (m * s * t),
        "model": (ms["model"] - ms["model x tier"] - seed + rest) / (s * t),
        "seed": (ms["seed"] - ms["rest"]) / t,
        # Of one model and seed, all that is left is the rest.
        "architecture x tier": (ms["architecture x tier"] - model_tier) / (m * s) if m * s > 1 else math.nan,
        "model x tier": (ms["model x tier"] - ms["rest"]) / s,
        "rest": rest,
    }


def shares(values: Floats, confidence: float, resamples: int) -> dict[str, Interval]:
    """Return the share of each component in their sum, none below 0, with a percentile interval.

    The bootstrap draws whole architectures: it holds over architectures, for the tiers at hand.
    """
    draws = np.random.default_rng(0).integers(len(values), size=(resamples, len(values)))
    drawn = [_parts(values[draw]) for draw in draws if len({*draw.tolist()}) > 1]
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    own = _parts(values)
    return {
        name: Interval(own[name], *map(float, np.nanquantile([one[name] for one in drawn], tails)))
        for name in COMPONENTS
        if not math.isnan(own[name])
    }


def _parts(values: Floats) -> dict[str, float]:
    found = {name: max(0.0, value) if not math.isnan(value) else value for name, value in components(values).items()}
    total = math.fsum(value for value in found.values() if not math.isnan(value))
    return {name: value / total if total else math.nan for name, value in found.items()}
