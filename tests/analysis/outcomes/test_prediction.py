"""What predicts transfer: every statistic against another computation, and decisions on frames whose truth is known."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from analysis.data.results import read_results
from analysis.outcomes import decide_study
from analysis.outcomes.prediction import (
    DOES_NOT,
    EXPLAINS,
    FEW_CELLS,
    TOO_FEW,
    UNDECIDED,
    _words,
    associations,
    associations_by_model,
    can_decide,
    partial_spearman,
    r2_increment,
    sign_flip,
)
from analysis.statistics.intervals import Interval, bounds
from analysis.text.questions import questions
from study.config.evaluation import Decisions
from tests.simulated import Plan, Point, Truth, write_study

LAYERS, WEIGHTS = 8, (0.2, 0.5)


def _study(rng: np.random.Generator, models: int, slope: float = 0.0, own: float = 0.3) -> pd.DataFrame:
    """Cells of models that share a random effect, in the predictor x and in the target alike.

    `slope` is the effect of x on the target within a model, `own` the spread of x between the cells of a model.
    """
    frames = []
    for number in range(models):
        depth, weight = (grid.ravel() for grid in np.meshgrid(np.arange(1, LAYERS + 1) / LAYERS, WEIGHTS))
        by_layer = rng.normal(size=LAYERS)
        x = rng.normal() + own * np.tile(by_layer, len(WEIGHTS))
        target = rng.normal() + 3 * depth + slope * x + 0.5 * np.tile(rng.normal(size=LAYERS), len(WEIGHTS))
        target = target + 0.2 * rng.normal(size=len(depth))
        frames.append(
            pd.DataFrame({"model": f"m{number}", "depth": depth, "weight": weight, "log_p": x, "target": target})
        )
    return pd.concat(frames, ignore_index=True)


def _decided(cells: pd.DataFrame, names: list[str], resamples: int = 400) -> pd.DataFrame:
    decisions = Decisions.model_validate({"predictors": names, "resamples": resamples})
    return associations(cells, associations_by_model(cells, names), decisions).set_index("predictor")


# Statistics


@pytest.mark.parametrize("models", [1, 4, 7])
def test_the_sign_flip_p_equals_the_count_over_all_patterns(models: int) -> None:
    values = np.random.default_rng(models).normal(0.4, 1, models)
    means = [np.mean(np.array(signs) * values) for signs in itertools.product([1, -1], repeat=models)]
    expected = np.mean([abs(mean) >= abs(values.mean()) - 1e-12 for mean in means])
    assert sign_flip(values) == pytest.approx((expected, min(1, 2 / 2**models)))


def test_equal_signs_give_the_smallest_p_that_the_models_allow() -> None:
    assert sign_flip(np.full(8, 0.3)) == (2 / 256, 2 / 256)
    assert all(map(math.isnan, sign_flip(np.array([]))))


def test_partial_spearman_equals_the_correlation_from_the_inverse_of_all_rank_correlations() -> None:
    rng = np.random.default_rng(4)
    cells = pd.DataFrame({"depth": rng.permutation(40) / 40, "weight": rng.uniform(size=40)})
    cells["log_p"] = cells["depth"] + rng.normal(size=40)
    cells["target"] = cells["log_p"] + 2 * cells["depth"] + rng.normal(size=40)
    ranks = cells.rank()
    ranks["square"] = (ranks["depth"] - ranks["depth"].mean()) ** 2
    inverse = np.linalg.inv(ranks[["log_p", "target", "depth", "square", "weight"]].corr())
    expected = -inverse[0, 1] / math.sqrt(inverse[0, 0] * inverse[1, 1])
    assert partial_spearman(cells, "log_p") == pytest.approx(expected)


def test_the_correlation_of_depth_itself_is_given_weight_alone() -> None:
    cells = _study(np.random.default_rng(0), 1)
    xy, xz, yz = (
        scipy.stats.spearmanr(cells[a], cells[b]).statistic
        for a, b in (("depth", "target"), ("depth", "weight"), ("target", "weight"))
    )
    expected = (xy - xz * yz) / math.sqrt((1 - xz**2) * (1 - yz**2))
    assert partial_spearman(cells, "depth") == pytest.approx(expected)


def test_a_predictor_that_only_follows_depth_has_no_correlation() -> None:
    cells = _study(np.random.default_rng(0), 1)
    cells = cells.assign(remaining=LAYERS * (1 - cells["depth"]), lora_parameters=np.exp(cells["depth"]), tied=1.0)
    for name in ("remaining", "lora_parameters", "tied"):
        assert math.isnan(partial_spearman(cells, name))
    assert partial_spearman(cells, "depth") > 0.5
    assert math.isnan(partial_spearman(cells.head(FEW_CELLS - 1), "log_p"))


def test_p_values_are_corrected_as_holm_does_by_hand() -> None:
    cells = _study(np.random.default_rng(5), 8, slope=2.0).assign(
        kl=np.random.default_rng(6).normal(size=8 * LAYERS * 2),
        rank=np.random.default_rng(7).normal(size=8 * LAYERS * 2),
    )
    found = _decided(cells, ["log_p", "kl", "rank"]).sort_values("p")
    stepped = found["p"].to_numpy() * [3, 2, 1]
    assert found["p_holm"].to_list() == pytest.approx(np.minimum(1, np.maximum.accumulate(stepped)).tolist())


def test_the_increment_is_zero_for_a_predictor_that_repeats_the_baseline() -> None:
    cells = _study(np.random.default_rng(2), 6)
    increment = r2_increment(cells.assign(kl=1.0), "kl", Decisions(resamples=100))
    assert increment is not None
    assert increment.estimate == pytest.approx(0)


# Decisions


def test_a_planted_predictor_is_found_and_noise_beside_it_is_not() -> None:
    rng = np.random.default_rng(1)
    cells = _study(rng, 8, slope=3.0)
    cells["kl"] = rng.normal(size=len(cells))
    found = _decided(cells, ["log_p", "kl"])
    assert found.loc["log_p", "words"] == EXPLAINS
    assert found.loc["log_p", "signs"] == 8
    assert found.loc["log_p", "increment_low"] > 0
    assert found.loc["kl", "words"] in (DOES_NOT, UNDECIDED)


def test_a_consistent_sign_without_better_prediction_does_not_explain() -> None:
    """Within every model the predictor helps, but its level differs so much between models that none helps another."""
    rng = np.random.default_rng(3)
    cells = _study(rng, 8, slope=3.0)
    cells["log_p"] += cells["model"].map({f"m{number}": 50.0 * number for number in range(8)})
    found = _decided(cells, ["log_p"])
    assert found.loc["log_p", "p_holm"] <= 0.05
    assert not found.loc["log_p", "increment_low"] > 0
    assert found.loc["log_p", "words"] == DOES_NOT


@pytest.mark.parametrize(
    ("increment", "words"),
    [((0.3, 0.1, 0.5), EXPLAINS), ((-0.2, -0.57, 0.16), UNDECIDED), ((-0.1, -0.3, 0.04), DOES_NOT)],
)
def test_that_a_predictor_does_not_explain_has_to_be_shown_too(
    increment: tuple[float, float, float], words: str
) -> None:
    row = pd.Series({"models": 8, "p_holm": 0.03, **bounds("increment", Interval(*increment))})
    assert _words(row, 1, Decisions()) == words


@pytest.mark.parametrize("models", [1, 2, 5])
def test_few_models_allow_no_claim_however_strong_the_predictor(models: int) -> None:
    found = _decided(_study(np.random.default_rng(1), models, slope=3.0), ["log_p"]).loc["log_p"]
    assert found["words"] == TOO_FEW
    assert found["models"] == models
    assert math.isnan(found["increment_low"])


def test_whether_a_claim_is_possible_depends_on_models_and_predictors() -> None:
    assert not can_decide(5, 1, Decisions())
    assert can_decide(6, 1, Decisions())
    assert not can_decide(6, 2, Decisions())
    assert can_decide(8, 6, Decisions())


def _significant(studies: list[pd.DataFrame]) -> list[pd.DataFrame]:
    """Those in which the sign flips of log_p reach 5 %."""
    rho = [associations_by_model(cells, ["log_p"])["rho"].dropna().to_numpy(float) for cells in studies]
    return [cells for cells, values in zip(studies, rho, strict=True) if sign_flip(values)[0] <= 0.05]


def _claims(significant: list[pd.DataFrame]) -> int:
    return sum(_decided(cells, ["log_p"]).loc["log_p", "words"] == EXPLAINS for cells in significant)


@pytest.mark.slow
def test_under_the_null_at_most_six_in_a_hundred_studies_claim_an_effect() -> None:
    """Cells that share their model's random effect mislead a correlation over cells; they must not mislead this one."""
    rng = np.random.default_rng(8)
    studies = [_study(rng, 8, own=0.1) for _ in range(500)]
    naive = [scipy.stats.spearmanr(cells["log_p"], cells["target"]).pvalue <= 0.05 for cells in studies]
    assert np.mean(naive) > 0.4
    significant = _significant(studies)
    assert 0.02 < len(significant) / len(studies) <= 0.06
    assert _claims(significant) / len(studies) <= 0.06


@pytest.mark.slow
def test_a_predictor_that_bends_with_depth_as_transfer_does_is_not_claimed_for_that() -> None:
    """Predictor and target rise late in depth, in the same way in every model, and are otherwise unrelated."""
    rng = np.random.default_rng(0)
    studies = []
    for _ in range(60):
        cells = _study(rng, 8).sort_values(["model", "depth"], ignore_index=True)
        rise = 1 / (1 + np.exp(-14 * (cells["depth"] - 0.75)))
        noise = rng.normal(size=(2, 8 * LAYERS)).repeat(len(WEIGHTS), axis=1)
        studies.append(cells.assign(log_p=rise + 0.2 * noise[0], target=3 * rise + 0.5 * noise[1]))
    assert _claims(_significant(studies)) / len(studies) <= 0.06


def test_a_predictor_that_is_constant_within_models_is_never_claimed() -> None:
    cells = _study(np.random.default_rng(9), 8, own=0.0)
    found = _decided(cells, ["log_p"]).loc["log_p"]
    assert found["models"] == 0
    assert found["words"] == TOO_FEW


# A whole study, from its rows

MODELS = {f"m{number}": 8 for number in range(8)}


def _measured(point: Point) -> float:
    """A predictor in [0, 1] that differs from layer to layer and model to model, as no function of depth."""
    return float(np.random.default_rng([list(MODELS).index(point.model), point.layer]).uniform())


def _planted(point: Point) -> Mapping[str, float]:
    return {"a_lin": _measured(point)}


def _carries_over(point: Point) -> Truth:
    reach = 0.5 * point.depth + 0.5 * _measured(point)
    return Truth(choice=1.0 if point.tier == "symbolic" else 0.5 + 0.5 * reach)


@pytest.mark.slow
def test_a_predictor_and_a_depth_planted_in_a_study_are_found_from_its_rows(tmp_path: Path) -> None:
    plan = Plan(
        models=MODELS,
        depths=tuple((layer + 1) / 8 for layer in range(8)),
        pairs=("multiply/add",),
        weights=(0.5,),
        truth=_carries_over,
        predictors=_planted,
        per_class=24,
    )
    results = read_results(write_study(tmp_path / "planted", plan))
    decisions = {**results.config["decisions"], "predictors": ["depth", "a_lin", "kl"]}
    results = replace(results, config={**results.config, "decisions": decisions})
    decided = decide_study(results)
    found = decided.associations.set_index("predictor")
    assert found["words"].drop("kl").to_dict() == {"depth": EXPLAINS, "a_lin": EXPLAINS}
    assert found.loc["kl", "words"] in (DOES_NOT, UNDECIDED)
    assert found["signs"]["depth"] == found["signs"]["a_lin"] == 8
    (why,) = (one for one in questions(results, decided) if one.asks == "Why there?")
    assert why.answer.startswith("explained by depth, a_lin")
