"""docs/extending.md, followed to the letter in a copy of the program: a predictor and an arm, each in one place."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
TABLES = {"PREDICTORS": "study/config/predictors.py", "ARMS": "study/config/arms.py"}
RUN = """
from pathlib import Path
from analysis.report import write_report
import study
from study.commands.schemas import reference
from study.results.description import write_description
from study.results.store import Store

results, plan = Path("results"), study.read("study.yaml")
for unit in plan.units:
    study.run(unit, results)
models = {name: model.model_dump(mode="json") for name, model in plan.models.items()}
write_description(results, plan.study.name, plan.study.model_dump(mode="json"), models, plan.units)
write_report(results, Path("report.md"))
Path("reference.md").write_text(reference())
"""


def blocks() -> list[str]:
    """The Python blocks of the page, in order."""
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "extending.md").read_text(), re.DOTALL)


def with_entry(text: str, table: str, entry: str) -> str:
    """The source with an entry at the end of one of its tables."""
    start = re.search(rf"^{table}: dict\[.*\] = {{\n", text, re.MULTILINE)
    assert start
    end = text.index("\n}\n", start.end()) + 1
    return text[:end] + entry + text[end:]


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the program with both entries, in which a study that uses them was run and reported."""
    copy = tmp_path_factory.mktemp("extended")
    for name in ("study", "actors", "analysis"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "configs" / "models.yaml", copy)
    for (table, file), entry in zip(TABLES.items(), blocks(), strict=True):
        (copy / file).write_text(with_entry((copy / file).read_text(), table, entry))
    settings = yaml.safe_load((ROOT / "configs" / "smoke.yaml").read_text())
    settings["grid"] |= {"layers": [1, 2], "arms": ["plain", "shuffled_below"]}
    settings["decisions"] = {"predictors": ["state_norm", "log_p"]}
    (copy / "study.yaml").write_text(yaml.safe_dump(settings))
    done = subprocess.run([sys.executable, "-c", RUN], cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return copy


def test_a_predictor_is_one_entry(extended: Path) -> None:
    (file,) = extended.glob("results/predictors/*/predictors.parquet")
    rows = pd.read_parquet(file)
    assert (rows["state_norm"] > 0).all()
    growth = rows.pivot_table(index=["pair", "tier"], columns="layer", values="state_norm")
    expected = rows.pivot_table(index=["pair", "tier"], columns="layer", values="residual_growth")
    # The mean norm of one layer over that of the layer below is the growth that is measured already.
    assert abs(growth[2] / growth[1] - expected[2]).max() < 1e-9
    assert "| state_norm |" in (extended / "report.md").read_text()
    assert "| `state_norm` | norm of the hidden state | yes |" in (extended / "reference.md").read_text()


def test_an_arm_is_one_entry(extended: Path) -> None:
    trained = {folder.name: folder for folder in extended.glob("results/cells/*shuffled_below*")}
    assert len(trained) == 2
    for folder in trained.values():
        assert pq.read_metadata(folder / "lens.parquet").num_rows > 0
        layer = int(re.search(r"_L(\d)_", folder.name)[1])  # type: ignore[index]
        weights = {name.split(".")[2] for name in adapter_names(folder)}
        assert weights <= {str(block) for block in range(layer + 1)}
    levels = pd.read_csv(extended / "report" / "table_levels.csv")
    assert set(levels["arm"]) == {"plain", "shuffled_below"}
    fitted = set(levels.loc[levels["fitted"], "arm"])
    told = pd.read_csv(extended / "report" / "table_effects.csv")["contrast"]
    assert ("names against shuffled_below" in set(told)) == ({"plain", "shuffled_below"} <= fitted)
    assert "shuffled labels, adapters below only" in (extended / "report.md").read_text()
    assert "| `shuffled_below` | control |" in (extended / "reference.md").read_text()


def adapter_names(folder: Path) -> list[str]:
    """Names of the adapter's arrays that are not at their start, which is zero for one of each layer's two."""
    import mlx.core as mx

    weights = mx.load(str(folder / "adapters.safetensors"))
    return [name for name, value in weights.items() if name.endswith("lora_b") and float(mx.abs(value).max()) > 0]


def test_the_reference_page_is_what_the_code_says() -> None:
    from study.commands.schemas import REFERENCE, reference

    assert (ROOT / REFERENCE).read_text() == reference(), "run `study schemas`"


def test_rows_from_before_a_predictor_was_declared_are_still_reported(extended: Path) -> None:
    from analysis.report import write_report
    from study.config.json_files import SEAL, seal
    from study.config.predictors import PREDICTORS, Predictor

    PREDICTORS["later"] = Predictor("declared later", lambda at: 0.0)
    try:
        study_file = extended / "results" / "study.json"
        study = json.loads(study_file.read_text().replace('"state_norm"', '"log_p"', 1))
        study_file.write_text(json.dumps(seal({key: value for key, value in study.items() if key != SEAL})))
        assert write_report(extended / "results", extended / "again.md") == []
    finally:
        del PREDICTORS["later"]
    table = pd.read_csv(extended / "again" / "table_predictors.csv")
    assert table["log_p"].notna().all()
