"""Results of machines that never met, as one folder."""

import json
import multiprocessing
import os
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis.data.results import read_results
from study.commands.merge import main
from study.commands.status import main as status
from study.config.grid import Grid
from study.config.json_files import seal
from study.config.units import Unit, folder_name
from study.plan.expand import expand
from study.results.description import read_description, write_description
from study.results.files import write_json, write_rows
from study.results.finished import DONE
from study.results.store import Store
from tests.actors.test_ray import LAYERS, MODELS, STUDY
from tests.finished import complete
from tests.simulated import Plan
from tests.simulated import write_study as simulate

BOTH = Plan(models={"alpha": 4, "beta": 4}, depths=(0.5, 1.0), pairs=("multiply/add",), weights=(0.0, 0.5), per_class=8)
ALPHA, BETA = replace(BOTH, models={"alpha": 4}), replace(BOTH, models={"beta": 4})
GRID = STUDY.model_copy(update={"models": ["a"], "grid": LAYERS})
UNITS = expand(GRID, MODELS)
FIRST, REFERENCE, PREDICTORS, *CELLS = UNITS


def store_at(root: Path, grid: Grid = LAYERS) -> Store:
    """An empty results folder of the study of one model."""
    study = GRID.model_copy(update={"grid": grid})
    store = Store(root / study.name)
    models = {"a": MODELS["a"].model_dump(mode="json")}
    write_description(store.root, study.name, study.model_dump(mode="json"), models, expand(study, MODELS))
    return store


def finish(store: Store, *units: Unit, loss: float = 0.5, seconds: float = 1.0) -> None:
    for unit in units:
        with store.attempt(unit) as folder:
            losses = {"class_loss": 0.0, "answer_loss": 0.0, "seconds": seconds}
            write_rows(folder / "curves.parquet", [{"step": i, "loss": loss / i, **losses} for i in (1, 2, 3)])
            complete(folder, unit, {"seconds": {"train": seconds}, "finished": "today", "machine": "a Mac"})


def merged(*stores: Store) -> int:
    return main([str(store.root) for store in stores])


def tree(root: Path) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}


def missing(plan: Plan, model: str) -> Plan:
    """The plan on a machine that ran `--only` the other models."""
    kinds = ("stage1", "reference", "multiply-add|w=0", "L1|multiply-add|w=0.5", "L3|multiply-add|w=0.5")
    return replace(plan, unfinished={f"{model}|{rest}|s0": ("missing", "") for rest in kinds})


@pytest.fixture
def two(tmp_path: Path) -> tuple[Store, Store]:
    return store_at(tmp_path / "one"), store_at(tmp_path / "two")


def test_copying_one_folder_over_the_other_merges_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, one, two = (tmp_path / name / "study" for name in ("whole", "one", "two"))
    simulate(whole, BOTH)
    shutil.copytree(simulate(two, missing(BOTH, "alpha")), simulate(one, missing(BOTH, "beta")), dirs_exist_ok=True)
    assert tree(one) == tree(whole)
    assert status([str(one)]) == 0
    assert all(unit.finished for unit in read_results(one).units.values())


@pytest.mark.parametrize(
    "plans", [(missing(BOTH, "beta"), missing(BOTH, "alpha")), (ALPHA, BETA)], ids=["only", "other models"]
)
@pytest.mark.parametrize("into_new", [False, True])
def test_two_machines_with_a_model_each_make_the_study_of_both(
    tmp_path: Path, plans: tuple[Plan, Plan], into_new: bool
) -> None:
    whole = simulate(tmp_path / "whole" / "study", BOTH)
    one, two = (simulate(tmp_path / str(i) / "study", plan) for i, plan in enumerate(plans))
    before = tree(two)
    into = tmp_path / "into" / "study" if into_new else one
    assert main([str(into), *([str(one)] if into_new else []), str(two)]) == 0
    joined = tree(into)
    assert read_description(into) == read_description(whole)
    del joined["study.json"]
    assert joined == {name: content for name, content in tree(whole).items() if name != "study.json"}
    assert tree(two) == before
    assert status([str(into)]) == 0
    assert read_results(into).model_names == ["alpha", "beta"]


def test_parts_of_a_grid_become_further_parts_and_a_second_merge_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = LAYERS.model_copy(update={"seeds": [1]})
    one, two = store_at(tmp_path / "one"), store_at(tmp_path / "two", more)
    theirs = expand(GRID.model_copy(update={"grid": more}), MODELS)
    finish(one, *UNITS)
    finish(two, *theirs)
    assert merged(one, two) == 0
    assert capsys.readouterr().out == f"{two.root}: 8 copied, 0 records of failed or skipped units\n"
    study = json.loads((one.root / "study.json").read_text())
    assert study["config"]["grid"]["seeds"] == [0]
    assert study["config"]["also"] == [more.model_dump(mode="json")]
    assert [unit["id"] for unit in study["units"]] == [unit.id for unit in (*UNITS, *theirs)]
    before = tree(one.root)
    assert merged(one, two) == 0
    assert capsys.readouterr().out == f"{two.root}: 8 there already, 0 records of failed or skipped units\n"
    assert tree(one.root) == before


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda study: study["config"]["decisions"].update(floor=0.2), "decisions.floor is 0.2 there, and 0.1 in the"),
        (lambda study: study["config"]["stage2"].pop("steps"), "stage2.steps is None there, and 500 in the others"),
        (lambda study: study.update(name="other"), "name is other there, and example in the others"),
        (lambda study: [unit.update(blocks=5) for unit in study["units"]], "models.a is [5, "),
        (lambda study: [unit.update(model="b") for unit in study["units"]], "short name of a model is b there, and a"),
        (lambda study: [unit.update(results_version=9) for unit in study["units"]], "results_version is 9 there"),
    ],
)  # fmt: skip
def test_results_that_one_report_cannot_hold_are_refused_and_nothing_is_written(
    two: tuple[Store, Store], change: Callable[[Any], object], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = two
    finish(other, FIRST)
    study = other.study()
    change(study)
    write_json(other.root / "study.json", seal(study))
    before = tree(one.root)
    assert merged(one, other) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"{other.root} cannot be merged, it is of another study: ")
    assert told in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""
    assert tree(one.root) == before


def test_how_a_study_is_run_may_differ(two: tuple[Store, Store]) -> None:
    study = two[1].study()
    study["config"]["ray"]["workers"] = 1
    write_json(two[1].root / "study.json", seal(study))
    assert merged(*two) == 0


def test_two_results_of_one_unit_are_both_kept_aside_until_one_is_chosen(
    two: tuple[Store, Store], capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = two
    finish(one, FIRST, CELLS[0], loss=0.5)
    finish(other, FIRST, CELLS[1], loss=0.4)
    ours, theirs = (tree(store.folder(FIRST)) for store in two)
    assert merged(one, other) == 1
    told = capsys.readouterr().out.splitlines()
    assert told[0] == f"{other.root}: 1 in conflict, 1 copied, 0 records of failed or skipped units"
    assert told[1] == f"conflict: {one.folder(FIRST)} has 2 different results, and none counts:"
    assert [line.endswith(": finished today on a Mac") for line in told[2:4]] == [True, True]
    kept = sorted((one.root / "conflicts" / "stage1" / folder_name(FIRST)).iterdir())
    assert [line.split(": ")[0].strip() for line in told[2:4]] == [str(folder) for folder in kept]
    assert sorted(map(tree, kept), key=str) == sorted([ours, theirs], key=str)
    assert [one.is_done(unit) for unit in (FIRST, CELLS[0], CELLS[1])] == [False, True, True]
    assert one.status(FIRST).reason.startswith("a merge found different results, which lie in conflicts/stage1/")
    assert tree(other.folder(FIRST)) == theirs

    before = tree(one.root)
    assert merged(one, other) == 1
    assert tree(one.root) == before

    kept[0].rename(one.folder(FIRST))
    assert merged(one, other) == 0
    assert one.is_done(FIRST)


def test_a_third_result_joins_the_two(two: tuple[Store, Store], tmp_path: Path) -> None:
    third = store_at(tmp_path / "three")
    for store, loss in zip((*two, third), (0.5, 0.4, 0.3), strict=True):
        finish(store, FIRST, loss=loss)
    assert merged(*two, third) == 1
    assert len(list((two[0].root / "conflicts" / "stage1" / folder_name(FIRST)).iterdir())) == 3


def test_the_same_rows_found_in_another_time_are_no_conflict(two: tuple[Store, Store]) -> None:
    finish(two[0], FIRST, seconds=1.0)
    finish(two[1], FIRST, seconds=2.0)
    assert merged(*two) == 0
    assert two[0].status(FIRST).seconds == 1.0


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda folder: (folder / "curves.parquet").unlink(), "curves.parquet is missing"),
        (lambda folder: os.truncate(folder / "curves.parquet", 100), "curves.parquet has 100 bytes, but "),
        (lambda folder: (folder / DONE).write_text("{"), "done.json cannot be used"),
        (lambda folder: (folder / DONE).unlink(), "it has no done.json"),
        (
            lambda folder: (folder / "curves.parquet").write_bytes(bytes((folder / "curves.parquet").stat().st_size)),
            "curves.parquet is corrupt: its SHA-256 is not that of what was written",
        ),
    ],
)
def test_a_damaged_unit_is_named_and_not_merged_and_the_others_are(
    two: tuple[Store, Store], damage: Callable[[Path], object], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = two
    finish(other, FIRST, *CELLS)
    damage(other.folder(CELLS[0]))
    assert merged(one, other) == 1
    assert f"damaged: {other.folder(CELLS[0])}: {told}" in capsys.readouterr().out
    assert [one.is_done(unit) for unit in (FIRST, *CELLS)] == [True, False, True, True, True, True]
    assert not one.folder(CELLS[0]).exists()
    assert list((one.root / "tmp").iterdir()) == []


def test_a_damaged_unit_is_replaced_by_a_whole_one_and_kept_aside(
    two: tuple[Store, Store], capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = two
    finish(one, FIRST, CELLS[0], loss=0.5)
    finish(other, FIRST, CELLS[0], loss=0.4)
    os.truncate(one.folder(FIRST) / "curves.parquet", 100)
    rows = one.folder(CELLS[0]) / "curves.parquet"
    rows.write_bytes(bytes(rows.stat().st_size))
    assert merged(one, other) == 0
    printed = capsys.readouterr().out
    for unit in (FIRST, CELLS[0]):
        assert f"{one.folder(unit)} was damaged: it is replaced from {other.folder(unit)} and kept as" in printed
        assert tree(one.folder(unit)) == tree(other.folder(unit))
    assert len(list((one.root / "aside").iterdir())) == 2


def test_why_a_unit_did_not_finish_is_taken_over_only_where_nothing_else_is_known(
    two: tuple[Store, Store], capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = two
    finish(one, CELLS[0])
    one.record(CELLS[1], "failed", "ours")
    one.record(CELLS[2], "failed", "ours")
    for unit in (CELLS[0], CELLS[1], CELLS[3]):
        other.record(unit, "failed", "theirs")
        other.record_file(folder_name(unit)).with_suffix(".log").write_text(f"log of {unit.id}")
    finish(other, CELLS[2])
    assert merged(one, other) == 0
    assert "1 copied, 1 records of failed or skipped units" in capsys.readouterr().out
    standing = [one.status(unit) for unit in CELLS[:4]]
    assert [(status.state, status.reason) for status in standing] == [
        ("done", "finished"),
        ("failed", "ours"),
        ("done", "finished"),
        ("failed", "theirs"),
    ]
    logs = [file.read_text() for file in sorted((one.root / "unfinished").glob("*.log"))]
    assert logs == [f"log of {CELLS[3].id}"]
    (other.root / "unfinished" / f"{folder_name(CELLS[3])}.json").write_text("{")
    assert merged(one, other) == 1
    assert "damaged: " in capsys.readouterr().out


def merge_and_die(arguments: Sequence[str], at: int) -> None:
    """Merge, killed at the given one of the steps that touch files."""
    steps = iter(range(at))

    def count(event: str, _: Any) -> None:
        if event in ("open", "os.rename", "os.mkdir", "os.remove") and next(steps, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    os._exit(main(arguments))


@pytest.mark.slow
def test_a_merge_that_is_killed_at_any_moment_and_run_again_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    one, other, calm = (store_at(tmp_path / name) for name in ("one", "other", "calm"))
    finish(one, FIRST, loss=0.5)
    one.record(CELLS[0], "failed", "ours")
    finish(other, FIRST, loss=0.4)
    finish(other, CELLS[0])
    other.record(CELLS[1], "failed", "theirs")
    shutil.copytree(one.root, calm.root, dirs_exist_ok=True)
    assert merged(calm, other) == 1
    expected = tree(calm.root)

    killed = 0
    for at in range(1, 1000, 3):
        into = tmp_path / str(at) / "example"
        shutil.copytree(one.root, into)
        process = multiprocessing.get_context("fork").Process(
            target=merge_and_die, args=([str(into), str(other.root)], at)
        )
        process.start()
        process.join()
        killed += process.exitcode == -signal.SIGKILL
        assert main([str(into), str(other.root)]) == 1
        Store(into).sweep(0)
        assert {
            file: content for file, content in tree(into).items() if not Path(file).name.startswith(".")
        } == expected
        if process.exitcode == 1:
            break
    assert killed > 10


def test_folders_that_are_no_study_or_the_same_are_refused(
    two: tuple[Store, Store], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = two
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    for into, source, told in (
        (one.root, one.root / ".." / "example", "cannot be merged into itself"),
        (one.root, tmp_path / "nowhere", f"{tmp_path / 'nowhere'} holds no study.json"),
        (tmp_path / "full", other.root, f"{tmp_path / 'full'} holds no study.json"),
        (tmp_path / "new", tmp_path / "nowhere", "holds no study.json"),
    ):
        assert main([str(into), str(source)]) == 2
        printed = capsys.readouterr().err
        assert told in printed
        assert printed.count("\n") == 1
    assert not (tmp_path / "new").exists()
    with pytest.raises(SystemExit) as ended:
        main([str(one.root)])
    assert ended.value.code == 2


def test_what_was_copied_is_what_was_finished(two: tuple[Store, Store]) -> None:
    one, other = two
    finish(other, *UNITS)
    assert merged(one, other) == 0
    for unit in UNITS:
        assert tree(one.verified(unit)) == tree(other.verified(unit))
        assert tree(one.folder(unit)) == tree(other.folder(unit))
