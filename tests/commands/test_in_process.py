"""`ray: {workers: 0}`: a study in the process of the command, without Ray."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from study.commands.in_process import groups
from study.commands.run import main
from study.config.study import RaySettings
from study.config.units import Cell, foundations
from study.plan.order import ranks
from study.plan.read import read_study
from study.results.store import Store

CONFIGS = Path(__file__).parents[2] / "configs"
WITHOUT_RAY = """
import sys
sys.modules["ray"] = None
from study.commands.run import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    (tmp_path / "models.yaml").write_text((CONFIGS / "models.yaml").read_text())
    text = (CONFIGS / "smoke.yaml").read_text().replace("layers: [0.5]", "layers: all")
    (tmp_path / "study.yaml").write_text(text + "ray: {workers: 0}\n")
    return tmp_path / "study.yaml"


def test_units_come_in_the_order_of_the_study_and_cells_in_stacks(study: Path) -> None:
    plan = read_study(study)
    rank = ranks(plan.units)
    found = list(groups(plan.units, rank, RaySettings()))
    assert sorted(unit.id for group in found for unit in group) == sorted(unit.id for unit in plan.units)
    seen: set[str] = set()
    for group in found:
        for unit in group:
            assert {one.id for one in foundations(unit)} <= seen
        seen |= {unit.id for unit in group}
    cells = [group for group in found if isinstance(group[0], Cell)]
    assert max(map(len, cells)) > 1
    alone = list(groups(plan.units, rank, RaySettings(stack=1)))
    assert max(map(len, alone)) == 1


@pytest.mark.slow
def test_it_gives_the_results_that_ray_gives_where_ray_is_not_installed(
    study: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    results, report = tmp_path / "here", tmp_path / "report.md"
    text = (CONFIGS / "smoke.yaml").read_text()
    study.write_text(text)
    command = [sys.executable, "-c", WITHOUT_RAY, str(study), "--results", str(results), "--report", str(report)]
    done = subprocess.run(
        [*command, "--set", "ray.workers=0", "--set", "ray.stack=1"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    plan = read_study(study)
    lines = [line for line in done.stdout.splitlines() if " done in " in line]
    assert len(lines) == len(plan.units)
    assert re.search(rf"\[{len(plan.units)}/{len(plan.units)} · ", lines[-1])
    for unit in plan.units:
        mine, theirs = Store(results).folder(unit), Store(uninterrupted).folder(unit)
        for file in mine.glob("*.parquet"):
            if file.name != "curves.parquet":  # which has the seconds of steps
                assert file.read_bytes() == (theirs / file.name).read_bytes(), file
    assert report.read_text().startswith("# Where can a classifier be trained")
    # Again, nothing is run.
    done = subprocess.run(
        [*command, "--set", "ray.workers=0", "--set", "ray.stack=1"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert " done in " not in done.stdout


@pytest.mark.slow
def test_what_builds_on_a_unit_that_failed_is_recorded_with_the_reason(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    built = shutil.copytree(_tiny(), tmp_path / "model")
    (built / "model.safetensors").write_bytes(b"\xff" * 99)
    study.write_text(study.read_text().replace("tiny-llama", "model"))
    monkeypatch.setattr("study.models.facts._parameters", lambda *_: None)  # else the study is refused before
    arguments = [str(study), "--results", str(tmp_path / "results"), "--report", str(tmp_path / "r.md")]
    assert main([*arguments, "--set", "ray.workers=0", "--only", "L1"]) == 1
    said = capsys.readouterr().out
    assert "model|stage1|s0  failed: ModelError: " in said
    assert "failed: its stage 1 failed: ModelError: " in said
    records = [json.loads(file.read_text()) for file in (tmp_path / "results" / "unfinished").glob("*.json")]
    assert {record["status"] for record in records} == {"failed"}


def _tiny() -> Path:
    from study.config.catalogue import BuiltSource, Model
    from study.models import load

    return load.fetch(Model(source=BuiltSource(built="llama"), blocks=2))


def test_a_cluster_is_not_asked_of_a_process(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(study), "--results", str(tmp_path / "results"), "--report", str(tmp_path / "r.md")]
    assert main([*arguments, "--address", "127.0.0.1:6379"]) == 2
    assert "--address names a Ray cluster, and ray.workers is 0" in capsys.readouterr().err
