"""Conversion of a GGUF file to a folder that mlx-lm loads: float32 weights, the configuration and the tokenizer.

It undoes the changes of tensor names and layouts that llama.cpp's convert_hf_to_gguf.py makes.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize
from tokenizers import Tokenizer, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast
from transformers.integrations.gguf.gguf_tokenizer_mapping import convert_gguf_tokenizer

from study.models import ModelError

Array = np.ndarray[Any, np.dtype[np.float32]]

MODEL_TYPES = {"llama": "llama", "qwen2": "qwen2", "gemma3": "gemma3_text"}

_OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_IN_BLOCK = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_IN_GEMMA_BLOCK = _IN_BLOCK | {
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}

SPLITS = ("gpt-2", "llama-bpe", "qwen2", "smollm")
"""Supported ways in which byte-level tokenizers split text before merging (`tokenizer.ggml.pre`)."""


class Metadata:
    """The key-value pairs of a GGUF file; names that begin with neither `general.` nor `tokenizer.` are those of the
    architecture."""

    def __init__(self, reader: GGUFReader) -> None:
        self._fields = reader.fields
        self.architecture = str(self._read("general.architecture", None))

    def __call__(self, name: str, default: Any = None) -> Any:
        known = name.startswith(("general.", "tokenizer."))
        return self._read(name if known else f"{self.architecture}.{name}", default)

    def _read(self, key: str, default: Any) -> Any:
        return self._fields[key].contents() if key in self._fields else default

    def required(self, name: str) -> Any:
        value = self(name)
        if value is None:
            raise ModelError(f"the GGUF file lacks {self.architecture}.{name}: it is incomplete; use another file")
        return value


def convert(gguf: Path, out: Path) -> None:
    """Write `gguf` to the new folder `out`: config.json, model.safetensors (float32) and the tokenizer.

    Float32 represents the dequantised values exactly. Raises ModelError on a file that is not GGUF, on an architecture
    other than llama, qwen2 and gemma3, and on a feature that mlx-lm's model would silently leave out.
    """
    try:
        reader = GGUFReader(gguf)
    except (OSError, ValueError, IndexError) as error:
        raise ModelError(f"cannot read {gguf} as GGUF: {error}") from error
    metadata = Metadata(reader)
    if metadata.architecture not in MODEL_TYPES:
        raise ModelError(
            f"{gguf.name} holds the architecture {metadata.architecture!r}; GGUF files can be converted for "
            + ", ".join(MODEL_TYPES)
            + ". Name the model by its hub id or folder instead"
        )
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    rope_factors = tensors.pop("rope_freqs.weight", None)
    config = _config(metadata, set(tensors), None if rope_factors is None else np.array(rope_factors.data))
    config["vocab_size"] = int(tensors["token_embd.weight"].shape[1])

    layout = _layout(config)
    weights = {}
    for name, tensor in tensors.items():
        weight = dequantize(tensor.data, tensor.tensor_type)
        weights[_name(name, metadata.architecture)] = mx.array(layout(name, weight.astype(np.float32, copy=False)))
    out.mkdir(parents=True)
    mx.save_safetensors(str(out / "model.safetensors"), weights, {"format": "mlx"})
    _tokenizer(metadata).save_pretrained(out)
    (out / "config.json").write_text(json.dumps(config, indent=2))


def _name(name: str, architecture: str) -> str:
    """Return mlx-lm's name of a tensor: `blk.3.attn_q.weight` -> `model.layers.3.self_attn.q_proj.weight`.

    Raises ModelError where mlx-lm's model has no such weight.
    """
    stem, _, kind = name.rpartition(".")
    if block := re.fullmatch(r"blk\.(\d+)\.(\w+)", stem):
        number, part = block.groups()
        names = _IN_GEMMA_BLOCK if architecture == "gemma3" else _IN_BLOCK
        if part in names:
            return f"model.layers.{number}.{names[part]}.{kind}"
    elif stem in _OUTER:
        return f"{_OUTER[stem]}.{kind}"
    raise ModelError(f"{architecture} GGUF files with a tensor {name!r} cannot be converted: mlx-lm has no such weight")


def _layout(config: dict[str, Any]) -> Callable[[str, Array], Array]:
    """Return the function that turns a tensor, by name, as llama.cpp stores it into the tensor of the original
    model."""
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}

    def layout(name: str, weight: Array) -> Array:
        part = name.split(".")[-2]
        if config["model_type"] == "llama" and part in heads:
            # Rows of a head are stored for interleaved RoPE: (0, d/2, 1, d/2+1, ...).
            return weight.reshape(heads[part], -1, 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)
        if config["model_type"] == "gemma3_text" and part.endswith("_norm"):
            return weight - 1.0  # stored as 1 + w
        return weight

    return layout


def _config(metadata: Metadata, names: set[str], rope_factors: Array | None) -> dict[str, Any]:
    heads = int(metadata.required("attention.head_count"))
    hidden_size = int(metadata.required("embedding_length"))
    head_dim = int(metadata("attention.key_length", hidden_size // heads))
    config = {
        "model_type": MODEL_TYPES[metadata.architecture],
        "hidden_size": hidden_size,
        "num_hidden_layers": int(metadata.required("block_count")),
        "intermediate_size": int(metadata.required("feed_forward_length")),
        "num_attention_heads": heads,
        "num_key_value_heads": int(metadata("attention.head_count_kv", heads)),
        "head_dim": head_dim,
        "rms_norm_eps": float(metadata.required("attention.layer_norm_rms_epsilon")),
        "max_position_embeddings": int(metadata.required("context_length")),
        "rope_theta": float(metadata("rope.freq_base", 1e6 if metadata.architecture == "gemma3" else 1e4)),
        "rope_scaling": _rope_scaling(metadata, head_dim, rope_factors),
        "tie_word_embeddings": "output.weight" not in names,
        "bos_token_id": metadata("tokenizer.ggml.bos_token_id"),
        "eos_token_id": metadata("tokenizer.ggml.eos_token_id"),
    }
    _refuse(metadata, "expert_count", 0)
    _refuse(metadata, "rope.dimension_count", head_dim)
    _refuse(metadata, "attention.value_length", head_dim)
    if metadata.architecture == "llama":
        config["attention_bias"] = "blk.0.attn_q.bias" in names
        config["mlp_bias"] = "blk.0.ffn_up.bias" in names
    elif metadata.architecture == "qwen2":
        _refuse(metadata, "attention.key_length", hidden_size // heads)
    else:
        _refuse(metadata, "final_logit_softcapping", 0.0)
        is_27b = config["num_hidden_layers"] == 62  # llama.cpp too recognises its other attention scale by depth
        config |= {
            "query_pre_attn_scalar": hidden_size // heads if is_27b else head_dim,
            "sliding_window": int(metadata("attention.sliding_window", 512)),
            "sliding_window_pattern": int(metadata("attention.sliding_window_pattern", 6)),
            "rope_local_base_freq": float(metadata("rope.freq_base_swa", 1e4)),
        }
    return config


def _refuse(metadata: Metadata, name: str, allowed: float) -> None:
    value = metadata(name, allowed)
    if value != allowed:
        raise ModelError(
            f"{metadata.architecture} GGUF files with {name} = {value} cannot be converted: "
            f"mlx-lm's model has {allowed}"
        )


def _rope_scaling(metadata: Metadata, head_dim: int, factors: Array | None) -> dict[str, Any] | None:
    kind = metadata("rope.scaling.type", "none")
    if kind not in ("none", "linear"):
        raise ModelError(f"GGUF files with RoPE scaling {kind!r} cannot be converted: allowed are none and linear")
    if factors is not None:
        return _llama3_scaling(float(metadata("rope.freq_base", 1e4)), head_dim, factors)
    if kind == "linear":
        return {"rope_type": "linear", "factor": float(metadata.required("rope.scaling.factor"))}
    return None


def _llama3_scaling(base: float, head_dim: int, factors: Array) -> dict[str, Any]:
    """Return Llama 3's RoPE parameters that give the stored frequency factors [head_dim / 2].

    Raises ModelError where other parameters gave them.
    """
    factor = float(factors.max())
    scaling = {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    wavelengths = 2 * np.pi * base ** (np.arange(0, head_dim, 2) / head_dim)
    smooth = np.clip((8192 / wavelengths - 1.0) / (4.0 - 1.0), 0.0, 1.0)
    expected = 1.0 / ((1.0 - smooth) / factor + smooth)
    if factors.shape != expected.shape or not np.allclose(factors, expected, rtol=1e-3):
        raise ModelError("the GGUF file scales RoPE frequencies in a way other than Llama 3's: it cannot be converted")
    return scaling


def _tokenizer(metadata: Metadata) -> PreTrainedTokenizerFast:
    """Return the file's tokenizer; `encode` adds BOS where llama.cpp would. Raises ModelError on other kinds."""
    kind, split = metadata("tokenizer.ggml.model"), metadata("tokenizer.ggml.pre", "gpt-2")
    if kind not in ("gpt2", "llama") or (kind == "gpt2" and split not in SPLITS):
        raise ModelError(
            f"GGUF files with the tokenizer {kind!r} ({split!r}) cannot be converted: "
            f"allowed are 'llama', and 'gpt2' with one of {', '.join(SPLITS)}"
        )
    parts = {"tokenizer_type": "model", "pre_tokenizer_type": "pre"}
    parts |= {name: name for name in ("tokens", "scores", "token_type", "merges")}
    found = {name: metadata(f"tokenizer.ggml.{key}") for name, key in parts.items()}
    backend, _ = convert_gguf_tokenizer(
        metadata.architecture, {name: value for name, value in found.items() if value is not None}
    )
    if split == "smollm":
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    special = _special_tokens(metadata)
    adds_bos = metadata("tokenizer.ggml.add_bos_token", kind == "llama" or split == "llama-bpe")
    backend.post_processor = _bos_processor(backend, special["bos_token"] if adds_bos else None)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        chat_template=metadata("tokenizer.chat_template"),
        clean_up_tokenization_spaces=False,
        **special,
    )


def _special_tokens(metadata: Metadata) -> dict[str, str]:
    keys = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
    ids = {name: metadata(f"tokenizer.ggml.{key}_token_id") for name, key in keys.items()}
    tokens = metadata("tokenizer.ggml.tokens")
    return {name: tokens[number] for name, number in ids.items() if number is not None}


def _bos_processor(backend: Tokenizer, bos: str | None) -> processors.PostProcessor:
    if bos is None:
        return processors.ByteLevel(trim_offsets=False)
    return processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A $B", special_tokens=[(bos, backend.token_to_id(bos))]
    )
