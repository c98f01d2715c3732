import logging
from pathlib import Path

import pytest
import yaml

from study.commands.run import main
from study.config.catalogue import Entry, GgufSource
from study.config.licences import TERMS, terms_of
from study.models.load import fetch
from study.plan.read import catalogue_of
from tests.models.made_gguf import write_gguf


@pytest.mark.parametrize(
    ("licence", "name"),
    [
        ("Gemma terms of use", "gemma"),
        ("gemma", "gemma"),
        ("llama3.2", "llama"),
        ("Llama 3.1 community licence", "llama"),
        ("qwen-research", "qwen research"),
        ("Qwen research licence", "qwen research"),
    ],
)
def test_terms_are_found_as_catalogues_and_model_cards_call_them(licence: str, name: str) -> None:
    assert terms_of(licence) == TERMS[name]


@pytest.mark.parametrize("licence", ["Apache-2.0", "MIT", "unknown", "other", ""])
def test_licences_without_such_terms_have_none(licence: str) -> None:
    assert terms_of(licence) is None


def test_every_licence_of_the_catalogue_that_is_not_a_free_one_has_its_terms() -> None:
    free = {"Apache-2.0", "MIT", "none: random weights"}
    others = {entry.licence for entry in catalogue_of().values()} - free
    assert others
    assert [licence for licence in sorted(others) if not terms_of(licence)] == []


def test_what_the_terms_ask_is_said_once_when_the_model_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path / "cache"))
    write_gguf(tmp_path / "small.gguf")
    entry = Entry(source=GgufSource(gguf=str(tmp_path / "small.gguf")), licence="Gemma terms of use")
    with caplog.at_level(logging.WARNING):
        fetch(entry)
        assert [record.getMessage() for record in caplog.records] == [f"Gemma terms of use: {TERMS['gemma']}"]
        fetch(entry)
        assert len(caplog.records) == 1


def test_a_run_says_it_of_models_that_are_yet_to_be_fetched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entry = {"source": {"hub": "nobody/none"}, "blocks": 4, "licence": "llama3.2"}
    (tmp_path / "models.yaml").write_text(yaml.safe_dump({"far": entry}))
    grid = {"layers": [0.5], "pairs": [{"multiply": "multiply", "add": "add"}], "weights": [0.5]}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({"name": "far", "models": ["far"], "grid": grid}))
    assert main([str(tmp_path / "study.yaml"), "--dry-run", "--results", str(tmp_path / "results")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"warning: far, which is yet to be fetched: llama3.2: {TERMS['llama']}" in said
