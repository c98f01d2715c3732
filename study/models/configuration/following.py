"""Keys that classes of mlx-lm read and config.json has under another name, or says by other keys."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from study.models.configuration.part import Part, shown

Rule: TypeAlias = Callable[[Part], Any]
"""The value that follows; None where nothing does."""


def _key(name: str) -> Rule:
    return lambda part: part.said(name)


def _constant(value: Any) -> Rule:
    return lambda part: value


def _head_width(part: Part) -> int | None:
    width, heads = part.said("hidden_size"), part.said("num_attention_heads")
    return part.said("head_dim") or (width // heads if width and heads else None)


def _expanded(part: Part) -> int | None:
    width, factor = part.said("hidden_size"), part.said("expand")
    return int(width * factor) if width and factor else None


def _sparse(part: Part) -> list[bool] | None:
    kinds = part.said("mlp_layer_types")
    return [kind == "sparse" for kind in kinds] if kinds else None


def _four_times(part: Part) -> int | None:
    width = part.said("n_embd")
    return 4 * width if width else None


ANY: dict[str, Rule] = {"head_dim": _head_width, "num_experts": _key("num_local_experts")}
"""Keys of any class that has no default for them."""
BY_ARCHITECTURE: dict[str, dict[str, Rule]] = {
    "apertus": {"mlp_bias": _constant(False), "post_norm": _constant(False), "qk_norm": _constant(True)},
    "exaone_moe": {"is_moe_layer": _sparse},
    "falcon_h1": {"head_dim": _head_width},
    "glm_moe_dsa": {
        "topk_method": _constant("noaux_tc"),
        "scoring_func": _constant("sigmoid"),
        "moe_layer_freq": _constant(1),
    },
    "gpt2": {"n_ctx": _key("n_positions")},
    "gpt_bigcode": {"n_inner": _four_times},
    "lfm2": {"block_dim": _key("hidden_size")},
    "longcat_flash": {
        "attention_method": _constant("MLA"),
        "zero_expert_type": _constant("identity"),
        "mla_scale_q_lora": _constant(True),
        "mla_scale_kv_lora": _constant(True),
    },
    "mamba2": {"intermediate_size": _expanded},
    "minimax": {"shared_intermediate_size": _constant(0)},  # not used
    "solar_open": {
        "intermediate_size": _constant(0),  # for dense blocks, of which it has none
        "first_k_dense_replace": _constant(0),
        "partial_rotary_factor": _constant(1.0),
    },
}
NAMES: dict[tuple[str, str], dict[str, str]] = {
    ("granitemoehybrid", "layer_types"): {"linear_attention": "mamba", "full_attention": "attention"},
}
"""Names of kinds of blocks in transformers 5, with those that mlx-lm takes."""
NULL_MEANS: dict[tuple[str, str], Any] = {("granitemoehybrid", "position_embedding_type"): "nope"}
"""Values of keys that mlx-lm takes otherwise where they are null."""
_PATTERNS = {
    "cohere2": "sliding_window_pattern",
    "exaone4": "sliding_window_pattern",
    "gemma3_text": "sliding_window_pattern",
    "qwen3_5": "full_attention_interval",
    "qwen3_next": "full_attention_interval",
}
"""Architectures in which every so many blocks have full attention, and the key that says how many."""


def fill_in(part: Part) -> None:
    """Give the class of a part the keys that follow from others."""
    rules = {key: rule for key, rule in ANY.items() if part.needs(key)} | BY_ARCHITECTURE.get(part.architecture, {})
    for key, rule in rules.items():
        if part.written.get(key) is None and key not in part.replaced and (value := rule(part)) is not None:
            part.assume(key, value, "follows from the architecture or other keys")
    for (architecture, key), names in NAMES.items():
        if part.architecture == architecture and part.said(key):
            part.replace(key, [names.get(kind, kind) for kind in part.said(key)], key)
    for (architecture, key), value in NULL_MEANS.items():
        if part.architecture == architecture and part.states(key) and part.said(key) is None:
            part.replace(key, value, f"{key} null, which means")
    if part.architecture in _PATTERNS and part.said("layer_types"):
        _translate_pattern(part, _PATTERNS[part.architecture], part.said("layer_types"))


def _translate_pattern(part: Part, key: str, kinds: Sequence[str]) -> None:
    """Translate the kinds of all blocks into the pattern by which the class chooses them."""
    full = [kind == "full_attention" for kind in kinds]
    written: Any = part.read(key)
    if written and _blocks_of(written, len(full)) == full:
        return
    every = next((n for n in range(1, len(full) + 2) if _blocks_of(n, len(full)) == full), None)
    if every is None:
        part.problems.append(f"layer_types {shown(list(kinds))} (computed: full attention in every n-th block)")
    elif part.architecture == "exaone4":
        part.replace(key, "L" * (every - 1) + "G" if every > 1 else None, "layer_types")
    else:
        part.replace(key, every, "layer_types")


def _blocks_of(pattern: int | str, blocks: int) -> list[bool]:
    """Return which blocks have full attention by a pattern: 6, or LLLG."""
    if isinstance(pattern, str):
        return [pattern[block % len(pattern)] == "G" for block in range(blocks)]
    return [(block + 1) % pattern == 0 for block in range(blocks)]
