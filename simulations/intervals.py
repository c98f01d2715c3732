"""The coverage of levels, effects and pooled effects, and how often tests of them reject."""

import math
from collections.abc import Iterable, Iterator
from itertools import product

import numpy as np

from analysis.statistics.effects import effects
from analysis.statistics.intervals import levels
from analysis.statistics.pooling import wild_cluster_p
from analysis.statistics.ratios import ratio
from simulations.outcome import Outcome, covered, false_positives, power
from simulations.truth import Truth, arms, rare_differences, values

TEMPLATE_SD = (0.0, 0.5, 1.0, 2.0)
SEED_SD = (0.0, 0.5, 1.0)
SIZES = ((8, 2), (24, 2), (48, 2), (24, 4))
"""Templates, and prompts a template and class."""
EFFECTS = (
    (0.5, 0.0),
    (0.5, 0.02),
    (0.5, 0.2),
    (0.75, 0.05),
    (0.75, -0.2),
    (0.9, 0.0),
    (0.9, -0.05),
    (0.97, 0.0),
    (0.97, -0.02),
    (1.0, -0.05),
)
"""The first arm's share, and the effect."""
DRAWS = 4000
RATIOS = 200


def of_levels(random: np.random.Generator) -> Iterator[Outcome]:
    """Levels of one cell, and how often one of truth 90 % is called 90 % or more."""
    for (templates, prompts), share, deviation in product(SIZES, (0.5, 0.75, 0.9, 0.97), TEMPLATE_SD):
        truth = Truth(share, template_sd=deviation, templates=templates, prompts=prompts)
        found = levels(values(truth, DRAWS, random), 0.95)
        yield covered("level", truth, found, share)
        if share == 0.9:
            yield false_positives("level's lower bound", truth, found[:, 1] >= share, 0.025)
    for templates, share in product((8, 24, 48), (0.5, 0.75, 0.9, 0.97)):
        truth = Truth(share, template_sd=math.inf, templates=templates)
        found = levels(values(truth, DRAWS, random), 0.95)
        yield covered("level, templates all or nothing", truth, found, share)
        if share == 0.9:
            yield false_positives("level's lower bound", truth, found[:, 1] >= share, 0.025, "all or nothing")
    for templates in (24, 48):
        truth = Truth(1.0, templates=templates)
        found = levels(values(truth, DRAWS, random), 0.95)
        yield covered("level at exactly 100 %", truth, found, 1.0, f"low {found[0, 1]:.3f}")
    for share, deviation in product((0.5, 0.9), TEMPLATE_SD):
        truth = Truth(share, template_sd=deviation, prompts=24)
        yield covered("level of mean probabilities", truth, levels(values(truth, DRAWS, random), 0.95), share)


def of_effects(random: np.random.Generator) -> Iterator[Outcome]:
    """Paired effects over templates and 1, 3 or 5 seeds."""
    for seeds in (1, 3, 5):
        name = f"effect, {seeds} seed{'s' * (seeds > 1)}"
        for size, means, deviation, seed_sd in product(SIZES, EFFECTS, TEMPLATE_SD, SEED_SD):
            if seeds > 1 and size not in ((8, 2), (24, 2)) and deviation != 1:
                continue  # larger samples of several seeds are tried with one spread of templates
            truth = Truth(*means, deviation, seed_sd, *size, seeds)
            yield from _of_effect(name, truth, DRAWS if seeds == 1 else DRAWS // 4, random)
    for templates, share in product((8, 24, 36, 54), (0.02, 0.05, 0.1)):
        drawn, true = rare_differences(share, templates, DRAWS, random)
        truth = Truth(1.0, -share, templates=templates)
        yield covered("effect, 1 seed, a few templates differ wholly", truth, effects(drawn, 0.95), true)
    for means, deviation, seed_sd in product(EFFECTS, (0.0, 1.0), SEED_SD):
        yield from _of_effect("effect, 2 seeds", Truth(*means, deviation, seed_sd, seeds=2), DRAWS // 4, random)
    for means in EFFECTS:
        truth = Truth(*means, template_sd=1.0, seed_sd=0.5, seeds=3)
        yield from _of_effect("effect, 3 seeds, 5 % missing", truth, DRAWS // 4, random, missing=0.05)


def _of_effect(
    name: str, truth: Truth, draws: int, random: np.random.Generator, missing: float = 0.0
) -> Iterable[Outcome]:
    (before, after), true = arms(truth, draws, random)
    tables = after - before
    found = effects(np.where(random.random(tables.shape) < missing, np.nan, tables), 0.95)
    yield covered(name, truth, found, true)
    # With one seed the effect is that seed's own, and zero on the whole is not zero of each.
    if truth.seeds > 1 or truth.seed_sd == 0:
        other = (found[:, 1] > 0) | (found[:, 2] < 0)
        test = f"{name}: other than zero"
        yield false_positives(test, truth, other, 0.05) if truth.effect == 0 else power(test, truth, other)


def of_pooling(random: np.random.Generator) -> Iterator[Outcome]:
    """Effects pooled over models, which stand in for seeds: by the wild cluster bootstrap, and crossed with templates.

    The bootstrap's interval holds what its test does not reject.
    """
    effect = 0.05
    for models, (deviation, model_sd) in product((3, 5, 8, 12), ((0.0, 0.5), (0.0, 1.0), (1.0, 0.5), (1.0, 0.0))):
        truth = Truth(0.5, effect, deviation, model_sd, seeds=models)
        (before, after), true = arms(truth, DRAWS // 8, random)
        tables = after - before
        p = np.array([wild_cluster_p(row, np.arange(models), effect) for row in tables.mean(1)])
        spread = "templates differ" if deviation else "models alone differ"
        name = f"pooled by wild clusters, {models} models, {spread}"
        yield Outcome(name, "coverage", truth, "", 0.95, float((p > 0.05).mean()), len(p))
        yield covered(f"pooled by crossed effects, {models} models", truth, effects(tables, 0.95), true)


def of_ratios(random: np.random.Generator) -> Iterator[Outcome]:
    """Ratios of an effect to another, larger one, as those of a part of a state to all of it."""
    for seeds, deviation, part in product((1, 3), (0.5, 1.0, 2.0), (0.0, 0.2, 0.6)):
        truth = Truth(0.1, part, deviation, 0.5, seeds=seeds)
        (floor, moved), true = arms(truth, RATIOS, random)
        (least, whole), most = arms(Truth(0.1, 0.7, deviation, 0.5, seeds=seeds), RATIOS, random)
        tables = zip(moved - floor, whole - least, strict=True)
        found = np.array([ratio(above, below, 0.95) for above, below in tables])
        yield covered(f"ratio, {seeds} seed{'s' * (seeds > 1)}", truth, found, true / most)
