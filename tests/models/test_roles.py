"""Which layers a role is: by name and place in the block, and refused where it has no meaning."""

import json
from typing import Any

import pytest
from mlx.utils import tree_flatten

from study.config.stages import Lora
from study.models.roles import roles
from study.training import adapters
from tests.architectures import BLOCKS, make


def adapted(name: str, *projections: str) -> set[str]:
    """Paths of the adapted layers, with the blocks' numbers as #."""
    model = make(name)
    shapes = adapters.shapes(model, lora(*projections))
    adapters.stack(model, lora(*projections), [0])
    trained = [path for path, _ in tree_flatten(model.trainable_parameters())]
    assert sorted(trained) == sorted(shapes)
    parts = [path.rpartition(".")[0].split(".") for path in trained]
    return {".".join("#" if part.isdigit() else part for part in path) for path in parts}


def lora(*projections: str) -> Lora:
    return Lora(rank=2, alpha=2.0, projections="all" if projections == ("all",) else list(projections))


@pytest.mark.parametrize(
    ("name", "role", "expected"),
    [
        ("llama", "value", {"self_attn.v_proj"}),
        ("llama", "output", {"self_attn.o_proj"}),
        ("llama", "mlp", {"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"}),
        ("gpt2", "output", {"attn.c_proj"}),
        ("gpt2", "mlp", {"mlp.c_fc", "mlp.c_proj"}),
        ("gpt2", "value", {"attn.c_attn"}),
        ("gpt_neox", "query", {"attention.query_key_value"}),
        ("gpt_neox", "output", {"attention.dense"}),
        ("phi3", "key", {"self_attn.qkv_proj"}),
        ("talkie", "output", {"attn.attn_resid"}),
        ("deepseek_v3", "value", {"self_attn.kv_a_proj_with_mqa"}),
        ("afmoe", "mlp", {f"mlp.{of}{p}_proj" for of in ("", "shared_experts.") for p in ("gate", "up", "down")}),
        ("rwkv7", "mlp", {"ffn.key", "ffn.value"}),  # whose names are two roles
        ("qwen3_next", "value", {"self_attn.v_proj", "linear_attn.in_proj_qkvz"}),
    ],
)
def test_a_role_adapts_the_layers_that_have_it_in_every_block(name: str, role: str, expected: set[str]) -> None:
    within = {path.partition(".#.")[2] for path in adapted(name, role)}
    assert within == expected


def test_roles_and_names_give_the_same_adapter() -> None:
    first, *others = (
        dict(tree_flatten(stacked(make("llama"), *chosen).trainable_parameters()))
        for chosen in (("v_proj", "o_proj"), ("value", "output"), ("output", "v_proj"))
    )
    for other in others:
        assert other.keys() == first.keys()
        assert all((other[name] == first[name]).all() for name in first)


def stacked(model: Any, *projections: str) -> Any:
    adapters.stack(model, lora(*projections), [0])
    return model


@pytest.mark.parametrize(
    ("name", "chosen", "message"),
    [
        (
            "mamba",
            "value",
            r"value has no meaning in 3 of the 3 blocks .*\.mamba, which have dt_proj, in_proj, out_proj",
        ),
        ("mamba", "output", "output has no meaning in 3 of the 3 blocks"),
        (
            "jamba",
            "value",
            r"value has no meaning in 2 of the 3 blocks .*which have .*in_proj.*name layers, or write `all`",
        ),
        ("mixtral", "mlp", "mlp has no meaning in 3 of the 3 blocks .*which have k_proj, o_proj, q_proj, v_proj:"),
        ("gemma4_text", "key", "key has no meaning in 1 of the 3 blocks"),  # it takes the keys of an earlier block
        ("mixtral", "gate", "gate is no projection of mlx_lm.models.mixtral; its blocks have k_proj, o_proj"),
        ("afm7", "all", "no adapter fits self_attn.qkv_proj, a FusedLinear"),
    ],
)
def test_what_a_block_does_not_have_is_refused_with_what_it_has(name: str, chosen: str, message: str) -> None:
    with pytest.raises(adapters.AdapterError, match=message):
        adapters.stack(make(name), lora(chosen), [0])


def test_a_name_adapts_the_blocks_that_have_it() -> None:
    model = stacked(make("jamba"), "v_proj")
    assert set(adapters.blocks_of(model).values()) == {1}
    assert BLOCKS == 3


@pytest.mark.parametrize("name", ["qwen3_moe", "dbrx", "deepseek_v32", "granitemoehybrid", "longcat_flash"])
def test_all_leaves_routers_experts_and_indexers_alone(name: str) -> None:
    paths = adapted(name, "all")
    assert paths
    assert not [path for path in paths for part in ("gate", "router", "experts", "indexer") if part in path.split(".")]


def test_the_same_name_has_the_role_of_its_place() -> None:
    assert roles(["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj", "mixer.in_proj", "mixer.out_proj"]) == {
        "attn.c_attn": ("query", "key", "value"),
        "attn.c_proj": ("output",),
        "mlp.c_fc": ("mlp",),
        "mlp.c_proj": ("mlp",),
        "mixer.in_proj": (),
        "mixer.out_proj": (),
    }


def test_a_saved_adapter_of_roles_names_its_layers(tmp_path: Any) -> None:
    model = make("gpt2")
    weights = adapters.unstack(stacked(model, "value"))[0]
    adapters.save(model, lora("value"), weights, tmp_path)
    config = json.loads((tmp_path / adapters.CONFIG).read_text())
    assert config["lora_parameters"]["keys"] == ["attn.c_attn"]
