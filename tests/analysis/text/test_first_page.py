"""The first page: every number of it is that of a frame, and every word follows from planted truth."""

import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from analysis.data.results import Results, read_results
from analysis.outcomes import Decided, decide_study
from analysis.text.first_page import FirstPage, first_page
from analysis.text.telling import Difference, by_verdict, how_decided
from tests.simulated import Plan, Point, Truth, write_study

REACH = {"symbolic": 1.0, "semantic": 0.9, "construction": 0.55, "story": 0.5}


def _truth(point: Point) -> Truth:
    if point.arm == "shuffled_labels":
        return Truth(choice=0.97, unseen=0.5, class_loss=0.4 if point.depth < 0.5 else 0.02)
    shown = REACH[point.tier] if point.depth > 0.4 else 0.5
    words = point.arm == "random_words" and point.tier == "construction"
    cost = 0.2 if point.model == "beta" else 0.01
    return Truth(choice=0.5 if words else shown, class_loss=0.02, accuracy_lost=cost, used=0.5, ceiling=0.9)


PLAN = Plan(
    models={"alpha": 4, "beta": 8},
    depths=(0.25, 0.5, 1.0),
    pairs=("multiply/add",),
    weights=(0.0, 0.5),
    seeds=(0, 1, 2),
    arms=("plain", "random_words", "shuffled_labels"),
    truth=_truth,
    swapped=True,
    per_class=54,
)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, Decided]:
    results = read_results(write_study(tmp_path_factory.mktemp("results") / "first", PLAN))
    return results, decide_study(results)


@pytest.fixture(scope="module")
def page(study: tuple[Results, Decided]) -> FirstPage:
    return first_page(*study)


def _asked(page: FirstPage, words: str) -> tuple[str, str]:
    (question,) = (one for one in page.questions if words in one.asks)
    return str(question.answer), str(question.sure)


def test_the_sentence_says_from_which_depth_each_tier_is_read_and_that_two_models_decide_nothing(
    page: FirstPage,
) -> None:
    for tier in ("symbolic", "semantic"):
        depth = r"from relative depth 0\.4 on \[0\.3\d, 0\.[34]\d\]"
        assert re.search(rf"on {tier} {depth} in alpha, {depth} in beta", page.sentence)
    assert "on construction and story at no trained depth in both models" in page.sentence
    assert page.sentence.endswith("2 models: why there is not answered here.")


def test_every_model_is_named_while_some_have_one_depth_alone(tmp_path: Path) -> None:
    missing = {f"beta|L{layer}|multiply-add|w=0.5|s0": ("missing", "") for layer in (1, 3)}
    plan = replace(PLAN, seeds=(0,), arms=("plain",), unfinished=missing)
    results = read_results(write_study(tmp_path / "begun", plan))
    sentence = first_page(results, decide_study(results)).sentence
    assert re.search(r"on symbolic from relative depth 0\.4 on .* in alpha, and by \d+ % in beta at 1\.00", sentence)


def test_verdicts_of_one_seed_are_not_counted_as_decided_where_others_have_several(
    study: tuple[Results, Decided],
) -> None:
    rows = study[1].effects
    rows = rows[(rows["contrast"] == "class loss against w = 0") & rows["depth"].isna() & (rows["measure"] == "choice")]
    many = pd.concat([rows[rows["model"] == "alpha"].assign(model=f"m{n}", verdict="above") for n in range(4)])
    many.loc[many["model"] != "m0", "seeds"] = 1
    words = {"above": "higher", "below": "lower", "none": "no", "undecided": "undecided"}
    told = how_decided(study[0], Difference("of", many, words))
    assert "higher in 1" in told
    assert "not decided by one seed in 3" in told
    assert "templates and 1 to 3 seeds" in told


def test_a_tier_that_is_lost_again_deeper_is_not_said_to_be_read_from_there_on(tmp_path: Path) -> None:
    by_depth = {0.25: 0.95, 0.5: 0.55, 1.0: 0.95}
    plan = replace(
        PLAN, models={"alpha": 4}, arms=("plain",), seeds=(0,), truth=lambda point: Truth(choice=by_depth[point.depth])
    )
    results = read_results(write_study(tmp_path / "lost", plan))
    sentence = first_page(results, decide_study(results)).sentence
    assert re.search(r"from the first trained depth on \(0\.2\) \\\[first, 0\.8\d\\\], but not at 0\.50", sentence)


def test_every_number_of_the_table_is_one_of_the_frame_of_means(
    page: FirstPage, study: tuple[Results, Decided]
) -> None:
    means = study[1].means
    plain = means[(means["arm"] == "plain") & (means["templates"] == "unseen")]
    assert page.head == ["wording", "model", "0.25", "0.5", "1", "unrelated words, deepest"]
    assert len(page.rows) == 4 * 2
    for number, row in enumerate(page.rows):
        tier, model = list(REACH)[number // 2], row[1]
        for depth, text in zip((0.25, 0.5, 1.0), row[2:5], strict=True):
            (own,) = plain[(plain["model"] == model) & (plain["tier"] == tier) & (plain["depth"] == depth)].to_dict(
                "records"
            )
            mean, _, zero = text.partition(" (")
            assert zero == f"{100 * own['zero_choice']:.0f})"
            found = [int(part) for part in re.findall(r"\d+", mean)]
            wanted = [round(100 * own[name]) for name in ("choice", "lowest_seed", "highest_seed")]
            assert found == (wanted if wanted[1] != wanted[2] else wanted[:1])
            assert text.startswith("**") == (own["choice_low"] > 0.75)
    assert "wording" in page.head
    assert page.rows[0][0].startswith("symbolic, `7 * 8 =` (37 new templates around 1 cue)")
    assert "of other cues the intervals say nothing" in page.reading
    assert "Other templates were seen by stage 2 of symbolic." in page.reading


def test_one_seed_is_marked(tmp_path: Path) -> None:
    results = read_results(write_study(tmp_path / "one", replace(PLAN, seeds=(0,), arms=("plain",))))
    page = first_page(results, decide_study(results))
    marked = re.compile(r"\*{0,2}\d+\\\*(\*\*)? \(\d+\)")
    assert all(marked.fullmatch(text) for row in (*page.rows, *page.order) for text in row[2:])
    assert "over templates lies above" in page.reading


def test_a_cost_is_told_with_its_seeds_and_whether_it_is_kept(page: FirstPage) -> None:
    answer, sure = _asked(page, "cost")
    assert re.search(r"in points: alpha: undecided \(symbolic -\d\.\d, .*; beta: hurt \(symbolic -2\d\.\d, ", answer)
    over = "95 % intervals over templates and 3 seeds, of means over depths: table of differences below; "
    right = r"right with w = 0: alpha symbolic \d+ %, .*; beta symbolic \d+ %, .* story \d+ %; "
    assert re.match(rf"{re.escape(over)}{right}the largest at one depth is ", sure)
    assert page.difference_head == ["difference", "tier", "alpha", "beta"]
    (row,) = (row for row in page.differences if row[0].startswith("Right answers"))
    assert row[1] == "symbolic"
    assert re.fullmatch(r"-\d\.\d \[-\d\.\d, \+\d\.\d\], seeds .*", row[2])
    assert re.fullmatch(r"\*\*-2\d\.\d \[-\d+\.\d, -\d+\.\d\]\*\*, seeds -\d+\.\d to -\d+\.\d", row[3])


def test_meaning_is_told_where_it_was_planted(page: FirstPage) -> None:
    answer, sure = _asked(page, "meanings")
    choice, order = answer.split(". ")
    assert "both near 100 %" not in choice
    assert choice.startswith("Choice accuracy, class names minus random words, in points: alpha: ")
    assert re.search(r"alpha: .*names do better \(construction \+", choice)
    assert order.startswith("Matched pairs in the right order, class names minus random words, in points: alpha: ")
    assert sure.count("table of differences") == 1


def test_one_seed_of_several_decides_nothing_and_what_is_at_chance_is_said_to_be(
    study: tuple[Results, Decided],
) -> None:
    results, decided = study
    words = {"above": "yes", "below": "no", "none": "no difference", "undecided": "undecided"}
    effects = decided.effects
    rows = effects[(effects["contrast"] == "names against random_words") & effects["depth"].isna()]
    rows = rows[(rows["weight"] == 0.5) & (rows["model"] == "alpha")]

    def told(**changed: object) -> str:
        return str(by_verdict(results, Difference("d", rows.assign(measure="choice", **changed), words)))

    assert re.search(r"alpha: yes \(symbolic", told(verdict="above", seeds=3))
    assert "not decided by one seed (symbolic" in told(verdict="above", seeds=1)
    assert "both near chance (symbolic" in told(verdict="none", seeds=3, value=0.52, value_beside=0.49)
    assert "no difference (symbolic" in told(verdict="none", seeds=3, value=0.72, value_beside=0.71)


def test_where_the_lens_is_the_wrong_way_round_without_a_class_loss_is_counted(
    study: tuple[Results, Decided],
) -> None:
    results, decided = study
    means = decided.means
    some = (means["arm"] == "plain") & (means["templates"] == "unseen") & (means["model"] == "beta")
    some &= (means["tier"] == "story") & (means["weight"] == 0.5) & (means["depth"] > 0.4)
    turned = means["zero_order_lowest_seed"].clip(lower=0.3).mask(some, 0.1)
    _, sure = _asked(first_page(results, replace(decided, means=means.assign(zero_order_lowest_seed=turned))), "order?")
    assert sure.endswith("the wrong way round, at 2 of 12 layers and tiers of beta")
    none = means.assign(zero_order_lowest_seed=0.3)
    assert "wrong way round" not in _asked(first_page(results, replace(decided, means=none)), "order?")[1]


def test_the_page_says_what_the_models_are(study: tuple[Results, Decided]) -> None:
    results, decided = study
    entries = {
        "alpha": results.models["alpha"]
        | {"note": "Alpha 1B Instruct, dequantised from Q4_1; on disk 1 GB", "chat": True},
        "beta": results.models["beta"],
    }
    reading = first_page(replace(results, models=entries), decided).reading
    assert "alpha is Alpha 1B Instruct, dequantised from Q4_1, prompted without its chat template." in reading
    assert "beta is" not in reading


def test_memory_is_told_from_labels_that_were_seen_and_with_how_many_controls_fitted(page: FirstPage) -> None:
    answer, sure = _asked(page, "memory")
    assert re.search(r"which have to be remembered, 9\d %, names", answer)
    assert re.search(r"on new templates (4|5)\d( to \d\d)? %", answer)
    assert "12 of 18 cells with shuffled labels fitted" in sure


def test_use_is_a_share_of_the_ceiling_beside_the_model_without_a_class_loss(page: FirstPage) -> None:
    answer, sure = _asked(page, "use it")
    assert re.search(r"alpha: the class direction \d+ to \d+ % \(intervals \S+ to \S+; w = 0: -?\d", answer)
    assert re.search(r"all but it \d+ to \d+ % .*, the 4 directions of most difference \d", answer)
    assert re.search(r"alpha: at depths 0.25, 0.50, 1.00, \d+( to \d+)? templates; class direction above a", sure)
    assert re.search(r"random direction in \d of \d layers and tiers", sure)
    assert sure.endswith("near the last layer the whole state holds the answer itself")


def test_use_in_more_models_than_the_page_can_name_is_told_of_all_together(study: tuple[Results, Decided]) -> None:
    results, decided = study
    copies = [decided.shares.assign(model=decided.shares["model"] + more) for more in ("", "-2", "-3")]
    answer, sure = _asked(first_page(results, replace(decided, shares=pd.concat(copies))), "use it")
    assert re.search(r"operation: 6 models: the class direction \d+ to \d+ %", answer)
    assert "alpha" not in answer + sure


def test_use_is_told_of_the_first_wordings_and_pair_alone(study: tuple[Results, Decided]) -> None:
    results, decided = study
    others = decided.shares.assign(share=9.0)
    of_pair = others[others["weight"] > 0].assign(pair="a/b")  # w = 0 has none
    more = replace(decided, shares=pd.concat([decided.shares, others.assign(wordings="story"), of_pair]))
    assert _asked(first_page(results, more), "use it") == _asked(first_page(results, decided), "use it")


def test_where_nothing_was_run_the_page_says_so(tmp_path: Path) -> None:
    plan = replace(PLAN, arms=("plain",), swapped=False, weights=(0.5,), seeds=(0,))
    results = read_results(write_study(tmp_path / "bare", plan))
    page = first_page(results, decide_study(results))
    told = {question.asks: str(question.answer) for question in page.questions}
    depths = told.pop("From which depth on is it at 75 %?")
    assert re.match(
        r"alpha: symbolic 0\.3\d, semantic 0\.4\d, construction never, story never; beta: symbolic 0\.3", depths
    )
    assert set(told.values()) == {"**Not tested**"}
    assert page.head[-1] == "1"


def test_a_control_that_never_fitted_is_named_as_such(tmp_path: Path) -> None:
    def truth(point: Point) -> Truth:
        return Truth(class_loss=0.02 if point.arm == "plain" else 2.0)

    plan = replace(PLAN, truth=truth, arms=("plain", "random_words", "shuffled_labels"), seeds=(0,))
    results = read_results(write_study(tmp_path / "failed", plan))
    page = first_page(results, decide_study(results))
    assert {row[-1] for row in page.rows} == {"did not fit"}
    assert _asked(page, "meanings") == ("**Not tested**", "0 of 6 cells with random words fitted")
    assert _asked(page, "memory") == ("**Not tested**", "0 of 6 cells with shuffled labels fitted")


def test_no_verdicts_are_counted_over_cells(page: FirstPage) -> None:
    told = " ".join([page.sentence, page.reading, *(str(question.answer) for question in page.questions)])
    assert "emergent" not in told
    assert not re.search(r"\d+ of \d+ cells", told)
