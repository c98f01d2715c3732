"""Rows of the unembedding that are set by hand: what the head is applied to, and the geometry of the rows."""

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from study.config.catalogue import BuiltSource, Model
from study.lens.class_rows import class_rows
from study.lens.head import Head, head_of
from study.lens.hooks import LensError, attached
from study.models.load import load
from tests.architectures import NAMES, VOCABULARY, make, some_ids

LINEAR = [name for name in NAMES if name != "gemma2"]  # which caps its logits


def read(model: Any, layer: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The logits of the lens, and what the head was applied to."""
    with attached(model) as lens:
        states = lens.hidden(some_ids())[layer].reshape(-1, 32)
        return np.array(lens.read_out(states)), head_of(model, lens, states).inputs(lens, states)


def found(model: Any, width: int = 32) -> Head:
    with attached(model) as lens:
        return head_of(model, lens, mx.array(np.random.default_rng(0).normal(size=(3, width))))


@pytest.mark.parametrize("name", LINEAR)
def test_logits_are_the_rows_applied_to_what_the_head_is_given(name: str) -> None:
    model = make(name)
    logits, inputs = read(model)
    head = found(model)
    expected = inputs @ np.array(head.rows(mx.arange(VOCABULARY)), np.float64).T
    if "lm_head" in model and "bias" in model.lm_head:
        expected = expected + np.array(model.lm_head.bias)
    np.testing.assert_allclose(logits, expected, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_other_rows_change_the_logits_of_their_tokens_alone_and_are_taken_back(name: str) -> None:
    model = make(name)
    before, inputs = read(model)
    given = np.setdiff1d(np.arange(VOCABULARY), np.array(some_ids()))[:2]  # no prompt has them, as in a study
    head, ids = found(model), mx.array(given)
    rows = np.random.default_rng(0).normal(size=(2, 32))
    with head.with_rows(ids, mx.array(rows)):
        within, same = read(model)
    after, _ = read(model)
    np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal(same, inputs)
    np.testing.assert_array_equal(np.delete(within, given, axis=1), np.delete(before, given, axis=1))
    if name in LINEAR:
        bias = np.array(model.lm_head.bias)[given] if "lm_head" in model and "bias" in model.lm_head else 0
        np.testing.assert_allclose(within[:, given], inputs @ rows.T + bias, atol=1e-4)


def test_a_head_is_the_matrix_that_is_no_input_embedding_where_there_is_one() -> None:
    untied, tied = (found(make(name)) for name in ("llama untied", "llama"))
    assert (untied.tied, type(untied.module)) == (False, nn.Linear)
    assert (tied.tied, type(tied.module)) == (True, nn.Embedding)


@pytest.mark.parametrize("architecture", ["helium", "llama"])
def test_a_matrix_that_the_model_does_not_use_is_no_head(architecture: str) -> None:
    """mlx-lm 0.32.2 builds `lm_head` for every Helium, and with a tied embedding applies the embedding."""
    source = BuiltSource(built=architecture, settings={"tie_word_embeddings": True})
    model = load(Model(source=source, blocks=2)).model
    head = found(model, 64)
    with attached(model) as lens:
        states = mx.array(np.random.default_rng(1).normal(size=(3, 64)))
        before, inputs = np.array(lens.read_out(states)), head.inputs(lens, states)
        assert head.tied
        np.testing.assert_allclose(
            before, inputs @ np.array(head.rows(mx.arange(before.shape[1])), np.float64).T, atol=1e-4
        )
        with head.with_rows(mx.array([5]), mx.ones((1, 64))):
            np.testing.assert_allclose(np.array(lens.read_out(states))[:, 5], inputs.sum(axis=1), atol=1e-4)
    if architecture == "helium":
        assert "lm_head" in model


def test_a_model_without_such_a_matrix_or_with_several_of_unknown_use_has_no_head() -> None:
    model = make("llama")
    with attached(model) as lens:
        lens.read_out = lambda states: mx.zeros((len(states), VOCABULARY))  # type: ignore[method-assign]
        with pytest.raises(LensError, match=f"no matrix of {VOCABULARY} rows and 31 columns"):
            head_of(model, lens, mx.zeros((1, 31)))
    model.other = nn.Linear(32, VOCABULARY, bias=False)
    with attached(model) as lens:
        assert head_of(model, lens, mx.zeros((1, 32))).tied  # the other one is not used
        lens.read_out = lambda states: mx.zeros((len(states), VOCABULARY))  # type: ignore[method-assign]
        with pytest.raises(LensError, match=r"has 2 matrices of .* is not seen"):
            head_of(model, lens, mx.zeros((1, 32)))


def test_rows_of_a_quantised_head_stay_as_they_are() -> None:
    head = nn.QuantizedLinear(64, 97, bias=False)
    model = nn.Module()
    model.lm_head = head
    with (
        pytest.raises(LensError, match="keep the weights in float32"),
        Head(head, False).with_rows(mx.array([1]), mx.zeros((1, 64))),
    ):
        pass


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_aligned_rows_point_to_the_class_means_and_orthogonal_ones_see_no_difference_of_classes(classes: int) -> None:
    random = np.random.default_rng(classes)
    inputs = [5 + random.normal(size=20) + random.normal(size=(30 + k, 20)) for k in range(classes)]
    own = random.normal(size=(classes, 20))
    aligned, orthogonal = (class_rows(kind, inputs, own, 3) for kind in ("aligned", "orthogonal"))
    for rows in (aligned, orthogonal):
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), np.linalg.norm(own, axis=1))
    means = np.stack([one.mean(axis=0) for one in inputs])
    apart = means - means.mean(axis=0)
    cosines = (aligned * apart).sum(axis=1) / np.linalg.norm(aligned, axis=1) / np.linalg.norm(apart, axis=1)
    np.testing.assert_allclose(cosines, 1)
    np.testing.assert_allclose(orthogonal @ apart.T, 0, atol=1e-9)
    # Both are the same figure.
    np.testing.assert_allclose(orthogonal @ orthogonal.T, aligned @ aligned.T, atol=1e-9)
    assert not np.allclose(orthogonal, class_rows("orthogonal", inputs, own, 4))
    np.testing.assert_array_equal(orthogonal, class_rows("orthogonal", inputs, own, 3))


def test_a_class_with_the_mean_of_all_has_no_direction() -> None:
    same = np.random.default_rng(0).normal(size=(30, 20))
    with pytest.raises(LensError, match="its row has no direction"):
        class_rows("aligned", [same, same], np.ones((2, 20)), 0)


@pytest.mark.parametrize("name", NAMES)
def test_logits_of_some_tokens_alone_are_those_among_all(name: str) -> None:
    model, ids = make(name), [60, 3, 50]
    with attached(model) as lens:
        states = lens.hidden(some_ids())[1].reshape(-1, 32)
        every = np.array(lens.read_out(states))
        with head_of(model, lens, states).with_only(mx.array(ids)):
            some = np.array(lens.read_out(states))
        np.testing.assert_allclose(some, every[:, ids], atol=1e-4)
        np.testing.assert_array_equal(lens.read_out(states), every)


def test_logits_of_some_tokens_of_a_quantised_head_are_those_among_all() -> None:
    loaded = load(Model(source=BuiltSource(built="llama"), blocks=2, weights="8bit"))
    with attached(loaded.model) as lens:
        states = lens.hidden(mx.array([[5, 6, 7]]))[0][0]
        every = np.array(lens.read_out(states))
        with head_of(loaded.model, lens, states).with_only(mx.array([9, 2])):
            np.testing.assert_allclose(lens.read_out(states), every[:, [9, 2]], atol=1e-4)
