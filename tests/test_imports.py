"""Every module of every package can be imported first, and `import study` loads nothing that it does not need yet."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("study", "actors", "analysis", "benchmarks", "soak")
HEAVY = ("mlx", "mlx_lm", "ray", "pandas", "numpy", "pydantic", "matplotlib", "transformers")

FIRST = """
import importlib, os, sys, traceback, warnings
# Third-party packages that take long to import are shared; none of ours and nothing of MLX is there yet.
import jinja2, matplotlib.figure, pandas, pyarrow.parquet, ray, rich.console, scipy.stats, sklearn.linear_model, yaml
from pydantic import BaseModel, TypeAdapter
from transformers import AutoTokenizer, PreTrainedTokenizerFast
ours = ("study", "actors", "analysis", "benchmarks", "soak", "mlx")
assert not any(name.split(".")[0] in ours for name in sys.modules)
for name in sys.argv[1].split():  # what is below all of these, so that it cannot import them
    importlib.import_module(name)
for name in sys.argv[2:]:
    child = os.fork()
    if child == 0:
        try:
            warnings.simplefilter("error", RuntimeWarning)
            importlib.import_module(name)
            os._exit(0)
        except BaseException:
            print(name, traceback.format_exc(), flush=True)
            os._exit(1)
    os.waitpid(child, 0)
"""


def modules() -> list[str]:
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py") if file.name != "__main__.py"]
    parts = [file.relative_to(ROOT).with_suffix("").parts for file in sorted(files) if file.parent.name != "peers"]
    return [".".join(part[:-1] if part[-1] == "__init__" else part) for part in parts]


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, cwd=ROOT
    )


@pytest.mark.slow
@pytest.mark.parametrize("bottom", [True, False], ids=["study.config", "all above it"])
def test_every_module_can_be_imported_first(bottom: bool) -> None:
    found = [name for name in modules() if name.startswith("study.config") is bottom]
    assert len(found) > (15 if bottom else 100)
    done = python(FIRST, "" if bottom else "study.config.study", *found)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


def test_import_study_loads_nothing_heavy_and_shows_what_it_offers() -> None:
    code = f"import sys, study; print([name for name in {HEAVY} if name in sys.modules]); print(*dir(study))"
    loaded, offered = python(code).stdout.splitlines()
    assert loaded == "[]"
    assert {"load", "read", "run", "rows"} <= set(offered.split())


@pytest.mark.slow
@pytest.mark.parametrize("order", ["import study, mlx.core", "import mlx.core, study"])
def test_study_works_beside_mlx_in_any_order(order: str) -> None:
    late = order.startswith("import mlx") and sys.platform == "linux"
    code = f"""
{order}
import warnings
with warnings.catch_warnings(record=True) as found:
    warnings.simplefilter("always")
    study.load
print([str(one.message) for one in found if "BLAS" in str(one.message)])
"""
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert ("Put `import study` above the first import of MLX" in done.stdout) == late
