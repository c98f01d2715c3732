from collections import Counter
from pathlib import Path

import pytest

from study.config.arms import ARMS, arms_that_are, is_control
from study.config.base import content_hash
from study.config.catalogue import BuiltSource, FolderSource, HubSource, Model
from study.config.data import Data
from study.config.evaluation import Evaluation
from study.config.grid import Grid
from study.config.lenses import LensFitting
from study.config.names import TIERS
from study.config.stages import Lora, Stage1, Stage2
from study.config.study import RaySettings, Study
from study.config.units import RESULTS_VERSION, Cell, StageOne, describe, folder_name, kind, origin
from study.plan.expand import absolute_layer, expand
from study.plan.read import read_study
from study.results.description import read_description

ROOT = Path(__file__).parents[2]
SMALL = Model(source=BuiltSource(built="llama"), blocks=4)
WORDS = {"multiply": "multiply", "add": "add"}
OTHERS = {"multiply": "river", "add": "copper"}
GRID = Grid(layers=[0.5], pairs=[WORDS], weights=[0.0, 0.5])
STUDY = Study(name="example", models=["small"], grid=GRID)

GOLDEN = {
    "small|stage1|s0": "403fd36d",
    "small|reference|s0": "9fad6789",
    "small|predictors|s0": "7a5baba2",
    "small|multiply-add|w=0|s0": "e1b7e943",
    "small|L1|multiply-add|w=0.5|s0": "9f2a3c3f",
}
LORA = Lora(rank=2, alpha=4.0, projections=["v_proj"])
BY_TIER = dict.fromkeys(TIERS, Evaluation().prompts_per_class)
ALL = {"stage1", "reference", "predictors", "cell"}
CELL = GOLDEN["small|L1|multiply-add|w=0.5|s0"]


def units_of(study=STUDY, **changes):
    """Of a study of the small model; keywords replace the axes of its grid."""
    grid = study.grid.model_copy(update=changes)
    return expand(study.model_copy(update={"grid": grid}), {"small": SMALL})


def cells_of(study=STUDY, **changes):
    return [unit for unit in units_of(study, **changes) if isinstance(unit, Cell)]


def ids(study, model=SMALL):
    return {unit.label: unit.id for unit in expand(study, {name: model for name in study.models})}


def changed(study, model=SMALL):
    """Which kinds of unit have another id than in STUDY."""
    before = expand(STUDY, {"small": SMALL})
    return {kind(unit) for unit in expand(study, {"small": model})} - {
        kind(unit) for unit in expand(study, {"small": model}) if unit.id in {other.id for other in before}
    }


def test_ids_are_those_that_results_on_disk_have():
    assert ids(STUDY) == GOLDEN


def test_the_study_of_the_repository_has_46_cells_on_two_models():
    plan = read_study(Path(__file__).parents[2] / "configs" / "grid.yaml")
    units = expand(plan.study, plan.models)
    assert Counter(map(kind, units)) == {"stage1": 6, "reference": 6, "cell": 46}
    assert len({unit.id for unit in units}) == len({unit.label for unit in units}) == 58


@pytest.mark.parametrize(
    ("config", "count"),
    [("grid", 58), ("seed", 118)],
)
def test_the_units_of_the_committed_studies_are_those_whose_rows_are_committed(config: str, count: int) -> None:
    """Where the rows are of this version; rows of an earlier one are of the same units, and taken for none of them."""
    plan = read_study(ROOT / "configs" / f"{config}.yaml")
    described = read_description(ROOT / "reports" / "data" / plan.study.name)["units"]
    assert len(described) == count
    (version,) = {unit["results_version"] for unit in described}
    assert version <= RESULTS_VERSION
    if version == RESULTS_VERSION:
        assert [(unit.id, folder_name(unit), unit.label) for unit in plan.units] == [
            (unit["id"], unit["folder"], unit["label"]) for unit in described
        ]
    else:
        assert [unit.label for unit in plan.units] == [unit["label"] for unit in described]
        assert {unit.id for unit in plan.units}.isdisjoint(unit["id"] for unit in described)


@pytest.mark.parametrize(
    ("study", "kinds"),
    [
        (STUDY.model_copy(update={"name": "other"}), set()),
        (STUDY.model_copy(update={"ray": RaySettings(workers=7, in_flight=1, checkpoint_every=3)}), set()),
        (STUDY.model_copy(update={"evaluation": Evaluation(batch_size=7)}), set()),
        (STUDY.model_copy(update={"stage2": Stage2(steps=7)}), {"cell"}),
        (STUDY.model_copy(update={"stage2": Stage2(fitted_loss=0.5, control_times=9)}), set()),
        (STUDY.model_copy(update={"grid": GRID.model_copy(update={"prompts": ["chat"]})}), ALL),
        (STUDY.model_copy(update={"grid": GRID.model_copy(update={"prompts": ["plain"]})}), set()),
        (STUDY.model_copy(update={"evaluation": Evaluation(prompts_per_class=7)}), {"reference", "predictors", "cell"}),
        (STUDY.model_copy(update={"evaluation": Evaluation(prompts_per_class=BY_TIER)}), set()),
        (
            STUDY.model_copy(update={"evaluation": Evaluation(prompts_per_class={**BY_TIER, "story": 7})}),
            {"reference", "predictors", "cell"},
        ),
        (STUDY.model_copy(update={"evaluation": Evaluation(profile_prompts=7)}), {"predictors", "cell"}),
        (STUDY.model_copy(update={"evaluation": Evaluation(onset_every=7)}), {"cell"}),
        (STUDY.model_copy(update={"evaluation": Evaluation(causal_prompts=7)}), {"cell"}),
        (STUDY.model_copy(update={"stage2": Stage2(lora=LORA)}), {"predictors", "cell"}),
        (STUDY.model_copy(update={"stage1": Stage1(steps=7)}), ALL),
        (STUDY.model_copy(update={"data": Data(held_out=0.4)}), ALL),
        (STUDY.model_copy(update={"grid": GRID.model_copy(update={"seeds": [1]})}), ALL),
        (STUDY.model_copy(update={"lens": "logit", "lens_fitting": LensFitting(steps=7)}), set()),
        (STUDY.model_copy(update={"lens": "tuned"}), ALL),
        (STUDY.model_copy(update={"lens": "jacobian"}), ALL),
        (STUDY.model_copy(update={"class_name": "single"}), set()),
        (STUDY.model_copy(update={"class_name": "first"}), {"reference", "predictors", "cell"}),
        (STUDY.model_copy(update={"class_name": "sequence"}), {"reference", "predictors", "cell"}),
    ],
)
def test_an_id_changes_with_what_changes_the_result_and_with_nothing_else(study, kinds):
    assert changed(study) == kinds


def test_a_fitted_lens_makes_other_units_by_the_settings_that_concern_it_alone():
    tuned = STUDY.model_copy(update={"lens": "tuned"})
    more_texts, other = (LensFitting(**change) for change in ({"steps": 7}, {"jacobian_texts": 3}))
    assert set(ids(tuned).values()).isdisjoint(ids(tuned.model_copy(update={"lens_fitting": more_texts})).values())
    assert ids(tuned) == ids(tuned.model_copy(update={"lens_fitting": other}))


def test_another_model_is_another_id_but_another_licence_is_not():
    other = Model(source=BuiltSource(built="llama", seed=1), blocks=4)
    assert changed(STUDY, other) == ALL
    assert changed(STUDY, SMALL.model_copy(update={"licence": "MIT", "note": "hm"})) == set()
    assert changed(STUDY, Model(source=HubSource(hub="a/b"), blocks=4)) == ALL


@pytest.mark.parametrize("weights", ["8bit", "4bit"])
def test_weights_that_are_held_otherwise_make_another_model(weights):
    held = SMALL.model_copy(update={"weights": weights})
    assert changed(STUDY, held) == ALL
    assert held.origin() == SMALL.identity()
    assert ids(STUDY, Model(source=SMALL.source, blocks=4, weights="float32")) == GOLDEN


@pytest.mark.parametrize(("weights", "usual", "other"), [("float32", "always", "never"), ("4bit", "never", "always")])
def test_what_becomes_of_stage_1_is_in_the_id_however_it_is_written(weights, usual, other):
    model = SMALL.model_copy(update={"weights": weights})
    auto, same, different = (
        ids(STUDY.model_copy(update={"stage1": Stage1(fuse=fuse)}), model) for fuse in ("auto", usual, other)
    )
    assert auto == same
    assert set(auto.values()).isdisjoint(different.values())


def test_a_folder_is_known_by_its_content_not_by_its_path(tmp_path):
    names = ["one", "two", "three"]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}" if name != "three" else "{ }")
    one, two, three = (ids(STUDY, Model(source=FolderSource(folder=str(tmp_path / name)), blocks=4)) for name in names)
    assert one == two
    assert set(one.values()).isdisjoint(three.values())


def test_a_relative_depth_and_the_block_that_it_means_are_the_same_cell():
    absolute = STUDY.model_copy(update={"grid": GRID.model_copy(update={"layers": [1, 0.5]})})
    assert ids(absolute) == ids(STUDY)


@pytest.mark.parametrize(
    ("layer", "blocks", "index"),
    [(0.5, 4, 1), (1.0, 4, 3), (0.01, 30, 0), (0.95, 30, 28), (0.35, 30, 10), (0.55, 18, 9), (7, 30, 7), (0, 30, 0)],
)
def test_relative_depth_is_that_of_the_nearest_block(layer, blocks, index):
    assert absolute_layer(layer, blocks) == index


def test_every_relative_depth_is_a_block_and_each_block_is_found_by_its_own_depth():
    for blocks in range(1, 100):
        assert [absolute_layer((index + 1) / blocks, blocks) for index in range(blocks)] == list(range(blocks))


def test_weight_zero_is_one_cell_for_all_layers_and_pairs_of_the_same_operations():
    cells = cells_of(layers=[0, 1, 2], pairs=[WORDS, OTHERS], weights=[0.0, 0.2, 0.5])
    (without,) = (cell for cell in cells if cell.weight == 0)
    assert (without.layer, without.pair, without.arm) == (None, None, "plain")
    assert [readout.pair for readout in without.readouts] == [WORDS, OTHERS]
    assert len(cells) == 1 + 3 * 2 * 2


def test_the_order_in_which_pairs_are_written_changes_no_id():
    grids = [Grid(layers=[0], pairs=pairs, weights=[0.0, 0.5]) for pairs in ([WORDS, OTHERS], [OTHERS, WORDS])]
    one, other = (ids(STUDY.model_copy(update={"grid": grid})) for grid in grids)
    assert one == other


def test_a_further_pair_leaves_trained_cells_as_they_were():
    grid = GRID.model_copy(update={"pairs": [WORDS, OTHERS]})
    before, after = ids(STUDY), ids(STUDY.model_copy(update={"grid": grid}))
    assert after["small|L1|multiply-add|w=0.5|s0"] == before["small|L1|multiply-add|w=0.5|s0"]


def test_units_come_model_by_model_with_stage_1_first():
    study = STUDY.model_copy(update={"models": ["a", "b"], "grid": GRID.model_copy(update={"seeds": [0, 1]})})
    models = {name: Model(source=BuiltSource(built="llama", seed=seed), blocks=4) for seed, name in enumerate("ab")}
    units = expand(study, models)
    groups = [origin(unit).label for unit in units]
    assert groups == sorted(groups)
    seen = set()
    for unit in units:
        assert isinstance(unit, StageOne) or unit.stage_one.id in seen
        seen.add(unit.id)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["v_proj", "o_proj"], ["o_proj", "v_proj"]),
        (["query", "mlp", "q_proj", "down_proj", "a", "b"], ["b", "down_proj", "mlp", "a", "q_proj", "query"]),
    ],
)
def test_the_order_in_which_projections_are_written_changes_no_id(one, other):
    assert Lora(rank=2, alpha=4.0, projections=other).projections == one
    stages = [Stage2(lora=Lora(rank=2, alpha=4.0, projections=projections)) for projections in (one, other)]
    assert len({content_hash(stage) for stage in stages}) == 1


def test_zero_with_a_sign_and_words_in_another_order_change_no_id():
    assert content_hash(Stage1(weight_decay=-0.0)) == content_hash(Stage1())
    built = [BuiltSource(built="llama", words=words) for words in (["river", "add"], ["add", "river", "add"])]
    assert len({content_hash(Model(source=source, blocks=4).identity()) for source in built}) == 1
    whole, fraction = ({"settings": {"rope_theta": number}} for number in (10_000, 10_000.0))
    sources = [BuiltSource(built="llama", **settings) for settings in (whole, fraction)]
    assert len({content_hash(Model(source=source, blocks=4).identity()) for source in sources}) == 1


def test_a_folder_name_is_cut_where_a_file_system_would_refuse_it():
    words = {operation: letter * 40 for operation, letter in (("multiply", "ж"), ("add", "語"))}
    model = Model(source=BuiltSource(built="llama"), blocks=4)
    study = STUDY.model_copy(update={"models": ["ä" * 40], "grid": GRID.model_copy(update={"pairs": [words]})})
    units = expand(study, {"ä" * 40: model})
    names = [folder_name(unit) for unit in units]
    assert len(set(names)) == len(names)
    assert max(len(name.encode()) for name in names) in range(197, 201)
    assert all(name.endswith(f"_{unit.id}") for name, unit in zip(names, units, strict=True))


def test_a_folder_name_is_readable_unique_and_safe_on_every_file_system():
    model = Model(source=BuiltSource(built="llama"), blocks=4)
    grid = GRID.model_copy(update={"pairs": [{"multiply": "&/..", "add": "C:"}]})
    study = STUDY.model_copy(update={"models": ["odd name/.."], "grid": grid})
    names = [folder_name(unit) for unit in expand(study, {"odd name/..": model})]
    assert all(not set(name) & set('/\\:*?"<>| ') for name in names)
    assert folder_name(expand(STUDY, {"small": SMALL})[-1]) == f"small_L1_multiply-add_w0.5_s0_{CELL}"


def test_a_description_says_what_the_unit_is_and_all_settings_that_made_it():
    first, _, _, without, cell = (describe(unit) for unit in expand(STUDY, {"small": SMALL}))
    assert (cell["layer"], cell["pair"], cell["weight"], cell["stage1"]) == (1, WORDS, 0.5, first["id"])
    assert (cell["readout"], cell["arm"], cell["wordings"]) == ("multiply/add", "plain", ["symbolic"])
    assert (without["layer"], without["pair"], without["weight"]) == (None, None, 0.0)
    assert (without["readout"], without["arm"], without["wordings"]) == (None, "plain", ["symbolic"])
    assert (first["readout"], first["arm"], first["wordings"]) == (None, None, None)
    assert (first["operations"], first["tiers"]) == (["multiply", "add"], list(TIERS))
    assert set(cell["settings"]) == {"data", "stage1", "stage2", "evaluation"}
    assert cell["settings"]["stage2"]["lora"] == Lora(rank=8, alpha=16.0, projections=["v_proj", "o_proj"]).model_dump()


def test_how_long_a_control_trains_is_in_the_ids_of_controls_and_of_no_other_cell():
    arms = {"arms": list(ARMS), "weights": [0.0, 0.5]}
    usual = {cell.label: cell for cell in cells_of(**arms)}
    for change in ({"fitted_loss": 0.5}, {"control_times": 9}):
        other = {cell.label: cell for cell in cells_of(STUDY.model_copy(update={"stage2": Stage2(**change)}), **arms)}
        assert other.keys() == usual.keys()
        told = {cell.arm for label, cell in usual.items() if other[label].id != cell.id}
        assert told == set(arms_that_are("control"))
    assert {cell.most_steps for cell in usual.values() if not is_control(cell.arm)} == {500}
    assert {cell.most_steps for cell in usual.values() if is_control(cell.arm)} == {2000}


def test_the_layers_of_an_intervention_are_in_the_id_of_the_cell_that_has_them():
    one, two = ({c.label: c for c in cells_of(layers=layers, weights=[0.0, 0.5])} for layers in ([1], [1, 2]))
    without, cell = "small|multiply-add|w=0|s0", "small|L1|multiply-add|w=0.5|s0"
    assert (one[without].intervened, two[without].intervened) == ([1], [1, 2])
    assert one[without].id != two[without].id
    assert one[cell].id == two[cell].id


def test_a_chat_is_named_in_labels_and_folders_and_says_so_in_its_description():
    units = units_of(prompts=["plain", "chat"])
    chats = [unit for unit in units if ".chat|" in unit.label]
    assert [unit.label.replace(".chat", "") for unit in chats] == [u.label for u in units if u not in chats]
    assert [describe(unit)["prompt"] for unit in chats] == ["chat"] * 5
    assert {describe(unit)["model"] for unit in chats} == {"small.chat"}
    assert len({unit.id for unit in units}) == len({folder_name(unit) for unit in units}) == 10
    assert {label: unit.id for unit in units if (label := unit.label) in GOLDEN} == GOLDEN


@pytest.mark.parametrize("value", [{1, 2}, object(), {"path": Path("x")}, {1: 2}, b"x"])
def test_the_hash_refuses_what_it_does_not_know(value):
    with pytest.raises(TypeError, match="cannot hash"):
        content_hash(value)


def test_the_hash_does_not_depend_on_the_order_of_keys():
    assert content_hash({"a": 1, "b": [2.0, None, True]}) == content_hash({"b": [2.0, None, True], "a": 1})
    assert content_hash([1, 2]) != content_hash([2, 1])
