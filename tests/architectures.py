"""Tiny models of several mlx-lm architectures, with random weights from a seed."""

from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_map
from mlx_lm.utils import _get_classes

from study.models.tiny import Sizes, configuration

VOCABULARY = 97
BLOCKS = 3
SIZES = Sizes(hidden=32, intermediate=64, heads=4, blocks=BLOCKS, vocabulary=VOCABULARY)

_OWN: dict[str, dict[str, Any]] = {
    "llama": {"num_key_value_heads": 2},
    "llama untied": {"tie_word_embeddings": False},
    "qwen2": {},
    "qwen3": {},
    "gemma2": {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 3.0},
    "gemma3_text": {"sliding_window": 8},
    "gpt2": {},
    "phi": {"partial_rotary_factor": 0.5},
    "olmo2": {},
}
NAMES = tuple(_OWN)


def make(name: str, seed: int = 0) -> Any:
    """The model, its weights drawn from a normal distribution wide enough that blocks differ from their input."""
    architecture = name.split()[0]
    config = configuration(architecture, SIZES, {}) | _OWN.get(name, {})
    model_class, arguments_class = _get_classes(config)
    model: nn.Module = model_class(arguments_class.from_dict(config))
    if architecture == "gemma3_text":
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
