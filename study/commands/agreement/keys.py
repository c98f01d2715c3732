"""The keys of config.json that mlx-lm reads, from those that transformers 5 saves."""

from collections.abc import Mapping
from typing import Any


def as_read(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys that a config.json would have if it were published before transformers 5."""
    read: dict[str, Any] = {"rope_scaling": config.get("rope_scaling")}
    if config.get("head_dim") is None and "num_attention_heads" in config:
        read["head_dim"] = config["hidden_size"] // config["num_attention_heads"]
    rotary = config.get("rope_parameters")
    if not rotary:
        return read
    if "rope_theta" not in rotary:  # by kind of layer
        full, sliding = rotary["full_attention"], rotary["sliding_attention"]
        return {**read, "rope_theta": full["rope_theta"], "rope_local_base_freq": sliding["rope_theta"]}
    read |= dict.fromkeys(("rope_theta", "rotary_emb_base"), rotary["rope_theta"])
    if "partial_rotary_factor" in rotary:
        read |= dict.fromkeys(("partial_rotary_factor", "rotary_pct"), rotary["partial_rotary_factor"])
    if rotary["rope_type"] != "default":
        read["rope_scaling"] = {**rotary, "type": rotary["rope_type"]}
    return read
