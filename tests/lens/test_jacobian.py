"""The Jacobian lens: of linear blocks it is their map, and of real ones what small steps measure."""

import json
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from study.config.catalogue import BuiltSource, Model, WeightFormat
from study.config.lenses import LensFitting
from study.lens.hooks import attached
from study.lens.jacobian import fit_jacobian
from study.lens.texts import Texts
from study.lens.translators import Translators
from study.models.load import load
from tests.architectures import BLOCKS, VOCABULARY, make
from tests.turned import HIDDEN, Turned, rotation
from tests.turned import VOCABULARY as TURNED

SETTINGS = LensFitting(jacobian_texts=3, jacobian_tokens=6)
ARCHITECTURES = ("llama", "mamba2", "gemma3_text", "gpt2")


def some_texts(vocabulary: int = VOCABULARY) -> Texts:
    return Texts(np.random.default_rng(0).integers(vocabulary, size=(3, 8)), "random ids")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_jacobian_of_the_last_block_is_the_identity_and_no_other_is(name: str) -> None:
    found = fit_jacobian(make(name), some_texts(), SETTINGS)
    assert found.maps.shape == (BLOCKS, 32, 32)
    np.testing.assert_array_equal(found.maps[-1], np.eye(32))
    assert float(mx.abs(found.maps[0] - mx.eye(32)).max().item()) > 0.1
    np.testing.assert_array_equal(found.biases, 0)


def test_of_linear_blocks_it_is_the_product_of_their_maps_whatever_the_text() -> None:
    maps = [rotation(seed) for seed in range(3)]
    found = fit_jacobian(Turned(maps), some_texts(TURNED), SETTINGS)
    np.testing.assert_allclose(found.maps[1], maps[2], atol=1e-6)
    np.testing.assert_allclose(found.maps[0], maps[2] @ maps[1], atol=1e-6)
    assert json.loads(found.about["relative_error"]) == [0.0, 0.0, 0.0]


def test_what_later_positions_take_up_is_added() -> None:
    # Of the used positions 1 to 4, the first three are passed on once to a used one, by half.
    turn = rotation()
    found = fit_jacobian(Turned([np.eye(HIDDEN), turn], carried=0.5), some_texts(TURNED), SETTINGS)
    np.testing.assert_allclose(found.maps[0], (1 + 0.5 * 3 / 4) * turn, atol=1e-6)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_it_is_what_small_steps_of_one_hidden_state_measure(name: str) -> None:
    model, texts = make(name), some_texts()
    found: Translators = fit_jacobian(model, texts, SETTINGS)
    ids = mx.array(texts.ids[:, :6])
    layer, direction = BLOCKS - 2, np.random.default_rng(1).standard_normal(32)
    step = 0.02
    moved = np.zeros(32)
    with attached(model) as lens:
        for position in range(1, 5):
            ends = []
            for sign in (1, -1):
                added = np.zeros((1, 6, 32), np.float32)
                added[0, position] = sign * step * direction
                after = lens.hidden(ids, edits={layer: lambda state, added=added: state + mx.array(added)})[-1]
                ends.append(np.array(after, np.float64)[:, 1:5].sum(axis=1).mean(axis=0))
            moved += (ends[0] - ends[1]) / (2 * step) / 4
    told = np.array(found.maps[layer], np.float64) @ direction
    np.testing.assert_allclose(told, moved, atol=0.01 * np.abs(moved).max())


@pytest.mark.parametrize("weights", ["float32", "8bit"])
@pytest.mark.parametrize("built", ["llama", "mixtral"])
def test_experts_and_quantised_weights_have_one_too(
    built: str, weights: WeightFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLX 0.32.4 has no vmap of the product of experts, GatherMM: findings/mlx-no-vmap-of-experts.sh."""
    loaded = load(Model(source=BuiltSource(built=built), blocks=2, weights=weights))
    found = fit_jacobian(loaded.model, some_texts(400), SETTINGS)

    def none(function: Any) -> Any:
        raise ValueError("[Primitive::vmap] Not implemented")

    monkeypatch.setattr("mlx.core.vmap", none)
    np.testing.assert_allclose(fit_jacobian(loaded.model, some_texts(400), SETTINGS).maps, found.maps, atol=1e-5)


def test_its_error_falls_with_the_number_of_texts() -> None:
    model = make("llama")
    texts = Texts(np.random.default_rng(0).integers(VOCABULARY, size=(64, 8)), "random ids")
    errors = []
    for count in (4, 64):
        settings = LensFitting(jacobian_texts=count, jacobian_tokens=8)
        errors.append(np.array(json.loads(fit_jacobian(model, texts, settings).about["relative_error"])))
    assert (errors[1][:-1] < 0.6 * errors[0][:-1]).all()
    assert errors[1][-1] == 0
