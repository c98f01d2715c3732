from collections.abc import Sequence
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.tuner.utils import load_adapters

from study.config.stages import Lora
from study.training import adapters
from tests.architectures import BLOCKS, NAMES, make, some_ids

VALUE_OUTPUT = Lora(rank=4, alpha=8.0, projections=["v_proj", "o_proj"])
ALL = Lora(rank=2, alpha=4.0, projections="all")


def stack_shaken(model: nn.Module, lora: Lora, seeds: Sequence[int] = (0,)) -> None:
    """Stack adapters whose updates are not zero, each cell's its own."""
    adapters.stack(model, lora, seeds)
    names = [(name, value) for name, value in tree_flatten(model.trainable_parameters()) if name.endswith("lora_b")]
    shaken = [(n, 0.1 * mx.random.normal(value.shape, key=mx.random.key(i))) for i, (n, value) in enumerate(names)]
    model.update(tree_unflatten(shaken))


def some_weights(model: nn.Module, lora: Lora) -> adapters.Weights:
    stack_shaken(model, lora)
    (weights,) = adapters.unstack(model)
    return weights


@pytest.mark.parametrize("name", NAMES)
def test_a_fresh_adapter_changes_nothing_and_a_fused_one_equals_the_adapted_model(name: str) -> None:
    model = make(name)
    plain = model(some_ids())
    adapters.stack(model, ALL, [0])
    np.testing.assert_allclose(model(some_ids()), plain, atol=1e-5)
    adapters.take_off(model)
    adapters.put(model, ALL, some_weights(model, ALL))
    adapted = model(some_ids())
    assert float(mx.abs(adapted - plain).max().item()) > 1e-2
    adapters.fuse(model)
    np.testing.assert_allclose(model(some_ids()), adapted, atol=1e-4 * float(mx.abs(adapted).max().item()))
    assert not [module for _, module in model.named_modules() if "LoRA" in type(module).__name__]
    assert not tree_flatten(model.trainable_parameters())


@pytest.mark.parametrize("name", NAMES)
def test_the_shapes_of_an_adapter_are_known_before_it_is_made(name: str) -> None:
    model = make(name)
    known = adapters.shapes(model, ALL)
    assert known == {path: value.shape for path, value in some_weights(model, ALL).items()}


@pytest.mark.parametrize("name", NAMES)
def test_each_cell_of_a_stack_computes_what_its_adapter_computes_alone(name: str) -> None:
    model, ids = make(name), some_ids()
    stack_shaken(model, ALL, seeds=[0, 1, 0])
    together = model(mx.tile(ids, (3, 1))).reshape(3, *ids.shape, -1)
    largest = float(mx.abs(together).max().item())
    assert float(mx.abs(together[0] - together[1]).max().item()) > 1e-2
    assert float(mx.abs(together[0] - together[2]).max().item()) > 1e-2
    for of_stack, weights in zip(together, adapters.unstack(model), strict=True):
        adapters.put(model, ALL, weights)
        np.testing.assert_allclose(model(ids), of_stack, atol=1e-5 * largest)
        adapters.take_off(model)


@pytest.mark.parametrize("how", ["put", "stack", "unstack"])
def test_taking_an_adapter_off_gives_the_model_back_bit_by_bit(how: str) -> None:
    model = make("llama")
    before = dict(tree_flatten(model.parameters()))
    if how == "put":
        adapters.put(model, VALUE_OUTPUT, some_weights(model, VALUE_OUTPUT))
    else:
        stack_shaken(model, VALUE_OUTPUT, [0, 1])
    assert dict(tree_flatten(model.parameters())).keys() != before.keys()
    (adapters.unstack if how == "unstack" else adapters.take_off)(model)
    after = dict(tree_flatten(model.parameters()))
    assert before.keys() == after.keys()
    assert all(mx.array_equal(before[name], after[name]) for name in before)


def test_the_named_projections_of_all_blocks_train_and_nothing_else() -> None:
    model = make("llama")
    adapters.stack(model, VALUE_OUTPUT, [0, 1])
    trained = dict(tree_flatten(model.trainable_parameters()))
    expected = {
        f"model.layers.{block}.self_attn.{projection}.{part}"
        for block in range(BLOCKS)
        for projection in ("v_proj", "o_proj")
        for part in ("lora_a", "lora_b")
    }
    assert trained.keys() == expected
    assert trained["model.layers.0.self_attn.v_proj.lora_a"].shape == (2, 32, 4)
    assert trained["model.layers.0.self_attn.v_proj.lora_b"].shape == (2, 4, 16)
    assert adapters.lowest_adapted(model) == 0


def test_the_update_is_scaled_by_alpha_over_rank() -> None:
    model = make("llama")
    weights = some_weights(model, VALUE_OUTPUT)
    before = model.model.layers[1].self_attn.o_proj.weight
    adapters.put(model, VALUE_OUTPUT, weights)
    adapters.fuse(model)
    a, b = (np.array(weights[f"model.layers.1.self_attn.o_proj.lora_{part}"], np.float64) for part in "ab")
    update = np.array(model.model.layers[1].self_attn.o_proj.weight - before)
    np.testing.assert_allclose(update, 8.0 / 4 * (a @ b).T, atol=1e-6)


def test_the_seed_alone_decides_the_first_weights() -> None:
    def first(*seeds: int) -> list[mx.array]:
        model = make("llama")
        adapters.stack(model, VALUE_OUTPUT, seeds)
        return [weights["model.layers.0.self_attn.o_proj.lora_a"] for weights in adapters.unstack(model)]

    assert mx.array_equal(first(3)[0], first(3)[0])
    assert mx.array_equal(first(3)[0], first(4, 3)[1])
    assert not mx.array_equal(first(3)[0], first(4)[0])


def test_a_projection_that_the_model_lacks_is_named_with_those_it_has() -> None:
    with pytest.raises(adapters.AdapterError, match=r"c_fc.*q_proj"):
        adapters.stack(make("llama"), Lora(rank=2, alpha=2.0, projections=["c_fc"]), [0])


@pytest.mark.parametrize("name", ["llama", "gemma3_text"])
def test_saved_adapters_load_here_and_in_mlx_lm(name: str, tmp_path: Path) -> None:
    model = make(name)
    weights = some_weights(model, VALUE_OUTPUT)
    adapters.save(model, VALUE_OUTPUT, weights, tmp_path)
    adapters.put(model, VALUE_OUTPUT, weights)
    expected = model(some_ids())
    ours, theirs = make(name), make(name)
    assert float(mx.abs(ours(some_ids()) - expected).max().item()) > 1e-2
    adapters.put(ours, VALUE_OUTPUT, adapters.load(tmp_path))
    assert mx.array_equal(ours(some_ids()), expected)
    assert mx.array_equal(load_adapters(theirs, str(tmp_path))(some_ids()), expected)


def test_an_adapter_of_another_rank_is_refused_and_the_model_stays_plain() -> None:
    model = make("llama")
    weights = some_weights(model, VALUE_OUTPUT)
    names = dict(tree_flatten(model.parameters())).keys()
    with pytest.raises(adapters.AdapterError, match="other layers or shapes"):
        adapters.put(model, Lora(rank=8, alpha=8.0, projections=["v_proj", "o_proj"]), weights)
    assert dict(tree_flatten(model.parameters())).keys() == names
