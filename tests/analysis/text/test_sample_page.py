"""The first page of a report on a sample of small models: its numbers are those of the tables, its verdicts theirs."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from scipy import stats

from analysis.data.results import Results, read_results
from analysis.outcomes import Decided, decide_study
from analysis.outcomes.effects import FLOOR
from analysis.report import write_report
from analysis.text.first_page import FirstPage
from analysis.text.limits import limits, named
from analysis.text.sample_page import sample_page
from study.config.designs import DESIGNS
from study.config.nursery import NurserySample
from tests.page_data import inflated
from tests.simulated import Plan, Point, Truth, write_study

pytestmark = pytest.mark.slow

SAMPLE = {"architectures": ["llama", "gpt2", "mamba2"], "each": 3, "blocks": [4, 8], "hidden_size": [32]}
MODELS = NurserySample.model_validate({**SAMPLE, "attention_heads": [2, 4]}).models
FIRST, SECOND, *_ = MODELS
DEPTHS = (0.25, 0.5, 1.0)


def _truth(point: Point) -> Truth:
    choice = {"symbolic": 0.99, "semantic": 0.8, "construction": 0.5, "story": 0.3}[point.tier]
    return Truth(choice=choice - 0.1 * (point.model == FIRST) * (point.tier == "semantic"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    plan = Plan(
        models={name: one.blocks for name, one in MODELS.items()},
        depths=DEPTHS,
        pairs=("multiply/add",),
        weights=(0.0, 0.5),
        arms=("plain", "lora_at"),
        truth=_truth,
        per_class=24,
    )
    root = write_study(tmp_path_factory.mktemp("page") / "sample", plan)
    study = json.loads((root / "study.json").read_text())
    study["config"]["nursery"] = {"sample": {**SAMPLE, "attention_heads": [2, 4]}}
    (root / "study.json").write_text(json.dumps(study))
    return root


@pytest.fixture(scope="module")
def results(folder: Path) -> Results:
    return read_results(folder)


@pytest.fixture(scope="module")
def decided(results: Results) -> Decided:
    return decide_study(results)


@pytest.fixture(scope="module")
def page(results: Results, decided: Decided) -> FirstPage:
    return sample_page(results, decided)


def test_the_table_has_the_numbers_of_the_tables(page: FirstPage, decided: Decided) -> None:
    assert page.head == [
        *("task", "wording", "for example", "models", "area", "range"),
        *("0.25", "0.5", "1", "right answers"),
    ]
    assert [row[1] for row in page.rows] == ["symbolic", "semantic", "construction", "story"]
    means, areas = decided.means, decided.areas
    for row in page.rows:
        own = areas[areas["tier"] == row[1]]
        assert row[2] == ""  # arithmetic's prompts are known
        assert row[3] == str(len(MODELS))
        assert float(row[4]) == pytest.approx(own["area"].mean(), abs=0.006)
        ends = own["area"].min(), own["area"].max()
        assert [float(end) for end in row[5].split(" to ")] == pytest.approx(ends, abs=0.006)
        here = means[(means["tier"] == row[1]) & (means["templates"] == "unseen") & (means["weight"] == 0.5)]
        here = here[here["arm"] == "plain"]
        for depth, told in zip(DEPTHS, row[6:9], strict=True):
            assert float(told) == pytest.approx(100 * here.loc[here["depth"] == depth, "choice"].mean(), abs=0.6)


def test_wordings_are_sorted_by_their_mean_area(page: FirstPage) -> None:
    assert (
        "nearly everywhere on symbolic, in part on semantic, nearly nowhere on construction and story" in page.sentence
    )


@pytest.mark.parametrize(
    ("shares", "told"),
    [
        ({"tier": (0.8, 0.7, 0.9), "architecture": (0.1, 0.0, 0.2)}, "with what is asked, more than with the arch"),
        ({"tier": (0.1, 0.0, 0.2), "architecture": (0.8, 0.7, 0.9)}, "with the architecture, more than with what"),
        ({"tier": (0.5, 0.3, 0.7), "architecture": (0.4, 0.2, 0.6)}, "It is undecided whether"),
        # Of two parts of an architecture the sum counts.
        (
            {"tier": (0.5, 0.4, 0.6), "architecture": (0.2, 0.1, 0.3), "architecture x tier": (0.2, 0.1, 0.3)},
            "It is undecided whether",
        ),
        ({}, "What it varies with is not decided"),
    ],
)
def test_what_sets_it_is_decided_on_intervals(
    results: Results, decided: Decided, shares: dict[str, tuple[float, float, float]], told: str
) -> None:
    first = decided.variance.iloc[0]
    rows = [
        {**first, "component": name, "share": share, "share_low": low, "share_high": high}
        for name, (share, low, high) in shares.items()
    ]
    changed = replace(decided, variance=pd.DataFrame(rows, columns=decided.variance.columns))
    assert told in sample_page(results, changed).sentence


def test_costs_are_of_all_models_and_wordings(page: FirstPage, decided: Decided) -> None:
    (cost,) = (question for question in page.questions if question.asks == "Does it cost answers?")
    effects = decided.effects
    own = effects[(effects["contrast"] == "cost against w = 0") & effects["depth"].isna() & (effects["weight"] == 0.5)]
    counted = re.search(r"of (\d+) models and wordings (\d+) kept .*, (\d+) hurt, (\d+) undecided", cost.sure)
    assert counted
    assert int(counted[1]) == sum(int(counted[i]) for i in (2, 3, 4)) <= len(own)
    assert int(counted[3]) == (own["verdict"] == "hurt").sum()


def test_wordings_at_floor_are_counted_and_not_dropped(results: Results, decided: Decided) -> None:
    effects = decided.effects.copy()
    at = (effects["contrast"] == "cost against w = 0") & effects["depth"].isna()
    effects.loc[at, "verdict"] = FLOOR
    floor = replace(decided, effects=effects)
    (cost,) = (one for one in sample_page(results, floor).questions if one.asks == "Does it cost answers?")
    assert "no wording is answered right often enough with w = 0" in cost.sure


def test_each_manipulation_is_a_question(page: FirstPage, decided: Decided) -> None:
    (asked,) = (
        question for question in page.questions if question.asks == "Does it matter whether layers below adapt?"
    )
    effects = decided.effects
    own = effects[(effects["contrast"] == "plain against lora_at") & effects["depth"].isna()]
    own = own.assign(architecture=own["model"].str.partition("-")[0])
    of_tiers = -100 * own.pivot_table(index="architecture", columns="tier", values="difference")
    for tier, words in ((of_tiers.mean().idxmax(), "least: "), (of_tiers.mean().idxmin(), ", ")):
        told = re.search(rf"{words}{tier} ([+-]\d+\.\d) \[([+-]\d+\.\d), ([+-]\d+\.\d)\]", asked.answer)
        assert told
        interval = stats.ttest_1samp(of_tiers[tier], 0).confidence_interval(0.95)
        assert [float(part) for part in told.groups()] == pytest.approx([of_tiers[tier].mean(), *interval], abs=0.06)
    means = of_tiers.mean(axis=1)
    together = re.search(r"all wordings ([+-]\d+\.\d) \[([+-]\d+\.\d), ([+-]\d+\.\d)\]", asked.answer)
    assert together
    interval = stats.ttest_1samp(means, 0).confidence_interval(0.95)
    assert [float(part) for part in together.groups()] == pytest.approx([means.mean(), *interval], abs=0.06)
    assert "intervals over 3 architectures, at 3 depths" in asked.sure
    verdict = "Yes" if stats.ttest_1samp(means, 0).pvalue <= 0.05 else ("Undecided", "No")
    assert asked.answer.startswith(verdict)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"difference": 0.08, "difference_low": 0.02, "difference_high": 0.14, "p_holm": 0.01}, "Yes, more is read"),
        ({"difference": -0.08, "difference_low": -0.14, "difference_high": -0.02, "p_holm": 0.01}, "Yes, less is read"),
        ({"difference": 0.01, "difference_low": -0.01, "difference_high": 0.02, "p_holm": 0.4}, "No, not by 3 points"),
        # An interval that excludes zero decides nothing where several are looked at.
        ({"difference": 0.08, "difference_low": 0.01, "difference_high": 0.15, "p_holm": 0.09}, "Undecided"),
        ({"difference": 0.01, "difference_low": -0.05, "difference_high": 0.07, "p_holm": 0.4}, "Undecided"),
    ],
)
def test_a_manipulation_is_decided_on_its_corrected_p_or_on_the_margin(
    results: Results, decided: Decided, row: dict[str, float], said: str
) -> None:
    changed = decided.manipulations.assign(**row)
    questions = sample_page(results, replace(decided, manipulations=changed)).questions
    (asked,) = (one for one in questions if one.asks == "Does it matter whether layers below adapt?")
    assert asked.answer.startswith(f"{said}. ")


def test_models_that_did_not_learn_are_named_and_left_out(results: Results, decided: Decided) -> None:
    unlearned = decided.areas.assign(learned=decided.areas["model"] != SECOND)
    changed = replace(decided, areas=unlearned)
    assert {row[3] for row in sample_page(results, changed).rows} == {str(len(MODELS) - 1)}
    assert any(f"{SECOND} (multiply/add, seed 0)" in line for line in limits(results, changed))
    assert not any("left out of what compares models" in line for line in limits(results, decided))


def test_the_report_has_the_page_and_its_picture(folder: Path, results: Results, tmp_path: Path) -> None:
    out = tmp_path / "report.md"
    assert write_report(folder, out) == []
    text = out.read_text()
    assert f"Study `{results.name}`: {named(results)};" in text
    assert named(results) == f"{len(MODELS)} models"
    assert text.index("(report/areas.svg)") < text.index("## How it is decided") < text.index("(report/sample.svg)")
    drawn = pd.read_csv(tmp_path / "report" / "areas.csv")
    assert len(drawn) == 3 * 4
    assert (drawn["models"] == 3).all()
    # A card for each architecture, with the areas of its models.
    cards = text[text.index("Every architecture, with its design") :]
    for architecture in SAMPLE["architectures"]:
        assert f"<details><summary>{architecture}: {DESIGNS[str(architecture)].words}</summary>" in cards
    areas = decide_study(results).areas
    own = areas[areas["model"] == SECOND].groupby("tier", sort=False)["area"].mean()
    told = ", ".join(f"{tier} {area:.2f}" for tier, area in own.items())
    assert re.search(rf"\| {SECOND} \| +\| multiply/add \| {re.escape(told)} \|", cards)


def test_a_table_that_has_grown_long_leaves_no_older_one_behind_nor_in_the_page(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "report.md"
    write_report(folder, out)
    short = pd.read_csv(tmp_path / "report" / "table_areas.csv")
    assert "table_areas" in json.loads(inflated(_data_of(out)))["tables"]
    monkeypatch.setattr("analysis.data.files.LONG", len(short) - 1)
    write_report(folder, out)
    assert not (tmp_path / "report" / "table_areas.csv").exists()
    assert "table_areas" not in json.loads(inflated(_data_of(out)))["tables"]
    long = pd.read_parquet(tmp_path / "report" / "table_areas.parquet")
    pd.testing.assert_frame_equal(long, short, check_dtype=False, rtol=1e-5)


def _data_of(report: Path) -> str:
    found = re.search(r'(?<= id="data">)[^<]*', report.with_suffix(".html").read_text(encoding="utf-8"))
    assert found
    return found[0]
