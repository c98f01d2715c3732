"""The tuned lens: it reads a class that a rotation hides from the logit lens, and comes nearer to what a model says."""

from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from study.config.lenses import LensFitting
from study.lens.head import head_of
from study.lens.hooks import attached
from study.lens.jacobian import fit_jacobian
from study.lens.texts import Texts, states_along, written
from study.lens.translators import Translators, identity
from study.measures.lenses import divergences
from study.models.named import load_named
from study.plan.read import catalogue_of
from study.training.tuned_lens import fit_tuned
from tests.architectures import BLOCKS, VOCABULARY, make
from tests.turned import CLASSES, HIDDEN, Turned, rotation
from tests.turned import VOCABULARY as TURNED

SETTINGS = LensFitting(texts=48, held_out=16, tokens=8, steps=120, positions=128, learning_rate=0.01, jacobian_tokens=8)


def some_texts(vocabulary: int) -> Texts:
    return Texts(np.random.default_rng(0).integers(vocabulary, size=(64, 8)), "random ids")


def choice_accuracy(model: Any, translators: Translators) -> np.ndarray:
    """By block: of all tokens but the class tokens, how many are read as the class that they are of."""
    ids = np.arange(2, TURNED)[:, None]
    with attached(model) as lens:
        moved = translators(states_along(lens, ids, 0))
        with head_of(model, lens, moved[:1, -1]).with_only(mx.array(CLASSES)):
            read = [np.array(lens.read_out(moved[:, block])).argmax(axis=1) for block in range(moved.shape[1])]
    return np.array([(one == ids[:, 0] % 2).mean() for one in read])


def test_a_class_that_is_turned_away_is_read_by_the_tuned_and_the_jacobian_lens_and_not_by_the_logit_lens() -> None:
    model, texts = Turned([np.eye(HIDDEN), rotation()]), some_texts(TURNED)
    logit = choice_accuracy(model, identity(2, HIDDEN))
    tuned = choice_accuracy(model, fit_tuned(model, texts, SETTINGS))
    jacobian = choice_accuracy(model, fit_jacobian(model, texts, SETTINGS))
    assert logit[0] < 0.75
    assert tuned[0] > 0.95
    assert jacobian[0] == logit[1] == tuned[1] == jacobian[1] == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama", "mamba2", "gemma3_text", "gpt2", "gemma2"])
@pytest.mark.parametrize("vocabulary", [VOCABULARY, 48])
def test_training_lowers_the_divergence_on_held_out_text_on_a_part_of_the_vocabulary_too(
    name: str, vocabulary: int
) -> None:
    model, texts = make(name), some_texts(VOCABULARY)
    tuned = fit_tuned(model, texts, SETTINGS.model_copy(update={"vocabulary": vocabulary}))
    before, after = divergences(model, [identity(BLOCKS, 32), tuned], texts, SETTINGS.held_out, SETTINGS.skipped)
    assert (after[:-1] < before[:-1]).all()
    assert after[-1] == before[-1] == pytest.approx(0, abs=1e-5)


def test_no_step_of_training_touches_the_model_or_the_last_block() -> None:
    model, texts = make("llama"), some_texts(VOCABULARY)
    ids = mx.array(texts.ids[:2])
    before = model(ids)
    tuned = fit_tuned(model, texts, SETTINGS.model_copy(update={"steps": 2, "vocabulary": 32}))
    assert mx.array_equal(model(ids), before)
    np.testing.assert_array_equal(tuned.maps[-1], np.eye(32))
    np.testing.assert_array_equal(tuned.biases[-1], 0)


def test_the_same_texts_and_settings_give_the_same_lens() -> None:
    texts, settings = some_texts(VOCABULARY), SETTINGS.model_copy(update={"steps": 3, "vocabulary": 40})
    one, two = (fit_tuned(make("llama"), texts, settings) for _ in range(2))
    assert mx.array_equal(one.maps, two.maps)


@pytest.mark.real
@pytest.mark.timeout(3600)
def test_on_smollm2_a_minute_of_training_lowers_the_divergence_on_held_out_text_in_the_upper_half() -> None:
    loaded = load_named("smollm2-135m", catalogue_of(Path("configs/models.yaml")))
    settings = LensFitting(texts=24, held_out=4, tokens=32, steps=40, positions=64, vocabulary=1024)
    texts = written(loaded.model, loaded.tokenizer, settings)
    tuned = fit_tuned(loaded.model, texts, settings)
    lenses = [identity(loaded.blocks, tuned.maps.shape[1]), tuned]
    before, after = divergences(loaded.model, lenses, texts, settings.held_out, settings.skipped)
    half = slice(loaded.blocks // 2, -1)
    assert (after[half] < before[half]).all()
    assert after[half].mean() < 0.7 * before[half].mean()
