"""Models that a study names by what they are: a folder, a GGUF file, a repository of the hub."""

import json
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from study.config.catalogue import BuiltSource, Entry, FolderSource, GgufSource, HubSource, Model
from study.models import cache, load
from study.models.facts import known_model
from study.plan.read import ConfigError, Plan, read_study
from tests.models.made_gguf import BLOCKS, write_gguf

MODELS = """
smollm2-135m: {source: {hub: HuggingFaceTB/SmolLM2-135M}, blocks: 30, licence: apache-2.0}
small: {source: {built: llama}, blocks: 4}
"""
STUDY = """
name: example
models: [MODEL]
grid: {layers: [0.5], pairs: [{multiply: multiply, add: add}], weights: [0.5]}
"""
NOBODY = "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
"""Where no hub listens."""
CARD = "---\nlicense: llama3.2\nlanguage: [en]\n---\n# A model\n"


@pytest.fixture(scope="module")
def built() -> Path:
    return load.fetch(Model(source=BuiltSource(built="llama"), blocks=3))


@pytest.fixture
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    (tmp_path / "models.yaml").write_text(MODELS)
    return tmp_path


def read(configs: Path, *names: str) -> Plan:
    (configs / "study.yaml").write_text(STUDY.replace("MODEL", ", ".join(map(json.dumps, names))))
    return read_study(configs / "study.yaml")


def refused(configs: Path, *names: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(configs, *names)
    return str(caught.value)


def test_a_folder_is_a_model_with_the_name_of_the_folder(
    configs: Path, built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(built, configs / "mine" / "My Llama 3.2")
    (configs / "mine" / "My Llama 3.2" / "README.md").write_text(CARD)
    plan = read(configs, "mine/My Llama 3.2", "small")
    model = plan.models["My-Llama-3.2"]
    assert plan.study.models == ["My-Llama-3.2", "small"]
    assert model.source == FolderSource(folder=str(configs / "mine" / "My Llama 3.2"))
    assert (model.blocks, model.architecture, model.licence) == (3, "llama", "llama3.2")
    assert {cell.label.split("|")[0] for cell in plan.cells()} == {"My-Llama-3.2", "small"}
    # As an entry that says the same, and from anywhere else.
    (configs / "models.yaml").write_text(f"{MODELS}own: {{source: {{folder: mine/My Llama 3.2}}}}\n")
    assert [cell.id for cell in read(configs, "own").cells()] == [cell.id for cell in plan.cells(model="My-Llama-3.2")]
    monkeypatch.setenv("HOME", str(configs))
    monkeypatch.chdir("/")
    assert read(configs, "~/mine/My Llama 3.2").models == {"My-Llama-3.2": model}
    assert read(configs, str(configs / "mine" / "My Llama 3.2")).models == {"My-Llama-3.2": model}


def test_a_gguf_file_is_a_model_with_the_name_of_the_file(configs: Path) -> None:
    write_gguf(configs / "tiny.Q4_K_M.gguf")
    model = read(configs, "tiny.Q4_K_M.gguf").models["tiny.Q4_K_M"]
    assert model.source == GgufSource(gguf=str(configs / "tiny.Q4_K_M.gguf"))
    assert model.blocks == BLOCKS


def test_a_repository_that_the_catalogue_has_is_its_entry(configs: Path) -> None:
    plan = read(configs, "HuggingFaceTB/SmolLM2-135M")
    assert plan.study.models == ["smollm2-135m"]
    assert plan.models["smollm2-135m"].licence == "apache-2.0"


def test_an_entry_of_another_revision_or_with_quantised_weights_does_not_stand_for_a_repository(
    configs: Path, hub: Path
) -> None:
    other = "{source: {hub: someone/tiny-llama, revision: v2}, blocks: 3}"
    small = "{source: {hub: someone/tiny-llama}, blocks: 3, weights: 4bit}"
    (configs / "models.yaml").write_text(f"{MODELS}second: {other}\nsmall-one: {small}\n")
    plan = read(configs, "someone/tiny-llama")
    assert plan.study.models == ["tiny-llama"]
    assert (plan.models["tiny-llama"].weights, plan.models["tiny-llama"].source) == (
        "float32",
        HubSource(hub="someone/tiny-llama"),
    )


def test_what_an_entry_says_is_held_against_the_config_json_that_is_fetched(configs: Path, hub: Path) -> None:
    (configs / "models.yaml").write_text("mine: {source: {hub: someone/tiny-llama}, hidden_size: 7}\n")
    assert "mine.hidden_size: is 7 here, and 64 in the model's files" in refused(configs, "mine")


@pytest.mark.parametrize("name", ["small", "nowhere/deep/folder", "no.gguf", "/nowhere", "~", "smal", "x" * 150])
def test_what_is_no_model_is_refused_in_one_message(configs: Path, name: str) -> None:
    if name == "small":
        assert read(configs, name).study.models == ["small"]
        return
    told = refused(configs, name)
    assert "line 3: models.0: " in told
    assert "1 mistake\n" in told
    if name == "smal":
        assert "is no folder, .gguf file or hub id (owner/name); did you mean 'small'?" in told


def test_two_models_of_one_name_are_refused_with_what_to_write(configs: Path, built: Path) -> None:
    for folder in ("one/small", "one/large", "two/large"):
        shutil.copytree(built, configs / folder)
    told = refused(configs, "one/small", "one/large", "two/large")
    assert "models.0: 'one/small' would be called 'small', as an entry of models.yaml is: give it an entry" in told
    assert "models.2: 'two/large' would be called 'large', as another model of this study is" in told
    assert f"`my-large: {{source: {{folder: {configs}/two/large}}}}`" in told
    # The same one twice is told as it is of short names.
    assert "models" in refused(configs, "one/large", "one/large/")


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub(tmp_path: Path, built: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that a hub on this machine serves."""
    served = tmp_path / "served"
    for revision in ("main", "v2"):
        place = served / "someone" / "tiny-llama" / "resolve" / revision
        place.mkdir(parents=True)
        shutil.copy(built / "config.json", place)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(served)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield served
    server.shutdown()
    server.server_close()


def test_the_sizes_of_a_repository_come_from_its_config_json(
    configs: Path, hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = read(configs, "someone/tiny-llama").models["tiny-llama"]
    assert model.source == HubSource(hub="someone/tiny-llama")
    assert (model.blocks, model.architecture) == (3, "llama")
    assert cache.locate(model) is None  # the model itself is not here
    assert not (configs / "hub").exists()
    # Without a hub what was fetched last stands; where the hub says that it has no such model, that does.
    with monkeypatch.context() as there_is_none:
        there_is_none.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", NOBODY)
        assert read(configs, "someone/tiny-llama").models["tiny-llama"] == model
    shutil.rmtree(hub)
    hub.mkdir()
    told = refused(configs, "someone/tiny-llama")
    assert "models.0: source.hub: someone/tiny-llama is not on this machine, and its config.json cannot be" in told


def test_a_hub_that_cannot_be_reached_is_one_message_at_once(configs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", NOBODY)
    told = refused(configs, "someone/smollm2-135")
    assert "cannot be fetched from the Hugging Face hub: " in told
    assert "did you mean 'smollm2-135m'?" in told
    found: list[str] = []
    assert known_model(Entry(source=HubSource(hub="someone/else")), found) is None
    assert found[0].startswith("source.hub: someone/else is not on this machine")


def test_a_repository_of_which_some_files_are_here_is_not_here(configs: Path, built: Path) -> None:
    model = Model(source=HubSource(hub="someone/tiny"), blocks=3)
    repository = configs / "hub" / "models--someone--tiny"
    snapshot = repository / "snapshots" / "abc123"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc123")
    shutil.copy(built / "config.json", snapshot)  # as AutoConfig leaves it
    assert cache.locate(model) is None
    index = snapshot / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}}))
    for part in ("model-1-of-2.safetensors", "model-2-of-2.safetensors"):
        assert cache.locate(model) is None  # a download that stopped
        (snapshot / part).touch()
    assert cache.locate(model) == snapshot


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        (CARD, "llama3.2"),
        ("# no head\n", "unknown"),
        ("---\nlicense: [a]\n---\n", "unknown"),
        ("---\n: : {\n---\n", "unknown"),
        ("---\nlicense: " + "x" * 300 + "\n---\n", "x" * 100),
        ('---\nlicense: "a\\e[31m"\n---\n', "unknown"),
    ],
)
def test_the_licence_is_the_one_that_the_model_card_states(configs: Path, built: Path, card: str, licence: str) -> None:
    shutil.copytree(built, configs / "mine")
    (configs / "mine" / "README.md").write_text(card)
    assert read(configs, "mine").models["mine"].licence == licence
    (configs / "models.yaml").write_text(f"{MODELS}own: {{source: {{folder: mine}}, licence: mit}}\n")
    assert read(configs, "own").models["own"].licence == "mit"
