import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from study.commands.run import main
from study.plan.expand import expand
from study.plan.read import read_study
from study.plan.selection import SelectionError, choose
from study.results.finished import DONE
from study.results.store import FOLDERS, Store
from tests.finished import complete

CONFIGS = Path(__file__).parents[2] / "configs"
SMOKE = CONFIGS / "smoke.yaml"


def units_of(file=SMOKE):
    plan = read_study(file)
    return expand(plan.study, plan.models)


def pretend_finished(store, unit):
    with store.attempt(unit) as folder:
        complete(folder, unit)


def dry_run(capsys, results, *more):
    """The states of all units by label, as `--dry-run` prints them."""
    assert main([str(SMOKE), "--dry-run", "--results", str(results), *more]) == 0
    units = capsys.readouterr().out.partition("\n\n")[0].splitlines()
    return {line.split()[1]: (line.split()[0], line.split("  ", 1)[-1].strip()) for line in units}


def test_a_dry_run_starts_no_ray_loads_no_mlx_and_writes_nothing(tmp_path):
    code = f"""
import sys
from study.commands.run import main
assert main([{str(CONFIGS / "variations.yaml")!r}, "--dry-run", "--results", {str(tmp_path / "results")!r}]) == 0
assert not [name for name in ("ray", "mlx", "mlx_lm", "matplotlib") if name in sys.modules]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "90 units: 90 to run, 0 done, 0 skipped, 0 failed"
    assert "run      smollm2-135m|L17|multiply-add|w=0.5|s0  no result yet" in done.stdout
    assert not (tmp_path / "results").exists()


def test_one_model_under_two_names_is_one_message(tmp_path, capsys):
    entry = "{source: {built: llama}, blocks: 4}"
    (tmp_path / "models.yaml").write_text(f"one: {entry}\nother: {entry}\n")
    (tmp_path / "smoke.yaml").write_text(SMOKE.read_text())
    given = [str(tmp_path / "smoke.yaml"), "--set", "models=[one, other]", "--results", str(tmp_path / "results")]
    assert main([*given, "--dry-run"]) == 2
    told = "models: other is the same model as one, so its rows would be too; leave one out\n"
    assert capsys.readouterr() == ("", told)


def test_a_dry_run_says_where_every_unit_stands_and_why(tmp_path, capsys):
    store = Store(tmp_path)
    first, reference, predictors, without, cell = units_of()
    pretend_finished(store, first)
    store.record(without, "failed", "the loss is NaN")
    store.record(cell, "skipped", "'multiply' is two tokens")
    assert dry_run(capsys, tmp_path) == {
        first.label: ("done", f"{first.label}  finished"),
        reference.label: ("run", f"{reference.label}  no result yet"),
        predictors.label: ("run", f"{predictors.label}  no result yet"),
        without.label: ("failed", f"{without.label}  the loss is NaN"),
        cell.label: ("skipped", f"{cell.label}  'multiply' is two tokens"),
    }
    assert dry_run(capsys, tmp_path, "--force-failed")[without.label][0] == "run"


def test_units_whose_stage_1_failed_are_not_said_to_run(tmp_path, capsys):
    store = Store(tmp_path)
    first, *others = units_of()
    store.record(first, "failed", "the loss is NaN")
    states = dry_run(capsys, tmp_path)
    assert {states[unit.label][0] for unit in [first, *others]} == {"failed"}
    assert states[others[0].label][1].endswith("its stage 1 failed: the loss is NaN")
    assert {state for state, _ in dry_run(capsys, tmp_path, "--force-failed").values()} == {"run"}


@pytest.fixture
def with_a_giant(tmp_path):
    """The smoke study with a second model, which no machine can hold."""
    (tmp_path / "smoke.yaml").write_text(SMOKE.read_text().replace("[tiny-llama]", "[tiny-llama, giant]"))
    small = "tiny-llama:\n  source: {built: llama}\n  blocks: 4\n"
    giant = "giant:\n  source: {hub: a/giant}\n  blocks: 8\n  parameters: 1e13\n"
    (tmp_path / "models.yaml").write_text(small + giant)
    return tmp_path / "smoke.yaml"


@pytest.mark.slow
def test_units_of_a_model_that_fits_no_machine_are_skipped_with_the_reason_and_the_others_run(
    with_a_giant, uninterrupted, tmp_path, capsys
):
    results, report = tmp_path / "results", tmp_path / "report.md"
    shutil.copytree(uninterrupted, results)
    arguments = [str(with_a_giant), "--results", str(results), "--report", str(report)]
    assert main([*arguments, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "skipped  giant|stage1|s0  memory: it needs about " in printed
    assert printed.endswith("10 units: 0 to run, 5 done, 5 skipped, 0 failed\n")
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "giant: 5 units skipped: memory: it needs about" in printed
    assert "starting Ray" not in printed
    assert "10 units: 0 to run, 5 done, 5 skipped, 0 failed" in printed
    assert "memory: it needs about" in report.read_text()


def test_what_was_skipped_for_want_of_memory_is_to_run_where_it_fits(tmp_path, capsys):
    *_, cell = units_of()
    Store(tmp_path).record(cell, "skipped", "memory: it needs about 9 GB, and units may take 6 GB")
    assert dry_run(capsys, tmp_path)[cell.label] == ("run", f"{cell.label}  no result yet")


def test_only_picks_cells_with_the_stage_1_and_what_is_read_of_it_that_they_need():
    units = units_of(CONFIGS / "variations.yaml")
    labels = [unit.label for unit in choose(units, ["model=smollm2-135m", "layer=17", "seed=0"])]
    assert labels == [
        "smollm2-135m|stage1|s0",
        "smollm2-135m|reference|s0",
        "smollm2-135m|predictors|s0",
        "smollm2-135m|L17|multiply-add|w=0.5|s0",
    ]


@pytest.mark.parametrize(
    ("only", "cells"),
    [
        ([], 69),
        (["model=gemma-3-270m"], 33),
        (["model=smollm2-135m.chat"], 3),
        (["weight=0"], 9),
        (["weight=0.0", "weight=0.5"], 69),
        (["layer=0.6"], 6),
        (["layer=16"], 8),
        (["layer=16", "layer=28"], 17),
        (["pair=multiply/add"], 69),
        (["pair=multiply/add", "weight=0.5", "model=smollm2-135m", "layer=0.95"], 8),
        (["seed=1"], 16),
    ],
)
def test_only_takes_alternatives_of_one_key_and_demands_all_keys(only, cells):
    chosen = choose(units_of(CONFIGS / "variations.yaml"), only)
    assert sum("|w=" in unit.label for unit in chosen) == cells


@pytest.mark.parametrize(
    ("only", "told"),
    [
        ("colour=red", "--only colour=red: must be one of model=…, layer=…, pair=…, weight=…, arm=…, seed=…"),
        ("layer", "--only layer: must be one of"),
        ("layer=deep", "--only layer=deep: must be the index of a block"),
        (
            "layer=7",
            "no cell matches; there are model gemma-3-270m, smollm2-135m, smollm2-135m.chat; "
            "layer 3, 5, 6, 10, 11, 13, 16, 17, 23, 28;",
        ),
    ],
)
def test_an_only_that_picks_nothing_is_refused_with_what_exists(only, told, capsys):
    with pytest.raises(SelectionError):
        choose(units_of(CONFIGS / "variations.yaml"), [only])
    assert main([str(CONFIGS / "variations.yaml"), "--dry-run", "--only", only]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--dry-run"], ["a.yaml", "--nonsense"], ["a.yaml", "b.yaml"]])
def test_bad_usage_is_exit_code_2(arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2


@pytest.mark.slow
def test_a_finished_study_is_not_run_again_and_its_report_is_written(uninterrupted, tmp_path, capsys):
    results, report = tmp_path / "results", tmp_path / "reports" / "smoke.md"
    shutil.copytree(uninterrupted, results)
    began = time.process_time()
    assert main([str(SMOKE), "--results", str(results), "--report", str(report)]) == 0
    assert time.process_time() - began < 30
    printed = capsys.readouterr().out
    assert "Ray" not in printed
    assert "5 units: 0 to run, 5 done, 0 skipped, 0 failed" in printed
    assert str(report) in printed
    assert report.is_file()


@pytest.mark.slow
def test_failed_and_skipped_units_are_named_and_failed_ones_make_the_exit_code_1(uninterrupted, tmp_path, capsys):
    results = tmp_path / "results"
    shutil.copytree(uninterrupted, results)
    *_, without, cell = units_of()
    store = Store(results)
    arguments = [str(SMOKE), "--results", str(results), "--report", str(tmp_path / "report.md")]
    shutil.rmtree(store.folder(without))
    store.record(without, "skipped", "'multiply' is two tokens")
    assert main(arguments) == 0
    assert f"skipped: {without.label}: 'multiply' is two tokens" in capsys.readouterr().out
    shutil.rmtree(store.folder(cell))
    store.record(cell, "failed", "the loss is NaN")
    assert main(arguments) == 1
    assert f"failed: {cell.label}: the loss is NaN" in capsys.readouterr().out


def run_until(arguments, enough, end_with):
    """Start the command and signal it when `enough()`; its exit code."""
    process = subprocess.Popen([sys.executable, "-m", "study.grid", *arguments], start_new_session=True)
    while process.poll() is None and not enough():
        time.sleep(0.05)
    process.send_signal(end_with)
    return process.wait(timeout=300)


def published(root):
    """The tables of finished units; an attempt whose process was killed may still lie in tmp/."""
    return sorted(
        file.relative_to(root) for of_kind in FOLDERS.values() for file in root.glob(f"{of_kind}/*/*.parquet")
    )


@pytest.mark.ray
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_grid_that_is_interrupted_and_killed_goes_on_and_equals_an_uninterrupted_one(uninterrupted, tmp_path):
    results = tmp_path / "results"
    arguments = [str(SMOKE), "--results", str(results), "--report", str(tmp_path / "report.md")]

    def finished():
        return sorted(results.glob(f"*/*/{DONE}"))

    assert run_until(arguments, lambda: len(finished()) >= 1, signal.SIGINT) == 130
    kept = {file: file.stat().st_mtime for file in finished()}
    assert 1 <= len(kept) < 5
    assert run_until(arguments, lambda: len(finished()) > len(kept), signal.SIGKILL) == -signal.SIGKILL
    assert main([*arguments, "--dry-run"]) == 0
    done = subprocess.run([sys.executable, "-m", "study.grid", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

    assert {file: file.stat().st_mtime for file in kept} == kept
    files = published(uninterrupted)
    assert files == published(results)
    for file in files:
        mine, theirs = (
            pd.read_parquet(root / file).drop(columns="seconds", errors="ignore") for root in (results, uninterrupted)
        )
        pd.testing.assert_frame_equal(mine, theirs, rtol=1e-4, atol=1e-5)


def test_a_study_without_any_cell_is_refused(tmp_path, capsys):
    file = str(CONFIGS / "smoke.yaml")
    assert main([file, "--dry-run", "--set", "grid.prompts=[chat]", "--results", str(tmp_path / "results")]) == 2
    assert "none of its models has the prompts that it asks for (chat)" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()
