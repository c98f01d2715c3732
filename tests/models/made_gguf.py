"""GGUF files by llama.cpp's conventions, and the mlx-lm models that they are made from."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, TokenType
from gguf.quants import dequantize, quantize
from mlx.utils import tree_flatten
from mlx_lm.utils import _get_classes

BLOCKS, HIDDEN, HEADS, KV_HEADS, HEAD_DIM, VOCABULARY = 4, 64, 4, 2, 32, 310
BASE = {
    "hidden_size": HIDDEN,
    "num_hidden_layers": BLOCKS,
    "intermediate_size": 96,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "rms_norm_eps": 1e-5,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 512,
    "rope_theta": 20000.0,
}
LLAMA = BASE | {"model_type": "llama", "head_dim": HEAD_DIM, "tie_word_embeddings": True}
QWEN2 = BASE | {"model_type": "qwen2", "tie_word_embeddings": False}
GEMMA3 = BASE | {
    "model_type": "gemma3_text",
    "head_dim": HEAD_DIM,
    "query_pre_attn_scalar": HEAD_DIM,
    "sliding_window": 5,
    "sliding_window_pattern": 2,
    "rope_local_base_freq": 10000.0,
    "rope_scaling": {"rope_type": "linear", "factor": 8.0},
}
LLAMA3_SCALING = {
    "rope_type": "llama3",
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
}
QUANTISED = {"ffn_down": GGMLQuantizationType.Q8_0, "attn_q": GGMLQuantizationType.Q4_1}
NO_PREFIX = {"tokenizer.ggml.add_space_prefix": False}
CONTROL, NORMAL = TokenType.CONTROL, TokenType.NORMAL


def random_model(config: dict[str, Any]) -> tuple[Any, dict[str, np.ndarray]]:
    """An mlx-lm model with weights of a size that lets every part move the logits."""
    model_class, arguments = _get_classes(config)
    model = model_class(arguments.from_dict(config))
    if config["model_type"] == "gemma3_text":
        model.sanitize({})  # ties the head
    rng = np.random.default_rng(0)
    weights = {
        name: rng.normal("norm" in name, 0.2, array.shape).astype(np.float32)
        for name, array in dict(tree_flatten(model.parameters())).items()
    }
    for name in weights:
        if kind := QUANTISED.get(stored_name(name, config).split(".")[-2]):
            weights[name] = dequantize(quantize(weights[name], kind), kind)
    model.load_weights([(name, mx.array(weight)) for name, weight in weights.items()])
    return model, weights


def stored_name(name: str, config: dict[str, Any]) -> str:
    stem, _, kind = name.rpartition(".")
    gemma = config["model_type"] == "gemma3_text"
    norms = {
        "post_attention_layernorm": "post_attention_norm" if gemma else "ffn_norm",
        "pre_feedforward_layernorm": "ffn_norm",
        "post_feedforward_layernorm": "post_ffw_norm",
    }
    if stem.startswith("model.layers."):
        _, _, block, part = stem.split(".", 3)
        return f"blk.{block}.{(NAMES | norms)[part]}.{kind}"
    return f"{NAMES[stem]}.{kind}"


def interleaved(weight: np.ndarray) -> np.ndarray:
    """Rows of each head in llama.cpp's order: 0, d/2, 1, d/2 + 1, ..."""
    half = HEAD_DIM // 2
    order = [
        start + i + offset for start in range(0, len(weight), HEAD_DIM) for i in range(half) for offset in (0, half)
    ]
    return weight[order]


def write_gguf(
    file: Path,
    config: dict[str, Any] = LLAMA,
    weights: dict[str, np.ndarray] | None = None,
    architecture: str | None = None,
    extra: dict[str, Any] | None = None,
    tensors: dict[str, np.ndarray] | None = None,
    tokenizer: str = "gpt-2",
    without: Collection[str] = (),
    split: int = 0,
) -> Path:
    """A GGUF file; without some settings or tensors, by the end of their names, and split into parts of so many."""
    kind = config["model_type"]
    architecture = architecture or {"gemma3_text": "gemma3"}.get(kind, kind)
    writer = GGUFWriter(file, architecture, split_max_tensors=split)
    writer.add_block_count(BLOCKS)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_context_length(512)
    writer.add_rope_freq_base(config["rope_theta"])
    if "head_dim" in config:
        writer.add_key_length(HEAD_DIM)
        writer.add_value_length(HEAD_DIM)
    if kind == "gemma3_text":
        writer.add_sliding_window(config["sliding_window"])
        writer.add_uint32("gemma3.attention.sliding_window_pattern", config["sliding_window_pattern"])
        writer.add_string("gemma3.rope.scaling.type", "linear")
        writer.add_float32("gemma3.rope.scaling.factor", 8.0)
    add_tokenizer(writer, tokenizer)
    add: dict[type, Any] = {bool: writer.add_bool, int: writer.add_uint32, str: writer.add_string}
    add |= {float: writer.add_float32, list: writer.add_array}
    for key, value in (extra or {}).items():
        writer.kv_data[0].pop(key, None)
        add[type(value)](key, value)
    for name, weight in (random_model(config)[1] if weights is None else weights).items():
        stored = stored_name(name, config)
        if stored.endswith(tuple(without)):
            continue
        part = stored.split(".")[-2]
        if kind == "llama" and part in ("attn_q", "attn_k"):
            weight = interleaved(weight)
        if kind == "gemma3_text" and part.endswith("_norm"):
            weight = weight + 1.0
        if quantisation := QUANTISED.get(part) if weight.ndim == 2 else None:
            writer.add_tensor(stored, quantize(weight, quantisation), raw_dtype=quantisation)
        else:
            writer.add_tensor(stored, weight)
    for name, weight in (tensors or {}).items():
        writer.add_tensor(name, weight)
    for key in [key for key in writer.kv_data[0] if key.endswith(tuple(without))]:
        del writer.kv_data[0][key]
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def add_tokenizer(writer: GGUFWriter, tokenizer: str) -> None:
    if tokenizer == "sentencepiece":
        special = ["<pad>", "<eos>", "<bos>", "<unk>"]
        pieces = ["▁", *"abcdefghijklmnopqrstuvwxyz0123456789=*", "▁a", "ad", "▁ad", "add", "▁add"]
        tokens = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
        writer.add_tokenizer_model("llama")
        writer.add_token_scores([-float(i) for i in range(len(tokens))])
        types = [CONTROL] * 4 + [TokenType.BYTE] * 256 + [NORMAL] * len(pieces)
        bos, eos = 2, 1
    else:
        alphabet = [chr(code) for code in (*range(33, 127), *range(161, 173), *range(174, 256))]
        alphabet += [chr(256 + i) for i in range(256 - len(alphabet))]
        tokens = ["<|start|>", "<|end|>", *alphabet, "12", "Ġa", "Ġad", "Ġadd"]
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(tokenizer)
        writer.add_token_merges(["1 2", "Ġ a", "Ġa d", "Ġad d"])
        types = [CONTROL] * 2 + [NORMAL] * (len(tokens) - 2)
        bos, eos = 0, 1
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_bos_token_id(bos)
    writer.add_eos_token_id(eos)
