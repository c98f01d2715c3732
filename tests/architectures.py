"""Tiny models of several mlx-lm architectures, with random weights from a seed."""

import importlib
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_map

VOCABULARY = 97
BLOCKS = 3

_COMMON: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": BLOCKS,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "query_pre_attn_scalar": 8,
    "vocab_size": VOCABULARY,
    "rms_norm_eps": 1e-5,
    "layer_norm_eps": 1e-5,
    "tie_word_embeddings": True,
    "rope_theta": 10000.0,
    "max_position_embeddings": 128,
    "sliding_window": 8,
    "sliding_window_pattern": 2,
}
_OWN: dict[str, dict[str, Any]] = {
    "llama": {},
    "llama untied": {"tie_word_embeddings": False},
    "qwen2": {},
    "qwen3": {},
    "gemma2": {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 3.0},
    "gemma3_text": {},
    "gpt2": {
        "n_embd": 32,
        "n_layer": BLOCKS,
        "n_head": 4,
        "n_positions": 128,
        "n_ctx": 128,
        "layer_norm_epsilon": 1e-5,
    },
    "phi": {"partial_rotary_factor": 0.5},
    "olmo2": {},
}
NAMES = tuple(_OWN)


def make(name: str, seed: int = 0) -> Any:
    """The model, its weights drawn from a normal distribution wide enough that blocks differ from their input."""
    architecture = name.split()[0]
    module = importlib.import_module(f"mlx_lm.models.{architecture}")
    arguments = module.ModelArgs.from_dict({**_COMMON, "model_type": architecture, **_OWN[name]})
    model: nn.Module = module.Model(arguments)
    if hasattr(model, "sanitize") and architecture == "gemma3_text":
        model.sanitize({})  # ties the head, as loading real weights does
    keys = iter(mx.random.split(mx.random.key(seed), 1000))

    def draw(weight: mx.array) -> mx.array:
        noise = 0.2 * mx.random.normal(weight.shape, key=next(keys))
        return noise if weight.ndim > 1 else 1 + noise

    model.update(tree_map(draw, model.parameters()))
    mx.eval(model.parameters())
    return model


def some_ids(batch: int = 2, length: int = 7, seed: int = 1) -> mx.array:
    return mx.random.randint(0, VOCABULARY, (batch, length), key=mx.random.key(seed))
