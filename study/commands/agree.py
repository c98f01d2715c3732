"""`study agree`: whether mlx-lm, as the study loads it, computes what transformers computes, as a table.

transformers makes a tiny model of each architecture that both libraries have, in an environment of its own, with all
weights at random. Where both differ, the known cause is tried: with the one thing changed, both have to agree.
"""

import argparse
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from study.commands.agreement import expected
from study.commands.agreement.compare import Logits, between, of_mlx_lm, of_study, verdict
from study.commands.agreement.declared import TEXTS, Cause, TinyModel, general, tiny_models
from study.commands.agreement.expected import Expected
from study.commands.agreement.page import document, line
from study.commands.agreement.recipe import CHANGED, COMPUTED, FAILED, RECIPE, VERSIONS
from study.commands.agreement.rows import Row
from study.commands.environments import environment
from study.models.load import fetch, load_tokenizer
from study.plan.read import read_catalogue
from study.results.files import write_bytes

ROOT = Path(__file__).parents[2]
PEER = ROOT / "benchmarks" / "peers" / "transformers_side.py"
PUBLISHED = {"smollm2-135m": "", "gemma-3-270m": "gemma3_text"}
"""Models with published weights, each with the tiny model whose known cause it has."""
TEXT = "Seven times eight is fifty-six, and nine"
THREADS = 1


@dataclass(frozen=True)
class Published:
    """A model of the catalogue, with published weights."""

    name: str
    folder: Path
    texts: dict[str, list[int]]
    cause: Cause | None
    """The known cause of its disagreement."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parsed(arguments)
    mx.set_default_device(mx.cpu)
    models = [model for model in tiny_models() if options.only in (None, model.architecture)]
    if not models:
        known = ", ".join(dict.fromkeys(model.architecture for model in tiny_models()))
        print(f"no architecture {options.only!r} is compared; those that are: {known}")
        return 2
    published = [] if options.only else _published()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        told = [*map(_told_of_tiny, models), *map(_told_of_published, published)]
        versions = {name: version(name) for name in ("mlx", "mlx-lm")} | _run_transformers(told, folder)
        rows = [_row(model, folder / model.name) for model in models]
        real = [_compared(one.name, one.folder, folder / one.name, one.texts, {}, one.cause) for one in published]
        if not options.only:
            write_bytes(options.out, document(rows, real, versions, TEXT).encode())
            _write_expected(models, rows, folder, options.expected, versions)
    mistakes = 0
    for row in [*rows, *real]:
        print(line(row))
        mistakes += bool(row.mistake)
    return 1 if mistakes else 0


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="study agree",
        description="Compare mlx-lm, as the study loads it, with transformers, which is installed once in "
        ".venv-peers. Ends with 1 where a difference is not explained.",
    )
    parser.add_argument("--only", metavar="ARCH", help="compare one architecture, and write no file")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("docs/agreement.md"),
        metavar="FILE",
        help="the table (default: docs/agreement.md)",
    )
    parser.add_argument(
        "--expected",
        type=Path,
        default=Path("tests/models/agreement"),
        metavar="FOLDER",
        help="values to which tests hold the loader (default: tests/models/agreement)",
    )
    return parser.parse_args(arguments)


def _published() -> list[Published]:
    """Return the models with published weights, downloaded where they are not on this machine."""
    catalogue = read_catalogue(ROOT / "configs" / "models.yaml", []) or {}
    causes = {model.title: model.cause for model in tiny_models()}
    folders = {name: fetch(catalogue[name]) for name in PUBLISHED}
    return [
        Published(name, folder, {"text": load_tokenizer(folder).encode(TEXT)}, causes.get(PUBLISHED[name]))
        for name, folder in folders.items()
    ]


def _told_of_tiny(model: TinyModel) -> dict[str, Any]:
    """Return what transformers' side is told of a tiny model."""
    return {
        "name": model.name,
        "architecture": model.architecture,
        "config": model.config,
        "centres": model.centres,
        "prefix": model.prefix,
        "texts": TEXTS,
        "change": model.cause.changed if model.cause else None,
    }


def _told_of_published(model: Published) -> dict[str, Any]:
    """Return what transformers' side is told of a model with published weights."""
    change = model.cause.changed if model.cause else None
    return {"name": model.name, "folder": str(model.folder), "texts": model.texts, "change": change}


def _run_transformers(models: Sequence[Mapping[str, Any]], folder: Path) -> dict[str, str]:
    """Let transformers make and compute the models, a folder each; return the versions of the libraries."""
    python, spec = environment(PEER.with_suffix(".txt")), folder / "spec.json"
    spec.write_text(json.dumps({"threads": THREADS, "general": general(), "models": models}))
    command = [str(python), str(PEER), str(spec), str(folder)]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
    versions: dict[str, str] = json.loads((folder / VERSIONS).read_text())
    return versions


def _row(model: TinyModel, folder: Path) -> Row:
    if (folder / FAILED).exists():
        return Row(model.title, failed=(folder / FAILED).read_text())
    expected.add_tokenizer(folder)
    return _compared(model.title, folder, folder, TEXTS, model.reads, model.cause)


def _compared(
    title: str,
    model: Path,
    computed: Path,
    texts: Mapping[str, Sequence[int]],
    reads: Mapping[str, Any],
    cause: Cause | None,
) -> Row:
    """Compare both programs' logits of the model in one folder with what transformers wrote to another."""
    theirs, ours = _logits(computed / COMPUTED), of_mlx_lm(model, reads, texts)
    changed = cause and not isinstance(ours, str) and between(ours, _logits(computed / CHANGED))
    by_study, warned = of_study(model, texts)
    of_ours = verdict(by_study, theirs, warned)
    return Row(title, mlx_lm=verdict(ours, theirs), study=of_ours, cause=cause, changed=changed or None)


def _logits(file: Path) -> Logits:
    with np.load(file) as content:
        return dict(content)


def _write_expected(
    models: Sequence[TinyModel], rows: Sequence[Row], folder: Path, out: Path, versions: Mapping[str, str]
) -> None:
    """Write the expected values of every model that mlx-lm loads, and nothing else, to a folder."""
    out.mkdir(parents=True, exist_ok=True)
    for file in out.glob("*.json"):
        file.unlink()
    for model, row in zip(models, rows, strict=True):
        if row.mlx_lm.difference is None:
            continue
        made = folder / model.name
        theirs, ours = (expected.kept(logits) for logits in (_logits(made / COMPUTED), _ours(made, model)))
        config, recipe = (json.loads((made / name).read_text()) for name in ("config.json", RECIPE))
        sizes = between(ours, theirs).sizes
        kept = Expected(model.title, config, model.reads, recipe, theirs, sizes)
        expected.write(kept, out / f"{model.name}.json", versions)


def _ours(folder: Path, model: TinyModel) -> Logits:
    found = of_mlx_lm(folder, model.reads, TEXTS)
    assert not isinstance(found, str)  # it has a difference
    return found
