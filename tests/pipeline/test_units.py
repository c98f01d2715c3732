import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from study.config.catalogue import Model
from study.config.data import Data
from study.config.evaluation import Evaluation
from study.config.grid import Grid
from study.config.stages import Stage1, Stage2
from study.config.study import Study
from study.config.units import Cell, Predictors, Reference, StageOne, Unit
from study.pipeline import attempt, gates, held_model, units
from study.pipeline.units import run_unit
from study.plan.expand import expand
from study.results.store import Ending, Store

pytestmark = pytest.mark.slow

MakeStudy = Callable[..., Study]


def run_all(study: Study, model: Model, results: Path) -> list[tuple[Unit, Ending]]:
    return [(unit, run_unit(unit, results)) for unit in expand(study, {"tiny-llama": model})]


@pytest.fixture(scope="module")
def finished(tiny: Model, tiny_study: MakeStudy, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, list[Unit]]:
    results = tmp_path_factory.mktemp("results")
    outcomes = run_all(tiny_study(), tiny, results)
    assert [outcome.state for _, outcome in outcomes] == ["done"] * 5
    return Store(results), [unit for unit, _ in outcomes]


def link_stage_one(store: Store, other: Store, first: Unit) -> None:
    other.folder(first).parent.mkdir(parents=True)
    other.folder(first).symlink_to(store.folder(first))


def assert_same_rows(one: Store, other: Store, cell: Unit) -> None:
    names = sorted(file.name for file in one.folder(cell).glob("*.parquet"))
    assert names == sorted(file.name for file in other.folder(cell).glob("*.parquet"))
    assert {"curves.parquet", "answers.parquet", "lens.parquet"} <= set(names)
    for name in names:
        ours, theirs = (
            pd.read_parquet(store.folder(cell) / name).drop(columns=["seconds", "stacked"], errors="ignore")
            for store in (one, other)
        )
        pd.testing.assert_frame_equal(ours, theirs, rtol=1e-5, atol=1e-5, obj=name)


def done(store: Store, unit: Unit) -> Any:
    return json.loads((store.folder(unit) / "done.json").read_text())


def test_a_study_without_ray_leaves_a_folder_a_unit(finished: tuple[Store, list[Unit]]) -> None:
    store, units = finished
    files = {type(unit): {file.name for file in store.folder(unit).iterdir()} for unit in units}
    common = {"unit.json", "done.json", "log.txt"}
    adapter = {"adapters.safetensors", "adapter_config.json", "curves.parquet"}
    rows = {"answers.parquet", "lens.parquet"}
    of_class = {"onset.parquet"}  # and no interchange: so little trained, the model answers nothing right
    assert files == {
        StageOne: common | adapter,
        Reference: common | rows,
        Predictors: common | {"predictors.parquet"},
        Cell: common | adapter | rows | of_class,
    }
    control = units[-2]
    assert {file.name for file in store.folder(control).iterdir()} == common | adapter | rows
    assert not list((store.root / "tmp").iterdir())


def test_every_unit_says_how_its_gates_stood_and_with_which_versions(finished: tuple[Store, list[Unit]]) -> None:
    store, units = finished
    for unit in units:
        content = done(store, unit)
        assert all(gate["passed"] and gate["figure"] <= gate["limit"] for gate in content["gates"])
        names = {gate["gate"] for gate in content["gates"]}
        assert {"last-layer lens equals the logits", "fused model equals the adapted one"} <= names
        assert content["versions"].keys() >= {"python", "mlx", "mlx_lm", "study"}
        assert content["peak_memory_gb"] > 0


def test_the_reference_has_both_stages_and_the_cell_its_own(finished: tuple[Store, list[Unit]]) -> None:
    store, (_, reference, _, control, cell) = finished
    stages = {
        unit.id: set(pd.read_parquet(store.folder(unit) / "lens.parquet").stage) for unit in (reference, control, cell)
    }
    assert stages == {reference.id: {"baseline", "stage1"}, control.id: {"stage2"}, cell.id: {"stage2"}}
    before = pd.read_parquet(store.folder(reference) / "answers.parquet")
    after = pd.read_parquet(store.folder(cell) / "answers.parquet")
    assert list(before[before.stage == "stage1"].prompt) == list(after.prompt)


def test_a_cell_alone_equals_the_cell_after_others_in_the_same_process(
    finished: tuple[Store, list[Unit]], tmp_path: Path
) -> None:
    store, (first, *_, cell) = finished
    held_model.clear()
    alone = Store(tmp_path)
    link_stage_one(store, alone, first)
    assert run_unit(cell, tmp_path).state == "done"
    assert_same_rows(store, alone, cell)


def test_a_finished_unit_is_not_run_again(finished: tuple[Store, list[Unit]]) -> None:
    store, units = finished
    before = done(store, units[-1])
    assert run_unit(units[-1], store.root) == Ending("done", "was finished before", 0.0)
    assert done(store, units[-1]) == before


def test_a_class_name_of_several_tokens_skips_its_cells_and_no_others(
    tiny: Model, tiny_study: MakeStudy, tmp_path: Path
) -> None:
    pairs: Any = [{"multiply": "multiply", "add": "add"}, {"multiply": "zyzzyva", "add": "add"}]
    study = tiny_study(grid=Grid(layers=[1], pairs=pairs, weights=[0.0, 0.5]))
    outcomes = run_all(study, tiny, tmp_path)
    assert [outcome.state for _, outcome in outcomes] == ["done", "done", "done", "done", "done", "skipped"]
    skipped = outcomes[-1][0]
    assert Store(tmp_path).status(skipped).reason.startswith("token: class name 'zyzzyva' is not a single token")
    assert "skipped" in done(Store(tmp_path), outcomes[1][0])["tokens"]["zyzzyva/add"]


def test_a_diverging_cell_fails_with_its_step_and_the_next_one_is_unharmed(
    tiny: Model, tiny_study: MakeStudy, tmp_path: Path
) -> None:
    beyond_what_is_allowed = {"learning_rate": 1e30, "clip_norm": 1e30}
    wild = tiny_study(stage2=Stage2(steps=20, warmup_steps=0).model_copy(update=beyond_what_is_allowed))
    outcomes = run_all(wild, tiny, tmp_path)
    assert [outcome.state for _, outcome in outcomes] == ["done", "done", "done", "failed", "failed"]
    assert outcomes[-1][1].reason.startswith("TrainingError: step ")
    assert [outcome.state for _, outcome in run_all(tiny_study(), tiny, tmp_path)] == ["done"] * 5


def test_a_gate_that_fails_fails_the_unit_with_its_figure(
    tiny: Model, tiny_study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gates, "LENS_LIMIT", -1.0)
    (_, outcome), *_ = run_all(tiny_study(), tiny, tmp_path)
    assert outcome.state == "failed"
    assert "last-layer lens equals the logits: " in outcome.reason


@pytest.mark.parametrize("figure", [float("nan"), float("inf")])
def test_a_gate_or_a_divergence_that_is_no_number_fails_the_unit_by_name(
    tiny: Model, tiny_study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figure: float
) -> None:
    first, reference, *_ = expand(tiny_study(), {"tiny-llama": tiny})
    assert not gates.Gate("a gate", figure, float("inf") if figure != figure else 1.0).passed
    assert run_unit(first, tmp_path).state == "done"
    monkeypatch.setattr(attempt, "divergence", lambda *_: figure)
    ending = run_unit(reference, tmp_path)
    assert (ending.state, ending.reason) == ("failed", f"FigureError: text KL of stage1 is {figure}")
    assert Store(tmp_path).status(reference).state == "failed"
    assert not Store(tmp_path).folder(reference).exists()


def test_rows_that_are_no_numbers_fail_the_unit_by_name(
    tiny: Model, tiny_study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, reference, *_ = expand(tiny_study(), {"tiny-llama": tiny})
    assert run_unit(first, tmp_path).state == "done"
    evaluate = units.evaluate_stage

    def without(*about: Any) -> tuple[list[Any], list[Any]]:
        answers, lens = evaluate(*about)
        return answers, [{**row, "log_p": float("nan")} if row["layer"] == 1 else row for row in lens]

    monkeypatch.setattr(units, "evaluate_stage", without)
    ending = run_unit(reference, tmp_path)
    assert ending.state == "failed"
    assert re.fullmatch(r"FigureError: lens: log_p is not finite or missing in \d+ of \d+ rows", ending.reason)


def test_a_wrong_number_of_blocks_fails_by_name(tiny: Model, tiny_study: MakeStudy, tmp_path: Path) -> None:
    folder = units.held_model.load(tiny).path
    wrong = Model.model_validate({"source": {"folder": str(folder)}, "blocks": 5})
    (_, outcome), *_ = run_all(tiny_study(stage1=Stage1(steps=1)), wrong, tmp_path)
    assert outcome.state == "failed"
    assert "has 4 blocks, its entry says 5" in outcome.reason


def test_prompts_keep_their_number_where_a_pair_leaves_an_operation_out(
    tiny: Model, tiny_study: MakeStudy, tmp_path: Path
) -> None:
    data = Data(operations=["multiply", "subtract", "add"], smallest=2, largest=9)
    outcomes = run_all(tiny_study(data=data), tiny, tmp_path)
    reference, cell = (
        pd.read_parquet(Store(tmp_path).folder(outcomes[i][0]) / "answers.parquet").set_index("prompt_id")
        for i in (1, -1)
    )
    assert set(cell.operation) == {"multiply", "add"}
    before = reference[reference.stage == "stage1"].loc[cell.index]
    assert list(before.prompt) == list(cell.prompt)


def test_a_cell_has_all_prompts_at_its_layer_and_the_last_and_a_few_at_all_layers(
    finished: tuple[Store, list[Unit]],
) -> None:
    store, (*_, cell) = finished
    lens = pd.read_parquet(store.folder(cell) / "lens.parquet")
    prompts = pd.read_parquet(store.folder(cell) / "answers.parquet").set_index("prompt_id")
    layers = lens.groupby("prompt_id").layer.agg(list)
    assert set(layers.index) == set(prompts.index)
    profile = prompts.loc[[number for number, found in layers.items() if found == [0, 1, 2, 3]]]
    assert {tuple(found) for found in layers} == {(0, 1, 2, 3), (1, 3)}
    assert set(profile.groupby(["tier", "operation"]).size()) == {2}
    first = prompts.reset_index().groupby(["tier", "operation"]).prompt_id.nsmallest(2)
    assert set(profile.index) == set(first)


def test_the_reference_and_a_cell_without_a_class_have_every_prompt_at_every_layer(
    finished: tuple[Store, list[Unit]],
) -> None:
    store, (_, reference, _, control, _) = finished
    for unit, stages in ((reference, 2), (control, 1)):
        lens = pd.read_parquet(store.folder(unit) / "lens.parquet")
        prompts = pd.read_parquet(store.folder(unit) / "answers.parquet").prompt_id.nunique()
        assert len(lens) == stages * prompts * 4
        assert set(lens.groupby(["stage", "prompt_id"]).layer.agg(tuple)) == {(0, 1, 2, 3)}


def test_what_each_stage_moved_of_a_neutral_text_is_noted(finished: tuple[Store, list[Unit]]) -> None:
    store, (first, reference, predictors, control, cell) = finished
    assert done(store, first)["text_kl"] == done(store, predictors)["text_kl"] == {}
    assert done(store, reference)["text_kl"].keys() == {"stage1"}
    assert done(store, reference)["text_kl"]["stage1"] > 0
    for unit in (control, cell):
        assert done(store, unit)["text_kl"].keys() == {"stage2"}
        assert done(store, unit)["text_kl"]["stage2"] > 0


def test_onset_and_interchange_rows_are_absent_where_they_are_switched_off(
    tiny: Model, tiny_study: MakeStudy, tmp_path: Path
) -> None:
    evaluation = Evaluation(prompts_per_class=2, batch_size=8, onset_every=0, causal_prompts=0)
    units = expand(tiny_study(evaluation=evaluation), {"tiny-llama": tiny})
    for unit in (units[0], units[-1]):
        assert run_unit(unit, tmp_path).state == "done"
    names = {file.stem for file in Store(tmp_path).folder(units[-1]).glob("*.parquet")}
    assert names == {"curves", "answers", "lens"}


def test_a_random_word_is_noted_with_its_read_out_and_its_cell_is_read_by_it(
    tiny: Model, tiny_study: MakeStudy, tmp_path: Path
) -> None:
    pairs: Any = [{"multiply": "multiply", "add": "add"}]
    study = tiny_study(grid=Grid(layers=[1], pairs=pairs, weights=[0.0, 0.5], arms=["random_words"]))
    outcomes = run_all(study, tiny, tmp_path)
    assert [outcome.state for _, outcome in outcomes] == ["done"] * 5
    store, (_, reference, predictors, control, cell) = Store(tmp_path), [unit for unit, _ in outcomes]
    (name,) = done(store, cell)["tokens"]
    assert name == "random:multiply/add"
    drawn = {token["text"] for token in done(store, cell)["tokens"][name].values()}
    assert drawn == {" river", " copper"}
    for unit in (reference, predictors, control):
        assert done(store, unit)["tokens"] == done(store, cell)["tokens"]
    assert set(pd.read_parquet(store.folder(cell) / "lens.parquet").pair) == {name}
