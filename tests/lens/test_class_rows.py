"""Rows of the unembedding that are set by hand: what the head is applied to, and the geometry of the rows."""

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from study.lens.class_rows import class_rows
from study.lens.head import head_of
from study.lens.hooks import LensError, attached
from tests.architectures import NAMES, VOCABULARY, make, some_ids

LINEAR = [name for name in NAMES if name != "gemma2"]  # which caps its logits


def read(model: Any, layer: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The logits of the lens, and what the head was applied to."""
    with attached(model) as lens:
        states = lens.hidden(some_ids())[layer].reshape(-1, 32)
        head = head_of(model, lens.vocabulary(states), 32)
        return np.array(lens.read_out(states)), head.inputs(lens, states)


@pytest.mark.parametrize("name", LINEAR)
def test_logits_are_the_rows_applied_to_what_the_head_is_given(name: str) -> None:
    model = make(name)
    logits, inputs = read(model)
    head = head_of(model, VOCABULARY, 32)
    expected = inputs @ np.array(head.rows(mx.arange(VOCABULARY)), np.float64).T
    if "lm_head" in model and "bias" in model.lm_head:
        expected = expected + np.array(model.lm_head.bias)
    np.testing.assert_allclose(logits, expected, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_other_rows_change_the_logits_of_their_tokens_alone_and_are_taken_back(name: str) -> None:
    model = make(name)
    before, inputs = read(model)
    given = np.setdiff1d(np.arange(VOCABULARY), np.array(some_ids()))[:2]  # no prompt has them, as in a study
    head, ids = head_of(model, VOCABULARY, 32), mx.array(given)
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
    untied, tied = (head_of(make(name), VOCABULARY, 32) for name in ("llama untied", "llama"))
    assert (untied.tied, type(untied.module)) == (False, nn.Linear)
    assert (tied.tied, type(tied.module)) == (True, nn.Embedding)
    with pytest.raises(LensError, match="no matrix of 98 rows and 32 columns"):
        head_of(make("llama"), VOCABULARY + 1, 32)


def test_rows_of_a_quantised_head_stay_as_they_are() -> None:
    head = nn.QuantizedLinear(64, 97, bias=False)
    model = nn.Module()
    model.lm_head = head
    found = head_of(model, 97, 64)
    with (
        pytest.raises(LensError, match="keep the weights in float32"),
        found.with_rows(mx.array([1]), mx.zeros((1, 64))),
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
