"""The report's section on recipes: figures against the rows that they are of, and words against planted truth."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.data.packing import pack
from analysis.data.results import Results, read_results
from analysis.data.units import _stage2
from analysis.outcomes.recipes import MEASURED, TOLD, _by_recipe, experiments, measured, told
from analysis.report import write_report
from analysis.text.published import beside_rows, choice_rows, conclusions, first_rows, sentence
from study.config.catalogue import BuiltSource, Model
from study.config.evaluation import Evaluation
from study.config.grid import Grid, Part
from study.config.recipes import TRAINING, recipe_of
from study.config.stages import Stage2Change
from study.pipeline.units import run_units
from study.plan.expand import expand
from study.results.description import write_description

pytestmark = pytest.mark.slow

RECIPES = ["corrected", "as-published", "corrected with plain_sgd", "corrected with maximum_score"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_study: Any) -> Path:
    """A tiny real study with recipes, and a part with another stage 2."""
    root = tmp_path_factory.mktemp("recipes") / "recipes"
    pair = {"multiply": "multiply", "add": "add"}
    study = tiny_study(
        name="recipes",
        grid=Grid(layers=[1], pairs=[pair], weights=[0.0, 0.5], recipes=RECIPES),
        also=[Part(weights=[0.2], recipes=["corrected", "as-published"], stage2=Stage2Change(steps=3))],
        evaluation=Evaluation(prompts_per_class=6, profile_prompts=2, onset_every=0, causal_prompts=0),
    )
    models = {"tiny-llama": Model(source=BuiltSource(built="llama"), blocks=4)}
    units = expand(study, models)
    write_description(
        root,
        study.name,
        study.model_dump(mode="json"),
        {n: m.model_dump(mode="json") for n, m in models.items()},
        units,
    )
    assert {run_units([unit], root)[0].state for unit in units} == {"done"}
    return root


@pytest.fixture(scope="module")
def results(folder: Path) -> Results:
    return read_results(folder)


def test_cells_of_other_recipes_stand_apart_from_the_outcomes(results: Results) -> None:
    assert {cell.recipe for cell in results.cells} == {"corrected"}
    assert {cell.weight for cell in results.cells} == {0.5}
    apart = {(cell.recipe, cell.weight, cell.layer is None) for cell in results.apart.values()}
    assert ("as-published", 0.5, False) in apart
    assert ("corrected", 0.2, False) in apart
    assert ("as-published", 0.0, True) in apart


def test_what_a_recipe_tells_is_what_its_rows_say(results: Results) -> None:
    frame = told(results)
    main = frame[(frame["weight"] == 0.5)]
    assert list(dict.fromkeys(main["recipe"])) == RECIPES
    by_recipe = main[main["stage"] == "stage2"].set_index("recipe")
    corrected = next(cell for cell in results.cells if cell.layer is not None)
    score, answers = results.rows["score"][corrected.id], results.rows["answers"][corrected.id]
    read = score[(score["asked"] == "held-out") & score["masked"] & (score["head"] == "model")]
    at_layer = read[(read["score"] == "layer") & (read["layer"] == 1)]
    assert by_recipe.loc["corrected", "classifier"] == pytest.approx(_over_operands(at_layer))
    most = read[(read["score"] == "maximum") & (read["p"] > 0)]
    assert by_recipe.loc["corrected with maximum_score", "classifier"] == pytest.approx(_over_operands(most))
    symbolic = answers[answers["tier"] == "symbolic"]
    assert by_recipe.loc["corrected", "symbolic"] == pytest.approx(symbolic["number_right"].mean())
    theirs = next(cell for cell in results.apart.values() if cell.recipe == "as-published" and cell.weight == 0.5)
    eight = results.rows["eight"][theirs.id]
    assert by_recipe.loc["as-published", "semantic"] == eight.loc[eight["tier"] == "semantic", "right"].mean()
    read = results.rows["score"][theirs.id]
    read = read[(read["asked"] == "eight") & ~read["masked"] & (read["head"] == "input embedding")]
    most = read[(read["score"] == "maximum") & (read["p"] > 0)]
    assert by_recipe.loc["as-published", "classifier"] == pytest.approx(_over_operands(most))


def _over_operands(rows: pd.DataFrame) -> float:
    """Groups of operands are the sample of the score, and count alike."""
    return float(rows.groupby("operands", observed=True)["p"].mean().mean()) if len(rows) else 0.0


def test_every_training_is_measured_once_and_in_one_way(results: Results) -> None:
    frame = measured(results)
    together = frame[frame["seed"].isna()]
    trainings = ["corrected", "as-published", "corrected with plain_sgd"]
    assert list(together[together["weight"] == 0.5]["recipe"]) == trainings
    single = frame[frame["seed"] == 0]
    assert single["choice"].tolist() == together["choice"].tolist()  # there is but one seed
    for row in frame[frame["recipe"] == "as-published"].to_dict("records"):
        cell = next(
            c for c in results.apart.values() if (c.recipe, c.weight, c.layer) == ("as-published", row["weight"], 1)
        )
        lens = results.rows["lens"][cell.id]
        lens = lens[(lens["pair"] == cell.readout) & (lens["layer"] == 1)]
        assert row["choice"] == pytest.approx(lens.loc[lens["tier"] == "symbolic", "choice"].mean())


def test_the_report_of_packed_rows_is_the_same_and_has_the_section(folder: Path, tmp_path: Path) -> None:
    write_report(folder, tmp_path / "one" / "r.md")
    pack(folder, tmp_path / "packed")
    write_report(tmp_path / "packed", tmp_path / "two" / "r.md")
    first, second = (
        {
            file.relative_to(tmp_path / side): file.read_bytes()
            for file in (tmp_path / side).rglob("*")
            if file.is_file()
        }
        for side in ("one", "two")
    )
    assert first == second
    text = (tmp_path / "one" / "r.md").read_text()
    assert "## The published experiment, beside this study" in text
    assert (tmp_path / "one" / "r" / "recipes_tiny-llama.svg").is_file()
    drawn = pd.read_csv(tmp_path / "one" / "r" / "recipes_tiny-llama.csv")
    assert set(drawn["recipe"]) == {"corrected", "as-published", "corrected with plain_sgd"}
    assert "### tiny-llama · multiply/add · L1 · w 0.2 · 3 steps at" in text


def _frames(emerging: set[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All trainings that switch one choice, of which those named emerge."""
    where = {"model": "m", "pair": "multiply/add", "layer": 1, "weight": 0.5, "stage2": "500 steps at 5e-05"}
    one = [recipe_of([name], TRAINING) for name in TRAINING]
    all_but_one = [recipe_of([n for n in TRAINING if n != name], TRAINING) for name in TRAINING]
    recipes = ["corrected", "as-published", *one, *all_but_one]
    rows = []
    for recipe in recipes:
        p = 0.9 if recipe in emerging else 0.01
        figures = {"p": p, "p_low": p, "p_high": p, "choice": 1.0, "choice_low": 1.0, "choice_high": 1.0}
        kept = {"answers": 0.0, "answers_low": -0.01, "answers_high": 0.01, "verdict": "preserved"}
        one_seed = {**where, "recipe": recipe, "seeds": 1, "compared": True, "class_loss": 1.0, **figures, **kept}
        one_seed |= {"lowest_seed": p, "highest_seed": p}
        rows += [{**one_seed, "seed": seed, **_outcome(recipe, emerging)} for seed in (0.0, math.nan)]
    read = {f"{name}{end}": 0.5 for name in ("symbolic", "semantic", "classifier") for end in ("", "_low", "_high")}
    said = [
        {**where, "recipe": recipe, "stage": stage, "seeds": 1, **read, "prompts": 8}
        for recipe in recipes
        for stage in ("baseline", "stage1", "stage2")
    ]
    return pd.DataFrame(said, columns=TOLD), pd.DataFrame(rows, columns=MEASURED)


def _outcome(recipe: str, emerging: set[str]) -> dict[str, bool]:
    return {"emerges": recipe in emerging, "absent": recipe not in emerging}


def test_a_recipe_with_the_published_training_but_another_reading_draws_no_conclusion_on_the_published_one() -> None:
    said, rows = _frames({"corrected"})
    said["recipe"] = said["recipe"].replace({"as-published": "as-published without eight_prompts"})
    assert conclusions(said, rows) == []


def test_cells_whose_stage_2_differs_in_batch_or_adapter_are_other_experiments(results: Results) -> None:
    cell = next(cell for cell in results.apart.values() if cell.weight == 0.2)
    assert cell.stage2.startswith("3 steps at")
    entry = {"settings": {"stage2": {"steps": 3, "learning_rate": 1e-4, "batch_size": 2}}, "changed": ["batch_size"]}
    assert _stage2(entry) == "3 steps at 0.0001, batch size 2"


def test_a_study_of_the_published_recipe_alone_has_its_report(tmp_path: Path, tiny_study: Any) -> None:
    study = tiny_study(
        name="alone",
        grid=Grid(layers=[1], pairs=[{"multiply": "multiply", "add": "add"}], weights=[0.5], recipes=["as-published"]),
        evaluation=Evaluation(prompts_per_class=4, profile_prompts=2, onset_every=0, causal_prompts=0),
    )
    models = {"tiny-llama": Model(source=BuiltSource(built="llama"), blocks=4)}
    units = expand(study, models)
    write_description(tmp_path / "alone", study.name, study.model_dump(mode="json"), {}, units)
    assert {run_units([unit], tmp_path / "alone")[0].state for unit in units} == {"done"}
    write_report(tmp_path / "alone", tmp_path / "r.md")
    text = (tmp_path / "r.md").read_text()
    assert "No cell of the corrected recipe has finished yet, so there is no answer." in text
    said = "Trained as published one emerges here in 0 of 1 experiments; trained as described in 0 of 0 experiments."
    assert said in text
    assert "| as-published | " in text.partition("### Which choice makes which conclusion")[2]


def test_the_choice_that_decides_is_named_from_both_sides() -> None:
    without = [name for name in TRAINING if name != "plain_sgd"]
    emerging = {"corrected", *(recipe_of([name], TRAINING) for name in without), recipe_of(without, TRAINING)}
    (line,) = conclusions(*_frames(emerging))
    assert "emerges by the corrected training and not by the other (p 0.90 [0.90, 0.90] and 0.01 [0.01, 0.01]" in line
    assert "Added alone to the corrected one, `plain_sgd` changes that" in line
    assert "left out alone of the published one, `plain_sgd` does" in line


@pytest.mark.parametrize(
    ("emerging", "words"),
    [
        ((), "is shown by neither training: none corrected, none as published (p 0.01"),
        (("corrected", "as-published"), "emerges by both trainings, corrected and as published (p 0.90"),
    ],
)
def test_where_both_recipes_agree_no_choice_is_blamed(emerging: tuple[str, ...], words: str) -> None:
    (line,) = conclusions(*_frames(set(emerging)))
    assert f"A classifier {words}" in line
    assert "Added alone" not in line


def test_a_choice_that_alone_hurts_the_answers_is_named() -> None:
    said, rows = _frames({"corrected"})
    hit = rows["recipe"] == "corrected with unshifted_answers"
    rows.loc[hit, ["answers", "answers_low", "answers_high"]] = [-0.4, -0.5, -0.3]
    rows.loc[hit, "verdict"] = "hurt"
    (line,) = conclusions(said, rows)
    assert "Added alone to the corrected one, `unshifted_answers` (-40.0 [-50.0, -30.0]) hurts them." in line


def test_the_published_figures_stand_beside_the_stage_that_they_are_of() -> None:
    frame, same = _frames(set())
    (rows,) = beside_rows(frame).values()
    assert [row[:2] for row in rows[:3]] == [
        [name, stage]
        for name, stage in zip(["as-published"] * 3, ["baseline", "after stage 1", "after stage 2"], strict=True)
    ]
    assert rows[2][-3:] == ["75 %", "75 %", "0.1 %"]
    assert len(next(iter(choice_rows(frame, same).values()))) == 2 + 2 * len(TRAINING)


def test_recipes_stand_side_by_side_at_the_seeds_together_with_their_range() -> None:
    _, rows = _frames({"corrected"})
    own, single = rows["recipe"] == "corrected", rows["seed"].notna()
    rows.loc[own & ~single, ["p", "lowest_seed", "highest_seed", "seeds"]] = [0.9, 0.8, 1.0, 3]
    rows.loc[single, ["p", "emerges"]] = [0.5, True]  # single seeds are told nowhere here
    ((experiment, seeds, theirs, ours, added, left),) = first_rows(rows)
    assert (experiment, seeds) == ("m · w 0.5 · 500 steps at 5e-05", "3")
    assert ours.startswith("emerges: p 0.90 [0.80-1.00], ")
    assert theirs.startswith("none: p 0.01, ")
    assert added == left == ", ".join(f"{name} 0.01" for name in TRAINING)
    said = sentence(rows)
    assert "Trained as published one emerges here in 0 of 1 experiments; trained as described in 1 of 1 exp" in said
    rows.loc[rows["recipe"] == "as-published", "absent"] = False
    assert "Trained as published one emerges here in 0 of 1 experiments (1 undecided); trained as" in sentence(rows)


def test_the_seeds_that_are_compared_are_those_that_every_compared_recipe_has(results: Results) -> None:
    """A mean of three seeds never stands beside a figure of one; what lacks the commonest seed is not compared."""
    (cells,) = (own for experiment, own in experiments(results).items() if experiment.weight == 0.5)
    by_recipe = {cell.recipe: cell for cell in cells}
    ours, theirs, one = (by_recipe[name] for name in ("corrected", "as-published", "corrected with plain_sgd"))

    def chosen(**seeds: list[int]) -> dict[str, list[int]]:
        many = zip((ours, theirs, one), seeds.values(), strict=True)
        asked = [replace(cell, seed=seed) for cell, own in many for seed in own]
        return {recipe: [cell.seed for cell in own] for recipe, own in _by_recipe(asked).items()}

    names = ["corrected", "as-published", "corrected with plain_sgd"]
    assert chosen(a=[0, 1, 2], b=[0, 1, 2], c=[0]) == {name: [0] for name in names}
    assert chosen(a=[1, 2], b=[0, 1, 2], c=[1, 2]) == {name: [1, 2] for name in names}
    assert chosen(a=[0, 1], b=[0, 1], c=[2]) == {name: [0, 1] for name in names[:2]}


def test_the_sentence_names_the_choices_that_alone_end_it() -> None:
    others = [name for name in TRAINING if name != "plain_sgd"]
    _, rows = _frames({"corrected", *(recipe_of([name], TRAINING) for name in others)})
    where = "in the one of these where choices were tried alone, "
    assert sentence(rows).endswith(f"; {where}`plain_sgd` added to the corrected training ends it.")
    rows.loc[rows["recipe"] == "corrected with plain_sgd", "absent"] = False  # undecided
    assert "plain_sgd" not in sentence(rows)
