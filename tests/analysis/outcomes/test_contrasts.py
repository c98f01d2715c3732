"""Contrasts between cells, against simulated studies whose truth is known."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from analysis.data.results import Results, read_results
from analysis.outcomes.effects import (
    CEILING,
    DIFFERENCES,
    EFFECTS,
    FLOOR,
    POOLED,
    differences,
    effects,
    overall,
    pooled,
)
from analysis.outcomes.levels import levels, means
from study.config.names import TIERS
from tests.simulated import Plan, Point, Truth, list_again, write_study

CHOICE = {"plain": 0.95, "random_words": 0.7, "swapped_tokens": 0.95, "shuffled_labels": 0.97, "lora_below": 0.95}
DEPTHS = (0.5, 1.0)


def _truth(point: Point) -> Truth:
    """Unrelated words are worse on the story alone; labels that are remembered are at chance in new templates; the
    deepest cell of swapped tokens has not fitted."""
    choice = 0.95 if point.arm == "random_words" and point.tier != "story" else CHOICE[point.arm]
    unseen = 0.5 if point.arm == "shuffled_labels" else None
    loss = 0.4 if point.arm == "swapped_tokens" and point.depth == 1.0 else 0.02
    return Truth(choice=choice, unseen=unseen, class_loss=loss)


PLAN = Plan(
    models={"alpha": 4},
    depths=DEPTHS,
    pairs=("multiply/add",),
    weights=(0.0, 0.5),
    seeds=(0, 1, 2),
    arms=tuple(CHOICE),
    truth=_truth,
    per_class=108,
)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return read_results(write_study(tmp_path_factory.mktemp("results") / "arms", PLAN))


@pytest.fixture(scope="module")
def found(results: Results) -> pd.DataFrame:
    return effects(results)


def test_a_planted_difference_is_found_with_its_sign_and_size_where_it_was_planted(found: pd.DataFrame) -> None:
    assert list(found.columns) == EFFECTS
    words = overall(found, "names against random_words").set_index("tier")
    row = words.loc["story"]
    assert row["difference_low"] < 0.25 < row["difference_high"]
    assert row["verdict"] == "above"
    assert row["lowest_seed"] <= row["difference"] <= row["highest_seed"]
    assert set(words.drop(index="story")["verdict"]) <= {"none", "undecided"}


def test_an_effect_is_over_all_depths_and_then_at_each(found: pd.DataFrame, results: Results) -> None:
    own = found[(found["contrast"] == "names against random_words") & (found["tier"] == "story")]
    assert own["depth"].tolist()[1:] == list(DEPTHS)
    assert own["depth"].isna().tolist() == [True, False, False]
    single = differences(results)
    assert list(single.columns) == DIFFERENCES
    single = single[(single["contrast"] == "names against random_words") & (single["tier"] == "story")]
    assert len(single) == 6
    for depth in DEPTHS:
        mean = single.loc[single["depth"] == depth, "difference"].mean()
        assert own.loc[own["depth"] == depth, "difference"].iloc[0] == pytest.approx(mean)


def test_a_difference_is_that_of_template_means_recomputed_from_the_rows(results: Results) -> None:
    row = differences(results).iloc[0]
    assert row["contrast"] == "cost against w = 0"
    means_of = []
    for unit in (row["unit"], row["beside"]):
        answers = results.rows["answers"][unit].astype({"template": str, "operation": str})
        answers = answers[answers["tier"] == row["tier"]]
        means_of.append(answers.groupby(["template", "operation"])["right"].mean().groupby("template").mean().mean())
    assert row["value"] == pytest.approx(means_of[0])
    assert row["difference"] == pytest.approx(means_of[0] - means_of[1])


def test_a_control_that_did_not_fit_is_in_no_contrast_and_in_no_mean(found: pd.DataFrame, results: Results) -> None:
    swapped = found[found["contrast"] == "names against swapped_tokens"]
    assert set(swapped["depth"].dropna()) == {0.5}
    told = levels(results)
    assert set(told.loc[~told["fitted"].astype(bool), "arm"]) == {"swapped_tokens"}
    of_means = means(results, told)
    deepest = of_means[(of_means["arm"] == "swapped_tokens") & (of_means["depth"] == 1.0)]
    assert set(deepest["seeds"]) == {0}
    assert set(deepest["not_fitted"]) == {3}
    assert deepest["choice"].isna().all()


def test_a_control_fits_where_its_loss_is_no_higher_than_that_of_the_plain_cell_beside_it(tmp_path: Path) -> None:
    def truth(point: Point) -> Truth:
        return Truth(class_loss=0.3 if point.arm == "plain" else 0.28)

    plan = replace(PLAN, truth=truth, arms=("plain", "random_words"), seeds=(0,), per_class=12)
    told = levels(read_results(write_study(tmp_path / "loose", plan)))
    assert told["fitted"].all()


def test_where_both_are_right_nearly_always_no_difference_is_claimed_to_be_none(tmp_path: Path) -> None:
    plan = replace(PLAN, arms=("plain", "random_words"), truth=lambda _: Truth(), depths=(0.5,), seeds=(0,))
    rows = overall(effects(read_results(write_study(tmp_path / "ceiling", plan))), "names against random_words")
    assert set(rows["difference"]) == {0.0}
    assert set(rows["verdict"]) == {CEILING}


def test_labels_are_compared_in_templates_that_stage_2_labelled_alone(tmp_path: Path) -> None:
    """Stage 1 trains answers in templates of further tiers, of which no labels can be remembered."""
    folder = write_study(
        tmp_path / "stage1", replace(PLAN, arms=("plain", "shuffled_labels"), seeds=(0,), per_class=54)
    )
    for file in folder.glob("*/*/lens.parquet"):
        rows = pd.read_parquet(file)
        trained = (rows["tier"] == "semantic") & (rows["template"].isin([f"semantic-{n}" for n in range(10)]))
        rows.assign(seen=rows["seen"].mask(trained, "stage1")).to_parquet(file, index=False)
        list_again(file.parent)
    told = effects(read_results(folder))
    assert set(told.loc[told["contrast"] == "names against shuffled_labels", "tier"]) == {"symbolic"}


def test_what_the_class_loss_brings_is_told_against_the_same_read_out_with_w_zero(
    found: pd.DataFrame, results: Results
) -> None:
    rows = overall(found, "class loss against w = 0").set_index("tier")
    assert set(rows["verdict"]) == {"above"}
    told = means(results, levels(results))
    plain = told[(told["arm"] == "plain") & (told["templates"] == "unseen")].groupby("tier")
    for tier, mean in plain["zero_choice"].mean().items():
        assert rows.loc[tier, "value_beside"] == pytest.approx(mean)
    assert told.loc[told["arm"] != "plain", "zero_choice"].isna().all()
    (cell, *_) = (cell for cell in results.cells if cell.arm == "plain" and cell.layer == 3 and cell.seed == 0)
    zero = results.zero_of(cell)
    assert zero is not None
    lens = results.rows["lens"][zero.id].astype({"tier": str, "seen": str, "template": str})
    lens = lens[(lens["layer"] == 3) & (lens["tier"] == "story") & (lens["pair"] == cell.readout)]
    single = differences(results).set_index(["contrast", "unit", "tier"])
    beside = single.loc[("class loss against w = 0", cell.id, "story"), "value_beside"]
    assert beside == pytest.approx(
        lens.groupby(["template", "operation"])["choice"].mean().groupby("template").mean().mean()
    )


def test_memory_is_asked_for_in_templates_that_were_seen_and_has_nothing_to_go_by_in_others(results: Results) -> None:
    told = means(results, levels(results))
    memory = told[(told["arm"] == "shuffled_labels") & (told["tier"] == "symbolic")].groupby("templates")["choice"]
    assert memory.mean()["seen"] > 0.9
    assert 0.4 < memory.mean()["unseen"] < 0.6
    own = overall(effects(results), "names against shuffled_labels").set_index("tier")
    assert list(own.index) == ["symbolic"]
    assert abs(own.loc["symbolic", "difference"]) < 0.1


@pytest.mark.parametrize(("lost", "verdict"), [(0.01, "preserved"), (0.25, "hurt")])
def test_a_planted_cost_is_found_against_w_zero_and_against_stage_1(tmp_path: Path, lost: float, verdict: str) -> None:
    plan = replace(
        PLAN,
        arms=("plain",),
        truth=lambda point: Truth(accuracy_lost=lost if point.tier == "semantic" else 0.01),
        depths=(0.5,),
        per_class=324,
    )
    found = effects(read_results(write_study(tmp_path / "cost", plan)))
    for contrast in ("cost against w = 0", "cost against stage 1"):
        rows = overall(found, contrast).set_index("tier")
        assert rows.loc["semantic", "verdict"] == verdict
        assert rows.loc["semantic", "difference_low"] <= -lost <= rows.loc["semantic", "difference_high"]
        assert rows.loc["symbolic", "verdict"] == "preserved"
        assert set(rows.index) == set(TIERS)


def test_a_model_that_is_prompted_through_its_chat_template_is_no_further_model(tmp_path: Path) -> None:
    plan = replace(PLAN, models={"alpha": 4, "alpha.chat": 4, "beta": 4}, depths=(0.5,), seeds=(0,), per_class=12)
    assert pooled(read_results(write_study(tmp_path / "two", plan))).empty
    plan = replace(plan, models={**plan.models, "gamma": 4})
    assert set(pooled(read_results(write_study(tmp_path / "three", plan)))["models"]) == {3}


def test_few_unchanged_prompts_do_not_prove_preservation(tmp_path: Path) -> None:
    plan = replace(PLAN, arms=("plain",), truth=lambda _: Truth(), depths=(0.5,), seeds=(0,), per_class=12)
    rows = overall(effects(read_results(write_study(tmp_path / "few", plan))), "cost against w = 0")
    assert set(rows["difference"]) == {0.0}
    assert set(rows["verdict"]) == {"undecided"}


def test_where_few_are_right_before_nothing_can_be_shown(tmp_path: Path) -> None:
    plan = replace(PLAN, arms=("plain",), truth=lambda _: Truth(), depths=(0.5,), stage1_accuracy=0.05)
    rows = overall(effects(read_results(write_study(tmp_path / "floor", plan))), "cost against stage 1")
    assert set(rows["verdict"]) == {FLOOR}


def test_without_a_finished_partner_there_is_no_contrast(tmp_path: Path) -> None:
    missing = {f"alpha|L{layer}|multiply-add|w=0.5|random_words|s0": ("failed", "x") for layer in (1, 3)}
    plan = replace(PLAN, arms=("plain", "random_words"), seeds=(0,), per_class=12, unfinished=missing)
    found = effects(read_results(write_study(tmp_path / "alone", plan)))
    beside = {"cost against w = 0", "cost against stage 1", "class loss against w = 0"}
    assert set(found["contrast"]) == {*beside, "order with class loss against w = 0"}


def test_over_three_models_and_more_an_effect_is_over_templates_and_models(tmp_path: Path) -> None:
    plan = replace(PLAN, models={"a": 4, "b": 4, "c": 8}, arms=("plain", "random_words"), seeds=(0,), per_class=54)
    results = read_results(write_study(tmp_path / "models", plan))
    found = pooled(results)
    assert list(found.columns) == POOLED
    row = found[(found["contrast"] == "names against random_words") & (found["tier"] == "story")].iloc[0]
    of_models = overall(effects(results), "names against random_words")
    of_models = of_models[of_models["tier"] == "story"]["difference"]
    assert row["models"] == len(of_models) == 3
    assert row["difference"] == pytest.approx(of_models.mean())
    assert [row["lowest_model"], row["highest_model"]] == pytest.approx([of_models.min(), of_models.max()])
    assert row["difference_low"] < 0.25 < row["difference_high"]
    two = replace(plan, models={"a": 4, "b": 4})
    assert pooled(read_results(write_study(tmp_path / "two", two))).empty
