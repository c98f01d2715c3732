import json
import os
import subprocess
import sys

from actors.cluster import share
from study.config import RaySettings
from study.doctor import main


def test_the_doctor_names_versions_speed_ray_and_folders_and_ends_well(tmp_path):
    environment = {**os.environ, "STUDY_CACHE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "study.doctor"], env=environment, capture_output=True, text=True, check=False
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
    assert "float32, 1 thread:    MLX" in done.stdout
    assert "smollm2-135m:" in done.stdout
    speed = json.loads((tmp_path / "speed.json").read_text())
    assert speed["workers"] == share(RaySettings()).workers
    assert f"MLX {speed['gflops']:.0f} GFLOP/s" in done.stdout


def test_the_doctor_names_what_is_wrong_and_the_fix(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([]) == 1
    printed = capsys.readouterr().out
    assert "problem: configs/models.yaml: cannot be read: No such file or directory" in printed
    assert printed.endswith("problems: 1\n")


def test_workers_share_the_cores_between_them():
    cores = share(RaySettings(workers=1)).threads
    assert share(RaySettings(workers=10 * cores)).threads == 1
    automatic = share(RaySettings())
    assert automatic.workers * automatic.threads in (cores, automatic.workers)
