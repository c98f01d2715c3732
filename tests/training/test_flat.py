from collections.abc import Iterator

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
import pytest
from mlx.utils import tree_flatten

from study.config.catalogue import BuiltSource, Model
from study.config.stages import Lora
from study.models.load import load
from study.training import adapters
from study.training.flat import NAME, ROW, Flat, clip_each

CELLS = 3


@pytest.fixture
def model() -> Iterator[nn.Module]:
    model = load(Model(source=BuiltSource(built="llama"), blocks=2)).model
    adapters.stack(model, Lora(rank=3, alpha=6.0, projections="all"), list(range(CELLS)))
    yield model
    adapters.take_off(model)


def test_the_array_holds_every_parameter_once_and_zeros_up_to_whole_rows(model: nn.Module) -> None:
    parameters = dict(tree_flatten(model.trainable_parameters()))
    flat = Flat(model)
    joined = flat.tree[NAME]
    size = sum(value[0].size for value in parameters.values())
    assert joined.shape == (CELLS, -(-size // ROW) * ROW)
    assert not mx.any(joined[:, size:]).item()
    parted = flat.parted(joined)
    assert list(parted) == list(parameters) == list(flat.paths)
    assert all(mx.array_equal(parted[path], value) for path, value in parameters.items())


def test_what_is_held_is_what_the_model_computes_with(model: nn.Module) -> None:
    ids = mx.array([[5, 6, 7]] * CELLS)
    before = model(ids)
    flat = Flat(model)
    values = {
        path: mx.random.normal(value.shape, key=mx.random.key(1))
        for path, value in flat.parted(flat.tree[NAME]).items()
    }
    flat.hold(flat.joined(values))
    held = model(ids)
    assert mx.abs(held - before).max().item() > 0.1
    model.load_weights(list(values.items()), strict=False)
    np.testing.assert_array_equal(held, model(ids))


def test_clipping_each_cell_is_mlxs_clipping_of_that_cell_alone() -> None:
    scale = mx.array([0.001, 1.0, 100.0, 0.0])[:, None]  # below the limit, above it, and nothing at all
    gradients = scale * mx.random.normal((4, 2 * ROW), key=mx.random.key(0))
    clipped, norms = clip_each(gradients, 1.0)
    for cell in range(4):
        expected, norm = optim.clip_grad_norm({"all": gradients[cell]}, 1.0)
        assert norms[cell].item() == pytest.approx(norm.item(), rel=1e-5)
        np.testing.assert_allclose(clipped[cell], expected["all"], rtol=1e-5)


def test_the_norm_of_millions_of_small_values_beside_a_large_one_keeps_its_digits() -> None:
    values = np.full((1, 2**22), 1e-4, np.float32)
    values[0, 0] = 1.0
    _, norms = clip_each(mx.array(values), 1.0)
    assert norms.item() == pytest.approx(np.linalg.norm(values.astype(np.float64)), rel=1e-4)


def test_scalars_are_parts_of_their_own_in_whole_models() -> None:
    model = load(Model(source=BuiltSource(built="apertus"), blocks=2)).model  # whose activations have some
    model.unfreeze()
    parameters = dict(tree_flatten(model.trainable_parameters()))
    assert any(value.ndim == 0 for value in parameters.values())
    flat = Flat(model, stacked=False)
    parted = flat.parted(flat.tree[NAME])
    assert all(mx.array_equal(parted[path], value) for path, value in parameters.items())
