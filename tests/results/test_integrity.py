"""One changed byte in any file of a finished study is never used in silence; nor are swapped or copied folders."""

import json
import logging
import os
import random
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import mlx.core as mx
import pytest

from analysis.data.manifest import check_manifest
from analysis.data.results import read_results
from study import api
from study.commands.merge import main as merge
from study.commands.pack import main as pack_study
from study.commands.report import main as report
from study.commands.run import main as run
from study.commands.status import main as status
from study.config.json_files import parse_json, read_json, seal, unseal
from study.config.units import Cell, Pretraining, StageOne, Unit, folder_name, kind
from study.models.built import CONFIG
from study.models.built import WEIGHTS as MODEL
from study.pipeline import held_model
from study.pipeline.export import export
from study.pipeline.units import run_unit, run_with_foundations
from study.plan.expand import expand
from study.plan.read import read_study
from study.results.description import ResultsError, read_description, read_record, write_description
from study.results.finished import DONE, DamagedError
from study.results.parcels import pack, unpack
from study.results.schema import ADAPTER, WEIGHTS, files_of
from study.results.store import DAMAGED, Store
from study.training import adapters

pytestmark = pytest.mark.slow

STUDY = """
name: whole
nursery:
  base: {blocks: 2, hidden_size: 32, intermediate_size: 64, attention_heads: 2}
  training: {steps: 3, batch_size: 4, warmup_steps: 1}
data: {operations: [add, subtract], smallest: 1, largest: 9}
grid:
  layers: [0.5]
  pairs: [{add: add, subtract: subtract}]
  weights: [0, 0.5]
stage1: {steps: 2, batch_size: 4, lora: {rank: 2, alpha: 4.0, projections: all}}
stage2: {steps: 4, lora: {rank: 2, alpha: 4.0, projections: all}}
evaluation: {prompts_per_class: 4, profile_prompts: 2, onset_every: 2, onset_prompts: 2, causal_prompts: 2}
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("config") / "whole.yaml"
    file.write_text(STUDY)
    shutil.copy(Path(__file__).parents[2] / "configs" / "models.yaml", file.parent)
    return file


@pytest.fixture(scope="module")
def units(config: Path) -> list[Unit]:
    plan = read_study(config)
    return expand(plan.study, plan.models)


@pytest.fixture(scope="module")
def original(config: Path, units: list[Unit], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished study. To be copied, not changed."""
    store = Store(tmp_path_factory.mktemp("original") / "whole")
    plan = read_study(config)
    assert [run_unit(unit, store.root).state for unit in units] == ["done"] * len(units)
    models = {name: model.model_dump(mode="json") for name, model in plan.models.items()}
    write_description(store.root, plan.study.name, plan.study.model_dump(mode="json"), models, units)
    return store.root


@pytest.fixture
def store(original: Path, tmp_path: Path) -> Store:
    return Store(Path(shutil.copytree(original, tmp_path / "whole")))


def one_of(units: list[Unit], kind_of: type[Unit]) -> Unit:
    return [unit for unit in units if isinstance(unit, kind_of)][-1]


def flip(file: Path, at: int | None = None) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2 if at is None else at] ^= 0x01
    file.write_bytes(content)


def files(store: Store, units: list[Unit]) -> Iterator[tuple[Unit, Path]]:
    """Every file of every finished unit but its log."""
    for unit in units:
        for file in sorted(store.folder(unit).iterdir()):
            if file.suffix != ".txt":
                yield unit, file


def test_the_files_that_a_unit_must_have_are_those_that_it_writes(store: Store, units: list[Unit]) -> None:
    assert {kind(unit) for unit in units} == {"nursery", "stage1", "reference", "predictors", "cell"}
    assert (adapters.WEIGHTS, adapters.CONFIG) == ADAPTER
    assert {MODEL, CONFIG} < set(WEIGHTS["nursery"])
    for unit in units:
        written = {file.name for file in store.folder(unit).iterdir()}
        assert written >= {DONE, *files_of(kind(unit))}
        assert written - set(files_of(kind(unit))) <= {DONE, "log.txt", *(f"{name}.parquet" for name in SOMETIMES)}


SOMETIMES = ("onset", "causal", "causal_lens")


def test_every_command_notices_a_changed_byte_in_any_file_of_any_unit(
    store: Store, original: Path, units: list[Unit], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    description = read_description(original)
    seen: list[tuple[str, str]] = []
    from analysis.data.stored import read_folders

    for unit, file in list(files(store, units)):
        flip(file)
        with pytest.raises(DamagedError, match=file.name.replace(".", r"\.")):
            store.verified(unit)
        with pytest.raises((DamagedError, ResultsError), match=file.name.replace(".", r"\.")):
            api.rows(store.root, unit)
        if file.name != DONE:  # else it counts as not done
            with pytest.raises(DamagedError):
                pack(store, unit)
        else:
            assert store.status(unit).state == "run"
            assert not pack(store, unit).files
        stored = read_folders(store.root, description)
        assert stored.unfinished.keys() == {unit.id}, file
        assert stored.unfinished[unit.id][0] == "unreadable"
        assert all(unit.id not in frames for frames in stored.rows.values())
        assert merge([str(tmp_path / "into"), str(store.root)]) == 1
        assert f"damaged: {store.folder(unit)}: {file.name}" in capsys.readouterr().out
        shutil.rmtree(tmp_path / "into")
        assert merge([str(store.root), str(original)]) == 0  # which repairs it
        assert f"{store.folder(unit)} was damaged: it is replaced" in capsys.readouterr().out
        store.verified(unit)
        seen.append((kind(unit), file.name))
    assert len(set(seen)) == sum(len({*files_of(of_kind), DONE}) for of_kind, _ in {(k, 0) for k, _ in seen}) + 1


def test_what_units_to_run_build_on_is_read_whole_before_a_run(
    store: Store, config: Path, units: list[Unit], capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(store.folder(units[-1]))
    for needed in (one_of(units, Pretraining), one_of(units, StageOne)):
        for name in files_of(kind(needed)):
            file = store.folder(needed) / name
            whole = file.read_bytes()
            flip(file)
            assert run([str(config), "--results", str(store.root), "--dry-run"]) == 0
            assert f"run      {needed.label}  damaged: {name} is corrupt" in capsys.readouterr().out
            file.write_bytes(whole)
    assert run([str(config), "--results", str(store.root), "--dry-run"]) == 0
    assert "1 to run" in capsys.readouterr().out


def test_a_unit_that_meets_damage_fails_for_it_and_the_next_run_makes_both_again(
    store: Store, original: Path, units: list[Unit]
) -> None:
    cell, first = one_of(units, Cell), one_of(units, StageOne)
    for needed, name in ((first, ADAPTER[0]), (one_of(units, Pretraining), MODEL)):
        shutil.rmtree(store.folder(cell))
        flip(store.folder(needed) / name)
        held_model.clear()
        ending = run_unit(cell, store.root)
        where = store.folder(needed).relative_to(store.root)
        why = "is corrupt: its SHA-256 is not that of what was written"
        assert ending.state == "failed"
        assert ending.reason == f"{DAMAGED}{where}: {name} {why}; the same command makes {needed.label} again"
        assert (store.status(cell).state, store.status(cell).reason) == ("run", ending.reason)
        held_model.clear()
        assert [ending.state for _, ending in run_with_foundations(cell, store.root)] == ["done"] * 3
        for unit in (needed, cell):
            store.verified(unit)
        same = [mx.load(str(Store(root).folder(cell) / ADAPTER[0])) for root in (store.root, original)]
        assert all(mx.allclose(same[0][key], same[1][key], atol=1e-5) for key in same[0])


def test_damaged_checkpoints_are_not_exported(store: Store, units: list[Unit], tmp_path: Path) -> None:
    cell = one_of(units, Cell)
    assert isinstance(cell, Cell)
    export(cell, store, tmp_path / "exported")
    for unit, name in ((cell, ADAPTER[0]), (cell.stage_one, ADAPTER[1]), (one_of(units, Pretraining), MODEL)):
        whole = (store.folder(unit) / name).read_bytes()
        flip(store.folder(unit) / name)
        with pytest.raises(DamagedError, match=name):
            export(cell, store, tmp_path / "damaged")
        (store.folder(unit) / name).write_bytes(whole)
    assert not (tmp_path / "damaged").exists()


def test_no_byte_of_a_sealed_file_changes_without_notice(store: Store, units: list[Unit]) -> None:
    cell = one_of(units, Cell)
    store.record(units[0], "failed", "the loss is NaN", "Traceback …")
    record = store.record_file(folder_name(units[0]))
    rng = random.Random(0)
    for file, used in (
        (store.folder(cell) / DONE, lambda: store.status(cell).state == "done"),
        (record, lambda: read_record(record) is not None),
        (store.root / "study.json", lambda: bool(read_description(store.root))),
    ):
        whole = file.read_bytes()
        assert used()
        for at in [0, len(whole) - 2, *rng.sample(range(len(whole)), 150)]:
            flip(file, at)
            with suppress(ResultsError):
                assert not used() or read_json(file) == parse_json(whole), (file, at)
            file.write_bytes(whole)


def test_a_seal_cannot_be_taken_for_absent() -> None:
    content = {"status": "failed", "reason": "ø", "detail": ""}
    assert unseal(seal(content), ()) == content
    assert unseal(content, content) == content  # as before there were seals
    sealed = seal(content)
    with pytest.raises(ValueError, match="no seal, and the key 'seam'"):
        unseal({**content, "seam": sealed["seal"]}, content)
    with pytest.raises(ValueError, match="differs from its seal"):
        unseal({**sealed, "reason": "o"}, content)
    for nested in (b"[" * 100_000, b'{"a":' * 100_000):
        with pytest.raises(ValueError, match="nested too deeply"):
            parse_json(nested)
    for number in (b"1e999", b"NaN", b"-Infinity"):
        with pytest.raises(ValueError, match="not finite"):
            parse_json(number)


def test_swapped_and_copied_folders_belong_to_no_unit(
    store: Store, original: Path, config: Path, units: list[Unit], capsys: pytest.CaptureFixture[str]
) -> None:
    cells = [unit for unit in units if isinstance(unit, Cell)]
    one, other = (store.folder(cell) for cell in cells)
    one.rename(store.root / "third")
    other.rename(one)
    (store.root / "third").rename(other)
    for cell, theirs in zip(cells, reversed(cells), strict=True):
        said = f"damaged: done.json is of the unit cell {theirs.id}, not of cell {cell.id}"
        assert store.status(cell).reason == said
        with pytest.raises(ResultsError, match=theirs.id):
            api.rows(store.root, cell)
    assert status([str(store.root)]) == 3
    assert run([str(config), "--results", str(store.root), "--dry-run"]) == 0
    assert "2 to run" in capsys.readouterr().out
    assert merge([str(store.root.parent / "into"), str(store.root)]) == 1
    assert len([unit for unit in read_results(store.root).units.values() if unit.status == "unreadable"]) == 2
    assert merge([str(store.root), str(original)]) == 0
    assert [store.status(cell).state for cell in cells] == ["done", "done"]

    shutil.rmtree(other)
    shutil.copytree(one, other)
    assert [store.status(cell).state for cell in cells] == ["done", "run"]
    reference = next(unit for unit in units if kind(unit) == "reference")
    shutil.rmtree(store.folder(reference))
    shutil.copytree(one, store.folder(reference))
    assert store.status(reference).reason == f"damaged: done.json is of the unit cell {cells[0].id}, not of " + (
        f"reference {reference.id}"
    )


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{}", "kind: field required"),
        ('{"kind": "cell", "id": "ID", "files": {}}', "done.json does not list unit.json, answers.parquet"),
        ('{"kind": "cell", "id": "ID", "files": {"a": null}}', "files.a: input should be"),
        ('{"kind": "cell", "id": "ID", "files": {}, "seconds": null}', "seconds: input should be a valid dictionary"),
        ('{"kind": "cell", "id": "ID", "files": {}, "seconds": {"train": "x"}}', "seconds.train: input should be"),
        ('{"kind": "cell", "id": "ID", "files": {}, "seconds": {"train": 1e999}}', "1e999, which is not finite"),
        (
            '{"kind": "cell", "id": "ID", "files": {}, "seconds": {"train": -1}}',
            "seconds.train: input should be",
        ),
        ('{"kind": "cell", "id": "ID", "files": {}, "gates": [{"gate": "a"}]}', "gates.0.figure: field required"),
        ('{"a":' * 100_000, "nested too deeply"),
    ],
)
def test_a_marker_of_another_form_is_damage_told_in_one_line(
    store: Store, units: list[Unit], content: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = one_of(units, Cell)
    (store.folder(cell) / DONE).write_text(content.replace("ID", cell.id))
    assert status([str(store.root)]) == 3
    assert told in store.status(cell).reason
    assert "\n" not in store.status(cell).reason
    assert [unit.id for unit in read_results(store.root).units.values() if unit.status == "unreadable"] == [cell.id]
    assert merge([str(store.root.parent / "into"), str(store.root)]) == 1
    assert capsys.readouterr().out.count("damaged: ") >= 1


def test_what_is_no_folder_or_no_file_is_damage_and_can_be_run_again(store: Store, units: list[Unit]) -> None:
    cell = one_of(units, Cell)
    folder = store.folder(cell)
    for make, told in (
        (lambda: folder.write_text("a file"), "damaged: it is no folder"),
        (lambda: folder.symlink_to(folder), "damaged: done.json cannot be read: Too many levels of symbolic links"),
        (lambda: (folder / DONE).mkdir(parents=True), "damaged: done.json cannot be read: it is no file"),
        (lambda: (folder.mkdir(), os.mkfifo(folder / DONE)), "damaged: done.json cannot be read: it is no file"),
    ):
        store.set_aside("cell", folder.name) or shutil.rmtree(folder)
        make()
        assert store.status(cell).reason == told
        assert read_results(store.root).units[cell.id].status == "unreadable"
        assert merge([str(store.root.parent / "into"), str(store.root)]) == 1
    record = store.record_file(folder.name)
    store.set_aside("cell", folder.name)
    for make in (lambda: record.mkdir(parents=True), lambda: record.symlink_to(record)):
        make()
        assert store.status(cell).reason.startswith("its record cannot be read: unfinished/")
        assert read_results(store.root).units[cell.id].status == "failed"
        store.forget_failure(cell)
        assert store.status(cell).reason == "no result yet"
        make()
        store.record(cell, "failed", "a reason")
        assert store.status(cell).reason == "a reason"
        store.forget_failure(cell)
    record.mkdir()
    assert run_unit(cell, store.root).state == "done"
    assert store.status(cell).state == "done"


def test_a_pipe_in_a_folder_is_damage_and_not_waited_for(store: Store, units: list[Unit]) -> None:
    folder = store.folder(one_of(units, Cell))
    (folder / "log.txt").unlink()
    os.mkfifo(folder / "log.txt")
    assert status([str(store.root)]) == 3
    assert store.status(one_of(units, Cell)).reason == "damaged: log.txt is no file"
    assert merge([str(store.root.parent / "into"), str(store.root)]) == 1


def test_results_are_written_to_no_folder_of_something_else(
    config: Path, units: list[Unit], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cells" / "mine").mkdir(parents=True)
    (tmp_path / "notes.txt").write_text("mine")
    assert run([str(config), "--results", str(tmp_path), "--dry-run"]) == 2
    assert "is no results folder, since it has notes.txt: name a new or empty one" in capsys.readouterr().err
    with pytest.raises(ResultsError, match=r"it has notes\.txt"):
        api.run(units[0], tmp_path)
    with pytest.raises(SystemExit):
        run([str(config), "--results", ""])
    assert "is empty: name a folder" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cells", "notes.txt"]


def test_a_report_is_not_written_among_the_results(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path for path in store.root.rglob("*")}
    assert report(["--results", str(store.root), "--out", str(store.root / "cells" / "report.md")]) == 2
    assert "among the results" in capsys.readouterr().err
    assert {path for path in store.root.rglob("*")} == before


def test_a_unit_that_study_json_tells_otherwise_than_its_folder_is_unreadable(store: Store, units: list[Unit]) -> None:
    cell = one_of(units, Cell)
    study = read_description(store.root)
    (entry,) = (entry for entry in study["units"] if entry["id"] == cell.id)
    entry["reference"] = "00000000"  # which a larger grid changes
    (store.root / "study.json").write_text(json.dumps(study))
    assert read_results(store.root).units[cell.id].finished
    entry["weight"] = 0.25
    (store.root / "study.json").write_text(json.dumps(study))
    unit = read_results(store.root).units[cell.id]
    assert (unit.status, unit.reason) == ("unreadable", "its weight is 0.5 in unit.json, and 0.25 in study.json")


def test_packed_files_are_checked_before_any_is_read(
    original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packed = tmp_path / "packed"
    assert pack_study([str(original), str(packed)]) == 0
    assert read_results(packed).name == "whole"
    for file in sorted(packed.iterdir()):
        whole = file.read_bytes()
        flip(file)
        with pytest.raises(ResultsError) as error:
            read_results(packed)
        assert file.name in str(error.value)
        file.unlink()
        told = file.name.removesuffix(".gz") if file.name.startswith("study.json") else file.name
        with pytest.raises(ResultsError, match=re.escape(told)):
            read_results(packed)
        file.write_bytes(whole)
    (packed / "more.parquet").touch()
    with pytest.raises(ResultsError, match=r"more\.parquet is not listed\. Nothing of it was read"):
        check_manifest(packed)
    capsys.readouterr()
    assert report(["--results", str(packed), "--out", str(tmp_path / "report.md")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert pack_study([str(original), str(packed)]) == 2
    assert "more.parquet, which no packed study has" in capsys.readouterr().err
    (packed / "more.parquet").unlink()
    assert pack_study([str(original), str(packed)]) == 0


def test_a_study_with_a_damaged_unit_is_packed_without_it_and_says_so(
    store: Store, units: list[Unit], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = one_of(units, Cell)
    flip(store.folder(cell) / "lens.parquet")
    assert pack_study([str(store.root), str(tmp_path / "packed")]) == 1
    assert f"left out: {cell.label}: lens.parquet is corrupt" in capsys.readouterr().err
    assert read_results(tmp_path / "packed").units[cell.id].status == "unreadable"


def test_a_damaged_copy_at_another_machine_is_replaced_by_what_arrives(
    store: Store, units: list[Unit], tmp_path: Path
) -> None:
    first, there = one_of(units, StageOne), Store(tmp_path / "there")
    unpack(pack(store, first), there, first)
    there.verified(first)
    flip(there.folder(first) / ADAPTER[0])
    unpack(pack(store, first), there, first)
    there.verified(first)


@pytest.mark.parametrize("results", ["file", "file/under", "a\0b", "x" * 300, "loop"])
def test_a_path_that_can_hold_no_results_is_one_message(
    results: str, config: Path, units: list[Unit], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    path = str(tmp_path / results)
    for command in (
        lambda: status([path]),
        lambda: run([str(config), "--results", path]),
        lambda: run([str(config), "--results", path, "--dry-run"]),
        lambda: report(["--results", path, "--out", str(tmp_path / "report.md")]),
        lambda: merge([path, str(tmp_path)]),
        lambda: merge([str(tmp_path / "into"), path]),
        lambda: pack_study([path, str(tmp_path / "packed")]),
    ):
        assert command() == 2
        printed = capsys.readouterr()
        assert (printed.err + printed.out).count("\n") == 1
    for function in (api.rows, lambda results, unit: api.run(unit, results)):
        with pytest.raises(ResultsError):
            function(path, units[0])


def test_a_damaged_checkpoint_starts_the_training_at_its_first_step(
    store: Store, units: list[Unit], caplog: pytest.LogCaptureFixture
) -> None:
    from study.training.checkpoints import Checkpoint, State

    first = one_of(units, StageOne)
    file = store.checkpoint(first)
    checkpoint = Checkpoint(file, first.id, 1)
    arrays = {f"a{suffix}": mx.full((3, 5), 0.5) for suffix in ("", ".m", ".v")}
    checkpoint.save(State(arrays, [{"step": 1, "seconds": 0.1}]))
    whole = file.read_bytes()
    assert checkpoint.load({"a": (3, 5)}) is not None
    with caplog.at_level(logging.WARNING):
        for at in range(0, len(whole), 3):
            flip(file, at)
            assert checkpoint.load({"a": (3, 5)}) is None, at
            file.write_bytes(whole)
    assert len(caplog.records) == len(range(0, len(whole), 3))
    assert all("cannot be used, training starts at its first step: " in one.getMessage() for one in caplog.records)
