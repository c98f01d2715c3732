"""The coverage of areas over depth and of crossings, and of the binomial mixed model."""

import warnings
from collections.abc import Iterator
from itertools import product

import numpy as np

from analysis.statistics.depth import areas, crossing
from analysis.statistics.effects import effects
from simulations.mixed import mixed_effect
from simulations.outcome import Outcome, covered
from simulations.truth import Floats, Truth, curves, prompts

DEPTHS = np.array([0.1, 0.25, 0.4, 0.6, 0.8, 1.0])
RISING = (0.5, 0.52, 0.6, 0.8, 0.95, 0.99)
NEVER = (0.5, 0.5, 0.55, 0.6, 0.65, 0.7)
AT_ONCE = (0.85, 0.88, 0.9, 0.95, 0.97, 0.99)
DRAWS = 2000
CROSSINGS = 200
FITS = 40


def of_areas(random: np.random.Generator) -> Iterator[Outcome]:
    """Areas from 0.2 to 0.9 of the depth."""
    for seeds, deviation, seed_sd in product((1, 3, 5), (0.5, 1.0, 2.0), (0.0, 0.5, 1.0)):
        truth = Truth(0.5, template_sd=deviation, seed_sd=seed_sd, seeds=seeds)
        drawn, means = curves(RISING, truth, DRAWS, random)
        tables = np.stack([areas(of, DEPTHS, 0.5, 0.2, 0.9) for of in drawn])
        true = np.array([areas(of[None, None], DEPTHS, 0.5, 0.2, 0.9)[0, 0] for of in means])
        yield covered(f"area, {seeds} seed{'s' * (seeds > 1)}", truth, effects(tables, 0.95), true)


def of_crossings(random: np.random.Generator) -> Iterator[Outcome]:
    """Depths of 75 %, of curves that cross it, that never do, and that are above it from the first depth on."""
    for seeds, deviation, seed_sd in product((1, 3), (0.5, 1.0, 2.0), (0.0, 0.5)):
        for note, shares in (("rising", RISING), ("never", NEVER), ("at once", AT_ONCE)):
            truth = Truth(shares[0], template_sd=deviation, seed_sd=seed_sd, seeds=seeds)
            drawn, means = curves(shares, truth, CROSSINGS, random)
            found = np.array([crossing(of, DEPTHS, 0.95) for of in drawn])
            true = np.array([crossing(np.tile(of, (2, 2, 1)), DEPTHS, 0.95).estimate for of in means])
            yield covered(f"crossing, {seeds} seed{'s' * (seeds > 1)}", truth, _finite(found), _finite(true), note)


def _finite(depths: Floats) -> Floats:
    """Depths with the infinite ones as 0 and 2, so that widths exist."""
    finite: Floats = np.nan_to_num(depths, neginf=0.0, posinf=2.0)
    return finite


def of_mixed_models(random: np.random.Generator) -> Iterator[Outcome]:
    """Effects in log odds by variational Bayes."""
    for seeds, seed_sd, ratio in ((1, 0.0, 1.0), (3, 0.0, 0.0), (3, 0.5, 0.0)):
        truth = Truth(0.5, template_sd=1.0, seed_sd=seed_sd, seeds=seeds)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of convergence; such fits count as they are
            found = [mixed_effect(prompts(truth, ratio, 60, random), 0.95) for _ in range(FITS)]
        name = f"mixed model, {seeds} seed{'s' * (seeds > 1)}"
        yield covered(name, truth, np.array(found), ratio, f"log odds ratio {ratio:g}")
