"""`import study`: the lens beside the model's own logits and beside plain numpy, and a cell that is run and read."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pandas as pd
import pytest

import study
from study.config.lenses import LENSES, LensKind
from study.lens.hooks import LensError
from study.lens.tokens import ClassTokenError
from study.models import ModelError
from study.results.description import ResultsError
from study.results.finished import DamagedError

TEXT = "seven times eight ="
CONFIGS = Path(__file__).parents[1] / "configs"


@pytest.fixture(scope="module")
def model() -> study.Model:
    return study.load("tiny-llama", catalogue=CONFIGS / "models.yaml")


@pytest.fixture(scope="module")
def trace(model: study.Model) -> study.Trace:
    return model.lens(TEXT)


@pytest.fixture(scope="module")
def log_probs(model: study.Model) -> np.ndarray:
    """The model's own log-probabilities [positions, vocabulary], by numpy in float64."""
    ids = mx.array([model.loaded.tokenizer.encode(TEXT)])
    logits = np.array(model.loaded.model(ids)[0], np.float64)
    return (
        logits
        - np.log(np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1, keepdims=True))
        - logits.max(axis=1, keepdims=True)
    )


def test_the_last_layer_says_what_the_model_says(trace: study.Trace, log_probs: np.ndarray) -> None:
    vocabulary = log_probs.shape[1]
    assert trace.layers == 4
    assert trace.log_prob(" multiply").shape == (4, len(trace.tokens))
    own = trace.tokenizer.encode(" multiply", add_special_tokens=False)
    np.testing.assert_allclose(trace.log_prob(" multiply")[-1], log_probs[:, own[0]], atol=1e-5)
    best = trace.top(3)
    last = best[best["layer"] == 3].pivot(index="position", columns="rank", values="log_p").to_numpy()
    np.testing.assert_allclose(last, -np.sort(-log_probs, axis=1)[:, :3], atol=1e-5)
    everything = trace.top(vocabulary).groupby(["layer", "position"])["log_p"].agg(lambda p: np.exp(p).sum())
    np.testing.assert_allclose(everything, 1, atol=1e-4)


def test_names_of_the_likeliest_tokens_are_those_of_their_ids(trace: study.Trace, log_probs: np.ndarray) -> None:
    best = trace.top(1)
    named = best[best["layer"] == 3]["next"].tolist()
    assert named == [trace.tokenizer.decode([token]) for token in log_probs.argmax(axis=1).tolist()]


def test_inner_layers_are_the_final_norm_and_the_head_on_the_blocks_outputs(
    model: study.Model, trace: study.Trace
) -> None:
    own = model.loaded.model
    state = trace.states[1]
    logits = np.array(own.model.embed_tokens.as_linear(own.model.norm(state)), np.float64)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    token = trace.tokenizer.encode(" add", add_special_tokens=False)[0]
    np.testing.assert_allclose(trace.log_prob("add")[1], log_p[:, token], atol=1e-5)


def test_a_frame_has_a_row_a_layer_and_position_and_a_column_a_word(trace: study.Trace) -> None:
    frame = trace.to_frame("multiply", " add")
    assert len(frame) == 4 * len(trace.tokens)
    assert [*frame.columns] == [
        *("layer", "depth", "position", "token", "next", "log_p", "entropy", "log_p_multiply", "log_p_add")
    ]
    np.testing.assert_array_equal(frame["log_p_add"], trace.log_prob(" add").ravel())
    assert ((frame["entropy"] > 0) & (frame["entropy"] <= np.log(483) + 1e-6)).all()
    assert frame["depth"].iloc[-1] == 1


def test_the_plot_shows_depth_against_position(trace: study.Trace) -> None:
    axes = trace.plot("multiply")
    (image,) = axes.images
    np.testing.assert_allclose(image.get_array(), np.exp(trace.log_prob("multiply")))
    assert [label.get_text() for label in axes.get_xticklabels()][1:3] == ["seven", "␣times"]
    assert [text.get_text() for text in axes.texts][-1] == trace.top(1)["next"].iloc[-1].replace(" ", "␣")


@pytest.mark.slow
def test_other_lenses_are_fitted_once_and_end_in_the_models_prediction(
    model: study.Model, trace: study.Trace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path))
    kinds: tuple[LensKind, ...] = ("tuned", "jacobian")
    for kind in kinds:
        first, again = (model.lens(TEXT, kind).log_prob("add") for _ in range(2))
        np.testing.assert_array_equal(first, again)
        np.testing.assert_allclose(first[-1], trace.log_prob("add")[-1], atol=1e-5)
        assert np.abs(first[0] - trace.log_prob("add")[0]).max() > 1e-3
        assert model.lens(TEXT, kind).plot().get_title() == f"next token by the {LENSES[kind]}"
    assert len(list(tmp_path.glob("lenses/*.safetensors"))) == 2


def test_a_lens_that_is_none_is_refused(model: study.Model) -> None:
    kind: Any = "magic"
    with pytest.raises(ValueError, match="there is no lens 'magic': logit, tuned, jacobian are known"):
        model.lens(TEXT, kind)


@pytest.mark.parametrize(
    ("ask", "error", "says"),
    [
        (lambda trace: trace.log_prob("xylophone"), ClassTokenError, "'xylophone' is 9 tokens"),
        (lambda trace: trace.top(0), ValueError, "k is 0: it must be a whole number from 1 to 483"),
        (lambda trace: trace.top(True), ValueError, "k is True: it must be a whole number from 1 to 483"),
        (lambda trace: trace.top(484), ValueError, "k is 484: it must be a whole number from 1 to 483"),
    ],
)
def test_a_question_that_has_no_answer_says_why(trace: study.Trace, ask: Any, error: Any, says: str) -> None:
    with pytest.raises(error, match=says):
        ask(trace)


def test_a_model_that_is_none_is_named_with_those_that_are_near(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no model 'tiny-lama'.*did you mean 'tiny-llama'\?"):
        study.load("tiny-lama", catalogue=CONFIGS / "models.yaml")
    with pytest.raises(ModelError, match=r"not a folder with config\.json"):
        study.load(tmp_path)


def test_what_is_no_text_or_no_unit_is_told_by_name(model: study.Model, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="the lens reads a text, not 5"):
        model.lens(5)  # type: ignore[arg-type]
    for call in (lambda: study.run("x", tmp_path), lambda: study.rows(tmp_path, "x")):  # type: ignore[type-var,arg-type]
        with pytest.raises(TypeError, match="'x' is no unit: take one of a plan"):
            call()


def test_what_is_no_path_is_told_by_what_it_was_given_for(tmp_path: Path) -> None:
    (cell,) = study.read(CONFIGS / "smoke.yaml").cells()
    with pytest.raises(TypeError, match="a study's file is a path, not 5"):
        study.read(5)  # type: ignore[arg-type]
    for call in (lambda: study.run(cell, None), lambda: study.rows(None, cell)):  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="a results folder is a path, not None"):
            call()
    with pytest.raises(ResultsError, match=r"there is no folder .*: `study.run` makes it"):
        study.rows(tmp_path / "nowhere", cell)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"rms_norm_eps": float("nan")}, ModelError, r"rms_norm_eps nan \(it is no finite number\)"),
        ({"rope_theta": 0}, ModelError, "rope_theta 0"),
        ({"rope_theta": math.inf}, ModelError, r"rope_theta inf \(it is no finite number\)"),
        ({"hidden_size": None}, ModelError, r"hidden_size null \(it is a number\)"),
        (3e38, LensError, "the hidden states are not finite from layer 0 on"),
        (math.nan, ModelError, "1 of its weights have values that are not finite, the first model.layers.0.mlp.down"),
    ],
)
def test_a_model_that_computes_no_numbers_is_refused(
    model: study.Model, tmp_path: Path, change: dict[str, float] | float, error: type[Exception], says: str
) -> None:
    folder = Path(shutil.copytree(model.loaded.path, tmp_path / "model"))
    if isinstance(change, float):
        weights = dict(mx.load(str(folder / "model.safetensors")))
        weights["model.layers.0.mlp.down_proj.weight"][:] = change
        mx.save_safetensors(str(folder / "model.safetensors"), weights, {"format": "mlx"})
    else:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(error, match=says):
        study.load(folder).lens(TEXT)


def test_a_text_beyond_the_trained_positions_is_a_warning(model: study.Model, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model.loaded.path, tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 4}))
    with pytest.warns(UserWarning, match=r"the text has \d+ tokens, and the model was trained on 4"):
        study.load(folder).lens(TEXT)


def test_weights_are_kept_as_asked_for_by_any_name(model: study.Model) -> None:
    quantised = study.load("tiny-llama", weights="8bit", catalogue=CONFIGS / "models.yaml")
    folder = study.load(model.loaded.path, weights="8bit")
    difference = np.abs(quantised.lens(TEXT).log_prob("add") - model.lens(TEXT).log_prob("add")).max()
    assert 0 < difference < 0.1
    np.testing.assert_array_equal(quantised.lens(TEXT).log_prob("add"), folder.lens(TEXT).log_prob("add"))
    wrong: Any = "2bit"
    for name in ("tiny-llama", model.loaded.path):
        with pytest.raises(ModelError, match="weights '2bit' are not known: float32, 8bit, 4bit are allowed"):
            study.load(name, weights=wrong)


def test_results_that_are_no_folder_are_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (cell,) = study.read(CONFIGS / "smoke.yaml").cells()
    with pytest.raises(ResultsError, match="file is not a folder"):
        study.run(cell, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_is_loaded_without_an_entry(model: study.Model) -> None:
    again = study.load(model.loaded.path, catalogue=CONFIGS / "models.yaml")
    assert again.layers == model.layers
    np.testing.assert_array_equal(again.lens(TEXT).log_prob("add"), model.lens(TEXT).log_prob("add"))


@pytest.mark.slow
def test_a_cell_is_run_after_what_it_builds_on_and_its_rows_are_those_on_disk(tmp_path: Path) -> None:
    plan = study.read(CONFIGS / "smoke.yaml")
    assert [cell.label for cell in plan.cells()] == ["tiny-llama|L1|multiply-add|w=0.5|s0"]
    assert [cell.label for cell in plan.cells(weight=0)] == ["tiny-llama|multiply-add|w=0|s0"]
    assert plan.cells(layer=3) == []
    with pytest.raises(TypeError, match="cells have no depth; allowed: model, layer"):
        plan.cells(depth=0.5)
    (cell,) = plan.cells()
    with pytest.raises(ResultsError, match=r"has no rows in .*no result"):
        study.rows(tmp_path, cell)
    assert study.run(cell, tmp_path) is cell
    tables = study.rows(tmp_path, cell)
    assert set(tables) == {"answers", "curves", "lens", "onset"}
    assert len(tables["curves"]) == plan.study.stage2.steps
    reference = plan.reference(cell)
    study.run(reference, tmp_path)
    rows = study.rows(tmp_path, reference)["lens"]
    assert set(rows["stage"]) == {"baseline", "stage1"}
    (file,) = tmp_path.glob("cells/*/lens.parquet")
    assert pd.read_parquet(file).equals(tables["lens"])
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(DamagedError, match=r"lens\.parquet is corrupt"):
        study.rows(tmp_path, cell)
