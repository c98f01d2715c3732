"""docs/architectures.md is what the installed mlx-lm and the study's own code give."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from study.commands.architectures import WHY, examine

ROOT = Path(__file__).parents[2]
NAMED = (
    "cohere2 gemma gemma2 gemma3 gpt2 gpt_neox gpt_oss granite llama mamba mamba2 mistral olmo2 phi phi3 qwen2 qwen3 "
    "qwen3_moe smollm3 stablelm starcoder2"
).split()


def test_a_model_that_looks_to_the_right_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path))
    assert not examine("llama").refused
    monkeypatch.setattr("mlx_lm.models.llama.create_attention_mask", lambda *_, **__: None)
    assert "states of a padded batch as alone" in examine("llama").refused


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("made") / "architectures.md"
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "study", "architectures", "--out", str(out)]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    return out.read_text()


@pytest.mark.slow
def test_the_committed_table_is_what_every_architecture_gives(made: str) -> None:
    committed = (ROOT / "docs" / "architectures.md").read_text()
    assert made == committed, "run study architectures"


@pytest.mark.slow
def test_sixty_architectures_work_and_the_most_used_ones_among_them(made: str) -> None:
    working, refused = (re.findall(r"^\| (`.*?) \|", part, re.MULTILINE) for part in made.split("## Refused"))
    assert len(working) >= 60
    assert set(NAMED) <= {name.strip("`") for row in working for name in row.split(", ")}
    assert set(WHY) <= {name.strip("`") for row in refused for name in row.split(", ")}, (
        "a reason that is none any more"
    )
