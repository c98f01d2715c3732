"""GGUF files written here, by llama.cpp's conventions, come back as the mlx-lm models that they were made from."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFWriter, TokenType
from gguf.quants import dequantize, quantize

from study.models import ModelError
from study.models.gguf import convert
from study.models.load import load_tokenizer

import mlx.core as mx  # isort: skip
from mlx.utils import tree_flatten  # isort: skip
from mlx_lm.utils import _get_classes, load_model  # isort: skip

BLOCKS, HIDDEN, HEADS, KV_HEADS, HEAD_DIM, VOCABULARY = 4, 64, 4, 2, 32, 300
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
) -> Path:
    kind = config["model_type"]
    architecture = architecture or {"gemma3_text": "gemma3"}.get(kind, kind)
    writer = GGUFWriter(file, architecture)
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
    add: dict[type, Any] = {bool: writer.add_bool, int: writer.add_uint32, str: writer.add_string}
    for key, value in (extra or {}).items():
        add[type(value)](key, value)
    add_tokenizer(writer, tokenizer)
    for name, weight in (random_model(config)[1] if weights is None else weights).items():
        stored = stored_name(name, config)
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


@pytest.mark.parametrize(
    ("config", "tokenizer"),
    [
        pytest.param(LLAMA, "gpt-2", id="llama"),
        pytest.param(LLAMA | {"attention_bias": True, "tie_word_embeddings": False}, "gpt-2", id="llama with biases"),
        pytest.param(QWEN2, "qwen2", id="qwen2"),
        pytest.param(GEMMA3, "sentencepiece", id="gemma3"),
    ],
)
def test_the_converted_model_gives_the_logits_of_the_original(
    tmp_path: Path, config: dict[str, Any], tokenizer: str
) -> None:
    original, weights = random_model(config)
    convert(write_gguf(tmp_path / "m.gguf", config, weights, tokenizer=tokenizer), tmp_path / "out")
    converted, _ = load_model(tmp_path / "out")
    tokens = mx.array([[5, 17, 250, 3, 3, 99, 42, 0, 7]])
    expected, found = np.array(original(tokens)), np.array(converted(tokens))
    assert np.abs(expected).max() > 1.0
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_the_frequencies_of_llama_3_are_kept(tmp_path: Path) -> None:
    config = LLAMA | {"rope_theta": 500000.0, "rope_scaling": LLAMA3_SCALING}
    original, weights = random_model(config)
    factors = []
    for i in range(0, HEAD_DIM, 2):
        turns = 8192 / (2 * np.pi * 500000.0 ** (i / HEAD_DIM))
        smooth = (turns - 1.0) / 3.0
        factors.append(1.0 if turns > 4.0 else 32.0 if turns < 1.0 else 1.0 / ((1.0 - smooth) / 32.0 + smooth))
    frequencies = np.array(factors, np.float32)
    file = write_gguf(tmp_path / "m.gguf", config, weights, tensors={"rope_freqs.weight": frequencies})
    convert(file, tmp_path / "out")
    converted, _ = load_model(tmp_path / "out")
    tokens = mx.array([list(range(40))])
    np.testing.assert_allclose(np.array(converted(tokens)), np.array(original(tokens)), atol=2e-4)


def test_other_frequency_factors_are_refused(tmp_path: Path) -> None:
    factors = np.linspace(1.0, 9.0, HEAD_DIM // 2, dtype=np.float32)
    file = write_gguf(tmp_path / "m.gguf", tensors={"rope_freqs.weight": factors})
    with pytest.raises(ModelError, match="other than Llama 3's"):
        convert(file, tmp_path / "out")


def test_another_architecture_is_refused_by_name_with_those_supported(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "m.gguf", architecture="falcon")
    with pytest.raises(ModelError, match=r"m\.gguf holds the architecture 'falcon'.*llama, qwen2, gemma3"):
        convert(file, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"llama.expert_count": 8}, "expert_count = 8"),
        ({"llama.rope.scaling.type": "yarn"}, "RoPE scaling 'yarn'"),
        ({"llama.rope.dimension_count": 8}, "dimension_count = 8"),
    ],
)
def test_a_feature_that_the_model_would_leave_out_is_refused(
    tmp_path: Path, extra: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        convert(write_gguf(tmp_path / "m.gguf", extra=extra), tmp_path / "out")


def test_an_unknown_tensor_is_refused(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "m.gguf", tensors={"blk.0.attn_sinks.weight": np.zeros(4, np.float32)})
    with pytest.raises(ModelError, match=r"blk\.0\.attn_sinks\.weight"):
        convert(file, tmp_path / "out")


def test_an_unknown_way_to_split_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"'jais'.*allowed are.*smollm"):
        convert(write_gguf(tmp_path / "m.gguf", tokenizer="jais"), tmp_path / "out")


@pytest.mark.parametrize("content", [b"", b"GGUF", b"not a model at all, only text" * 9])
def test_a_file_that_is_not_gguf_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.gguf").write_bytes(content)
    with pytest.raises(ModelError, match=r"cannot read .*m\.gguf as GGUF"):
        convert(tmp_path / "m.gguf", tmp_path / "out")


@pytest.mark.parametrize(
    ("config", "tokenizer", "extra", "tokens"),
    [
        pytest.param(LLAMA, "smollm", {}, ["1", "2", "Ġadd"], id="digits apart, no BOS"),
        pytest.param(LLAMA, "gpt-2", {}, ["12", "Ġadd"], id="byte-level"),
        pytest.param(LLAMA, "llama-bpe", {}, ["<|start|>", "12", "Ġadd"], id="Llama 3 has BOS"),
        pytest.param(
            LLAMA, "gpt-2", {"tokenizer.ggml.add_bos_token": True}, ["<|start|>", "12", "Ġadd"], id="BOS by the flag"
        ),
        pytest.param(GEMMA3, "sentencepiece", {}, ["<bos>", "1", "2", "▁add"], id="Gemma has BOS"),
        pytest.param(LLAMA, "sentencepiece", {}, ["<bos>", "▁", "1", "2", "▁add"], id="Llama 2 has BOS and a space"),
    ],
)
def test_the_tokenizer_splits_and_begins_as_llama_cpp_does(
    tmp_path: Path, config: dict[str, Any], tokenizer: str, extra: dict[str, Any], tokens: list[str]
) -> None:
    file = write_gguf(tmp_path / "m.gguf", config, extra=extra, tokenizer=tokenizer)
    convert(file, tmp_path / "out")
    loaded = load_tokenizer(tmp_path / "out")
    assert loaded.convert_ids_to_tokens(loaded.encode("12 add")) == tokens
    assert loaded.eos_token_ids == {1}
    assert loaded.decode(loaded.encode("12 add"), skip_special_tokens=True) == "12 add"
