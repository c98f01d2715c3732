"""The binomial mixed model, on prompts whose effect is planted."""

import numpy as np

from simulations.mixed import mixed_effect
from simulations.truth import Truth, prompts


def test_a_large_effect_is_seen_and_none_is_not() -> None:
    truth = Truth(0.5, template_sd=0.5)
    found = mixed_effect(prompts(truth, 2.0, 60, np.random.default_rng(0)), 0.95)
    assert 0 < found.low < 2.0 < found.high
    none = mixed_effect(prompts(truth, 0.0, 60, np.random.default_rng(1)), 0.95)
    assert none.low < 0 < none.high


def test_the_same_rows_give_the_same_interval() -> None:
    rows = prompts(Truth(0.5, template_sd=1.0), 1.0, 20, np.random.default_rng(2))
    assert mixed_effect(rows, 0.95) == mixed_effect(rows, 0.95)
