"""Translators: those of the logit lens change nothing, and what is saved is loaded."""

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from study.lens.hooks import attached
from study.lens.readout import divergence_from_last
from study.lens.translators import Translators, identity, load_translators
from tests.architectures import BLOCKS, NAMES, make, some_ids


@pytest.mark.parametrize("name", NAMES)
def test_identity_translators_are_the_logit_lens_to_the_last_bit(name: str) -> None:
    model = make(name)
    with attached(model) as lens:
        states = mx.stack(lens.hidden(some_ids()), axis=2).reshape(-1, BLOCKS, 32)
        moved = identity(BLOCKS, 32)(states)
        np.testing.assert_array_equal(moved, states)
        assert divergence_from_last(lens, moved)[:, -1] == pytest.approx(0, abs=1e-5)


def test_each_block_has_a_map_and_a_bias_of_its_own() -> None:
    rng = np.random.default_rng(0)
    maps, biases, states = (rng.standard_normal(shape) for shape in ((3, 5, 5), (3, 5), (7, 3, 5)))
    found = Translators("tuned", *(mx.array(one.astype(np.float32)) for one in (maps, biases)))
    moved = found(mx.array(states.astype(np.float32)))
    for block in range(3):
        np.testing.assert_allclose(moved[:, block], states[:, block] @ maps[block].T + biases[block], atol=1e-5)


def test_what_is_saved_is_loaded_with_what_it_was_fitted_on(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    maps, biases = (mx.array(rng.standard_normal(shape).astype(np.float32)) for shape in ((3, 5, 5), (3, 5)))
    Translators("tuned", maps, biases, {"text": "a text"}).save(tmp_path / "new" / "lens.safetensors")
    again = load_translators(tmp_path / "new" / "lens.safetensors")
    np.testing.assert_array_equal(again.maps, maps)
    np.testing.assert_array_equal(again.biases, biases)
    assert (again.kind, again.about) == ("tuned", {"text": "a text"})
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["lens.safetensors"]
