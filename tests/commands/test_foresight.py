"""What cannot succeed, or would mislead, is told by a dry run and by the units themselves, in the same words."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from soak.small_gguf import write_gguf
from study.commands.foresight import coinciding
from study.commands.run import main
from study.config.catalogue import BuiltSource, FolderSource, Model
from study.models.load import fetch, load
from study.pipeline.units import run_unit
from study.plan.read import read_study
from study.results.store import Store

LINES = [
    {"prompt": f"the {thing} {n} is", "answer": answer, "class": kind, "split": split}
    for kind, thing, answer in (("good", "sun", "good"), ("bad", "rain", "wet"))
    for split in ("train", "test")
    for n in (range(2, 6) if split == "train" else range(6, 10))
]


@pytest.fixture
def write(tmp_path: Path) -> Any:
    """Write a study of a local model and its custom task; return its file."""

    def written(model: Model, pair: dict[str, str], **keys: Any) -> Path:
        folder = tmp_path / "model"
        shutil.copytree(fetch(model), folder, dirs_exist_ok=True)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **keys}))
        entry = {"source": {"folder": str(folder)}, "blocks": model.blocks}
        (tmp_path / "models.yaml").write_text(yaml.safe_dump({"small": entry}))
        (tmp_path / "task.jsonl").write_text("\n".join(map(json.dumps, LINES)))
        steps = {"steps": 2, "batch_size": 2, "learning_rate": 1e-3}
        study = {
            "name": "ahead",
            "models": ["small"],
            "grid": {"layers": [1], "pairs": [pair], "weights": [0.5]},
            "data": {"file": "task.jsonl"},
            "stage1": steps,
            "stage2": steps,
            "evaluation": {"onset_every": 0, "causal_prompts": 0, "profile_prompts": 2},
        }
        file = tmp_path / "study.yaml"
        file.write_text(yaml.safe_dump(study))
        return file

    return written


def model(architecture: str = "llama", **settings: int) -> Model:
    words = ["good", "bad", "sun", "rain", "wet", "the", "is", "warm", "cold"]
    return Model(source=BuiltSource(built=architecture, words=words, settings=dict(settings)), blocks=2)


def dry_run(file: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = main([str(file), "--dry-run", "--results", str(file.parent / "results")])
    return code, *capsys.readouterr()


def test_a_class_name_of_several_tokens_is_told_before_anything_is_paid(
    write: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(model(), {"good": "splendid", "bad": "bad"})
    code, out, err = dry_run(file, capsys)
    assert code == 2
    assert "skipped  small|L1|splendid-bad|w=0.5|s0  token: class name 'splendid' is not a single token" in out
    assert "no cell of this study can run:\n  token: class name 'splendid'" in err
    plan = read_study(file)
    *_, cell = plan.units
    assert main([str(file), "--results", str(file.parent / "results")]) == 2, "nor does a run begin"
    ended = [run_unit(unit, file.parent / "own") for unit in plan.units]
    assert f"skipped  {cell.label}  {ended[-1].reason}\n" in out


def test_names_of_several_tokens_are_checked_in_a_model_that_is_yet_to_be_built(
    write: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(model(), {"good": "rather good", "bad": "rather bad"})
    entry = {"source": {"built": "llama"}, "blocks": 2}
    (file.parent / "models.yaml").write_text(yaml.safe_dump({"small": entry}))
    file.write_text(file.read_text() + "class_name: sequence\n")
    monkeypatch.setenv("STUDY_CACHE", str(file.parent / "cache"))
    code, _, err = dry_run(file, capsys)
    assert code == 2
    assert "the class names rather good, rather bad begin with the same token" in err


def test_prompts_beyond_the_learned_positions_fail_the_units_that_have_them(
    write: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(model("gpt2", n_positions=5, n_ctx=5), {"good": "warm", "bad": "cold"})
    code, out, err = dry_run(file, capsys)
    assert code == 2
    longest = "'the sun 2 is' (plain), has 6 tokens with its answer; shorten them, or use another model"
    assert f"EncodingError: prompts are longer than the 5 positions of the model: the longest, {longest}" in err
    assert "failed   small|stage1|s0  EncodingError: " in out
    assert "4 failed" in out.splitlines()[-1]
    first = read_study(file).units[0]
    ending = run_unit(first, file.parent / "own")
    assert ending.state == "failed"
    assert ending.reason.startswith("EncodingError: ")
    assert f"failed   {first.label}  {ending.reason}" in out


def test_prompts_beyond_the_trained_positions_and_answers_that_are_classes_are_warnings(
    write: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(model(), {"good": "good", "bad": "cold"}, max_position_embeddings=5)
    code, out, _ = dry_run(file, capsys)
    assert code == 0
    positions = "prompts are longer than the 5 positions that the model was trained on: the longest, 'the sun"
    named = "the class token ' good' is also the answer, or its first token, in 4 of 4 prompts of good"
    few = "no cell can be emergent on plain (8): too few new templates (in brackets); 36 are needed"
    warned = [line for line in out.splitlines() if line.startswith("warning: ")]
    assert [any(text in line for line in warned) for text in (positions, named, few)] == [True] * 3
    assert len(warned) == 3
    store = Store(file.parent / "own")
    units = read_study(file).units
    for unit in units:
        assert run_unit(unit, store.root).state == "done"
    told = {unit.label: json.loads((store.folder(unit) / "done.json").read_text())["warnings"] for unit in units}
    assert [warning for warning in told["small|L1|good-cold|w=0.5|s0"] if named in warning]
    assert [warning for warning in told["small|stage1|s0"] if "longer than the 5 positions" in warning]


def test_a_model_that_mlx_lm_would_compute_otherwise_stops_the_study_before_it_begins(
    write: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(model(), {"good": "warm", "bad": "cold"}, hidden_act="relu", qk_clip=3.5, rope_parameters={})
    code, out, err = dry_run(file, capsys)
    assert code == 2
    meant = f"the config.json of {file.parent / 'model'} means (llama): hidden_act 'relu' (computed: 'silu' or 'swish')"
    reason = f"ModelError: mlx-lm would compute another model than {meant}; qk_clip 3.5 (not known). Use another model"
    assert err.count("mlx-lm would compute") == 1, "one message, for all cells"
    assert f"no cell of this study can run:\n  {reason}" in err
    ending = run_unit(read_study(file).units[0], file.parent / "own")
    assert f"failed   small|stage1|s0  {ending.reason}\n" in out


def test_prompts_beyond_a_window_that_is_not_computed_fail_the_units_that_have_them(
    write: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(model("mistral"), {"good": "warm", "bad": "cold"}, sliding_window=5)
    code, _, err = dry_run(file, capsys)
    assert code == 2
    window = "the window of 5 tokens, without which the model is computed"
    assert f"EncodingError: prompts are longer than {window}: the longest, 'the sun 2 is' (plain), has 6 tokens" in err
    assert dry_run(write(model("mistral"), {"good": "warm", "bad": "cold"}, sliding_window=32), capsys)[0] == 0


def test_what_is_translated_is_recorded_and_what_mlx_lm_computes_otherwise_is_a_warning(
    write: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = {"tokenizer": None, "hidden_act": "gelu", "intermediate_size": 256, "rotary_emb_base": None}
    parameters = {"rope_type": "default", "rope_theta": 5000.0, "partial_rotary_factor": 1.0}
    file = write(model("gpt_neox"), {"good": "warm", "bad": "cold"}, **keys, rope_parameters=parameters)
    code, out, _ = dry_run(file, capsys)
    assert code == 0
    warning = "mlx-lm computes GELU's approximation by tanh, transformers the exact one: logits differ by 0.1 % of"
    assert f"warning: small: {warning}" in out
    first = read_study(file).units[0]
    store = Store(file.parent / "own")
    assert run_unit(first, store.root).state == "done"
    done = json.loads((store.folder(first) / "done.json").read_text())
    assert [told for told in done["warnings"] if told.startswith(warning)]
    assert "rope_parameters.rope_theta 5000 → rotary_emb_base" in done["held"]["configuration"]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"rope_thet": 3}, "llama has no setting 'rope_thet'; did you mean 'rope_theta'?"),
        ({"rope_scaling": "linear"}, "mlx-lm makes no llama model of 2 blocks and these sizes and settings"),
        ({"tie_word_embeddings": "no"}, "tie_word_embeddings 'no' (it is true or false)"),
    ],
)
def test_settings_with_which_a_model_cannot_be_built_are_told_before_a_run(
    write: Any, capsys: pytest.CaptureFixture[str], settings: dict[str, Any], told: str
) -> None:
    file = write(model(), {"good": "warm", "bad": "cold"})
    entry = {"source": {"built": "llama", "settings": settings}, "blocks": 2}
    (file.parent / "models.yaml").write_text(yaml.safe_dump({"small": entry}))
    code, _, err = dry_run(file, capsys)
    assert code == 2
    assert "no cell of this study can run:\n  ModelError: " in err
    assert told in err


def test_what_the_tokenizers_say_is_kept_until_something_changes(
    write: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(model(), {"good": "warm", "bad": "cold"})
    first, again = dry_run(file, capsys), dry_run(file, capsys)
    assert first[:2] == again[:2]
    assert first[2] == "checking the prompts, class tokens and settings of small …\n"
    assert again[2] == ""
    tokenizer = load(Model(source=FolderSource(folder=str(file.parent / "model")), blocks=2)).tokenizer.own._tokenizer
    tokenizer.unk_token = "<bos>"
    tokenizer.save_pretrained(file.parent / "model")
    assert "checking" in dry_run(file, capsys)[2]


@pytest.mark.parametrize(("without", "told"), [("", ""), ("78", "which the vocabulary lacks")])
def test_a_gguf_file_is_read_before_a_run_and_again_once_it_is_converted(
    write: Any, capsys: pytest.CaptureFixture[str], without: str, told: str
) -> None:
    file = write(model(), {"good": "warm", "bad": "cold"})
    gguf = file.parent / "small.gguf"
    write_gguf(gguf, without)
    (file.parent / "models.yaml").write_text(yaml.safe_dump({"small": {"source": {"gguf": str(gguf)}}}))
    (file.parent / "task.jsonl").write_text("\n".join(json.dumps(line) for line in LINES))
    assert "checking the prompts, class tokens and settings of small" in dry_run(file, capsys)[2]
    whole = gguf.read_bytes()
    gguf.write_bytes(whole[:-100])
    code, _, err = dry_run(file, capsys)
    assert code == 2
    assert "it is cut short" in err
    gguf.write_bytes(whole)
    load(read_study(file).models["small"])
    code, out, err = dry_run(file, capsys)
    assert told in out + err


def test_controls_alone_are_no_study_and_what_cannot_run_is_told_by_a_run_too(
    write: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(model(), {"good": "splendid", "bad": "bad"})
    study = yaml.safe_load(file.read_text())
    study["grid"]["weights"] = [0, 0.5]
    file.write_text(yaml.safe_dump(study))
    assert dry_run(file, capsys)[0] == 2
    assert main([str(file), "--results", str(file.parent / "results")]) == 2
    printed = capsys.readouterr()
    assert "cannot run: small|L1|splendid-bad|w=0.5|s0: token: class name 'splendid' is not a single" in printed.out
    assert "no cell of this study can run" in printed.err


@pytest.mark.parametrize(
    ("layers", "told"),
    [
        ("[0.5, 0.45, 1.0]", ["layers 0.5, 0.45 are one, block 1, in a model of 4 blocks"]),
        ("[0.5, 1]", ["layers 0.5, 1 are one, block 1, in a model of 4 blocks", "layer 1 is the second block"]),
        ("[0.25, 0.5, 1.0]", []),
        ("[0, 1, 3]", []),
        ("all", []),
    ],
)
def test_layers_that_are_one_block_are_told(tmp_path: Path, layers: str, told: list[str]) -> None:
    (tmp_path / "models.yaml").write_text("small: {source: {built: llama}, blocks: 4}")
    grid = f"{{layers: {layers}, pairs: [{{add: add, multiply: multiply}}], weights: [0.5]}}"
    (tmp_path / "study.yaml").write_text(f"name: x\nmodels: [small]\ngrid: {grid}")
    found = coinciding(read_study(tmp_path / "study.yaml"))
    assert len(found) == len(told)
    assert all(line.startswith(start) for line, start in zip(found, told, strict=True))
