"""Models made in place: tiny, the same every time, and with a tokenizer that knows every prompt."""

import hashlib
import json
from pathlib import Path

import pytest

from study.config.catalogue import BuiltSource, Model
from study.config.wordings import vocabulary
from study.models import ModelError, built, load

import mlx.core as mx  # isort: skip
from mlx.utils import tree_flatten  # isort: skip


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path / "cache"))


def model(architecture: str = "llama", blocks: int = 3, **settings: int) -> Model:
    return Model(source=BuiltSource(built=architecture, **settings), blocks=blocks)  # type: ignore[arg-type]


@pytest.mark.parametrize("architecture", ["gemma3_text", "gpt2", "llama", "mamba2", "mistral", "qwen2", "qwen3_moe"])
def test_an_architecture_loads_like_any_other_model(architecture: str) -> None:
    loaded = load.load(model(architecture))
    tokens = mx.array([loaded.tokenizer.encode("7 * 8 =")])
    logits = loaded.model(tokens)
    assert loaded.blocks == 3
    assert logits.shape == (1, tokens.size, len(loaded.tokenizer))
    assert bool(mx.isfinite(logits).all())
    assert float(mx.abs(logits[0, -1] - logits[0, 0]).max()) > 1e-3


def test_tiny_is_tiny() -> None:
    parameters = dict(tree_flatten(load.load(model()).model.parameters()))
    assert sum(array.size for array in parameters.values()) < 300_000


def test_the_weights_follow_from_the_seed(tmp_path: Path) -> None:
    files = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        built.build(BuiltSource(built="llama", seed=seed), 2, tmp_path / name)
        files.append((tmp_path / name / "model.safetensors").read_bytes())
    assert files[0] == files[1]
    assert files[0] != files[2]


def test_an_architecture_that_mlx_lm_does_not_have_is_refused_with_the_place_of_the_list() -> None:
    with pytest.raises(ValueError, match=r"no architecture 'lama'.*docs/architectures\.md"):
        load.load(model("lama"))


def test_an_architecture_that_cannot_be_tiny_is_refused_with_the_reason() -> None:
    with pytest.raises(ModelError, match=r"phi3small cannot be made tiny: .*100,352"):
        load.load(model("phi3small"))


@pytest.mark.parametrize("blocks", [2, 5])
@pytest.mark.parametrize("architecture", ["gemma3_text", "jamba", "llama", "lfm2", "openelm"])
def test_a_model_has_as_many_blocks_as_are_asked_for(architecture: str, blocks: int) -> None:
    assert load.load(model(architecture, blocks)).blocks == blocks


def test_sizes_that_an_architecture_cannot_have_are_refused_with_its_reason() -> None:
    with pytest.raises(ModelError, match=r"no jamba model of 1 blocks .*: ValueError: 'attention'"):
        load.load(model("jamba", 1))


def test_a_width_that_the_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="hidden_size 66 does not give 4 attention_heads"):
        load.load(model(hidden_size=66))


def test_words_are_one_token_with_and_without_a_leading_space() -> None:
    tokenizer = built.word_tokenizer(["multiply", "seven", "seventeen"])
    for text in ("multiply", " multiply", " seven", "seventeen", "\n", "7", "="):
        assert len(tokenizer.encode(text, add_special_tokens=False)) == 1


def test_other_text_goes_character_by_character_and_comes_back_unchanged() -> None:
    tokenizer = built.word_tokenizer(["seven", "add"])
    text = "  sevens: seven, 42 + x-add\nadded, addseven add?"
    ids = tokenizer.encode(text, add_special_tokens=False)
    tokens = tokenizer.convert_ids_to_tokens(ids)
    assert tokenizer.decode(ids) == text
    assert tokenizer.unk_token_id not in ids
    assert [token for token in tokens if len(token) > 1] == [" seven", "add", " add"]


def test_words_and_characters_of_any_script_are_known() -> None:
    words = ["Größe", "दिल्ली", "北京", "cafe\u0301", "ß", "😀"]
    tokenizer = built.word_tokenizer(words)
    for word in words[:4]:
        for text in (word, f" {word}"):
            assert len(tokenizer.encode(text, add_special_tokens=False)) == 1, text
    text = "Größen und Größe: दिल्लीी, cafe 北京😀ß"
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids) == text
    assert [token for token in tokenizer.convert_ids_to_tokens(ids) if len(token) > 1] == [" Größe", " 北京"]


def test_the_tokens_of_arithmetic_are_as_they_were() -> None:
    tokenizer = built.word_tokenizer([*vocabulary(), *BuiltSource(built="llama").words])
    tokens = "\n".join(tokenizer.convert_ids_to_tokens(range(len(tokenizer))))
    assert (len(tokenizer), hashlib.sha256(tokens.encode()).hexdigest()[:16]) == (483, "64b5b9ec040dfd03")


def test_encoding_begins_with_bos_and_a_prompt_is_a_prefix_of_prompt_and_answer() -> None:
    tokenizer = built.word_tokenizer(vocabulary())
    prompt, whole = tokenizer.encode("7 * 8 ="), tokenizer.encode("7 * 8 = 56")
    assert prompt[0] == tokenizer.bos_token_id
    assert whole[: len(prompt)] == prompt


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])  # transformers has a tokenizer of its own for qwen2
def test_every_word_of_the_prompts_and_every_class_name_is_one_token(architecture: str) -> None:
    loaded = load.load(model(architecture))
    words = [*vocabulary(), *BuiltSource(built="llama").words]
    assert all(len(loaded.tokenizer.encode(f" {word}", add_special_tokens=False)) == 1 for word in words)
    assert json.loads((loaded.path / "config.json").read_text())["eos_token_id"] in loaded.tokenizer.eos_token_ids
