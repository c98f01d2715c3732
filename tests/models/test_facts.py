"""The sizes of a model are those of its files; an entry that says otherwise, or files that are broken, are refused."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from study.config.catalogue import BuiltSource, Entry, FolderSource, GgufSource, HubSource, Model
from study.models import ModelError
from study.models.facts import known_model
from study.models.load import fetch, load
from study.plan.read import ConfigError, Plan, read_study
from tests.models.made_gguf import BLOCKS, HIDDEN, LLAMA, VOCABULARY, random_model, write_gguf
from tests.plan.test_read import STUDY

from mlx.utils import tree_flatten  # isort: skip


@pytest.fixture(scope="module")
def built() -> Path:
    return fetch(Model(source=BuiltSource(built="llama"), blocks=3))


@pytest.fixture
def copied(built: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of a model's folder with some keys of its config.json replaced; None takes a key away."""

    def make(file: str = "config.json", **changes: Any) -> Path:
        folder = tmp_path / "model"
        folder.mkdir()
        for one in built.iterdir():
            (folder / one.name).write_bytes(one.read_bytes())
        config = {**json.loads((folder / file).read_text()), **changes}
        (folder / file).write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
        return folder

    return make


def known(entry: Entry) -> Model:
    mistakes: list[str] = []
    model = known_model(entry, mistakes)
    assert model is not None, mistakes
    return model


def refused(entry: Entry) -> str:
    mistakes: list[str] = []
    assert known_model(entry, mistakes) is None
    return "\n".join(mistakes)


def of_folder(folder: Path, **told: Any) -> Entry:
    return Entry(source=FolderSource(folder=str(folder)), **told)


def test_what_an_entry_leaves_out_is_read_from_the_folder(built: Path) -> None:
    loaded = load(of_folder(built))
    count = sum(array.size for _, array in tree_flatten(loaded.model.parameters()))
    model = known(of_folder(built))
    assert (model.blocks, model.hidden_size, model.architecture) == (3, 64, "llama")
    assert (model.vocabulary_size, model.parameters) == (len(loaded.tokenizer), count)
    assert known(of_folder(built, blocks=3, licence="MIT")).licence == "MIT"


def test_sizes_of_the_text_model_within_one_of_images_are_found_and_those_of_images_left_out(
    copied: Callable[..., Path],
) -> None:
    folder = copied(num_hidden_layers=None, text_config={"n_layer": 7, "hidden_size": 80}, model_type="gemma3")
    before = known(of_folder(folder)).parameters
    header = json.dumps({"vision_tower.x": {"dtype": "F32", "shape": [9, 9], "data_offsets": [0, 324]}}).encode()
    (folder / "model-2.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(324))
    model = known(of_folder(folder))
    assert (model.blocks, model.hidden_size, model.architecture) == (7, 80, "gemma3")
    assert model.parameters == before


def test_quantised_weights_count_as_what_they_stand_for(tmp_path: Path) -> None:
    config = {"model_type": "llama", "num_hidden_layers": 1, "quantization": {"bits": 4, "b": {"bits": 8}}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    shapes = {"a.weight": ("U32", [2, 8]), "a.scales": ("F16", [2, 1]), "b.weight": ("U32", [2, 8]), "c": ("F16", [5])}
    header = json.dumps({name: {"dtype": kind, "shape": shape} for name, (kind, shape) in shapes.items()}).encode()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    assert known(of_folder(tmp_path)).parameters == 2 * 8 * 8 + 2 * 8 * 4 + 5


def test_what_an_entry_leaves_out_is_read_from_a_gguf_file(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "m.gguf")
    model = known(Entry(source=GgufSource(gguf=str(file))))
    assert (model.blocks, model.hidden_size, model.vocabulary_size) == (BLOCKS, HIDDEN, VOCABULARY)
    assert model.parameters == sum(weight.size for weight in random_model(LLAMA)[1].values())
    assert model.architecture == "llama"


@pytest.mark.parametrize(
    ("told", "mistake"),
    [
        ({"blocks": 24}, "blocks: is 24 here, and 3 in the model's files; correct it or leave it out"),
        ({"hidden_size": 65}, "hidden_size: is 65 here, and 64 in"),
        ({"vocabulary_size": 9}, "vocabulary_size: is 9 here, and "),
        ({"architecture": "qwen2"}, "architecture: is qwen2 here, and llama in"),
        ({"parameters": 1e9}, "parameters: is 1e+09 here, and "),
    ],
)
def test_an_entry_that_contradicts_the_files_is_refused(built: Path, told: dict[str, Any], mistake: str) -> None:
    assert mistake in refused(of_folder(built, **told))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"num_hidden_layers": "3"}, 'num_hidden_layers is "3", not a whole number from 1'),
        ({"hidden_size": 64.0}, "hidden_size is 64.0, not a whole number from 1"),
        ({"num_attention_heads": 0}, "num_attention_heads is 0, not a whole number from 1"),
        ({"vocab_size": 10**12}, "vocab_size is 1000000000000, not a whole number from 1 to 2,147,483,647"),
        ({"rms_norm_eps": float("nan")}, "it holds the number NaN, which is not finite"),
        ({"num_attention_heads": 3, "head_dim": None}, "num_attention_heads is 3, which does not divide the hidden"),
        ({"num_key_value_heads": 3}, "num_key_value_heads is 3, which does not divide the 4 heads of queries"),
        ({"model_type": None}, "has no model_type"),
        ({"file": "tokenizer_config.json", "tool_parser_type": "nosuch"}, "tool_parser_type is 'nosuch'; mlx-lm has"),
    ],
)
def test_sizes_that_are_none_are_refused_when_the_study_is_read_and_when_it_is_run(
    copied: Callable[..., Path], changes: dict[str, Any], told: str
) -> None:
    folder = copied(**changes)
    assert told in refused(of_folder(folder, blocks=3))
    if changes.get("hidden_size") is None:  # a whole fraction is no obstacle to mlx-lm
        with pytest.raises(ModelError, match=r"mlx-lm (cannot load|would compute another model)"):
            load(of_folder(folder))


@pytest.mark.parametrize(
    "content", [b"{", b"[]", b"[" * 10**5, b"\xff", b'{"num_hidden_layers": 1' + b"0" * 5000 + b"}"]
)
def test_a_configuration_that_is_no_json_object_is_refused(copied: Callable[..., Path], content: bytes) -> None:
    folder = copied()
    (folder / "config.json").write_bytes(content)
    assert "source: " in refused(of_folder(folder, blocks=3))
    with pytest.raises(ModelError):
        load(of_folder(folder))


@pytest.mark.parametrize("content", ["{}", "[", '{"version": 1}', '{"version": "1.0", "model": {}}'])
def test_a_tokenizer_that_is_none_is_refused_when_the_model_is_loaded(
    copied: Callable[..., Path], content: str
) -> None:
    folder = copied()
    (folder / "tokenizer.json").write_text(content)
    with pytest.raises(ModelError, match=r"mlx-lm (cannot load|would compute another model)"):
        load(of_folder(folder))


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, struct.pack("<Q", 9) + b"{", struct.pack("<Q", 2) + b"[]"])
def test_weights_without_a_header_are_refused(copied: Callable[..., Path], content: bytes) -> None:
    folder = copied()
    (folder / "model.safetensors").write_bytes(content)
    assert "has no header of safetensors" in refused(of_folder(folder))


def test_more_blocks_than_any_model_has_are_refused(copied: Callable[..., Path]) -> None:
    told = refused(of_folder(copied(num_hidden_layers=10**6)))
    assert told == "source: its files give blocks = 1000000: Input should be less than or equal to 1000"


def test_a_model_of_the_hub_that_is_not_here_needs_its_number_of_blocks() -> None:
    source = HubSource(hub="nobody/no-such-model")
    assert known(Entry(source=source, blocks=7)).blocks == 7
    told = refused(Entry(source=source))
    assert told.startswith("source.hub: nobody/no-such-model is not on this machine, and its config.json cannot be")
    assert told.endswith("Check the name and the network, or give its `blocks` in models.yaml")


def test_a_study_of_a_folder_needs_no_sizes_and_refuses_wrong_ones_with_their_line(built: Path, tmp_path: Path) -> None:
    def read(entry: str) -> Plan:
        (tmp_path / "study.yaml").write_text(STUDY)
        (tmp_path / "models.yaml").write_text(f"small:\n  source: {{folder: {built}}}\n  {entry}\n")
        return read_study(tmp_path / "study.yaml")

    assert read("chat: false").models["small"].blocks == 3
    assert read("chat: false").cells()[0].layer == 1
    with pytest.raises(ConfigError, match=r"line 3: small\.blocks: is 24 here, and 3 in the model's files"):
        read("blocks: 24")
