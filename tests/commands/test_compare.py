"""`study compare`: what the terminal shows, the report beside it, and what is said where nothing can be compared."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from study.commands.compare import main
from study.commands.pack import main as pack_study
from study.results.description import COMPARISON_TITLE
from tests.simulated import Plan, Truth, write_study

PACKED = Path(__file__).parents[2] / "reports" / "data"
PLAN = Plan(
    models={"alpha": 4, "beta": 6}, depths=(0.5, 1.0), pairs=("multiply/add",), weights=(0.0, 0.5), per_class=36
)
WITHOUT_MLX_AND_RAY = """
import sys
for name in ("mlx", "mlx.core", "mlx_lm", "ray", "rich"):
    sys.modules[name] = None
from study.commands.compare import main
from study.commands.pack import main as pack_study
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    tmp = tmp_path_factory.mktemp("results")
    worse = replace(PLAN, truth=lambda point: Truth(choice=0.5 if point.tier == "story" else 1.0))
    return write_study(tmp / "first", PLAN), write_study(tmp / "second", worse)


def test_the_terminal_has_80_columns_and_says_the_sentence_first(
    studies: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*map(str, studies)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if len(line) > 80] == []
    assert "choice accuracy is lower on 2 (-" in " ".join(lines[:6])
    table = lines[lines.index("choice accuracy, alpha") :]
    assert re.fullmatch(r"  story +\d+\.\d +\d+\.\d  -\d+\.\d \[-\d+\.\d, -\d+\.\d\] +1  lower", table[4])
    assert "left out" in lines


@pytest.mark.slow
def test_the_report_has_the_sentence_the_figure_and_every_number_as_csv(
    studies: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "reports" / "compared.md"
    assert main([*map(str, studies), "--out", str(out)]) == 0
    text, folder = out.read_text(), out.with_suffix("")
    assert text.startswith(f"{COMPARISON_TITLE}\n")
    said = " ".join(capsys.readouterr().out.split())
    assert text.split("**In one sentence.** ")[1].split("\n")[0].replace("\\", "") in said
    links = [out.parent / link for link in re.findall(r"\]\(([^)]+)\)", text)]
    assert len(links) > 5
    assert [link for link in links if not link.is_file()] == []
    found = pd.read_csv(folder / "table_differences.csv")
    for measure, model, tier, difference in re.findall(
        r"^\| (choice accuracy|answers) \| (alpha|beta) \| (\w+) \| [\d.]+ \| [\d.]+ \| ([-+][\d.]+) \[", text, re.M
    ):
        own = found[(found["family"] == "main") & (found["measure"] == measure) & (found["model"] == model)]
        assert 100 * own.set_index("tier").loc[tier, "difference"] == pytest.approx(float(difference), abs=0.051)
    assert "<svg" in (folder / "comparison.svg").read_text()
    assert 'data-chart="comparison"' in out.with_suffix(".html").read_text()
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert main([*map(str, reversed(studies)), "--out", str(out)]) == 0  # in place of the earlier one
    assert main([*map(str, studies), "--out", str(out)]) == 0
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert out.read_text() == text


@pytest.mark.slow
def test_it_needs_neither_mlx_nor_ray(studies: tuple[Path, Path]) -> None:
    command = [sys.executable, "-c", WITHOUT_MLX_AND_RAY, str(studies[0]), "--models", "alpha", "beta"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("From alpha (A) to beta (B) ")


@pytest.mark.slow
def test_two_studies_of_real_rows_say_what_differs_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(PACKED / "architecture_comparison"), str(PACKED / "foretold")]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^stage2\.steps +100 +120$", out, re.M)
    assert out.startswith("With 12 settings that differ, ")
    assert "16 of A: seed 1 is not in B" in out


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["first"], "there is nothing beside .*first: name a second study, or two of its models"),
        (["first", "first"], "are the same folder"),
        (["first", "nowhere"], "nowhere holds no study.json"),
        (["first", "--models", "alpha", "alpha"], "alpha is given twice"),
        (["first", "second", "--models", "alfa"], "alfa is no model of .*did you mean 'alpha'.*alpha, beta"),
        (["first", "empty"], "empty has no finished cell: `study status`"),
        (["first", "second", "--out", "x.txt"], "the report cannot be x.txt"),
        (["first", "second", "--out", "notes.md"], "notes.md is there, and is no report"),
    ],
)
def test_what_cannot_be_compared_is_one_message(
    studies: tuple[Path, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path, given: list[str], message: str
) -> None:
    if "empty" in given:
        cells = [f"{name}|{at}|s0" for name in PLAN.models for at in ("multiply-add|w=0", *_layers(name))]
        write_study(tmp_path / "empty", replace(PLAN, unfinished=dict.fromkeys(cells, ("missing", ""))))
    (tmp_path / "notes.md").write_text("of mine")
    places = {"first": studies[0], "second": studies[1]}
    places |= {name: tmp_path / name for name in ("nowhere", "empty", "notes.md")}
    assert main([str(places.get(word, word)) for word in given]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.search(message, printed.err)
    assert printed.err.count("\n") == 1
    assert (tmp_path / "notes.md").read_text() == "of mine"


def _layers(model: str) -> list[str]:
    return [f"L{round(depth * PLAN.models[model]) - 1}|multiply-add|w=0.5" for depth in PLAN.depths]


def test_more_than_two_models_are_a_mistake_of_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--models", "alpha", "beta", "results/first"])
    assert ended.value.code == 2
    assert "takes one or two names, not 3: write it behind the folders" in capsys.readouterr().err


def test_units_that_cannot_be_read_are_named_and_the_code_is_1(
    studies: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = write_study(tmp_path / "damaged", PLAN)
    (file,) = damaged.glob("cells/alpha*L3*/lens.parquet")
    file.write_bytes(b"torn")
    assert main([str(studies[1]), str(damaged)]) == 1
    printed = capsys.readouterr()
    assert "left out: " in printed.err
    assert "alpha|L3|multiply-add|w=0.5|s0" in printed.err
    assert "in B unreadable: " in printed.out


def test_a_packed_sample_beside_one_that_is_not_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A packed sample keeps five bits of a number, which would look like a difference of the runs."""
    for name in ("whole", "other"):
        write_study(tmp_path / name, PLAN)
        described = json.loads((tmp_path / name / "study.json").read_text())
        described["config"]["nursery"] = {"sample": {"architectures": ["llama", "gpt2"], "each": 1}}
        (tmp_path / name / "study.json").write_text(json.dumps(described))
    assert pack_study([str(tmp_path / "whole"), str(tmp_path / "packed")]) == 0
    capsys.readouterr()
    assert main([str(tmp_path / "packed"), str(tmp_path / "other")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "A is a packed sample, whose numbers keep 5 bits, and the other is not" in said
    assert main([str(tmp_path / "whole"), str(tmp_path / "other")]) == 0
    assert "packed sample" not in capsys.readouterr().out
