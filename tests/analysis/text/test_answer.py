"""The words of the answer follow from the numbers, and from nothing else."""

import re
from dataclasses import replace

import pandas as pd
import pytest

from analysis.data.results import Results, read_results
from analysis.outcomes import Decided, decide_study
from analysis.text.answer import answer, limits, shuffled_criterion
from analysis.text.answer_numbers import answer_numbers, answer_table
from tests.simulated import Plan, Point, Truth, write_study


def _truth(point: Point) -> Truth:
    if point.arm == "shuffled_labels":
        return Truth(choice=0.5)
    return Truth(choice=1.0 if point.tier == "symbolic" or point.depth > 0.9 else 0.5, used=0.6)


PLAN = Plan(
    models={"alpha": 4},
    depths=(0.5, 1.0),
    pairs=("multiply/add",),
    weights=(0.0, 0.5),
    arms=("plain", "shuffled_labels", "random_words"),
    truth=_truth,
    predictors=lambda point: {},
    swapped=True,
)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return read_results(write_study(tmp_path_factory.mktemp("results") / "words", PLAN))


@pytest.fixture(scope="module")
def decided(results: Results) -> Decided:
    return decide_study(results)


def _answer(results: Results, decided: Decided) -> list[str]:
    return answer(results, decided, answer_numbers(results, decided))


def _limits(results: Results, decided: Decided) -> list[str]:
    return limits(results, decided, answer_numbers(results, decided))


def _line(results: Results, decided: Decided, name: str) -> str:
    (line,) = (line for line in _answer(results, decided) if line.startswith(f"**{name}.**"))
    return line


def test_the_answer_has_five_lines_in_their_order(results: Results, decided: Decided) -> None:
    names = [line.split("**")[1] for line in _answer(results, decided)]
    assert names == ["Transfer.", "Cost.", "Controls.", "Use.", "Why there."]


def test_transfer_names_every_model_and_the_depth_from_which_it_emerges(results: Results, decided: Decided) -> None:
    line = _line(results, decided, "Transfer")
    assert "semantic 1 of 2 (alpha 1 of 2 from relative depth 1.00; best choice accuracy 100 %" in line
    assert line.endswith("On the trained wording: 2 of 2.")


def test_cells_above_chance_that_are_not_emergent_are_counted_with_their_depth_and_pair(tmp_path) -> None:
    def truth(point: Point) -> Truth:
        carries = point.tier == "construction" and point.pair == "multiply/add" and point.depth > 0.9
        return Truth(choice=1.0 if point.tier == "symbolic" else 0.8 if carries else 0.5)

    plan = replace(PLAN, arms=("plain",), pairs=("multiply/add", "river/copper"), truth=truth, per_class=96)
    results = read_results(write_study(tmp_path / "partly", plan))
    found = decide_study(results)
    assert "construction 0 of 4 (alpha 0 of 4, above chance 1 from relative depth 1.00;" in _line(
        results, found, "Transfer"
    )
    assert "Above chance on construction by pair: multiply/add 1 of 2; river/copper 0 of 2." in _line(
        results, found, "Controls"
    )


def test_tiers_where_names_and_words_part_are_named_and_so_are_the_others(tmp_path) -> None:
    def truth(point: Point) -> Truth:
        fails = point.arm == "random_words" and point.tier == "construction" and point.depth > 0.9
        return Truth(choice=0.5) if fails else _truth(point)

    results = read_results(write_study(tmp_path / "part", replace(PLAN, truth=truth, per_class=96)))
    line = _line(results, decide_study(results), "Controls")
    assert "Names against random words: on construction better in 1 of 2; no difference shown on " in line
    assert "Swapped tokens: not run." in line


def test_every_number_of_the_answer_stands_in_its_table(results: Results, decided: Decided) -> None:
    table = answer_table(answer_numbers(results, decided))
    for line in _answer(results, decided)[:4]:
        name, words = line.removeprefix("**").split(".**", 1)
        known = table.loc[table["line"] == name, "value"].to_numpy(float)
        shown = {f"{value:{form}}" for value in known for form in ("g", ".2f", ".1f", ".0f")}
        shown |= {f"{100 * value:.0f}" for value in known}
        words = words.replace("stage 1", "").replace("w = 0", "")
        margin = {f"{100 * results.decisions.non_inferiority_margin:g}"}
        assert set(re.findall(r"\d+(?:\.\d+)?", words)) <= shown | margin, line


def test_a_sentence_says_the_number_that_stands_in_the_table(results: Results, decided: Decided) -> None:
    numbers = answer_numbers(results, decided)
    changed = {key: value + 1000 if isinstance(value, int) and value else value for key, value in numbers.items()}
    assert answer_table(changed)["value"].max() > 1000
    words = "\n".join(answer(results, decided, changed))
    assert "semantic 1001 of 1002 (alpha 1001 of 1002 from relative depth 1.00" in words
    assert "On the trained wording: 1002 of 1002." in words
    assert "in the 1002 cells that are emergent on the trained wording" in words
    assert "Shuffled labels do the same in 0 of 1008 outcomes." in words
    assert "symbolic 1002 and 1002 of 1002" in words


def test_random_words_that_do_as_well_are_said_to_be_any_token(results: Results, decided: Decided) -> None:
    line = _line(results, decided, "Controls")
    assert "On symbolic, semantic, construction, story random words are emergent as often as names" in line
    assert "any token can be written there" in line
    assert "Swapped tokens: not run." in line
    assert "Shuffled labels do the same in 0 of 8 outcomes." in line


def test_random_words_that_do_worse_are_not(results: Results, decided: Decided) -> None:
    worse = decided.outcomes.assign(
        outcome=decided.outcomes["outcome"].where(decided.outcomes["arm"] != "random_words", "partial")
    )
    assert "any token" not in _line(results, replace(decided, outcomes=worse), "Controls")


def test_use_is_claimed_only_where_the_interval_excludes_zero(results: Results, decided: Decided) -> None:
    assert "symbolic 2 and 2 of 2" in _line(results, decided, "Use")
    unclear = decided.causal.assign(answers_moved_low=-0.01, towards_other_high=0.01)
    line = _line(results, replace(decided, causal=unclear), "Use")
    assert line.startswith("**Use.** In none of 2 emergent cells")
    assert line.endswith("that the network uses the classifier is not shown.")


def test_what_was_not_run_is_said_to_be_not_run(results: Results, decided: Decided) -> None:
    nothing = replace(decided, causal=decided.causal.head(0), predictors=decided.predictors.head(0))
    assert _line(results, nothing, "Use") == "**Use.** Not run."
    assert "Not run" in _line(results, nothing, "Why there")


def test_one_model_allows_no_claim_about_others(results: Results, decided: Decided) -> None:
    assert set(decided.associations["words"]) == {"too few models"}
    assert "nothing can be said of other models" in _line(results, decided, "Why there")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["explains", "not explained by this"], "is explained by kl (positive in 8 of 8 models, corrected p 0.016"),
        (["not explained by this"] * 2, "is explained by none of the predictors. Not explained by: kl, rank."),
        (["explains", "too few models"], "Undecided, for want of models in which they vary: rank."),
        (["too few models"] * 2, "4 models are too few to decide between 2 predictors"),
    ],
)
def test_a_predictor_explains_only_if_it_was_decided_so(
    results: Results, decided: Decided, words: list[str], expected: str
) -> None:
    associations = pd.DataFrame({"predictor": ["kl", "rank"], "words": words}).assign(
        models=8, signs=8, p_holm=0.0156, increment=0.2, increment_low=0.1, increment_high=0.3
    )
    by_model = pd.DataFrame({"predictor": "kl", "model": list("abcd"), "rho": 0.5, "cells": 9})
    changed = replace(decided, associations=associations, associations_by_model=by_model)
    assert expected in _line(results, changed, "Why there")


def test_cells_that_are_not_emergent_have_no_cost_and_no_use(results: Results, decided: Decided) -> None:
    none = replace(decided, outcomes=decided.outcomes.assign(outcome="none"), causal=decided.causal.head(0))
    assert "nothing to weigh" in _line(results, none, "Cost")
    assert "nothing to swap" in _line(results, none, "Use")
    assert "semantic 0 of 2 (alpha 0 of 2;" in _line(results, none, "Transfer")


def test_a_missing_shuffled_control_is_a_limit_and_a_finished_one_is_not(results: Results, decided: Decided) -> None:
    assert not any("was not run" in line for line in _limits(results, decided))
    without = replace(decided, outcomes=decided.outcomes.assign(shuffled_choice=float("nan")))
    assert any("The shuffled-label control was not run" in line for line in _limits(results, without))


def test_a_shuffled_control_that_is_partly_missing_or_elsewhere_is_said_so(results: Results, decided: Decided) -> None:
    plain = decided.plain.reset_index(drop=True)
    some = plain.assign(shuffled_choice=plain["shuffled_choice"].where(plain.index > 2), shuffled_layer=1)
    text = shuffled_criterion(answer_numbers(results, replace(decided, outcomes=some)))
    assert "do the same in 0 of 5 outcomes" in text
    assert "For 3 outcomes it was not run: there `emergent` means all other criteria." in text
    assert "In 4 of them the shuffled-label cell stands at another layer." in text
