"""The catalogue's facts, and what a dry run tells of them before anything is downloaded."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from mlx.utils import tree_flatten
from mlx_lm.utils import _get_classes

from study.catalogue import BuiltSource, HubSource, Model
from study.cells import expand
from study.estimate import Demand, Speed, demands, hours, measured, remember
from study.grid import main
from study.reading import read_catalogue, read_study

ROOT = Path(__file__).parent.parent
PLAN = read_study(ROOT / "configs" / "architectures.yaml")
CATALOGUE = read_catalogue(ROOT / "configs" / "models.yaml", []) or {}
FAMILIES = "tinyllama llama-3.2 qwen2.5 qwen3 gemma-3 smollm2 smollm3 olmo-2 phi mistral granite mamba".split()

_LLAMA = {"rms_norm_eps": 1e-5}
_QWEN3 = {**_LLAMA, "vocab_size": 151936, "head_dim": 128, "max_position_embeddings": 40960, "rope_theta": 1e6}
_SIZES = ("hidden_size", "num_hidden_layers", "intermediate_size", "num_attention_heads", "num_key_value_heads")
PUBLISHED: dict[str, dict[str, Any]] = {
    name: {**dict(zip(_SIZES, sizes, strict=True)), **more}
    for name, sizes, more in (
        ("tinyllama-1.1b", (2048, 22, 5632, 32, 4), {**_LLAMA, "vocab_size": 32000, "tie_word_embeddings": False}),
        ("llama-3.2-1b", (2048, 16, 8192, 32, 8), {**_LLAMA, "vocab_size": 128256, "head_dim": 64}),
        ("smollm2-1.7b", (2048, 24, 8192, 32, 32), {**_LLAMA, "vocab_size": 49152}),
        ("qwen2.5-0.5b", (896, 24, 4864, 14, 2), {**_LLAMA, "vocab_size": 151936, "tie_word_embeddings": True}),
        ("qwen3-4b", (2560, 36, 9728, 32, 8), {**_QWEN3, "tie_word_embeddings": True}),
        ("qwen3-8b", (4096, 36, 12288, 32, 8), {**_QWEN3, "tie_word_embeddings": False}),
        ("phi-2", (2560, 32, 10240, 32, 32), {"vocab_size": 51200}),
        ("phi-3.5-mini", (3072, 32, 8192, 32, 32), {**_LLAMA, "vocab_size": 32064, "tie_word_embeddings": False}),
        ("mistral-7b", (4096, 32, 14336, 32, 8), {**_LLAMA, "vocab_size": 32768, "tie_word_embeddings": False}),
    )
}
"""What the `config.json` of some of them says."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_blocks_are_those_that_mlx_lm_makes_of_the_published_sizes(name: str) -> None:
    """Nothing is allocated: the arrays are never computed."""
    config = {"model_type": CATALOGUE[name].architecture, **PUBLISHED[name]}
    model_class, arguments = _get_classes(config)
    model = model_class(arguments.from_dict(config))
    count = sum(value.size for _, value in tree_flatten(model.parameters()))
    assert CATALOGUE[name].parameters == pytest.approx(count, rel=2e-3)
    assert CATALOGUE[name].blocks == len(model.layers)


def test_every_model_to_download_has_all_the_facts_and_an_architecture_that_works() -> None:
    page = (ROOT / "docs" / "architectures.md").read_text().partition("| architecture |")[2]
    working = {
        name
        for row in page.splitlines()
        if row.startswith("| `")
        for name in re.findall(r"`([^`]+)`", row.split("|")[1])
    }
    for name, model in CATALOGUE.items():
        if isinstance(model.source, BuiltSource):
            continue
        assert model.architecture in working or model.architecture == "mistral", name  # which mlx-lm reads as llama
        assert None not in (model.parameters, model.download, model.chat), name
        assert model.licence != "unknown", name
        if isinstance(model.source, HubSource):
            assert 0.1e9 < (model.parameters or 0) < 8.5e9
            least, most = {"float32": (1.9, 4.1), "8bit": (1.0, 1.2), "4bit": (0.5, 0.7)}[model.weights]
            assert least < (model.download or 0) * 1e9 / (model.parameters or 1) < most


def test_the_study_over_architectures_has_every_family_smallest_first() -> None:
    names = PLAN.study.models
    assert all(any(name.startswith(family) for name in names) for family in FAMILIES)
    sizes = [PLAN.models[name].parameters or 0 for name in names]
    assert sizes == sorted(sizes)
    assert {cell.stage_one.model_name for cell in expand(PLAN.study, PLAN.models) if hasattr(cell, "stage_one")} == set(
        names
    )


def _demands() -> dict[str, Demand]:
    return {one.name: one for one in demands(PLAN.study, PLAN.models, expand(PLAN.study, PLAN.models))}


def test_a_small_mac_holds_the_small_models_and_a_large_one_all_but_the_largest() -> None:
    found = _demands()
    fits = {gb: [name for name, one in found.items() if one.fits(gb)] for gb in (8, 16, 64, 128)}
    assert {"smollm2-135m", "gemma-3-270m", "qwen2.5-0.5b"} <= set(fits[8])
    assert "llama-3.2-1b" in fits[16]
    assert "llama-3.2-1b" not in fits[8]
    assert {"llama-3.2-3b", "qwen3-4b"} <= set(fits[64])
    assert fits[128] == list(found)
    assert len(fits[8]) < len(fits[16]) < len(fits[64]) <= len(fits[128])


def test_what_has_run_of_a_study_is_neither_counted_nor_named() -> None:
    units = [unit for unit in expand(PLAN.study, PLAN.models) if unit.label.startswith("smollm2-135m")]
    whole = demands(PLAN.study, PLAN.models, units)[0]
    half = demands(PLAN.study, PLAN.models, units[: len(units) // 2])[0]
    assert 0 < (half.petaflops or 0) < (whole.petaflops or 0)
    assert demands(PLAN.study, PLAN.models, []) == []


def test_hours_follow_the_committed_study_within_a_factor_of_two() -> None:
    """As a share of the two models' hours, so that no machine's speed is in it."""
    folder = ROOT / "reports" / "data" / "architecture_comparison"
    done, study = (json.loads((folder / f"{name}.json").read_text()) for name in ("done", "study"))
    took: dict[str, float] = {}
    for unit in study["units"]:
        took[unit["model"]] = took.get(unit["model"], 0.0) + sum(done[unit["id"]]["seconds"].values())
    plan = read_study(ROOT / "configs" / "grid.yaml")
    told = {one.name: one.petaflops or 0.0 for one in demands(plan.study, plan.models, expand(plan.study, plan.models))}
    for name in took:
        ratio = (told[name] / sum(told.values())) / (took[name] / sum(took.values()))
        assert 0.5 < ratio < 2.0


def test_hours_are_the_work_over_the_speed_of_all_workers() -> None:
    assert hours(1.0, Speed(100.0, 2)) == pytest.approx(hours(1.0, Speed(100.0, 1)) / 2)
    assert hours(2.0, Speed(200.0, 1)) == pytest.approx(hours(1.0, Speed(100.0, 1)))


def test_a_measured_speed_is_remembered_and_a_torn_record_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path))
    assert measured() is None
    remember(Speed(123.0, 2))
    assert measured() == Speed(123.0, 2)
    (tmp_path / "speed.json").write_text('{"gflops": ')
    assert measured() is None


def test_a_dry_run_tells_by_model_what_fits_and_how_to_run_that_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("study.grid.machine_gb", lambda: 8.0)
    assert main([str(ROOT / "configs" / "architectures.yaml"), "--dry-run", "--results", str(tmp_path / "none")]) == 0
    out = capsys.readouterr().out
    assert re.search(r"gemma-3-1b +1\.00 B +chat, gated +Gemma terms of use +\d+ GB +no +2\.0 GB +\?", out)
    assert re.search(r"\d+ of 31 models fit this machine \(6 of 8 GB are for units\)", out)
    assert "those that fit: --only model=mamba-130m" in out
    assert "hours are told once `python -m study.doctor` has measured this machine" in out


def test_a_model_of_unknown_size_is_not_refused() -> None:
    unknown = Demand("x", Model(source=HubSource(hub="a/b"), blocks=2), None, None, None)
    assert unknown.fits(1.0)
