"""Small models that a study trains itself: units of their own, which the rest of the study builds on."""

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pandas as pd
import pytest
import yaml
from mlx.utils import tree_flatten
from mlx_lm.utils import load as load_with_mlx_lm

from actors.queue import Queue
from study.commands.status import read_standing
from study.config.catalogue import BuiltSource, Model
from study.config.data import Data
from study.config.evaluation import Evaluation
from study.config.grid import Grid
from study.config.nursery import Nursery, NurseryChange, NurseryModel, NurseryTraining
from study.config.stages import Lora, Stage1, Stage2
from study.config.study import RaySettings, Study
from study.config.units import Cell, Pretraining, StageOne, Unit, describe, foundations, kind
from study.lens.tokens import encode, stop_id
from study.models.built import build
from study.models.load import load_folder
from study.pipeline import held_model
from study.pipeline.evaluation_set import probe
from study.pipeline.units import run_unit, run_units
from study.plan.expand import class_words, expand
from study.plan.nursery import nursery_models
from study.plan.read import ConfigError, read_study
from study.plan.selection import choose
from study.plan.stacks import stack_key
from study.results.description import write_description
from study.results.parcels import pack, unpack
from study.results.store import Store
from study.tasks.nursery_text import NurseryText
from study.training import pretraining

STEPS, EVERY = 12, 5
SMALL = NurseryModel(blocks=2, hidden_size=32, intermediate_size=64, attention_heads=2)
NURSERY = Nursery(
    base=SMALL,
    changes={"untied": NurseryChange(tied=False)},
    training=NurseryTraining(steps=STEPS, batch_size=8, warmup_steps=2),
)
DATA = Data(operations=["add", "subtract"], smallest=1, largest=9)
LORA = Lora(rank=2, alpha=4.0, projections="all")
STUDY = Study(
    name="nursery",
    nursery=NURSERY,
    data=DATA,
    grid=Grid(layers=[0.5], pairs=[{"add": "add", "subtract": "subtract"}], weights=[0.0, 0.5]),
    stage1=Stage1(steps=2, batch_size=4, lora=LORA),
    stage2=Stage2(steps=4, lora=LORA),
    evaluation=Evaluation(prompts_per_class=4, profile_prompts=2, onset_every=2, onset_prompts=2, causal_prompts=2),
)


def units_of(study: Study = STUDY) -> list[Unit]:
    return expand(study, nursery_models(study))


def trainings(study: Study = STUDY) -> list[Pretraining]:
    return [unit for unit in units_of(study) if isinstance(unit, Pretraining)]


def with_nursery(**changes: Any) -> Study:
    return STUDY.model_copy(update={"nursery": NURSERY.model_copy(update=changes)})


def weights_in(store: Store, unit: Unit) -> dict[str, mx.array]:
    return mx.load(str(store.folder(unit) / "model.safetensors"))  # type: ignore[return-value]


def curve(store: Store, unit: Unit) -> pd.DataFrame:
    return pd.read_parquet(store.folder(unit) / "curves.parquet").drop(columns="seconds")


def equal(one: dict[str, mx.array], other: dict[str, mx.array]) -> bool:
    """Up to rounding, which may differ with the number of threads."""
    return one.keys() == other.keys() and all(bool(mx.allclose(one[name], other[name], atol=1e-5)) for name in one)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The whole study of the base and its change, run in this process."""
    results = Store(tmp_path_factory.mktemp("nursery"))
    groups: dict[str, list[Unit]] = {}
    for unit in units_of():
        groups.setdefault(stack_key(unit), []).append(unit)
    for group in groups.values():
        assert [(outcome.state, outcome.reason) for outcome in run_units(group, results.root)] == [
            ("done", "finished")
        ] * len(group)
    models = {name: model.model_dump(mode="json") for name, model in nursery_models(STUDY).items()}
    write_description(results.root, STUDY.name, STUDY.model_dump(mode="json"), models, units_of())
    return results


# Units and ids


def test_every_model_and_seed_is_trained_once_and_before_what_builds_on_it() -> None:
    study = STUDY.model_copy(update={"grid": STUDY.grid.model_copy(update={"seeds": [0, 1]})})
    units = units_of(study)
    assert [unit.label for unit in units if kind(unit) == "nursery"] == [
        *("base|nursery|s0", "base|nursery|s1", "untied|nursery|s0", "untied|nursery|s1")
    ]
    seen: set[str] = set()
    for unit in units:
        assert {needed.id for needed in foundations(unit)} <= seen
        seen.add(unit.id)
    assert {len(foundations(unit)) for unit in units if isinstance(unit, Cell)} == {2}


@pytest.mark.parametrize(
    "study",
    [
        with_nursery(training=NURSERY.training.model_copy(update={"weight_decay": 0.1})),
        with_nursery(base=SMALL.model_copy(update={"settings": {"rope_theta": 500.0}})),
        STUDY.model_copy(update={"data": DATA.model_copy(update={"held_out": 0.5})}),
        STUDY.model_copy(update={"grid": STUDY.grid.model_copy(update={"pairs": [{"add": "sea", "subtract": "add"}]})}),
    ],
    ids=["training", "architecture", "data", "words"],
)
def test_what_changes_the_training_changes_the_id_of_all_that_builds_on_it(study: Study) -> None:
    assert not {unit.id for unit in units_of()} & {unit.id for unit in units_of(study)}


def test_a_further_change_leaves_the_ids_of_the_others_as_they_were() -> None:
    more = with_nursery(changes={**NURSERY.changes, "deep": NurseryChange(blocks=3)})
    assert {unit.id for unit in units_of()} < {unit.id for unit in units_of(more)}


def test_a_nursery_beside_models_of_the_catalogue_leaves_their_ids_as_they_were() -> None:
    catalogue = {"small": Model(source=BuiltSource(built="llama"), blocks=4)}
    alone = STUDY.model_copy(update={"models": ["small"], "nursery": None})
    both = STUDY.model_copy(update={"models": ["small"]})
    ids = {unit.id for unit in expand(both, catalogue | nursery_models(both))}
    assert {unit.id for unit in expand(alone, catalogue)} < ids


def test_a_description_names_the_training_that_a_unit_builds_on() -> None:
    training, first, *_, cell = (describe(unit) for unit in units_of()[:5])
    assert (training["kind"], training["nursery"], training["stage1"]) == ("nursery", training["id"], None)
    assert first["nursery"] == cell["nursery"] == training["id"]
    assert first["model_identity"] == {"nursery": training["id"]}
    assert cell["settings"]["nursery"] == NURSERY.training.model_dump()


def test_a_choice_of_a_model_takes_its_training_along() -> None:
    chosen = choose(units_of(), ["model=untied", "weight=0.5"])
    assert [kind(unit) for unit in chosen] == ["nursery", "stage1", "reference", "predictors", "cell"]
    assert {describe(unit)["model"] for unit in chosen} == {"untied"}


# The training


@pytest.mark.slow
def test_the_folder_is_a_model_that_mlx_lm_loads(store: Store) -> None:
    training, first, *_ = units_of()
    assert isinstance(first, StageOne)
    bench = held_model.base(first, store, probe(first), [])
    held_model.clear()
    loaded: Any = load_with_mlx_lm(str(store.folder(training)))
    ids = mx.array([bench.tokenizer.encode("3 + 4 =")])
    assert mx.allclose(loaded[0](ids), bench.model(ids), atol=1e-5)
    assert equal(weights_in(store, training), dict(tree_flatten(bench.model.parameters())))


@pytest.mark.slow
def test_it_is_written_down_what_was_trained_and_that_held_out_operands_were_not_seen(store: Store) -> None:
    for training, head in zip(trainings(), (0, 1), strict=True):
        done = json.loads((store.folder(training) / "done.json").read_text())
        gates = {gate["gate"]: gate for gate in done["gates"]}
        assert gates["held-out operand pairs that the nursery's training saw"]["figure"] == 0
        assert all(gate["passed"] for gate in done["gates"])
        weights = weights_in(store, training)
        assert done["facts"]["parameters"] == sum(value.size for value in weights.values())
        assert "self_attn.q_proj" in done["facts"]["block"]
        assert done["facts"]["config"]["tie_word_embeddings"] is not bool(head)
        assert sum("lm_head" in name for name in weights) == head


def test_the_losses_of_a_step_are_those_of_its_batch_by_numpy(tmp_path: Path) -> None:
    (training, _), text = trainings(), NurseryText(DATA, class_words(STUDY))
    source = training.model.source
    assert isinstance(source, BuiltSource)
    build(source, 2, tmp_path)
    loaded = load_folder(tmp_path, 2)
    share = round(NURSERY.training.sentences * 8)
    asked = [encode(loaded.tokenizer, prompt) for prompt in text.prompts(0, 1, 8 - share)]
    told = [loaded.tokenizer.encode(one.text) for one in text.sentences(0, 1, share)]
    parts = [
        [(item.prompt_ids, item.answer_ids) for item in asked],
        [(ids[:1], [*ids[1:], stop_id(loaded.tokenizer)]) for ids in told],
    ]
    expected = []
    for part in parts:
        losses: list[float] = []
        for given, following in part:
            logits = np.array(loaded.model(mx.array([[*given, *following[:-1]]])))[0, len(given) - 1 :].astype(float)
            log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
            losses += [-log_p[i, token] for i, token in enumerate(following)]
        expected.append(np.mean(losses))
    (row, *_) = pretraining.pretrain(loaded.model, loaded.tokenizer, NURSERY.training, text, 0)
    assert [row["answer_loss"], row["text_loss"]] == pytest.approx(expected, rel=1e-4)
    assert row["loss"] == pytest.approx(sum(expected), rel=1e-4)
    assert tree_flatten(loaded.model.trainable_parameters()) == []


def test_the_rate_warms_up_and_falls_to_zero() -> None:
    settings = NurseryTraining(steps=100, warmup_steps=9, learning_rate=1e-2)
    rates = [float(pretraining._rate(settings, mx.array(step))) for step in range(101)]
    assert rates[0] == pytest.approx(1e-3)
    assert rates.index(max(rates)) == 9
    assert rates[50] == pytest.approx(5e-3)
    assert rates[100] == pytest.approx(0, abs=1e-9)


@pytest.mark.slow
def test_it_learns(tmp_path: Path) -> None:
    longer = NURSERY.training.model_copy(update={"steps": 120, "batch_size": 16})
    training = trainings(with_nursery(training=longer))[0]
    assert run_unit(training, tmp_path).state == "done"
    loss = curve(Store(tmp_path), training)["loss"]
    assert loss[-10:].mean() < 0.6 * loss[:10].mean()


@pytest.mark.slow
def test_weights_follow_from_the_seed(store: Store, tmp_path: Path) -> None:
    seeds = STUDY.model_copy(update={"grid": STUDY.grid.model_copy(update={"seeds": [0, 1]})})
    training, other, *_ = trainings(seeds)
    assert (training.seed, other.seed) == (0, 1)
    assert run_unit(training, tmp_path).state == run_unit(other, tmp_path).state == "done"
    again = Store(tmp_path)
    assert equal(weights_in(again, training), weights_in(store, training))
    assert not equal(weights_in(again, other), weights_in(store, training))


@pytest.mark.slow
def test_one_that_was_interrupted_goes_on_and_ends_as_if_it_had_run_through(store: Store, tmp_path: Path) -> None:
    training, again = trainings()[0], Store(tmp_path)
    drawn = NurseryText.sentences

    def stop(text: NurseryText, seed: int, step: int, count: int) -> Any:
        if step == 8:
            raise KeyboardInterrupt
        return drawn(text, seed, step, count)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NurseryText, "sentences", stop)
        with pytest.raises(KeyboardInterrupt):
            run_unit(training, tmp_path, EVERY)
    assert again.status(training).state == "run"
    assert run_unit(training, tmp_path, EVERY).state == "done"
    assert json.loads((again.folder(training) / "done.json").read_text())["resumed_at_step"] == EVERY
    assert equal(weights_in(again, training), weights_in(store, training))
    pd.testing.assert_frame_equal(curve(again, training), curve(store, training), rtol=1e-5, atol=1e-5)
    assert not again.checkpoint(training).exists()


# Where it is needed


@pytest.mark.slow
def test_stage_1_on_a_machine_without_the_folder_is_the_same_from_the_parcel(store: Store, tmp_path: Path) -> None:
    training, first, *_ = units_of()
    elsewhere = Store(tmp_path)
    unpack(pack(store, training), elsewhere, training)
    assert run_unit(first, tmp_path).state == "done"
    pd.testing.assert_frame_equal(curve(elsewhere, first), curve(store, first), rtol=1e-5, atol=1e-5)


def test_trainings_go_first_and_nothing_before_what_it_builds_on() -> None:
    queue, done = Queue(units_of(), RaySettings(stack=1), 2, set()), list[Unit]()
    begun = [*queue.take(), *queue.take(), *queue.take()]
    assert [unit.label for unit in begun] == ["base|nursery|s0", "untied|nursery|s0"]
    while begun:
        done.append(begun.pop(0))
        queue.trained.add(done[-1].id)
        assert {needed.id for needed in foundations(done[-1])} <= {unit.id for unit in done}
        begun += queue.take()
    assert [kind(unit) for unit in done[:4]] == ["nursery", "nursery", "stage1", "stage1"]
    assert {unit.id for unit in done} == {unit.id for unit in units_of()}


def test_a_cell_waits_for_a_training_that_is_to_run_again_though_its_stage_1_is_done() -> None:
    training, first, *_, cell = units_of()[:5]
    queue = Queue([training, cell], RaySettings(), 1, {first.id})
    assert queue.take() == [training]
    assert queue.take() == []
    assert queue.take_orphans({training.id}) == []
    assert queue.take_orphans(set()) == [cell]


@pytest.mark.parametrize(
    ("base", "reason"),
    [
        ({"settings": {"num_kv_heads": 1}}, "llama has no setting 'num_kv_heads'; did you mean 'num_key_value_heads'?"),
        ({"architecture": "gpt2", "tied": False}, "gpt2 has no setting 'tie_word_embeddings'"),
    ],
)
def test_what_an_architecture_does_not_have_is_refused_by_name_and_all_that_needs_it_is_told(
    base: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    study = with_nursery(base=SMALL.model_copy(update=base), changes={})
    units, results = units_of(study), Store(tmp_path)
    outcome = run_unit(units[0], tmp_path)
    assert outcome.state == "failed"
    assert reason in outcome.reason
    write_description(results.root, study.name, study.model_dump(mode="json"), {}, units)
    standing = read_standing(results, {})
    told = {standing.stored[unit.id].reason for unit in units[1:]}
    assert told == {f"its training in the nursery failed: {outcome.reason}"}


# What is written


def read(folder: Path, **changes: Any) -> Study:
    """Of a study's YAML with a nursery, whose sections are replaced."""
    root = Path(__file__).parents[2] / "configs"
    written: dict[str, Any] = {
        "name": "example",
        "nursery": {"changes": {"untied": {"tied": False}}},
        "grid": {"layers": [0.5], "pairs": [{"multiply": "multiply", "add": "add"}], "weights": [0.5]},
    }
    written = {key: value for key, value in {**written, **changes}.items() if value is not None}
    (folder / "models.yaml").write_text((root / "models.yaml").read_text())
    (folder / "capitals.jsonl").write_text((root / "capitals.jsonl").read_text())
    (folder / "study.yaml").write_text(yaml.safe_dump(written))
    return read_study(folder / "study.yaml").study


def test_a_study_may_have_a_nursery_alone_or_beside_models(tmp_path: Path) -> None:
    assert read(tmp_path).models == []
    assert read(tmp_path, models=["tiny-llama"]).models == ["tiny-llama"]


def test_a_change_is_the_base_with_exactly_what_is_written(tmp_path: Path) -> None:
    changes = {"one": {"settings": {"rope_theta": 5.0}}, "two": {"blocks": 6, "tied": False}}
    study = read(tmp_path, nursery={"base": {"settings": {"num_key_value_heads": 2}}, "changes": changes})
    assert study.nursery
    base, models = study.nursery.base, study.nursery.models
    assert list(models) == ["base", "one", "two"]
    assert models["one"] == base.model_copy(update={"settings": {"num_key_value_heads": 2, "rope_theta": 5.0}})
    assert models["two"] == base.model_copy(update={"blocks": 6, "tied": False})


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"nursery": None}, "no model: name some of models.yaml in `models`, or give a `nursery`"),
        ({"nursery": {"changes": {"base": {"blocks": 2}}}}, "nursery: a change cannot be named base"),
        ({"nursery": {"changes": {"same": {"tied": True}}}}, "nursery: same changes nothing in the base"),
        ({"nursery": {"changes": {"deep": {"block": 2}}}}, "nursery.changes.deep.block: unknown key"),
        (
            {"models": ["tiny-llama"], "nursery": {"changes": {"tiny-llama": {"blocks": 2}}}},
            "models: tiny-llama is a model of the nursery too; rename the change",
        ),
        (
            {
                "data": {"file": "capitals.jsonl"},
                "grid": {"layers": [0.5], "pairs": [{"Africa": "river", "Asia": "copper"}], "weights": [0.5]},
            },
            "nursery: it learns arithmetic or small tasks, and data names another",
        ),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read(tmp_path, **changes)
    assert told in str(refused.value)
