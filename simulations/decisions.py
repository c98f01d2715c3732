"""False positives and power of families of tests and of verdicts against a margin."""

from collections.abc import Iterator
from functools import partial
from itertools import product

import numpy as np
from scipy import stats

from analysis.statistics.effects import effects
from analysis.statistics.equivalence import Verdict, equivalent, not_inferior
from analysis.statistics.families import holm, max_t
from analysis.statistics.intervals import Interval
from simulations.outcome import Outcome, false_positives, power
from simulations.truth import Floats, Truth, arms, family

MARGIN = 0.05
DRAWS = 1000
FAMILIES = 500


def of_families(random: np.random.Generator) -> Iterator[Outcome]:
    """max-T over cells at chance, alone and among others that are not; Holm over their t tests."""
    for cells, (deviation, templates) in product((8, 40), ((0.0, 24), (1.0, 24), (2.0, 24), (1.0, 48))):
        truth = Truth(0.5, template_sd=deviation, templates=templates)
        drawn = family(truth, cells, 0, FAMILIES, random) - 0.5
        note = f"{cells} cells"
        above = np.array([max_t(of, "greater").min() <= 0.05 for of in drawn])
        yield false_positives("max-T, any of the family", truth, above, 0.05, note)
        if cells == 8:
            other = np.array([max_t(of, "two-sided").min() <= 0.05 for of in drawn])
            yield false_positives("max-T, any of the family", truth, other, 0.05, f"{note}, two-sided")
    for effect, deviation in product((0.05, 0.2), (0.0, 1.0, 2.0)):
        truth = Truth(0.5, effect, deviation)
        drawn = family(truth, 8, 4, FAMILIES, random) - 0.5
        found = np.array([max_t(of, "greater") <= 0.05 for of in drawn])
        yield false_positives(
            "max-T, any of the family", truth, np.any(found[:, 4:], axis=1), 0.05, "4 of 8 cells planted"
        )
        yield power("max-T, a planted cell", truth, found[:, 0], "4 of 8 cells planted")
        alone = stats.ttest_1samp(drawn, 0, axis=2, alternative="greater").pvalue
        by_holm = np.array([holm(p) <= 0.05 for p in alone])
        yield false_positives(
            "Holm, any of the family", truth, np.any(by_holm[:, 4:], axis=1), 0.05, "4 of 8 cells planted"
        )
        yield power("Holm, a planted cell", truth, by_holm[:, 0], "4 of 8 cells planted")


def of_margins(random: np.random.Generator) -> Iterator[Outcome]:
    """Equivalence and non-inferiority with a margin of 5 points: at the margin, at zero, and far outside."""
    for share, effect, deviation, seed_sd, (templates, prompts), seeds in product(
        (0.5, 0.9), (0.0, -0.05, -0.2), (0.0, 1.0), (0.0, 0.5), ((24, 4), (48, 4)), (1, 3)
    ):
        if seeds == 1 and seed_sd:
            continue
        truth = Truth(share, effect, deviation, seed_sd, templates, prompts, seeds)
        (before, after), _ = arms(truth, DRAWS, random)
        found = {confidence: effects(after - before, confidence) for confidence in (0.9, 0.95)}
        for name, alpha, decide in (("equivalent", 0.05, equivalent), ("not inferior", 0.025, not_inferior)):
            verdicts = np.array(
                [decide(partial(_row, found, i), MARGIN, alpha) for i in range(len(after))], dtype=object
            )
            for verdict in (Verdict.SHOWN, Verdict.REFUTED):
                test, met = f"{name}: {verdict}", (verdicts == verdict).astype(bool)
                if effect == -MARGIN or (effect == 0) != (verdict == Verdict.SHOWN):
                    yield false_positives(test, truth, met, alpha)
                else:
                    yield power(test, truth, met)


def _row(found: dict[float, Floats], row: int, confidence: float) -> Interval:
    return Interval(*found[round(confidence, 3)][row])
