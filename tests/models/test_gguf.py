"""GGUF files written here, by llama.cpp's conventions, come back as the mlx-lm models that they were made from."""

import random
import time
from collections.abc import Collection
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
        pytest.param(GEMMA3, "sentencepiece", NO_PREFIX, ["<bos>", "1", "2", "▁add"], id="Gemma has BOS and no space"),
        pytest.param(LLAMA, "sentencepiece", NO_PREFIX, ["<bos>", "1", "2", "▁add"], id="no space by the flag"),
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


@pytest.mark.parametrize(
    ("extra", "plain", "spaced"),
    [
        ({}, ["<bos>", "▁add"], ["<bos>", "▁", "▁add"]),
        ({"tokenizer.ggml.add_space_prefix": True}, ["<bos>", "▁add"], ["<bos>", "▁", "▁add"]),
        (NO_PREFIX, ["<bos>", "add"], ["<bos>", "▁add"]),
    ],
)
def test_a_space_before_a_text_is_as_the_file_says_and_the_text_has_its_own(
    tmp_path: Path, extra: dict[str, Any], plain: list[str], spaced: list[str]
) -> None:
    convert(write_gguf(tmp_path / "m.gguf", extra=extra, tokenizer="sentencepiece"), tmp_path / "out")
    loaded = load_tokenizer(tmp_path / "out")
    for text, pieces in (("add", plain), (" add", spaced)):
        assert loaded.convert_ids_to_tokens(loaded.encode(text)) == pieces
        assert loaded.decode(loaded.encode(text), skip_special_tokens=True) == text


# Files that are incomplete


def parts(folder: Path, count: int = 15) -> list[Path]:
    write_gguf(folder / "m.gguf", split=count)
    return sorted(folder.glob("*.gguf"))


@pytest.mark.parametrize("given", [0, 1, 2])
def test_all_parts_of_a_split_file_are_read_whichever_is_given(tmp_path: Path, given: int) -> None:
    written = parts(tmp_path)
    assert [part.name for part in written] == [f"m-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
    original, _ = random_model(LLAMA)
    convert(written[given], tmp_path / "out")
    converted, _ = load_model(tmp_path / "out")
    tokens = mx.array([[5, 17, 250]])
    np.testing.assert_allclose(np.array(converted(tokens)), np.array(original(tokens)), atol=2e-4)


def test_parts_that_are_missing_are_named(tmp_path: Path) -> None:
    written = parts(tmp_path)
    written[1].unlink()
    with pytest.raises(
        ModelError, match=r"one of 3 parts of a split file, and beside it m-00002-of-00003\.gguf is miss"
    ):
        convert(written[0], tmp_path / "out")


def test_a_part_under_another_name_is_no_whole_file(tmp_path: Path) -> None:
    part = parts(tmp_path)[0].rename(tmp_path / "whole.gguf")
    with pytest.raises(ModelError, match=r"whole\.gguf says that it is part 1 of 3: all parts.*NAME-00001-of-00003"):
        convert(part, tmp_path / "out")


def test_parts_of_two_files_are_refused(tmp_path: Path) -> None:
    written = parts(tmp_path)
    written[2].write_bytes(written[1].read_bytes())
    with pytest.raises(ModelError, match="says that it is part 2 of 3"):
        convert(written[0], tmp_path / "out")


@pytest.mark.parametrize(
    ("without", "told"),
    [
        ("token_embd.weight", r"no tensor token_embd\.weight"),
        ("blk.3.ffn_up.weight", r"lacks the tensors blk\.3\.ffn_up\.weight: it is incomplete"),
        ("norm.weight", r"lacks the tensors output_norm\.weight, blk\.0\.attn_norm\.weight, .* and 6 more"),
        ("eos_token_id", r"lacks tokenizer\.ggml\.eos_token_id"),
        ("ggml.tokens", r"lacks tokenizer\.ggml\.tokens"),
        ("ggml.merges", r"lacks tokenizer\.ggml\.merges"),
        ("head_count", r"lacks llama\.attention\.head_count"),
        ("context_length", r"lacks llama\.context_length"),
        ("rms_epsilon", r"lacks llama\.attention\.layer_norm_rms_epsilon"),
    ],
)
def test_what_a_file_lacks_is_named(tmp_path: Path, without: str, told: str) -> None:
    with pytest.raises(ModelError, match=told):
        convert(write_gguf(tmp_path / "m.gguf", without=[without]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("without", ["attention.sliding_window", "rope.freq_base"])
def test_what_llama_cpp_needs_of_gemma_is_needed(tmp_path: Path, without: str) -> None:
    with pytest.raises(ModelError, match=f"lacks gemma3.{without}"):
        convert(write_gguf(tmp_path / "m.gguf", GEMMA3, without=[without], tokenizer="sentencepiece"), tmp_path / "out")


def test_a_factor_without_a_type_scales_linearly_as_in_llama_cpp(tmp_path: Path) -> None:
    config = LLAMA | {"rope_scaling": {"rope_type": "linear", "factor": 8.0}}
    original, weights = random_model(config)
    convert(
        write_gguf(tmp_path / "m.gguf", extra={"llama.rope.scaling.factor": 8.0}, weights=weights), tmp_path / "out"
    )
    converted, _ = load_model(tmp_path / "out")
    tokens = mx.array([list(range(40))])
    np.testing.assert_allclose(np.array(converted(tokens)), np.array(original(tokens)), atol=2e-4)


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        ({"llama.attention.head_count": 0}, "head_count = 0, not a whole number of at least 1"),
        ({"llama.attention.head_count": [4, 4, 4, 4]}, r"head_count = \[4, 4, 4, 4\], not a whole number"),
        ({"llama.attention.head_count_kv": 3}, "4 heads of queries, 3 of keys and values"),
        ({"llama.block_count": "four"}, "block_count = 'four', not a whole number"),
        (
            {"llama.block_count": 3},
            r"a tensor 'blk\.3\.attn_q\.weight', for which the model of its settings has no place",
        ),
        ({"llama.block_count": 2**31 - 1}, r"says that it has 2147483647 blocks, and has \d+ tensors"),
        ({"llama.block_count": 5}, r"lacks the tensors blk\.4\.attn_q\.weight"),
        ({"llama.feed_forward_length": 95}, r"ffn_gate\.weight is \[96, 64\]; its settings give \[95, 64\]"),
        ({"llama.attention.layer_norm_rms_epsilon": float("nan")}, "= nan, not a finite number"),
        ({"tokenizer.ggml.eos_token_id": 9999}, r"9999 as its eos_token, and \d+ tokens"),
        ({"tokenizer.ggml.add_bos_token": "yes"}, "= 'yes', neither true nor false"),
        ({"tokenizer.ggml.add_eos_token": True}, "add_eos_token = True cannot be converted"),
        ({"tokenizer.ggml.tokens": ["a"] * 9}, "has 9 tokens, 1 of them different, for 310 rows"),
        ({"tokenizer.ggml.merges": ["no such"]}, "tokenizer cannot be built"),
    ],
)
def test_settings_that_fit_nothing_are_refused(tmp_path: Path, extra: dict[str, Any], told: str) -> None:
    with pytest.raises(ModelError, match=told):
        convert(write_gguf(tmp_path / "m.gguf", extra=extra), tmp_path / "out")


# Files that are broken


def outcome(file: Path, out: Path) -> str:
    """Of a conversion, which has to end within a second, and another where other work is done beside it."""
    began = time.monotonic()
    try:
        convert(file, out)
    except ModelError:
        return "refused"
    finally:
        assert time.monotonic() - began < 2
    return "converted"


def test_a_file_that_is_cut_anywhere_is_refused_at_once(tmp_path: Path) -> None:
    whole = write_gguf(tmp_path / "m.gguf").read_bytes()
    cut = tmp_path / "cut.gguf"
    for length in [*range(0, 6400, 64), *range(6400, len(whole), 4096), len(whole) - 1]:
        cut.write_bytes(whole[:length])
        assert outcome(cut, tmp_path / "out") == "refused", length


def test_a_header_with_random_bytes_is_refused_or_read_at_once(tmp_path: Path) -> None:
    whole = write_gguf(tmp_path / "m.gguf").read_bytes()
    header = whole.index(b"blk.3.ffn_up.weight") + 60
    broken, rng, ends = tmp_path / "broken.gguf", random.Random(0), set[str]()
    for number in range(300):
        content = bytearray(whole)
        for _ in range(rng.choice([1, 2, 8])):
            place = rng.randrange(header if number % 2 else 900)
            content[place : place + rng.choice([1, 8])] = rng.choice([b"\xff", b"\x00", bytes([rng.randrange(256)])])
        broken.write_bytes(content)
        ends.add(outcome(broken, tmp_path / str(number)))
    assert ends == {"refused", "converted"}


@pytest.mark.parametrize("field", [8, 16])
@pytest.mark.parametrize("count", [10**5, 2**40, 2**64 - 1])
def test_a_count_that_the_file_cannot_hold_is_refused_at_once(tmp_path: Path, field: int, count: int) -> None:
    content = bytearray(write_gguf(tmp_path / "m.gguf").read_bytes())
    content[field : field + 8] = count.to_bytes(8, "little")
    (tmp_path / "m.gguf").write_bytes(content)
    assert outcome(tmp_path / "m.gguf", tmp_path / "out") == "refused"
