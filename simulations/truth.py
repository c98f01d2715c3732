"""Draws of prompts' verdicts from a known population of templates, operands, seeds and models."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import optimize, special, stats

Floats = npt.NDArray[np.float64]

CLASSES = 2
OPERAND_SD = 0.5
INTERACTION = 0.5
"""The standard deviation of templates within seeds, as a part of that between templates."""
SHARED = 0.7
"""The correlation of a template's effects in two cells."""
SURE = 50.0
"""Log odds of a prompt that is always right."""
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(60)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


@dataclass(frozen=True)
class Truth:
    """A population, and the sample that is drawn of it.

    A prompt is right with log odds that are the sum of a centre and normal effects of its template, seed, template
    within seed, and operands (standard deviation 0.5). Standard deviations are in log odds; an infinite one of
    templates makes each template all right or all wrong.
    """

    share: float
    """The population's share of right prompts, in the first arm."""
    effect: float = 0.0
    """What the second arm's share is more."""
    template_sd: float = 0.0
    seed_sd: float = 0.0
    templates: int = 24
    prompts: int = 2
    """A template and class."""
    seeds: int = 1


def values(truth: Truth, draws: int, random: np.random.Generator) -> Floats:
    """Draw one cell's shares of right prompts [draws, templates]."""
    (first, _), _ = arms(truth, draws, random)
    of_seed: Floats = first[:, :, 0]
    return of_seed


def arms(truth: Truth, draws: int, random: np.random.Generator) -> tuple[tuple[Floats, Floats], Floats]:
    """Draw the shares [draws, templates, seeds] of two arms on the same prompts, and the true effects [draws].

    The effect is that of the population; with one seed, that of this seed in the population of templates.
    """
    shape = (draws, truth.templates, truth.seeds, CLASSES * truth.prompts)
    operands = OPERAND_SD * random.standard_normal(shape)
    common = random.standard_normal((draws, truth.templates, 1, 1))
    shares, means = [], []
    for share in (truth.share, truth.share + truth.effect):
        template = mixture(common, random)
        seed = truth.seed_sd * random.standard_normal((draws, 1, truth.seeds, 1))
        within = INTERACTION * random.standard_normal((draws, truth.templates, truth.seeds, 1))
        odds = log_odds(share, truth, template, within, seed + operands)
        shares.append((random.random(shape) < special.expit(odds)).mean(3))
        means.append(_given(share, truth, seed[:, 0, :, 0]))
    of_seeds = (means[1] - means[0]).mean(1)
    true = of_seeds if truth.seeds == 1 else np.full(draws, truth.effect)
    return (shares[0], shares[1]), true


def rare_differences(share: float, templates: int, draws: int, random: np.random.Generator) -> tuple[Floats, float]:
    """Draw differences [draws, templates, 1] of two arms that are both right but in a `share` of the templates, where
    the second is wholly wrong; a twentieth of all differ by a quarter. Returns the true effect too."""
    shape = (draws, templates, 1)
    noise = random.choice([-0.25, 0.0, 0.25], shape, p=[0.025, 0.95, 0.025])
    differences: Floats = np.maximum(noise - (random.random(shape) < share), -1.0)
    return differences, -share * (1 - 0.025 * 0.25)


def mixture(common: Floats, random: np.random.Generator) -> Floats:
    """Draw standard normal effects that correlate with `common` by `SHARED`."""
    own = random.standard_normal(common.shape)
    mixed: Floats = math.sqrt(SHARED) * common + math.sqrt(1 - SHARED) * own
    return mixed


def log_odds(share: float, truth: Truth, template: Floats, within: Floats, rest: Floats) -> Floats:
    """Return log odds from standard normal effects of templates and of templates within seeds, and all else."""
    if share >= 1:
        return np.full(np.broadcast_shapes(template.shape, within.shape, rest.shape), SURE)
    if math.isinf(truth.template_sd):
        sure: Floats = SURE * np.sign(stats.norm.ppf(share) + template) + 0 * (within + rest)
        return sure
    odds: Floats = centre(share, _spread(truth)) + truth.template_sd * (template + within) + rest
    return odds


@lru_cache(maxsize=4096)
def centre(share: float, deviation: float) -> float:
    """Return the log odds around which normal ones of this `deviation` have the mean share `share`."""
    return float(optimize.brentq(lambda at: float(_mean(np.array(at), deviation)) - share, -60, 60))


def _spread(truth: Truth) -> float:
    """The standard deviation of all log odds."""
    return math.sqrt(truth.template_sd**2 * (1 + INTERACTION**2) + OPERAND_SD**2 + truth.seed_sd**2)


def _given(share: float, truth: Truth, seed: Floats) -> Floats:
    """The mean share over templates and operands, for given effects of seeds."""
    if share >= 1 or math.isinf(truth.template_sd):
        return np.full(seed.shape, share)
    rest = math.sqrt(_spread(truth) ** 2 - truth.seed_sd**2)
    return _mean(centre(share, _spread(truth)) + seed, rest)


def _mean(at: Floats, deviation: float) -> Floats:
    found: Floats = special.expit(at[..., None] + deviation * _NODES) @ _WEIGHTS
    return found


def family(truth: Truth, cells: int, planted: int, draws: int, random: np.random.Generator) -> Floats:
    """Draw shares [draws, cells, templates] of cells on the same templates; the first `planted` have the effect."""
    common = random.standard_normal((draws, 1, truth.templates, 1))
    shape = (draws, cells, truth.templates, CLASSES * truth.prompts)
    template = mixture(np.broadcast_to(common, (*shape[:3], 1)), random)
    within = INTERACTION * random.standard_normal((*shape[:3], 1))
    operands = OPERAND_SD * random.standard_normal(shape)
    odds = np.concatenate(
        [
            log_odds(share, truth, template[:, part], within[:, part], operands[:, part])
            for share, part in (
                (truth.share + truth.effect, slice(0, planted)),
                (truth.share, slice(planted, cells)),
            )
        ],
        axis=1,
    )
    shares: Floats = (random.random(shape) < special.expit(odds)).mean(3)
    return shares


def curves(shares: tuple[float, ...], truth: Truth, draws: int, random: np.random.Generator) -> tuple[Floats, Floats]:
    """Draw accuracies [draws, templates, seeds, depths] that rise along `shares` [depths], and their true means.

    A template's and a seed's effects are the same at all depths. The means [draws, depths] are the population's, or the
    seed's own where there is one.
    """
    template = random.standard_normal((draws, truth.templates, 1, 1))
    seed = truth.seed_sd * random.standard_normal((draws, 1, truth.seeds, 1))
    within = INTERACTION * random.standard_normal((draws, truth.templates, truth.seeds, 1))
    operands = OPERAND_SD * random.standard_normal((draws, truth.templates, truth.seeds, CLASSES * truth.prompts))
    found, means = [], []
    for share in shares:
        odds = log_odds(share, truth, template, within, seed + operands)
        found.append((random.random(odds.shape) < special.expit(odds)).mean(3))
        own = _given(share, truth, seed[:, 0, :, 0]).mean(1)
        means.append(own if truth.seeds == 1 else np.full(draws, share))
    return np.stack(found, axis=3), np.stack(means, axis=1)


def prompts(truth: Truth, log_odds_ratio: float, pairs: int, random: np.random.Generator) -> pd.DataFrame:
    """Draw rows of prompts, one a prompt and arm, with an effect in log odds and operands that recur over templates."""
    shape = (truth.templates, truth.seeds, CLASSES * truth.prompts, 2)
    template, seed, _, arm = np.indices(shape)
    operands = np.broadcast_to(random.integers(0, pairs, shape[:3])[..., None], shape)
    side = arm - 0.5
    unshared = math.sqrt(2 * (1 - SHARED))
    odds = (
        log_odds_ratio * side
        + truth.template_sd * math.sqrt(SHARED) * random.standard_normal(shape[0])[template]
        + truth.template_sd * unshared * side * random.standard_normal(shape[0])[template]
        + truth.seed_sd * random.standard_normal(shape[1])[seed]
        + truth.seed_sd * math.sqrt(2) * side * random.standard_normal(shape[1])[seed]
        + OPERAND_SD * random.standard_normal(pairs)[operands]
    )
    right = (random.random(shape) < special.expit(odds)).astype(int)
    columns = {"right": right, "arm": arm, "template": template, "seed": seed, "operands": operands}
    return pd.DataFrame({name: of.ravel() for name, of in columns.items()} | {"model": 0})
