"""What is declared of architectures, against the models that mlx-lm builds of them."""

import re

import pytest
from mlx.utils import tree_flatten

from study.config.catalogue import BuiltSource, Model
from study.config.designs import CONTRASTS, DESIGNS
from study.models.load import load

FUNCTIONAL = {"nanochat"}
"""Normalises without weights, so that names do not show it."""
BEFORE = r"\.(input_layernorm|ln_1|pre_mixer_norm|attn_norm|operator_norm|norm)\.weight"
AFTER = r"\.(post_feedforward_layernorm|post_mlp_layernorm|post_mlp_norm)\.weight"
KEYS = r"\.(k_norm|k_layernorm|k_weight)(\.weight)?$"
GATES = r"\.(gate_proj|gate_up_proj|w1)\.weight"
RECURRENT = r"\.(conv1d|conv|linear_attn|in_proj)\."


@pytest.mark.parametrize("name", DESIGNS)
def test_the_parameters_of_the_blocks_show_the_design(name: str) -> None:
    model, design = load(Model(source=BuiltSource(built=name), blocks=4)).model, DESIGNS[name]
    blocks = [[f".{path}" for path, _ in tree_flatten(block.parameters())] for block in model.layers]
    names = [path for block in blocks for path in block]

    def have(pattern: str) -> bool:
        return any(re.search(pattern, path) for path in names)

    if name not in FUNCTIONAL:
        assert have(KEYS) == design.query_key_norm
        assert have(AFTER) == (design.norms in ("after", "both"))
        assert have(BEFORE) == (design.norms in ("before", "both"))
    recurrent = [any(re.search(RECURRENT, path) for path in block) for block in blocks]
    assert design.mixer == (
        "both" if any(recurrent) and not all(recurrent) else "recurrence" if all(recurrent) else "attention"
    )
    has_mlp = have(r"\.(mlp|ffn|feed_forward)\.")
    assert has_mlp == (design.mlp != "none")
    if name != "openelm":  # whose first projection is twice as wide
        assert have(GATES) == (design.mlp in ("gated", "experts"))
    assert have(r"switch_mlp") == (design.mlp == "experts")
    outside = [path for path, _ in tree_flatten(model.parameters()) if "layers" not in path and ".h." not in path]
    assert any("wpe" in path for path in outside) == (design.positions == "learned")


def test_the_first_projection_of_openelm_is_that_of_a_gate_and_of_what_it_gates() -> None:
    block = load(Model(source=BuiltSource(built="openelm"), blocks=2)).model.layers[0]
    assert block.ffn.proj_1.weight.shape[0] == 2 * block.ffn.proj_2.weight.shape[1]


def test_every_contrast_has_architectures_on_both_sides() -> None:
    for contrast in CONTRASTS.values():
        having = sum(contrast.has(design) for design in DESIGNS.values())
        assert 3 <= having <= len(DESIGNS) - 3


def test_a_design_is_told_in_words() -> None:
    assert DESIGNS["llama"].words == "attention, norms before, gated MLP, rotary positions"
    assert DESIGNS["mamba2"].words == "recurrence, norms before, no MLP, no positions"
    assert DESIGNS["cohere"].words.endswith(", attention and MLP in parallel")
