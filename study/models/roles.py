"""The roles of the linear layers of a block, by the names that mlx-lm's architectures give them."""

from collections.abc import Iterable

from study.config.names import Role

_ATTENTION: dict[tuple[Role, ...], str] = {
    ("query",): "q_proj q_a_proj q_b_proj c_q attn_query",
    ("key",): "k_proj c_k attn_key",
    ("value",): "v_proj c_v attn_value",
    ("key", "value"): "kv_proj kv_a_proj_with_mqa kv_b_proj",
    ("query", "key", "value"): "qkv_proj q_k_v_proj qkvg_proj query_key_value Wqkv wqkv W_pack c_attn in_proj_qkv "
    "in_proj_qkvz",
    ("output",): "o_proj o_b_proj out_proj c_proj dense wo attn_resid",
}
"""Names of layers by their roles, in a module that computes queries or values; a fused layer has several roles."""
_OF_ATTENTION = {name: those for those, names in _ATTENTION.items() for name in names.split()}

_OF_MLP = frozenset(
    "gate_proj up_proj down_proj gate_up_proj fc1 fc2 fc_in fc_out w1 w2 w3 c_fc c_fc_0 c_fc_1 c_proj dense_h_to_4h "
    "dense_4h_to_h proj_1 proj_2 mlp_gate mlp_linear mlp_resid input_linear output_linear key value".split()
)

_LEFT_ALONE = frozenset("gate router shared_expert_gate coefficient indexer experts".split())


def roles(paths: Iterable[str]) -> dict[str, tuple[Role, ...]]:
    """Return the roles of the linear layers of one block, by their paths within it; empty where a layer has none.

    Layers of a module that computes neither queries nor values, such as a state-space mixer or a convolution, have no
    roles of attention.
    """
    known = list(paths)
    attention = {_parent(path) for path in known if {"query", "value"}.intersection(_OF_ATTENTION.get(_name(path), ()))}
    found: dict[str, tuple[Role, ...]] = {}
    for path in known:
        if _parent(path) in attention:
            found[path] = _OF_ATTENTION.get(_name(path), ())
        else:
            found[path] = ("mlp",) if _name(path) in _OF_MLP else ()
    return found


def left_alone(path: str) -> bool:
    """Whether a layer is never adapted: it chooses among experts or tokens, or is one of several experts.

    An adapter would change the choice, or get the rows of several cells mixed.
    """
    return not _LEFT_ALONE.isdisjoint(path.split("."))


def _parent(path: str) -> str:
    return path.rpartition(".")[0]


def _name(path: str) -> str:
    return path.rpartition(".")[2]
