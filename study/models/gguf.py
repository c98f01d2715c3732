"""Conversion of a GGUF file to a folder that mlx-lm loads: float32 weights, the configuration and the tokenizer.

It undoes the changes of tensor names and layouts that llama.cpp's convert_hf_to_gguf.py makes.
"""

import json
import re
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from gguf.constants import GGMLQuantizationType
from gguf.quants import dequantize, quant_shape_to_byte_shape
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast
from transformers.integrations.gguf.gguf_tokenizer_mapping import convert_gguf_tokenizer

from study.models import ModelError
from study.models.gguf_header import MODEL_TYPES, Tensor, architecture_of, read_header

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

SPLITS = ("gpt-2", "llama-bpe", "qwen2", "smollm")
"""Supported ways in which byte-level tokenizers split text before merging (`tokenizer.ggml.pre`)."""


class Metadata:
    """The settings of a GGUF file; names that begin with neither `general.` nor `tokenizer.` are those of the
    architecture. Raises ModelError where a setting is missing or is not of its kind."""

    def __init__(self, architecture: str, values: Mapping[str, Any]) -> None:
        self.architecture, self._values = architecture, values

    def __call__(self, name: str, default: Any = None) -> Any:
        return self._values.get(self._key(name), default)

    def _key(self, name: str) -> str:
        return name if name.startswith(("general.", "tokenizer.")) else f"{self.architecture}.{name}"

    def required(self, name: str) -> Any:
        value = self(name)
        if value is None:
            raise ModelError(f"the GGUF file lacks {self._key(name)}: it is incomplete; use another file")
        return value

    def size(self, name: str, default: int | None = None) -> int:
        """Return a whole number of at least 1; required where llama.cpp has no default for it."""
        value = self.required(name) if default is None else self(name, default)
        if type(value) is not int or not 0 < value < 2**31:
            raise ModelError(f"the GGUF file has {self._key(name)} = {_shown(value)}, not a whole number of at least 1")
        return value

    def flag(self, name: str, default: bool) -> bool:
        value = self(name, default)
        if type(value) is not bool:
            raise ModelError(f"the GGUF file has {self._key(name)} = {_shown(value)}, neither true nor false")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """Return a finite number of at least 0; required where llama.cpp has no default for it."""
        value = self.required(name) if default is None else self(name, default)
        if type(value) not in (int, float) or not 0 <= value < float("inf"):
            raise ModelError(
                f"the GGUF file has {self._key(name)} = {_shown(value)}, not a finite number of at least 0"
            )
        return float(value)


def convert(gguf: Path, out: Path) -> None:
    """Write `gguf` to the new folder `out`: config.json, model.safetensors (float32) and the tokenizer.

    All parts of a split file are read, whichever of them is given. Float32 represents the dequantised values exactly.
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
    tokenizer = _tokenizer(metadata, config["vocab_size"])

    layout = _layout(config)
    weights = {
        _name(name, metadata.architecture): mx.array(layout(name, _values(tensor))) for name, tensor in tensors.items()
    }
    out.mkdir(parents=True)
    mx.save_safetensors(str(out / "model.safetensors"), weights, {"format": "mlx"})
    tokenizer.save_pretrained(out)
    (out / "config.json").write_text(json.dumps(config, indent=2))


def _values(tensor: Tensor) -> Array:
    """Return the dequantised values of a tensor. Raises ModelError where the file ends before them."""
    try:
        kind = GGMLQuantizationType(tensor.kind)
        rows = quant_shape_to_byte_shape(tensor.shape, kind)
        end = tensor.offset + prod(rows)
        if end > tensor.file.stat().st_size:
            raise ValueError(f"the file has to have {end:,} bytes: it is cut short")
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
            raise ModelError(f"{file} has a tensor {_shown(name)}, for which the model of its settings has no place")
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
            "sliding_window": metadata.size("attention.sliding_window"),
            "sliding_window_pattern": metadata.size("attention.sliding_window_pattern", 6),
            "rope_local_base_freq": metadata.number("rope.freq_base_swa", 1e4),
        }
    return config


def _refuse(metadata: Metadata, name: str, allowed: float) -> None:
    value = metadata(name, allowed)
    if value != allowed:
        raise ModelError(
            f"{metadata.architecture} GGUF files with {name} = {_shown(value)} cannot be converted: "
            f"mlx-lm's model has {allowed}"
        )


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _rope_scaling(metadata: Metadata, head_dim: int, factors: Array | None) -> dict[str, Any] | None:
    """Return the scaling of RoPE. As in llama.cpp it is linear where no type is given, and none without a factor."""
    kind = metadata("rope.scaling.type", "linear")
    if kind not in ("none", "linear"):
        raise ModelError(
            f"GGUF files with RoPE scaling {_shown(kind)} cannot be converted: allowed are none and linear"
        )
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


def _tokenizer(metadata: Metadata, rows: int) -> PreTrainedTokenizerFast:
    """Return the file's tokenizer for an embedding of so many rows; `encode` adds BOS where llama.cpp would.

    Raises ModelError on other kinds, and on a file whose tokens do not fit the embedding or one another.
    """
    kind, split = metadata("tokenizer.ggml.model"), metadata("tokenizer.ggml.pre", "gpt-2")
    if kind not in ("gpt2", "llama") or (kind == "gpt2" and split not in SPLITS):
        raise ModelError(
            f"GGUF files with the tokenizer {_shown(kind)} ({_shown(split)}) cannot be converted: "
            f"allowed are 'llama', and 'gpt2' with one of {', '.join(SPLITS)}"
        )
    _refuse(metadata, "tokenizer.ggml.add_eos_token", False)
    backend = _backend(metadata, kind, rows)
    if split == "smollm":
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    if kind == "llama":
        _prefix(backend, metadata.flag("tokenizer.ggml.add_space_prefix", True))
    special = _special_tokens(metadata)
    adds_bos = metadata.flag("tokenizer.ggml.add_bos_token", kind == "llama" or split == "llama-bpe")
    if adds_bos and "bos_token" not in special:
        raise ModelError("the GGUF file's tokenizer adds a token at the beginning, and the file does not say which")
    backend.post_processor = _bos_processor(backend, special["bos_token"] if adds_bos else None)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        chat_template=metadata("tokenizer.chat_template"),
        clean_up_tokenization_spaces=False,
        **special,
    )


def _backend(metadata: Metadata, kind: str, rows: int) -> Tokenizer:
    """Return the tokenizer that transformers makes of the file's tokens."""
    lists = {"tokens": str, "merges": str, "scores": float, "token_type": int}
    found = {name: metadata(f"tokenizer.ggml.{name}") for name in lists}
    for name, values in found.items():
        if values is not None and not (isinstance(values, list) and all(type(one) is lists[name] for one in values)):
            raise ModelError(f"the GGUF file has tokenizer.ggml.{name} of another kind than {lists[name].__name__}s")
    tokens = metadata.required("tokenizer.ggml.tokens")
    if not 0 < len(tokens) <= rows or len(set(tokens)) < len(tokens):
        raise ModelError(
            f"the GGUF file has {len(tokens)} tokens, {len(set(tokens))} of them different, for {rows} rows"
        )
    if any(found[name] is not None and len(found[name]) != len(tokens) for name in ("scores", "token_type")):
        raise ModelError("the GGUF file has not as many tokenizer.ggml.scores or token_type as tokens")
    wanted = "scores" if kind == "llama" else "merges"
    if found[wanted] is None:
        raise ModelError(f"the GGUF file lacks tokenizer.ggml.{wanted}: it is incomplete; use another file")
    given = {name: values for name, values in found.items() if values is not None}
    try:
        backend, _ = convert_gguf_tokenizer(
            metadata.architecture, {"tokenizer_type": kind, **_split_of(metadata), **given}
        )
    except Exception as error:  # tokenizers raises bare exceptions
        raise ModelError(f"the GGUF file's tokenizer cannot be built: {_shown(str(error))}") from error
    return backend


def _split_of(metadata: Metadata) -> dict[str, str]:
    split = metadata("tokenizer.ggml.pre")
    return {} if split is None else {"pre_tokenizer_type": split}


def _prefix(backend: Tokenizer, prefix: bool) -> None:
    """Let a SentencePiece tokenizer put a space before every text, also before one that begins with a space, or before
    none, as llama.cpp does; transformers puts one only where there is none."""
    spaces = [normalizers.Replace(" ", "▁")]
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), *spaces] if prefix else spaces)
    backend.pre_tokenizer = None
    read_back = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    backend.decoder = decoders.Sequence([*read_back, decoders.Strip(" ", 1, 0)] if prefix else read_back)


def _special_tokens(metadata: Metadata) -> dict[str, str]:
    keys = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
    ids = {name: metadata(f"tokenizer.ggml.{key}_token_id") for name, key in keys.items()}
    tokens = metadata("tokenizer.ggml.tokens")
    for name, number in ids.items():
        if number is not None and (type(number) is not int or not 0 <= number < len(tokens)):
            raise ModelError(f"the GGUF file has {_shown(number)} as its {name}, and {len(tokens)} tokens")
    return {name: tokens[number] for name, number in ids.items() if number is not None}


def _bos_processor(backend: Tokenizer, bos: str | None) -> processors.PostProcessor:
    if bos is None:
        return processors.ByteLevel(trim_offsets=False)
    return processors.TemplateProcessing(
        single=[bos, "$A"], pair=[bos, "$A", "$B"], special_tokens=[(bos, backend.token_to_id(bos))]
    )
