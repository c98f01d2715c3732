from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten
from mlx_lm.tuner.utils import load_adapters

from study import adapters
from study.config import Lora
from tests.architectures import BLOCKS, NAMES, make, some_ids

VALUE_OUTPUT = Lora(rank=4, alpha=8.0, projections=["v_proj", "o_proj"])
ALL = Lora(rank=2, alpha=4.0, projections="all")


def shake(model: object) -> None:
    """Give every adapter an update that is not zero."""
    for i, layer in enumerate(adapters.adapters(model).values()):  # type: ignore[arg-type]
        layer.lora_b = 0.1 * mx.random.normal(layer.lora_b.shape, key=mx.random.key(i))


@pytest.mark.parametrize("name", NAMES)
def test_a_fresh_adapter_changes_nothing_and_a_fused_one_equals_the_adapted_model(name: str) -> None:
    model = make(name)
    plain = model(some_ids())
    adapters.attach(model, ALL, seed=0)
    np.testing.assert_allclose(model(some_ids()), plain, atol=1e-5)
    shake(model)
    adapted = model(some_ids())
    assert float(mx.abs(adapted - plain).max().item()) > 1e-2
    adapters.fuse(model)
    np.testing.assert_allclose(model(some_ids()), adapted, atol=1e-4 * float(mx.abs(adapted).max().item()))
    assert not adapters.adapters(model)
    assert not tree_flatten(model.trainable_parameters())


def test_taking_an_adapter_off_gives_the_model_back_bit_by_bit() -> None:
    model = make("llama")
    before = dict(tree_flatten(model.parameters()))
    adapters.attach(model, VALUE_OUTPUT, seed=0)
    shake(model)
    adapters.take_off(model)
    after = dict(tree_flatten(model.parameters()))
    assert before.keys() == after.keys()
    assert all(mx.array_equal(before[name], after[name]) for name in before)


def test_the_named_projections_of_all_blocks_train_and_nothing_else() -> None:
    model = make("llama")
    assert adapters.attach(model, VALUE_OUTPUT, seed=0) == ["self_attn.o_proj", "self_attn.v_proj"]
    names = {name for name, _ in tree_flatten(model.trainable_parameters())}
    expected = {
        f"model.layers.{block}.self_attn.{projection}.{part}"
        for block in range(BLOCKS)
        for projection in ("v_proj", "o_proj")
        for part in ("lora_a", "lora_b")
    }
    assert names == expected
    assert all(layer.scale == 2.0 for layer in adapters.adapters(model).values())


def test_the_seed_alone_decides_the_first_weights() -> None:
    def first(seed: int) -> mx.array:
        model = make("llama")
        adapters.attach(model, VALUE_OUTPUT, seed)
        return next(iter(adapters.adapters(model).values())).lora_a

    assert mx.array_equal(first(3), first(3))
    assert not mx.array_equal(first(3), first(4))


def test_a_projection_that_the_model_lacks_is_named_with_those_it_has() -> None:
    with pytest.raises(adapters.AdapterError, match=r"c_fc.*q_proj"):
        adapters.attach(make("llama"), Lora(rank=2, alpha=2.0, projections=["c_fc"]), seed=0)


def test_saved_adapters_load_here_and_in_mlx_lm(tmp_path: Path) -> None:
    model = make("llama")
    keys = adapters.attach(model, VALUE_OUTPUT, seed=0)
    shake(model)
    adapters.save(model, VALUE_OUTPUT, keys, tmp_path)
    expected = model(some_ids())
    ours, theirs = make("llama"), make("llama")
    adapters.load(ours, VALUE_OUTPUT, tmp_path)
    assert mx.array_equal(ours(some_ids()), expected)
    assert mx.array_equal(load_adapters(theirs, str(tmp_path))(some_ids()), expected)


def test_an_adapter_of_another_rank_is_refused(tmp_path: Path) -> None:
    model = make("llama")
    adapters.save(model, VALUE_OUTPUT, adapters.attach(model, VALUE_OUTPUT, seed=0), tmp_path)
    with pytest.raises(adapters.AdapterError, match="other layers or shapes"):
        adapters.load(make("llama"), Lora(rank=8, alpha=8.0, projections=["v_proj", "o_proj"]), tmp_path)
