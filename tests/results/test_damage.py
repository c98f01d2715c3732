"""What is found torn, corrupt, missing, full or read-only is named, and nothing else is touched."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from study.commands.merge import main as merge
from study.commands.pack import main as pack
from study.commands.report import main as report
from study.commands.run import main as grid
from study.commands.status import main as status
from study.config.json_files import seal
from study.config.units import Unit, folder_name, kind
from study.plan.expand import expand
from study.plan.read import read_study
from study.results.description import read_description
from study.results.files import UnwritableError, write_bytes, write_json, write_rows
from study.results.finished import DONE, DamagedError
from study.results.schema import COLUMNS, TEXT, Row
from study.results.store import Store
from tests.finished import complete

SMOKE = Path(__file__).parents[2] / "configs" / "smoke.yaml"
PLAN = read_study(SMOKE)
UNITS = expand(PLAN.study, PLAN.models)
FIRST, REFERENCE, PREDICTORS, WITHOUT, CELL = UNITS


def answers(count: int) -> list[Row]:
    """Rows of a table that reports can read."""
    text = {name: "0" for name in COLUMNS["answers"] if name in TEXT}
    return [{**text, "prompt_id": i, "right": i % 2 == 0, "number_right": True, "nll": 0.5} for i in range(count)]


def finish(store: Store, unit: Unit) -> None:
    with store.attempt(unit) as folder:
        write_rows(folder / "answers.parquet", answers(50))
        write_bytes(folder / "adapters.safetensors", bytes(1000))
        complete(folder, unit, {"seconds": {"train": 1.0}})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Every unit of the smoke study, finished, with files that are not its real ones."""
    store = Store(tmp_path / "results")
    for unit in UNITS:
        finish(store, unit)
    return store


def tear(file: Path) -> None:
    """As a copy that broke off leaves it."""
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def flip(file: Path) -> None:
    """As a failing disk leaves it: one byte, in the middle of the first column."""
    content = bytearray(file.read_bytes())
    content[40] ^= 0xFF
    file.write_bytes(content)


def snapshot(root: Path) -> dict[Path, tuple[bytes, float]]:
    files = [file for file in root.rglob("*") if file.is_file()]
    return {file.relative_to(root): (file.read_bytes(), file.stat().st_mtime) for file in files}


@pytest.mark.parametrize(
    ("name", "damage", "told"),
    [
        ("answers.parquet", tear, "damaged: answers.parquet has "),
        ("answers.parquet", os.unlink, "damaged: answers.parquet is missing"),
        ("adapters.safetensors", tear, "damaged: adapters.safetensors has 500 bytes, but 1000 were written"),
        (DONE, tear, "damaged: done.json cannot be used: Unterminated"),
        (DONE, lambda file: file.write_text("[]"), "damaged: done.json cannot be used: it is no JSON object"),
        (DONE, os.unlink, "damaged: it has no done.json"),
    ],
)
def test_a_damaged_folder_counts_as_not_run_and_is_set_aside_whole_and_alone(
    store: Store, name: str, damage: Callable[[Path], object], told: str
) -> None:
    damage(store.folder(CELL) / name)
    assert store.status(CELL).state == "run"
    assert store.status(CELL).reason.startswith(told)
    assert not store.is_done(CELL)
    assert [store.is_done(unit) for unit in UNITS[:4]] == [True] * 4
    before = snapshot(store.root)
    for unit in UNITS[:4]:
        assert store.set_aside(kind(unit), folder_name(unit)) is None
    aside = store.set_aside(kind(CELL), folder_name(CELL))
    assert aside is not None
    old, new = store.folder(CELL).relative_to(store.root), aside.relative_to(store.root)
    assert snapshot(store.root) == {
        new / file.name if file.parent == old else file: content for file, content in before.items()
    }
    finish(store, CELL)
    assert store.is_done(CELL)


def test_a_changed_byte_is_found_where_every_byte_is_read(store: Store) -> None:
    store.verified(CELL)
    flip(store.folder(CELL) / "answers.parquet")
    assert store.is_done(CELL)
    with pytest.raises(DamagedError, match=r"answers\.parquet is corrupt"):
        store.verified(CELL)
    assert store.set_aside(kind(CELL), folder_name(CELL)) is None
    assert store.set_aside(kind(CELL), folder_name(CELL), thorough=True) is not None


def test_a_folder_that_lists_no_files_is_damaged(store: Store) -> None:
    folder = store.folder(CELL)
    write_json(folder / DONE, {"kind": kind(CELL), "id": CELL.id, "seconds": {"train": 1.0}})
    assert store.status(CELL).reason == "damaged: done.json is not as a unit writes it: files: field required"


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"status": "odd", "reason": ""}'])
def test_a_torn_record_of_a_failure_is_named_and_its_unit_runs_again(store: Store, content: str) -> None:
    shutil.rmtree(store.folder(CELL))
    store.record(CELL, "failed", "the loss is NaN")
    (record,) = (store.root / "unfinished").iterdir()
    record.write_text(content)
    assert store.status(CELL).state == "run"
    assert store.status(CELL).reason.startswith(f"its record cannot be read: unfinished/{record.name}: ")
    finish(store, CELL)
    assert store.is_done(CELL)
    assert not record.exists()


@pytest.mark.slow
@pytest.mark.parametrize("content", ["", '{"name": "smoke", "units": [', "[]", '{"units": [{"kind": "cell"}]}'])
def test_a_torn_description_is_one_message_with_the_remedy(
    uninterrupted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    results = tmp_path / "results"
    shutil.copytree(uninterrupted, results)
    (results / "study.json").write_text(content)
    for command in (
        lambda: status([str(results)]),
        lambda: report(["--results", str(results), "--out", str(tmp_path / "report.md")]),
        lambda: pack([str(results), str(tmp_path / "packed")]),
    ):
        assert command() == 2
        told = capsys.readouterr().err
        assert f"{results / 'study.json'} is not a study's description" in told
        assert "python -m study.grid with the study's configuration writes it again" in told
        assert told.count("\n") == 1


@pytest.mark.slow
def test_a_path_out_of_the_folder_is_refused(
    uninterrupted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = read_description(uninterrupted)
    study["units"][0]["folder"] = "../../elsewhere"
    write_json(tmp_path / "study.json", seal(study))
    assert status([str(tmp_path)]) == 2
    assert "../../elsewhere is not the name of a folder" in capsys.readouterr().err


@pytest.mark.ray
@pytest.mark.usefixtures("no_cluster")
def test_a_grid_names_what_is_damaged_sets_it_aside_and_runs_it_again(
    uninterrupted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    shutil.copytree(uninterrupted, results)
    store = Store(results)
    arguments = [str(SMOKE), "--results", str(results), "--report", str(tmp_path / "report.md")]

    flip(store.folder(PREDICTORS) / "predictors.parquet")  # which only those see who read it all
    tear(results / "study.json")
    assert grid(arguments) == 1
    assert (results / "study.json").read_bytes() == (uninterrupted / "study.json").read_bytes()
    told = capsys.readouterr().out
    assert f"damaged: {PREDICTORS.label}: " in told
    assert f"its folder is kept as aside/{folder_name(PREDICTORS)}." in told
    assert "5 units: 1 to run, 4 done, 0 skipped, 0 failed" in told

    tear(store.folder(REFERENCE) / "lens.parquet")
    tear(store.folder(WITHOUT) / DONE)
    (store.folder(CELL) / DONE).unlink()
    kept = snapshot(store.folder(FIRST))
    assert grid([*arguments, "--dry-run"]) == 0
    assert f"run      {CELL.label}  damaged: it has no done.json" in capsys.readouterr().out
    assert len(list((results / "aside").iterdir())) == 1

    assert grid(arguments) == 0
    told = capsys.readouterr().out
    for unit, reason in (
        (REFERENCE, "lens.parquet has "),
        (WITHOUT, "done.json cannot be used"),
        (CELL, "it has no done.json"),
    ):
        (line,) = (line for line in told.splitlines() if line.startswith(f"{unit.label}: damaged: {reason}"))
        assert "; its folder is kept as aside/" in line
        assert line.endswith("; it is run again")
    assert [store.is_done(unit) for unit in UNITS] == [True] * 5
    assert snapshot(store.folder(FIRST)) == kept
    assert {folder.name.rsplit(".", 1)[0] for folder in (results / "aside").iterdir()} == {
        folder_name(unit) for unit in UNITS[1:]
    }

    shutil.rmtree(store.folder(CELL))
    flip(store.folder(FIRST) / "adapters.safetensors")  # at the same size, of what the cell builds on
    assert grid(arguments) == 0
    told = capsys.readouterr().out
    assert (
        f"{FIRST.label}: damaged: adapters.safetensors is corrupt: its SHA-256 is not that of what was written" in told
    )
    assert f"its folder is kept as aside/{folder_name(FIRST)}." in told
    assert "5 units: 0 to run, 5 done, 0 skipped, 0 failed" in told
    for unit in UNITS:
        store.verified(unit)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(disk)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here, which takes root on Linux: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path) -> None:
    with (disk / "ballast").open("wb", buffering=0) as stream, suppress(OSError):
        while True:
            stream.write(bytes(4096))


def test_on_a_full_disk_an_attempt_fails_with_the_path_and_the_remedy_and_leaves_what_was_there(
    small_disk: Path,
) -> None:
    store = Store(small_disk / "results")
    finish(store, FIRST)
    before = snapshot(store.root)
    fill(small_disk)
    with pytest.raises(UnwritableError, match="cannot be written: No space left on device; free some space"):
        finish(store, CELL)
    with pytest.raises(UnwritableError, match="No space left on device"):
        store.record(CELL, "failed", "x" * 5000)
    with pytest.raises(UnwritableError, match="No space left on device"):
        write_rows(store.folder(FIRST) / "answers.parquet", answers(5000))
    assert {file: content for file, (content, _) in snapshot(store.root).items()} == {
        file: content for file, (content, _) in before.items()
    }
    (small_disk / "ballast").unlink()
    finish(store, CELL)
    assert store.is_done(CELL)


@pytest.mark.ray
def test_a_grid_ends_on_a_full_disk_with_one_message_and_goes_on_when_there_is_space(
    small_disk: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    results = small_disk / "results"
    arguments = [str(SMOKE), "--results", str(results), "--report", str(tmp_path / "report.md")]
    run = subprocess.run([sys.executable, "-m", "study.grid", *arguments], capture_output=True, text=True, check=False)
    assert run.returncode == 2, run.stdout + run.stderr
    assert "cannot be written: No space left on device; free some space. What has finished is kept" in run.stderr
    assert "Traceback" not in run.stdout + run.stderr
    store = Store(results)
    assert {store.status(unit).reason for unit in UNITS} == {"no result yet"}
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    for unit in UNITS:
        shutil.copytree(Store(uninterrupted).folder(unit), store.folder(unit))
    assert grid(arguments) == 0


@pytest.mark.slow
def test_a_merge_ends_on_a_full_disk_with_one_message_and_goes_on_when_there_is_space(
    small_disk: Path, uninterrupted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(small_disk / "results"), str(uninterrupted)]
    assert merge(arguments) == 2
    printed = capsys.readouterr().err
    assert "cannot be written: No space left on device; free some space. Nothing is lost" in printed
    assert printed.count("\n") == 1
    assert not list((small_disk / "results" / "tmp").iterdir())
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    assert merge(arguments) == 0
    for unit in UNITS:
        copied, original = (snapshot(Store(Path(root)).folder(unit)) for root in arguments)
        assert {file: content for file, (content, _) in copied.items()} == {
            file: content for file, (content, _) in original.items()
        }


@pytest.fixture
def read_only(uninterrupted: Path, tmp_path: Path) -> Iterator[Path]:
    """The finished study, where nothing can be written."""
    results = tmp_path / "read_only"
    shutil.copytree(uninterrupted, results)
    shutil.rmtree(Store(results).folder(CELL))
    if os.geteuid():
        folders = [folder for folder in (results, *results.rglob("*")) if folder.is_dir()]
        for folder in folders:
            folder.chmod(0o555)
        yield results
        for folder in folders:
            folder.chmod(0o755)
        return
    for options in (["--bind", str(results)], ["-o", "remount,bind,ro"]):  # root may write whatever the mode says
        mounted = subprocess.run(["mount", *options, str(results)], capture_output=True, text=True, check=False)
        if mounted.returncode:
            pytest.skip(f"a read-only folder cannot be mounted here: {mounted.stderr.strip()}")
    yield results
    subprocess.run(["umount", "--lazy", str(results)], check=True)


@pytest.mark.slow
def test_a_read_only_folder_is_one_message_with_the_remedy_and_can_still_be_read(
    read_only: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(read_only)
    out = str(tmp_path / "report.md")
    assert grid([str(SMOKE), "--results", str(read_only), "--report", out]) == 2
    printed = capsys.readouterr()
    assert f"{read_only / 'study.json'} cannot be written: " in printed.err
    assert "; make it writable or name another folder. What has finished is kept" in printed.err
    assert "starting Ray" not in printed.out
    assert grid([str(SMOKE), "--results", str(read_only), "--dry-run"]) == 0
    assert status([str(read_only)]) == 3
    assert report(["--results", str(read_only), "--out", out]) == 0
    assert snapshot(read_only) == before
