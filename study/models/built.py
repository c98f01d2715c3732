"""Small models made in place: an mlx-lm architecture with seeded random weights and a word-level tokenizer."""

import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten
from mlx_lm.utils import _get_classes
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from study.catalogue import BuiltSource
from study.models import ModelError

ARCHITECTURES = ("gemma2", "gemma3_text", "gpt2", "gpt_neox", "llama", "olmo2", "qwen2", "qwen3")

BOS, EOS, UNKNOWN = "<bos>", "<eos>", "<unk>"
_CHARACTERS = ("\n", *map(chr, range(32, 127)))


def build(source: BuiltSource, blocks: int, words: Sequence[str], out: Path) -> None:
    """Write the model to the new folder `out`, with `words` and those of `source` as whole tokens.

    The same arguments give the same bits on every machine. Raises ModelError on an architecture that is not listed.
    """
    if source.built not in ARCHITECTURES:
        raise ModelError(f"cannot build a {source.built!r} model; allowed are {', '.join(ARCHITECTURES)}")
    if source.hidden_size % (2 * source.attention_heads):
        raise ModelError(
            f"hidden_size {source.hidden_size} does not give {source.attention_heads} attention_heads an even width"
        )
    tokenizer = word_tokenizer([*words, *source.words])
    config = _config(source, blocks, tokenizer)
    model_class, arguments_class = _get_classes(config)
    names = {field.name for field in dataclasses.fields(arguments_class)}
    arguments = arguments_class(**{name: value for name, value in config.items() if name in names})
    initial: dict[str, mx.array] = {}
    tree_flatten(model_class(arguments).parameters(), destination=initial)
    out.mkdir(parents=True)
    weights = {name: _draw(name, array, source.seed) for name, array in initial.items()}
    mx.save_safetensors(str(out / "model.safetensors"), weights, {"format": "mlx"})
    tokenizer.save_pretrained(out)
    (out / "config.json").write_text(json.dumps(config, indent=2))


def _draw(name: str, array: mx.array, seed: int) -> mx.array:
    """Matrices normal with variance 1 / inputs; norms and biases as the architecture starts them."""
    if array.ndim < 2:
        return array if "norm" in name or "ln_" in name else mx.zeros_like(array)
    rng = np.random.default_rng([seed, *name.encode()])
    return mx.array(rng.standard_normal(array.shape, dtype=np.float32) * array.shape[-1] ** -0.5)


def _config(source: BuiltSource, blocks: int, tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """One configuration for every architecture: each takes the names that it knows."""
    head_dim = source.hidden_size // source.attention_heads
    positions = 2048
    return {
        "model_type": source.built,
        "vocab_size": len(tokenizer),
        "hidden_size": source.hidden_size,
        "n_embd": source.hidden_size,
        "intermediate_size": source.intermediate_size,
        "num_hidden_layers": blocks,
        "n_layer": blocks,
        "num_attention_heads": source.attention_heads,
        "n_head": source.attention_heads,
        "num_key_value_heads": source.attention_heads,
        "head_dim": head_dim,
        "query_pre_attn_scalar": head_dim,
        "sliding_window_pattern": min(2, blocks),
        "max_position_embeddings": positions,
        "n_positions": positions,
        "n_ctx": positions,
        "rms_norm_eps": 1e-6,
        "layer_norm_eps": 1e-5,
        "layer_norm_epsilon": 1e-5,
        "rope_theta": 10000.0,
        "rotary_emb_base": 10000,
        "rotary_pct": 1.0,
        "tie_word_embeddings": True,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }


def word_tokenizer(words: Sequence[str]) -> PreTrainedTokenizerFast:
    """Each word is one token, with its leading space too; all other text goes character by character.

    `encode` adds BOS. Printable ASCII and the newline are never unknown.
    """
    whole = sorted({word for word in words if len(word) > 1}, key=lambda word: (-len(word), word))
    tokens = [UNKNOWN, BOS, EOS, *_CHARACTERS, *whole, *(f" {word}" for word in whole)]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    alternatives = "|".join(map(re.escape, whole))
    pieces = rf"(?: |(?<![A-Za-z]))(?:{alternatives})(?![A-Za-z])|[\s\S]" if whole else r"[\s\S]"
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(pieces), behavior="isolated")
    backend.decoder = decoders.Fuse()
    backend.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, vocabulary[BOS])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNKNOWN,
        pad_token=EOS,
        clean_up_tokenization_spaces=False,
    )
