"""GGUF files written here, by llama.cpp's conventions, come back as the mlx-lm models that they were made from."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from study.models import ModelError
from study.models.gguf import convert
from study.models.load import load_tokenizer
from tests.models.made_gguf import GEMMA3, HEAD_DIM, LLAMA, LLAMA3_SCALING, NO_PREFIX, QWEN2, random_model, write_gguf

import mlx.core as mx  # isort: skip
from mlx_lm.utils import load_model  # isort: skip


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
