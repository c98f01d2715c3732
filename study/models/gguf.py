"""Conversion of a GGUF file to a folder that mlx-lm loads: float32 weights, the configuration and the tokenizer.

It undoes the changes of tensor names and layouts that llama.cpp's convert_hf_to_gguf.py makes.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from gguf.constants import GGMLQuantizationType
from gguf.quants import dequantize, quant_shape_to_byte_shape
from transformers import PreTrainedTokenizerFast

from study.models import ModelError
from study.models.gguf_header import MODEL_TYPES, Metadata, Tensor, architecture_of, read_header, shown
from study.models.gguf_tokenizer import tokenizer_of

Array = np.ndarray[Any, np.dtype[np.float32]]

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


@dataclass(frozen=True)
class Described:
    """What a GGUF file says of its model, without the values of its tensors."""

    architecture: str
    config: dict[str, Any]
    tokenizer: PreTrainedTokenizerFast
    tensors: dict[str, Tensor]


def describe(gguf: Path) -> Described:
    """Return what the header of `gguf` says, with all parts of a split file, whichever of them is given.

    Raises ModelError on a file that is not GGUF or incomplete, on an architecture other than llama, qwen2 and gemma3,
    and on a feature that mlx-lm's model would silently leave out.
    """
    header = read_header(gguf)
    architecture, _ = architecture_of(header, gguf)
    metadata = Metadata(architecture, header.values)
    tensors = dict(header.tensors)
    rope_factors = tensors.pop("rope_freqs.weight", None)
    if "token_embd.weight" not in tensors:
        raise ModelError(f"{gguf.name} has no tensor token_embd.weight: it is incomplete; use another file")
    config = _config(metadata, set(tensors), None if rope_factors is None else _values(rope_factors).ravel())
    config["vocab_size"] = tensors["token_embd.weight"].shape[0]
    _check_shapes(tensors, config, architecture, gguf.name)
    for tensor in tensors.values():
        _place(tensor)
    return Described(architecture, config, tokenizer_of(metadata, config["vocab_size"]), tensors)


def convert(gguf: Path, out: Path) -> None:
    """Write `gguf` to the new folder `out`: config.json, model.safetensors (float32) and the tokenizer.

    Float32 represents the dequantised values exactly. Raises ModelError as `describe`.
    """
    described = describe(gguf)
    layout = _layout(described.config)
    weights = {
        _name(name, described.architecture): mx.array(layout(name, _values(tensor)))
        for name, tensor in described.tensors.items()
    }
    out.mkdir(parents=True)
    mx.save_safetensors(str(out / "model.safetensors"), weights, {"format": "mlx"})
    described.tokenizer.save_pretrained(out)
    (out / "config.json").write_text(json.dumps(described.config, indent=2))


def _place(tensor: Tensor) -> tuple[GGMLQuantizationType, tuple[int, ...]]:
    """Return the kind of a tensor and the shape of its bytes. Raises ModelError where the file ends before them."""
    try:
        kind = GGMLQuantizationType(tensor.kind)
        rows = quant_shape_to_byte_shape(tensor.shape, kind)
        end = tensor.offset + prod(rows)
        if end > tensor.file.stat().st_size:
            raise ValueError(f"the file has to have {end:,} bytes: it is cut short")
        return kind, rows
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"cannot read the weights of {tensor.file}: {error}") from error


def _values(tensor: Tensor) -> Array:
    """Return the dequantised values of a tensor. Raises ModelError where they cannot be read."""
    kind, rows = _place(tensor)
    try:
        stored = np.memmap(tensor.file, np.uint8, "r", tensor.offset, rows)
        return np.asarray(dequantize(np.asarray(stored), kind), dtype=np.float32).reshape(tensor.shape)
    except (OSError, ValueError, KeyError, NotImplementedError) as error:
        raise ModelError(f"cannot read the weights of {tensor.file}: {error}") from error


def _check_shapes(tensors: Mapping[str, Tensor], config: dict[str, Any], architecture: str, file: str) -> None:
    """Raise ModelError where a tensor is missing or has another shape than the settings give."""
    expected = _shapes(config)
    if missing := [name for name in expected if name not in tensors]:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise ModelError(f"{file} lacks the tensors {', '.join(missing[:3])}{more}: it is incomplete; use another file")
    for name, tensor in tensors.items():
        _name(name, architecture)  # raises where there is no such weight in any block
        if name not in expected:
            raise ModelError(f"{file} has a tensor {shown(name)}, for which the model of its settings has no place")
        if tensor.shape != expected[name]:
            shapes = f"{list(tensor.shape)}; its settings give {list(expected[name])}"
            raise ModelError(f"{file}: the tensor {name} is {shapes}")


def _shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tensors that a model of this configuration has to have, by the names in the file."""
    hidden, inner, head = (config[name] for name in ("hidden_size", "intermediate_size", "head_dim"))
    queries, keys = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    linear = {
        "attn_q": (queries, hidden),
        "attn_k": (keys, hidden),
        "attn_v": (keys, hidden),
        "attn_output": (hidden, queries),
        "ffn_gate": (inner, hidden),
        "ffn_up": (inner, hidden),
        "ffn_down": (hidden, inner),
    }
    biases: list[str] = []
    if config["model_type"] == "qwen2":
        biases = ["attn_q", "attn_k", "attn_v"]
    if config.get("attention_bias"):
        biases += ["attn_q", "attn_k", "attn_v", "attn_output"]
    if config.get("mlp_bias"):
        biases += ["ffn_gate", "ffn_up", "ffn_down"]
    norms = {"attn_norm": hidden, "ffn_norm": hidden}
    if config["model_type"] == "gemma3_text":
        norms |= {"attn_q_norm": head, "attn_k_norm": head, "post_attention_norm": hidden, "post_ffw_norm": hidden}
    block: dict[str, tuple[int, ...]] = {f"{name}.weight": shape for name, shape in linear.items()}
    block |= {f"{name}.bias": linear[name][:1] for name in biases}
    block |= {f"{name}.weight": (width,) for name, width in norms.items()}
    embedding = (config["vocab_size"], hidden)
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": embedding, "output_norm.weight": (hidden,)}
    if not config["tie_word_embeddings"]:
        shapes["output.weight"] = embedding
    for number in range(config["num_hidden_layers"]):
        shapes |= {f"blk.{number}.{name}": shape for name, shape in block.items()}
    return shapes


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
    """Return the configuration. A setting that is absent is llama.cpp's default, or required where it has none."""
    heads = metadata.size("attention.head_count")
    hidden_size = metadata.size("embedding_length")
    kv_heads = metadata.size("attention.head_count_kv", heads)
    head_dim = metadata.size("attention.key_length", hidden_size // heads)
    blocks = metadata.size("block_count")
    if blocks > len(names):
        raise ModelError(f"the GGUF file says that it has {blocks} blocks, and has {len(names)} tensors")
    undivided = metadata("attention.key_length") is None and hidden_size % heads
    if heads % kv_heads or undivided or head_dim % 2:
        raise ModelError(
            f"the GGUF file has {heads} heads of queries, {kv_heads} of keys and values, and a width of {hidden_size} "
            f"with {head_dim} for each head: they do not divide one another"
        )
    gemma = metadata.architecture == "gemma3"
    config = {
        "model_type": MODEL_TYPES[metadata.architecture],
        "hidden_size": hidden_size,
        "num_hidden_layers": blocks,
        "intermediate_size": metadata.size("feed_forward_length"),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "rms_norm_eps": metadata.number("attention.layer_norm_rms_epsilon"),
        "max_position_embeddings": metadata.size("context_length"),
        # No Gemma 3 has llama.cpp's default, so that its absence is a loss.
        "rope_theta": metadata.number("rope.freq_base", None if gemma else 1e4),
        "rope_scaling": _rope_scaling(metadata, head_dim, rope_factors),
        # llama.cpp gives these three architectures the embedding as their head where there is none. A file that lost
        # its head does not get here: all tensors that its header announces, of all its parts, were found.
        "tie_word_embeddings": "output.weight" not in names,
        "bos_token_id": metadata("tokenizer.ggml.bos_token_id"),
        "eos_token_id": metadata.required("tokenizer.ggml.eos_token_id"),
    }
    metadata.refuse("expert_count", 0)
    metadata.refuse("rope.dimension_count", head_dim)
    metadata.refuse("attention.value_length", head_dim)
    if metadata.architecture == "llama":
        config["attention_bias"] = "blk.0.attn_q.bias" in names
        config["mlp_bias"] = "blk.0.ffn_up.bias" in names
    elif metadata.architecture == "qwen2":
        metadata.refuse("attention.key_length", hidden_size // heads)
    else:
        metadata.refuse("final_logit_softcapping", 0.0)
        is_27b = config["num_hidden_layers"] == 62  # llama.cpp too recognises its other attention scale by depth
        config |= {
            "query_pre_attn_scalar": hidden_size // heads if is_27b else head_dim,
            "sliding_window": metadata.size("attention.sliding_window"),
            "sliding_window_pattern": metadata.size("attention.sliding_window_pattern", 6),
            "rope_local_base_freq": metadata.number("rope.freq_base_swa", 1e4),
        }
    return config


def _rope_scaling(metadata: Metadata, head_dim: int, factors: Array | None) -> dict[str, Any] | None:
    """Return the scaling of RoPE. As in llama.cpp it is linear where no type is given, and none without a factor."""
    kind = metadata("rope.scaling.type", "linear")
    if kind not in ("none", "linear"):
        raise ModelError(f"GGUF files with RoPE scaling {shown(kind)} cannot be converted: allowed are none and linear")
    older = metadata.number("rope.scale_linear", 0.0)
    factor = metadata.number("rope.scaling.factor", older) if kind == "linear" else 0.0
    if factors is not None:
        if factor not in (0.0, 1.0):
            raise ModelError("GGUF files with RoPE frequency factors and linear scaling cannot be converted")
        return _llama3_scaling(metadata.number("rope.freq_base", 1e4), head_dim, factors)
    return {"rope_type": "linear", "factor": factor} if factor not in (0.0, 1.0) else None


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
