"""MLX returns garbage for an index beyond a table (ml-explore/mlx 206 and 594): what a model cannot take is refused."""

import json
import shutil
from pathlib import Path

import pytest

from soak.small_gguf import write_gguf
from study.config.catalogue import BuiltSource, FolderSource, GgufSource, Model
from study.config.wordings import templates
from study.lens.tokens import ClassTokenError, encode, token_of
from study.lens.trace import trace
from study.models.limits import CheckedTokenizer, EncodingError, Limits
from study.models.load import Loaded, fetch, load
from study.tasks.arithmetic import prompt_of


def built(architecture: str, **settings: int) -> Model:
    return Model(source=BuiltSource(built=architecture, settings=dict(settings)), blocks=2)


def folder_of(model: Model, to: Path) -> Path:
    return Path(shutil.copytree(fetch(model), to))


@pytest.fixture(scope="module")
def short() -> Loaded:
    """A model with 12 learned positions."""
    return load(built("gpt2", n_positions=12, n_ctx=12))


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """A model whose tokenizer has two tokens that its embedding lacks."""
    folder = folder_of(built("llama"), tmp_path_factory.mktemp("wide") / "model")
    tokenizer = load(Model(source=FolderSource(folder=str(folder)), blocks=2)).tokenizer.own._tokenizer
    tokenizer.add_tokens(["zebra", " zebra"])
    tokenizer.save_pretrained(folder)
    return load(Model(source=FolderSource(folder=str(folder)), blocks=2))


@pytest.mark.parametrize("architecture", ["llama", "gemma3_text", "qwen2", "gpt2", "gpt_bigcode", "mamba", "gpt_neox"])
def test_the_limits_of_a_model_are_those_of_the_tables_that_it_reads(architecture: str) -> None:
    loaded = load(built(architecture))
    config = json.loads((loaded.path / "config.json").read_text())
    limits = loaded.tokenizer.limits
    assert limits.rows == config["vocab_size"] == len(loaded.tokenizer)
    assert limits.learned_positions == (config["n_positions"] if architecture in ("gpt2", "gpt_bigcode") else None)


def test_a_text_that_is_longer_than_the_learned_positions_is_refused(short: Loaded) -> None:
    fits, too_long = prompt_of(templates("symbolic")[0], "add", 2, 3), prompt_of(templates("story")[0], "add", 12, 13)
    assert len(encode(short.tokenizer, fits).prompt_ids) < 12
    with pytest.raises(EncodingError, match=r"has \d+ tokens, more than the 12 positions of the model: shorten it"):
        encode(short.tokenizer, too_long)
    with pytest.raises(EncodingError, match="12 positions"):
        trace(short.model, short.tokenizer, too_long.text)


def test_a_token_that_the_embedding_lacks_is_refused_in_prompts_and_as_a_class_name(wide: Loaded) -> None:
    rows = wide.tokenizer.limits.rows
    assert rows is not None
    assert len(wide.tokenizer) == rows + 2
    with pytest.raises(EncodingError, match=rf"token id \d+ \(' ?zebra'\), and the model's embedding has {rows} rows"):
        wide.tokenizer.encode("2 zebra 3")
    with pytest.raises(ClassTokenError, match="embedding has"):
        token_of(wide.tokenizer, "zebra")
    with pytest.raises(EncodingError, match="embedding has"):
        trace(wide.model, wide.tokenizer, "a zebra")


def test_what_the_vocabulary_lacks_is_refused_and_named(short: Loaded) -> None:
    with pytest.raises(EncodingError, match="has 'é', which the vocabulary lacks"):
        short.tokenizer.encode("né")
    with pytest.raises(ClassTokenError, match="has 'é', which the vocabulary lacks"):
        token_of(short.tokenizer, "é")


def test_the_unknown_token_may_be_written_or_be_the_first_of_every_text(short: Loaded) -> None:
    own = short.tokenizer.own
    assert short.tokenizer.encode("<unk>", add_special_tokens=False) == [own.unk_token_id]
    beside = type(short.tokenizer)(own, short.tokenizer.limits)
    beside._unknown = own.bos_token_id  # as in tokenizers with one special token for everything
    beside._unknown_text = own.bos_token
    assert beside.encode("2 + 3") == own.encode("2 + 3")


def test_a_class_token_must_stand_for_its_name(short: Loaded) -> None:
    class Folding:
        """Encodes every word as the same token, as a vocabulary does that folds letters."""

        eos_token_ids = (0,)

        def encode(self, text: str, **options: object) -> list[int]:
            return [5]

        def decode(self, ids: list[int]) -> str:
            return "other"

    with pytest.raises(ClassTokenError, match="the token of ' add' stands for 'other'"):
        token_of(Folding(), "add")


def test_a_tokenizer_whose_end_of_text_the_model_lacks_is_refused(short: Loaded) -> None:
    with pytest.raises(ValueError, match=r"ends texts with \[2\], and the model has the ids below 2"):
        CheckedTokenizer(short.tokenizer.own, Limits(rows=2))


def test_a_character_that_a_tokenizer_without_an_unknown_token_drops_is_refused(tmp_path: Path) -> None:
    whole, lacking = tmp_path / "whole.gguf", tmp_path / "lacking.gguf"
    write_gguf(whole)
    write_gguf(lacking, without="78")
    assert len(load(Model(source=GgufSource(gguf=str(whole)), blocks=2)).tokenizer.encode("7 * 8 =")) == 7
    tokenizer = load(Model(source=GgufSource(gguf=str(lacking)), blocks=2)).tokenizer
    with pytest.raises(EncodingError, match=r"has '7', which the vocabulary lacks, and the tokenizer drops"):
        tokenizer.encode("7 * 8 =")
