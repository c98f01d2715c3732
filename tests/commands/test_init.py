"""`study init`: a study to begin with."""

import re
from pathlib import Path
from typing import Any

import pytest

from study.commands.init import TEMPLATE, begun, main
from study.config import yaml_core
from study.config.study import Study
from study.plan.read import read_study

COMMENTED = re.compile(r"^( *)# (\w+: (?:\[.*?\]\]?|\{.*?\}|[a-z]+))(?:[ ]+#.*)?$", re.MULTILINE)
"""A setting that is commented out."""


def _read(text: str) -> Any:
    mistakes: list[str] = []
    document = yaml_core.parse(text, mistakes)
    assert mistakes == []
    return document.data


def test_it_writes_a_study_that_can_be_run_of_the_models_that_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    assert main([str(tmp_path / "My Study.yaml"), "tiny-llama", "smollm2-135m"]) == 0
    plan = read_study(tmp_path / "My Study.yaml")
    assert (plan.study.name, plan.study.models) == ("my-study", ["tiny-llama", "smollm2-135m"])
    assert f"{len(plan.cells())} cells with a class loss" in capsys.readouterr().out


def test_what_is_commented_out_are_settings_with_their_defaults() -> None:
    text = begun(Path("x.yaml"), ["m"])
    found = [name for _, name in COMMENTED.findall(text)]
    assert [one.partition(":")[0] for one in found] == [
        *("arms", "seeds", "wordings", "data", "class_name", "lens", "stage1", "stage2", "evaluation", "log"),
    ]
    plain = Study.model_validate(_read(text))
    without_data = re.sub(r"^# data: .*$", "", text, flags=re.MULTILINE)
    written = Study.model_validate(_read(COMMENTED.sub(r"\1\2", without_data)))
    assert written == plain
    # The further parts are an example, and right.
    parts = text[text.index("# also:") : text.index("# Your own prompts")].replace("# ", "")
    assert len(Study.model_validate({**plain.model_dump(), **_read(parts)}).also) == 2
    assert "{name}" in TEMPLATE.read_text()


@pytest.mark.parametrize(
    ("file", "models", "told"),
    [
        ("there.yaml", [], "there.yaml is there already"),
        ("study.txt", [], "is no YAML file"),
        ("new.yaml", ["no-such-model"], "models.0: 'no-such-model' is not in"),
        ("new.yaml", ["a: b"], "models.0: 'a: b' is not in"),
    ],
)
def test_what_cannot_be_written_is_one_message_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str, models: list[str], told: str
) -> None:
    (tmp_path / "there.yaml").write_text("mine")
    assert main([str(tmp_path / file), *models]) == 2
    assert told in capsys.readouterr().err
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("there.yaml", "mine")]
