"""The notebook in examples/: the same as the script, run with a small study, and with the outputs of the real one."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT, NOTEBOOK = (ROOT / "examples" / f"where_is_it_read.{ending}" for ending in ("py", "ipynb"))


def cells_of_script() -> list[tuple[str, str]]:
    """Kind and source of each cell of the script, in jupytext's percent format."""
    cells = []
    for part in re.split(r"^# %%", SCRIPT.read_text(), flags=re.MULTILINE)[1:]:
        head, _, source = part.partition("\n")
        markdown = head.strip() == "[markdown]"
        text = re.sub(r"^# ?", "", source, flags=re.MULTILINE) if markdown else source
        cells.append(("markdown" if markdown else "code", text.strip()))
    return cells


def cells_of_notebook() -> list[dict[str, object]]:
    return json.loads(NOTEBOOK.read_text())["cells"]  # type: ignore[no-any-return]


def test_the_notebook_is_the_script() -> None:
    found = [(str(cell["cell_type"]), "".join(cell["source"]).strip()) for cell in cells_of_notebook()]  # type: ignore[arg-type]
    assert found == cells_of_script()


def test_the_notebook_holds_its_outputs_and_nothing_of_the_machine_that_made_them() -> None:
    code = [cell for cell in cells_of_notebook() if cell["cell_type"] == "code"]
    outputs = [output for cell in code for output in cell["outputs"]]  # type: ignore[attr-defined]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3
    assert all(cell["outputs"] for cell in code if not str(cell["source"]).startswith("depth ="))
    assert not [output for output in outputs if output["output_type"] in ("error", "stream")]
    assert str(ROOT) not in NOTEBOOK.read_text()
    assert "/home/" not in NOTEBOOK.read_text()


@pytest.mark.slow
def test_the_script_runs_with_a_small_study(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "MPLBACKEND": "Agg",
        "EXAMPLE_STUDY": "configs/smoke.yaml",
        "EXAMPLE_RESULTS": str(tmp_path / "results"),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-W", "error::RuntimeWarning", str(SCRIPT)]
    done = subprocess.run(command, cwd=SCRIPT.parent, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {folder.name for folder in (tmp_path / "results").iterdir() if any(folder.iterdir())} >= {
        *("cells", "reference", "stage1")
    }
