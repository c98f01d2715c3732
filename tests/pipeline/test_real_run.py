"""A short run on a real pretrained model, through the command line."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

STUDY: dict[str, Any] = {
    "name": "short",
    "models": ["smollm2-135m"],
    "grid": {"layers": [0.55], "pairs": [{"multiply": "multiply", "add": "add"}], "weights": [0.5]},
    "stage1": {"steps": 5, "batch_size": 4, "warmup_steps": 2},
    "stage2": {"steps": 30, "learning_rate": 1e-3, "warmup_steps": 5},
    "evaluation": {"prompts_per_class": 6},
    # One thread each: a second one would wait by spinning for a core that other tests have.
    "ray": {"workers": 2},
}


# Not marked `ray`: it takes as long as half of those that are, and needs no cluster in this process.
@pytest.mark.real
@pytest.mark.timeout(3600)
def test_on_smollm2_the_class_loss_falls_and_the_lens_probability_at_the_trained_layer_rises(tmp_path: Path) -> None:
    config = tmp_path / "short.yaml"
    config.write_text(yaml.safe_dump(STUDY))
    (tmp_path / "models.yaml").write_text(Path("configs/models.yaml").read_text())
    results, report = tmp_path / "results", tmp_path / "report.md"
    command = [sys.executable, "-m", "study.grid", str(config), "--results", str(results), "--report", str(report)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr

    (cell,) = (results / "cells").iterdir()
    (reference,) = (results / "reference").iterdir()
    curve = pd.read_parquet(cell / "curves.parquet")
    assert curve.class_loss.tail(5).mean() < 0.5 * curve.class_loss.head(5).mean()

    def p_on_trained_wording(folder: Path, stage: str) -> float:
        lens = pd.read_parquet(folder / "lens.parquet")
        rows = lens[(lens.stage == stage) & (lens.layer == 16) & (lens.tier == "symbolic")]
        return float(np.exp(rows.log_p).mean())

    before, after = p_on_trained_wording(reference, "stage1"), p_on_trained_wording(cell, "stage2")
    assert before < 0.01
    assert after > before + 0.2

    done = json.loads((cell / "done.json").read_text())
    assert all(gate["passed"] for gate in done["gates"])
    assert done["process_peak_gb"] < 2.5
    (memory,) = json.loads((results / "memory.json").read_text()).values()
    assert 0.5 * memory["estimated_gb"] < memory["measured_gb"] < 1.25 * memory["estimated_gb"]
    assert "smollm2-135m" in report.read_text()
