import json
import time
from pathlib import Path

import pytest

from study.config.stages import Stage1
from study.plan.read import ConfigError, read_study, write_schemas

CONFIGS = Path(__file__).parents[2] / "configs"
STUDIES = sorted(file for file in CONFIGS.glob("*.yaml") if file.name != "models.yaml")

MODELS = """
small: {source: {built: llama}, blocks: 4}
large: {source: {hub: someone/large}, blocks: 30}
"""
STUDY = """
name: example
models: [small]
grid:
  layers: [0.5]
  pairs: [{multiply: multiply, add: add}]
  weights: [0.5]
"""


@pytest.fixture
def configs(tmp_path):
    (tmp_path / "models.yaml").write_text(MODELS)
    return tmp_path


def read(configs, text):
    (configs / "study.yaml").write_text(text)
    return read_study(configs / "study.yaml").study


def mistakes(configs, text):
    with pytest.raises(ConfigError) as caught:
        read(configs, text)
    return str(caught.value)


@pytest.mark.parametrize("file", STUDIES, ids=lambda file: file.name)
def test_every_study_of_the_repository_is_valid_and_names_its_schema(file):
    assert read_study(file).models
    assert file.read_text().startswith("# yaml-language-server: $schema=study.schema.json\n")


def test_the_schemas_of_the_repository_are_current(tmp_path):
    write_schemas(tmp_path)
    for name in ("study.schema.json", "models.schema.json"):
        assert (CONFIGS / name).read_text() == (tmp_path / name).read_text(), "run `make schemas`"


def test_the_schema_explains_settings_to_editors():
    schema = json.loads((CONFIGS / "study.schema.json").read_text())
    assert schema["additionalProperties"] is False
    assert "relative depth" in schema["$defs"]["Grid"]["properties"]["layers"]["description"]


def test_defaults_need_not_be_written(configs):
    assert read(configs, STUDY).stage1 == Stage1()


def test_numbers_may_be_written_with_an_exponent_alone(configs):
    assert read(configs, STUDY + "stage2: {learning_rate: 1e-4}").stage2.learning_rate == 1e-4


def test_a_part_may_be_written_once_and_used_twice(configs):
    study = read(configs, STUDY + "stage1: &both {steps: 7, warmup_steps: 3}\nstage2: *both")
    assert (study.stage1.steps, study.stage2.steps, study.stage2.warmup_steps) == (7, 7, 3)


def test_a_whole_number_is_a_block_and_a_fraction_a_depth(configs):
    layers = read(configs, STUDY.replace("[0.5]\n  pairs", "[3, 1.0]\n  pairs")).grid.layers
    assert [type(layer) for layer in layers] == [int, float]


@pytest.mark.parametrize(
    ("written", "found"),
    [("all", [0, 1, 2, 3]), ("{every: 2}", [1, 3]), ("[0.5, 3]", [1, 3]), ("{every: 1}", [0, 1, 2, 3])],
)
def test_layers_may_be_a_word_a_step_or_a_list(configs, written, found):
    (configs / "study.yaml").write_text(STUDY.replace("[0.5]\n  pairs", f"{written}\n  pairs"))
    plan = read_study(configs / "study.yaml")
    assert [cell.layer for cell in plan.cells()] == found


@pytest.mark.parametrize("written", ["every", "{every: 0}", "{every: 1.5}", "{each: 2}", "[]", "{}", "7"])
def test_other_layers_are_refused_in_the_same_line(configs, written):
    assert "line 5: grid.layers" in mistakes(configs, STUDY.replace("[0.5]\n  pairs", f"{written}\n  pairs"))


def test_keys_of_layers_are_named(configs):
    told = mistakes(configs, STUDY.replace("[0.5]\n  pairs", "{every: 2, from: 1}\n  pairs"))
    assert "line 5: grid.layers.from: unknown key; allowed: every" in told


def test_more_cells_than_are_allowed_are_counted_with_the_blocks_of_the_models(configs):
    (configs / "models.yaml").write_text("small: {source: {built: llama}, blocks: 1000}")
    text = STUDY.replace("[0.5]\n  pairs", "all\n  pairs") + f"  seeds: {list(range(101))}\n"
    assert "grid: its axes give 101,000 cells; at most 100,000 are allowed" in mistakes(configs, text)


def test_a_lens_that_is_fitted_needs_a_model_of_two_blocks(configs):
    (configs / "models.yaml").write_text("small: {source: {built: llama}, blocks: 1}")
    told = mistakes(configs, STUDY + "lens: tuned\n")
    assert "lens: tuned is fitted to the blocks before the last, and small has one block; write logit" in told
    (configs / "study.yaml").write_text(STUDY)
    read_study(configs / "study.yaml")


def given(configs, *changes, text=STUDY):
    (configs / "study.yaml").write_text(text)
    return read_study(configs / "study.yaml", changes)


def test_settings_given_beside_the_file_take_the_place_of_its_own(configs):
    text = STUDY + "also:\n  - {seeds: [1]}\n  - {seeds: [2]}\nstage2: {steps: 9}\n"
    changes = (
        "stage2.steps=7",
        "stage2.learning_rate=1e-4",
        "grid.layers=[1, 0.5]",
        "also.1.seeds=[5, 6]",
        "name=other",
    )
    plan = given(configs, *changes, "grid.layers=[0.75]", "evaluation.prompts_per_class=8", text=text)
    study = plan.study
    assert (study.name, study.stage2.steps, study.stage2.learning_rate) == ("other", 7, 1e-4)
    assert study.grid.layers == [0.75]  # the last one counts
    assert [part.seeds for part in study.also] == [[1], [5, 6]]
    written = STUDY.replace("example", "other").replace("[0.5]\n  pairs", "[0.75]\n  pairs")
    written += "also: [{seeds: [1]}, {seeds: [5, 6]}]\nstage2: {steps: 7, learning_rate: 1e-4}\n"
    same = given(configs, text=written + "evaluation: {prompts_per_class: 8}")
    assert [unit.id for unit in plan.units] == [unit.id for unit in same.units]
    assert plan.changes == (*changes, "grid.layers=[0.75]", "evaluation.prompts_per_class=8")


def test_a_part_that_an_alias_stands_for_elsewhere_keeps_its_own(configs):
    text = STUDY + "stage1: &both {steps: 7, warmup_steps: 3}\nstage2: *both\n"
    study = given(configs, "stage2.steps=8", text=text).study
    assert (study.stage1.steps, study.stage2.steps) == (7, 8)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("stage2.stesp=3", "--set stage2.stesp=3: stage2.stesp: unknown key; did you mean 'steps'?"),
        ("stage2.steps=many", "--set stage2.steps=many: stage2.steps: input should be a valid integer"),
        ("stage9.steps=3", "--set stage9.steps=3: stage9: unknown key; did you mean 'stage2'?"),
        ("stage2.steps", "--set stage2.steps: must be a dotted path and a value, such as stage2.steps=200"),
        ("=3", "--set =3: must be a dotted path and a value"),
        ("a..b=3", "--set a..b=3: must be a dotted path and a value"),
        ("grid.layers=[0.5", "--set grid.layers=[0.5: is not YAML"),
        ("grid.layers.4=0.5", "--set grid.layers.4=0.5: 4 is no item of the list there, whose 1 items count from 0"),
        ("grid.layers.x=0.5", "--set grid.layers.x=0.5: x is no item of the list there"),
        ("models=[nothing]", "--set models=[nothing]: models.0: 'nothing' is not in"),
        ("stage2=", "--set stage2=: stage2: "),
    ],
)
def test_a_mistake_in_what_is_given_beside_the_file_is_told_of_the_option(configs, change, told):
    with pytest.raises(ConfigError) as caught:
        given(configs, change)
    assert told in str(caught.value)
    assert "1 mistake\n" in str(caught.value)


def test_relative_paths_of_models_are_relative_to_the_file_that_names_them(configs):
    (configs / "mine").mkdir()
    (configs / "mine" / "config.json").write_text('{"model_type": "llama"}')
    (configs / "models.yaml").write_text("small: {source: {folder: mine}, blocks: 4}")
    (configs / "study.yaml").write_text(STUDY)
    assert read_study(configs / "study.yaml").models["small"].source.folder == str(configs / "mine")


def test_a_path_of_a_model_may_begin_at_home(configs, monkeypatch):
    monkeypatch.setenv("HOME", str(configs / "home"))
    (configs / "home" / "mine").mkdir(parents=True)
    (configs / "home" / "mine" / "config.json").write_text('{"model_type": "llama"}')
    (configs / "models.yaml").write_text("small: {source: {folder: ~/mine}, blocks: 4}")
    (configs / "study.yaml").write_text(STUDY)
    assert read_study(configs / "study.yaml").models["small"].source.folder == str(configs / "home" / "mine")


def test_twenty_thousand_unknown_keys_are_told_with_their_lines_and_take_no_minutes(configs):
    began = time.process_time()
    found = mistakes(configs, "\n".join(f"k{i}: 1" for i in range(20_000)))
    assert "20002 mistakes" in found
    assert "line 1: k0: unknown key" in found
    assert time.process_time() - began < 20


def test_mistakes_in_both_files_are_told_together(configs):
    (configs / "models.yaml").write_text("small: {source: {built: llama}, blocks: 0}")
    text = mistakes(configs, STUDY + "modles: [1]")
    assert "modles: unknown key; did you mean 'models'?" in text
    assert "small.blocks: input should be greater than 0" in text


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        (
            "{source: {hubb: a/b}, blocks: 3}",
            "small.source: a source needs one of these keys: hub, folder, gguf, wheels, built",
        ),
        (
            "{source: 3, blocks: 3}",
            "small.source: a source needs one of these keys: hub, folder, gguf, wheels, built (given: 3)",
        ),
        ("{source: {built: llama, hiden_size: 8}, blocks: 3}", "hiden_size: unknown key; did you mean 'hidden_size'?"),
        ("{source: {hub: llama}, blocks: 3}", "small.source.hub: must be OWNER/NAME"),
        ("{source: {built: llama}}", "small: blocks is missing: a model that is built needs it"),
        ("{source: {hub: ../b}, blocks: 3}", "small.source.hub: must be OWNER/NAME"),
        ("{source: {hub: -x/y}, blocks: 3}", "small.source.hub: must be OWNER/NAME"),
        ("{source: {hub: a/b..c}, blocks: 3}", "small.source.hub: must be OWNER/NAME"),
        (f"{{source: {{hub: a/{'b' * 95}}}, blocks: 3}}", "small.source.hub: must be OWNER/NAME"),
        ("{source: {hub: a/b, revision: --x}, blocks: 3}", "small.source.revision: string should match pattern"),
        ("{source: {folder: ~nosuchuser/a}, blocks: 3}", "small.source.folder: begins with ~ and the name of no user"),
        (f"{{source: {{folder: {'a' * 300}}}, blocks: 3}}", "small.source.folder: has a part of more than 255 bytes"),
        ('{source: {gguf: "a\\0b"}, blocks: 3}', "a text with the character U+0000 is not allowed"),
        ('{source: {gguf: "a\\nb"}, blocks: 3}', "small.source.gguf: must be without control characters"),
        ("{source: {wheels: {}, members: [../a], sha256: c}, blocks: 3}", "members.0: must be a path within the wheel"),
        ("{source: {built: os}, blocks: 3}", "small.source.built: mlx-lm has no architecture 'os'"),
        ("{source: {built: phi3small}, blocks: 3}", "'small' is a phi3small, which cannot be made tiny: it"),
        (
            "{source: {built: llama, hidden_size: 66}, blocks: 3}",
            "hidden_size 66 does not give 4 attention_heads an even",
        ),
        (
            "{source: {built: llama, settings: {a: .inf}}, blocks: 3}",
            "small.source.settings",
        ),
        ("{source: {built: llama, settings: {1: 2}}, blocks: 3}", "settings.1: input should be a valid string"),
        ("{source: {built: llama}, blocks: 1001}", "small.blocks: input should be less than or equal to 1000"),
        ("{source: {built: llama}, blocks: 3, parameters: 1e99}", "small.parameters: input should be less than"),
        ("{source: {folder: nowhere}, blocks: 3}", "nowhere has no config.json"),
        ("{source: {folder: loop}, blocks: 3}", "loop has no config.json"),
        ("{source: {gguf: nowhere.gguf}, blocks: 3}", "nowhere.gguf does not exist"),
        (
            "{source: {wheels: {a: b}, members: [b], sha256: c}, blocks: 3}",
            "small.source.wheels.a: string should match",
        ),
    ],
)
def test_mistakes_in_the_catalogue_are_told_with_their_place(configs, entry, told):
    (configs / "loop").symlink_to(configs / "loop")
    (configs / "models.yaml").write_text(f"small: {entry}")
    assert told in mistakes(configs, STUDY)


@pytest.mark.parametrize("name", ["a/b", "../a", ".a", "-a", "a b", '"a\\u200b"', "a" * 41, "=1+1", "<b>", "a\\b"])
def test_a_name_of_a_model_that_cannot_be_part_of_a_path_is_refused(configs, name):
    (configs / "models.yaml").write_text(f"small: {{source: {{built: llama}}, blocks: 4}}\n{name}: *m\n")
    (configs / "models.yaml").write_text(
        f"small: &m {{source: {{built: llama}}, blocks: 4}}\n? {name}\n: *m\n", encoding="utf-8"
    )
    assert ": a name has 1 to 40 letters, digits, - _ and . of any script" in mistakes(configs, STUDY)


def test_names_of_models_that_only_a_careful_reader_tells_apart_are_refused(configs):
    (configs / "models.yaml").write_text("small: &m {source: {built: llama}, blocks: 4}\nSmall: *m\n")
    assert "line 2: Small: differs from 'small' only in upper and lower case" in mistakes(configs, STUDY)


def test_a_study_without_a_catalogue_beside_it_has_that_of_the_project(configs):
    (configs / "models.yaml").unlink()
    assert read(configs, STUDY.replace("small", "tiny-llama")).models == ["tiny-llama"]
    assert "models.0: 'small' is not in configs/models.yaml, and is no folder" in mistakes(configs, STUDY)


def test_without_any_catalogue_models_are_named_by_what_they_are(configs, monkeypatch):
    (configs / "models.yaml").unlink()
    monkeypatch.setattr("study.plan.read.own_catalogue", lambda: None)
    assert f"{configs / 'models.yaml'}: 1 mistake\n  cannot be read: No such file" in mistakes(configs, STUDY)


def test_predictors_cannot_be_measured_on_more_prompts_than_are_evaluated(configs):
    asked = "evaluation: {prompts_per_class: 20}\ndecisions: {predictor_prompts: %d}\n"
    assert read(configs, STUDY + asked % 20).decisions.predictor_prompts == 20
    (told,) = [line for line in mistakes(configs, STUDY + asked % 21).splitlines() if "predictor_prompts" in line]
    assert "21 is more than the 20 of evaluation.prompts_per_class" in told
