import json
import os
import re
import subprocess
import sys

import pytest

from actors.cluster import Share, share
from study.commands.doctor import main
from study.config.study import RaySettings
from study.models import blas


@pytest.mark.slow
def test_the_doctor_names_versions_speed_ray_and_folders_and_ends_well(tmp_path):
    environment = {**os.environ, "STUDY_CACHE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "study", "doctor"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for name in (
        "platform",
        "python",
        "mlx",
        "ray",
        "MLX device",
        "BLAS of MLX",
        "Ray",
        "models lie in",
        "results lie in",
    ):
        assert f"\n{name}:" in f"\n{done.stdout}"
    assert re.search(r"^float32, 1 thread: +MLX", done.stdout, re.MULTILINE)
    assert "smollm2-135m:" in done.stdout
    speed = json.loads((tmp_path / "speed.json").read_text())
    assert speed["workers"] == share(RaySettings()).workers
    assert f"MLX {speed['gflops']:.0f} GFLOP/s" in done.stdout


@pytest.mark.slow
def test_the_doctor_names_what_is_wrong_and_the_fix(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([]) == 1
    printed = capsys.readouterr().out
    assert "problem: configs/models.yaml: cannot be read: No such file or directory" in printed
    assert printed.endswith("problems: 1\n")


@pytest.mark.slow
def test_a_speed_that_cannot_be_measured_is_a_problem_with_its_reason_and_the_rest_is_told(tmp_path):
    (tmp_path / "gguf.py").write_text("raise ImportError('a broken package')")
    environment = {**os.environ, "STUDY_CACHE": str(tmp_path), "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "study", "doctor"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert (
        "problem: `python -m study.commands.speed` failed, which measures this machine: ImportError: a broken"
        in done.stdout
    )
    assert "\nmodels lie in:" in done.stdout
    assert "float32" not in done.stdout


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac has one worker anyway")
def test_a_gpu_is_given_one_worker(monkeypatch):
    cores = share(RaySettings(workers=1)).threads
    monkeypatch.setattr(blas, "has_cuda", lambda: True)
    assert share(RaySettings()) == Share(1, cores)
    assert share(RaySettings(workers=2)).workers == 2


def test_workers_share_the_cores_between_them():
    cores = share(RaySettings(workers=1)).threads
    assert share(RaySettings(workers=10 * cores)).threads == 1
    automatic = share(RaySettings())
    assert automatic.workers * automatic.threads in (cores, automatic.workers)
