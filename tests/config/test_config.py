import subprocess
import sys

import pytest

from study.commands.run import main
from study.config.lenses import LensFitting
from tests.plan.test_read import MODELS, STUDY

GRID = "name: example\nmodels: [small]\n"


@pytest.fixture
def configs(tmp_path):
    (tmp_path / "models.yaml").write_text(MODELS)
    return tmp_path


def refused(configs, capsys, text):
    """What the command prints of a study that it refuses with exit code 2."""
    file = configs / "study.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert main([str(file), "--dry-run"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err


def with_grid(layers="[0.5]", pairs="[{multiply: multiply, add: add}]", weights="[0.5]"):
    return f"{GRID}grid: {{layers: {layers}, pairs: {pairs}, weights: {weights}}}\n"


def with_axis(axis):
    """The study with one more axis of its grid."""
    return f"{STUDY}  {axis}\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (STUDY + "stage1: {lerning_rate: 1}", "stage1.lerning_rate: unknown key; did you mean 'learning_rate'?"),
        (STUDY + "stage1: {xyz: 1}", "stage1.xyz: unknown key; allowed: steps, learning_rate"),
        (STUDY + "stage1: {steps: many}", "stage1.steps: input should be a valid integer (given: 'many')"),
        (STUDY + "stage1: {steps: 1.5}", "stage1.steps: input should be a valid integer (given: 1.5)"),
        (STUDY + "stage1: {steps: '5'}", "stage1.steps: input should be a valid integer (given: '5')"),
        (STUDY + "stage1: {steps: 99999999}", "stage1.steps: input should be less than or equal to 1000000"),
        (STUDY + "stage1: {learning_rate: 1e9}", "stage1.learning_rate: input should be less than or equal to 10"),
        (STUDY + "decisions: {resamples: 1000000000}", "decisions.resamples: input should be less than or equal to 2"),
        (
            STUDY + "stage2: {lora: {rank: 8, alpha: 1, projections: [a, a]}}",
            "or names one of them twice (given: ['a', 'a'])",
        ),
        (STUDY + "data: {held_out: 0.999999}", "data.held_out: 0.999999 leaves no operands to train on; lower it"),
        (STUDY + "data: {held_out: 1e-9}", "108 is more than the 0 held-out prompts that symbolic has"),
        (STUDY + "data: {operations: [multiply, add, add]}", "data.operations: names one of them twice"),
        (
            STUDY + "decisions: {confidence: 0.9999999999999999}",
            "confidence: input should be less than or equal to 0.99",
        ),
        (STUDY + "stage1: {steps: 0}", "stage1.steps: input should be greater than 0 (given: 0)"),
        (STUDY + "stage1: {learning_rate: .inf}", "stage1.learning_rate: input should be a finite number"),
        (STUDY + "stage1: {lora: {rank: 8}}", "stage1.lora.alpha: is missing"),
        (STUDY + "stage1: 3", "stage1: must be keys with values (given: 3)"),
        (STUDY + "evaluation:", "evaluation: must be keys with values, but is empty"),
        (STUDY + "stage1: {wordings: symbolic}", "stage1.wordings: input should be a valid list (given: 'symbolic')"),
        (STUDY + "stage1: {wordings: [storys]}", "stage1.wordings.0: input should be 'symbolic', 'semantic'"),
        (STUDY + "stage1: {wordings: [storys]}", "did you mean 'story'?"),
        (STUDY + "data: {smallest: 5, largest: 6}", "data: largest must be at least smallest + 3"),
        (STUDY + "data: {held_out: 1.0}", "data.held_out: input should be less than 1"),
        (STUDY + "evaluation: {prompts_per_class: 9999}", "evaluation.prompts_per_class: 9999 is more than the"),
        (
            STUDY + "evaluation: {prompts_per_class: {symbolic: 9, semantic: 9, construction: 9}}",
            "evaluation.prompts_per_class: input should be a valid integer, or needs a number for story too",
        ),
        (STUDY + "evaluation: {prompts_per_class: {stories: 9}}", "did you mean 'story'?"),
        (STUDY + "evaluation: {prompts_per_class: many}", "evaluation.prompts_per_class: input should be a valid"),
        (
            STUDY + "evaluation: {prompts_per_class: {symbolic: 9999, semantic: 9, construction: 9, story: 9}}",
            "evaluation.prompts_per_class: 9999 is more than the 5724 held-out prompts that symbolic has",
        ),
        (STUDY + "seeds: [1]", "seeds: unknown key; allowed: name, models, nursery, grid, also"),
        (STUDY + "stage2: {wordings: [story]}", "stage2.wordings: unknown key"),
        (with_axis("seeds: [1, 1]"), "grid.seeds: [1, 1] names a value twice"),
        (with_axis(f"seeds: [{2**32}]"), "grid.seeds.0: input should be less than 4294967296"),
        (with_axis(f"seeds: {list(range(1001))}"), "grid.seeds: list should have at most 1000 items"),
        (with_axis("seeds: [-1]"), "grid.seeds.0: input should be greater than or equal to 0"),
        (with_axis("arms: [plain, plain]"), "grid.arms: ['plain', 'plain'] names a value twice"),
        (with_axis("arms: [shuffled_label]"), "did you mean 'shuffled_labels'?"),
        (with_axis("arms: []"), "grid.arms: list should have at least 1 item"),
        (with_axis("wordings: [symbolic]"), "grid.wordings.0: input should be a valid list (given: 'symbolic')"),
        (with_axis("wordings: [[storys]]"), "grid.wordings.0.0: input should be 'symbolic', 'semantic'"),
        (with_axis("wordings: [[story, story]]"), "grid.wordings.0: names a tier twice"),
        (with_axis("wordings: [[story, symbolic], [symbolic, story]]"), "names a value twice"),
        (STUDY + "also: {layers: [1]}", "also: input should be a valid list"),
        (STUDY + "also: [{layrs: [1]}]", "also.0.layrs: unknown key; did you mean 'layers'?"),
        (STUDY + "also: [{}, {layers: [4]}]", "also.1.layers.0: 4 is beyond small, whose 4 blocks are 0 to 3"),
        (STUDY + "also: [{layers: [1.5]}]", "also.0.layers.0: input should be a valid integer, or input should be"),
        (STUDY + "also: [{weights: [2]}]", "also.0.weights.0: input should be less than or equal to 1 (given: 2)"),
        (STUDY + "also: [{seeds: [3, 3]}]", "also.0.seeds: [3, 3] names a value twice"),
        (STUDY + "also: [{arms: [plan]}]", "also.0.arms.0: input should be 'plain'"),
        (
            STUDY + "also: [{pairs: [{multiply: a, add: b}, {multiply: a, add: sum}]}]",
            "also.0.pairs.1.add: 'sum' occurs in a prompt; choose",
        ),
        (STUDY + "also: [{pairs: [{subtract: a, add: b}]}]", "also.0.pairs.0.subtract: stage 1 does not train it"),
        (
            STUDY + "also: [{pairs: [{multiply: a, add: a}]}]",
            "also.0.pairs.0: every operation of a pair needs its own class",
        ),
        (STUDY + "ray: {workers: many}", "ray.workers: input should be a valid integer, or input should be 'auto'"),
        (STUDY + "name: again", "line 8: the key 'name' is given twice"),
        (STUDY + "stage1: &a {steps: 3}\nstage2: {<<: *a}", "line 9: stage2.<<: unknown key; allowed: steps"),
        (STUDY + "stage1: {steps: 1:30}", "(given: '1:30'); YAML 1.2 reads it as text: write a number in decimal"),
        (STUDY + "stage1: {steps: !!int 3}", "line 8: the tag !!int is not allowed"),
        (STUDY.replace("example", "A b"), "name: string should match pattern"),
        (STUDY.replace("[small]", "small"), "models: input should be a valid list (given: 'small')"),
        (STUDY.replace("[small]", "[smal]"), "models.0: 'smal' is not in"),
        (STUDY.replace("[small]", "[smal]"), "did you mean 'small'?; known: small, large"),
        (with_grid(layers="[4]"), "grid.layers.0: 4 is beyond small, whose 4 blocks are 0 to 3"),
        (with_grid(layers="[1.5]"), "grid.layers.0: input should be a valid integer, or input should be less than"),
        (
            with_grid(layers="[0.0]"),
            "grid.layers.0: input should be a valid integer, or input should be greater than 0",
        ),
        (
            with_grid(layers="[[1]]"),
            "grid.layers.0: input should be a valid integer, or input should be a valid number",
        ),
        (with_grid(layers="3"), "grid.layers: input should be a valid list (given: 3)"),
        (with_grid(layers="[]"), "grid.layers: list should have at least 1 item"),
        (with_grid(weights="[2]"), "grid.weights.0: input should be less than or equal to 1 (given: 2)"),
        (with_grid(weights="[true]"), "grid.weights.0: input should be a valid number (given: True)"),
        (with_grid(pairs="[{multiply: a}]"), "grid.pairs.0: dictionary should have at least 2 items"),
        (
            with_grid(pairs="[{multiply: same, add: same}]"),
            "grid.pairs.0: every operation of a pair needs its own class token",
        ),
        (
            with_grid(pairs="[{multiply: true, add: 010}]"),
            "grid.pairs.0.add: input should be a valid string (given: 10); to mean text, write it in quotes: '010'",
        ),
        (
            with_grid(pairs="[{multiply: two words, add: b}]"),
            "grid.pairs.0.multiply: 'two words' is several words, and class_name is single; say first or sequence",
        ),
        (
            with_grid(pairs="[{multiply: 'two  words', add: b}]") + "class_name: first\n",
            "grid.pairs.0.multiply: must be words with one space between them",
        ),
        (
            STUDY.replace(
                "[{multiply: multiply, add: add}]", "[{multiply: sun, add: moon}, {multiply: moon, add: sun}]"
            )
            + "also: [{pairs: [{multiply: sun-moon, add: x}]}, {pairs: [{multiply: sun, add: moon-x}]}]",
            "also.1.pairs.0: is called sun-moon-x, as also.0.pairs.0 is, and labels and tables do not tell them apart",
        ),
        (
            STUDY + "lens_fitting: {texts: 5, jacobian_texts: 6}",
            "lens_fitting: jacobian_texts is 6, and is at most texts (5)",
        ),
        (
            STUDY + "lens_fitting: {tokens: 12, skipped: 11}",
            "lens_fitting: skipped is 11, and has to leave 2 of jacobian_tokens (12)",
        ),
        (
            STUDY + "lens_fitting: {skipped: 7, jacobian_tokens: 8}",
            "lens_fitting: skipped is 7, and has to leave 2 of jacobian_tokens (8)",
        ),
        (STUDY + "lens: last", "lens: input should be 'logit', 'tuned' or 'jacobian' (given: 'last')"),
        (
            STUDY + "lens: tuned\nalso: [{arms: [orthogonal_rows]}]",
            "orthogonal_rows set rows of the head by states as the logit lens reads them; lens is tuned",
        ),
        (
            with_axis("recipes: [corrected, as-published]") + "lens: jacobian",
            "lens must be `logit` with recipes other than `corrected`",
        ),
        (STUDY + "class_name: last", "class_name: input should be 'single', 'first' or 'sequence' (given: 'last')"),
        (
            STUDY + "class_name: sequence\nalso: [{arms: [aligned_rows]}]",
            "class_name must be `single` or `first` with aligned_rows, which set the row of one token",
        ),
        (
            with_axis("recipes: [corrected, as-published]") + "class_name: first",
            "class_name must be `single` with recipes other than `corrected`",
        ),
        (
            with_grid(pairs="[{multiply: product, add: b}]"),
            "grid.pairs.0.multiply: 'product' occurs in a prompt; choose",
        ),
        (with_grid(pairs="[{multipy: a, add: b}]"), "grid.pairs.0.multipy: input should be 'multiply', 'add' or"),
        (with_grid(pairs="[{subtract: a, add: b}]"), "grid.pairs.0.subtract: stage 1 does not train it"),
        (
            with_grid(weights=str([i / 500 for i in range(500)]), layers=str([i / 500 for i in range(1, 401)])),
            "the file: the axes of the grid give 200,000 cells; at most 100,000 are allowed",
        ),
        (with_grid(layers="[0.5, 0.5]"), "grid.layers: [0.5, 0.5] names a value twice"),
        (with_grid(pairs="[{multiply: a\u200bb, add: c}]"), "grid.pairs.0.multiply: must be words"),
        (with_grid(pairs=f"[{{multiply: {'a' * 41}, add: c}}]"), "string should have at most 40 characters"),
        (
            STUDY + "nursery: {base: {architecture: os}}",
            "nursery.base.architecture: mlx-lm has no architecture 'os'; docs/architectures.md",
        ),
        (STUDY + "nursery: {base: {architecture: phi3small}}", "cannot be made tiny: it writes at fixed places"),
        (STUDY + "nursery: {base: {hidden_size: 97}}", "nursery: base: hidden_size 97 does not give 4 attention_heads"),
        (
            STUDY + "nursery: {changes: {a: {settings: {num_key_value_heads: 3}}}}",
            "nursery: a: num_key_value_heads 3 does not divide the 4 attention_heads",
        ),
        (
            STUDY + "nursery: {base: {settings: {num_attention_heads: 0}}}",
            "must be a whole number of at least 1, not 0",
        ),
        (STUDY + "nursery: {base: {settings: {a: .nan}}}", "nursery.base.settings"),
        (STUDY + f"nursery: {{base: {{settings: {{a: {'[' * 11}{']' * 11}}}}}}}", "is nested more than 10 deep"),
        (STUDY + "nursery: {changes: {Deep: {blocks: 8}, deep: {blocks: 2}}}", "deep: differs from 'Deep' only in"),
        (STUDY + "nursery: {changes: {small: {blocks: 8}}}", "models: small is a model of the nursery too"),
        (STUDY + "nursery: {changes: {../a: {blocks: 8}}}", "nursery.changes.../a: a name has 1 to 40 letters"),
        ("", "the file: must be keys with values, but is empty"),
        ("- a\n- b", "the file: must be keys with values (given: ['a', 'b'])"),
        ("name: [", "is not YAML: while parsing a flow"),
        ("&a [*a]", "line 1: *a stands within what it stands for"),
        (b"\xff\xfe\x00", "is not YAML"),
        (b"name: \x00", "is not YAML: unacceptable character"),
        ("{}", "name: is missing"),
    ],
)
def test_a_mistake_is_told_with_its_dotted_path_and_what_is_allowed(configs, capsys, text, told):
    assert told in refused(configs, capsys, text)


def test_all_mistakes_are_told_in_one_message(configs, capsys):
    text = refused(
        configs,
        capsys,
        """
name: example
models: [smal, large]
grid:
  layers: [31, x]
  pairs: [{multiply: a, add: a}]
  weights: [2]
stage1: {lora: {rank: 0}, stepps: 3}
""",
    )
    places = ["models.0", "grid.layers.0", "grid.layers.1", "grid.pairs.0", "grid.weights.0", "stage1.lora.rank"]
    for place in [*places, "stage1.lora.alpha", "stage1.lora.projections", "stage1.stepps"]:
        assert f": {place}: " in text
    assert text.startswith(f"{configs / 'study.yaml'}: {len(places) + 3} mistakes\n")


def test_a_missing_file_is_told_by_name(tmp_path, capsys):
    assert main([str(tmp_path / "nowhere.yaml")]) == 2
    assert "nowhere.yaml: 1 mistake\n  cannot be read: No such file or directory" in capsys.readouterr().err


def test_a_folder_in_place_of_a_file_is_refused(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert "cannot be read: Is a directory" in capsys.readouterr().err


def test_the_command_ends_with_code_2_and_no_traceback(configs):
    (configs / "study.yaml").write_text(STUDY + "modles: [1]")
    command = [sys.executable, "-m", "study.grid", str(configs / "study.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines()[1].startswith("  line 8: modles: unknown key; did you mean 'models'?")
    assert "Traceback" not in done.stderr


def test_what_is_not_given_of_the_jacobian_lens_follows_from_the_rest() -> None:
    assert LensFitting(texts=4).jacobian_texts == 4
    assert LensFitting(tokens=12).jacobian_tokens == 12
    assert LensFitting(skipped=20).jacobian_tokens == 22
    assert LensFitting.model_validate(LensFitting(tokens=12).model_dump()) == LensFitting(tokens=12)
