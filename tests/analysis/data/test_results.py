"""Reading a folder of results."""

import json
from pathlib import Path

import pandas as pd
import pytest

from analysis.data.results import Results, read_results
from analysis.data.units import StudyUnit
from study.results.description import ResultsError
from tests.simulated import Plan, write_study

TINY = Plan(models={"alpha": 4}, depths=(0.5, 1.0), pairs=("multiply/add",), weights=(0.0, 0.5), per_class=8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_study(tmp_path / "tiny", TINY)


def test_finished_units_carry_rows(folder: Path) -> None:
    results = read_results(folder)
    assert all(unit.finished for unit in results.units.values())
    (cell, _) = results.cells
    assert (cell.pair, cell.layer, cell.depth, cell.weight) == ("multiply/add", 1, 0.5, 0.5)
    assert set(results.rows["lens"][cell.id]["layer"]) == {1, 3}
    assert set(results.rows["profile"][cell.id]["layer"]) == {0, 1, 2, 3}
    assert len(results.rows["answers"][cell.id]) == 4 * 2 * 8
    assert len(results.rows["curves"][cell.id]) == 60


def test_a_unit_without_its_marker_is_not_finished(folder: Path) -> None:
    cell = read_results(folder).cells[0]
    (folder / "cells" / cell.folder / "done.json").unlink()
    results = read_results(folder)
    unit = results.units[cell.id]
    assert (unit.status, unit.reason) == ("unreadable", "it has no done.json")
    assert cell.id not in results.rows["lens"]


@pytest.mark.parametrize("status", ["failed", "skipped"])
def test_unfinished_units_keep_their_reason(tmp_path: Path, status: str) -> None:
    plan = Plan(models={"alpha": 4}, depths=(0.5,), pairs=("multiply/add",), weights=(0.5,), per_class=8)
    label = "alpha|L1|multiply-add|w=0.5|s0"
    plan = Plan(**{**vars(plan), "unfinished": {label: (status, "out of memory")}})
    (cell,) = read_results(write_study(tmp_path / "tiny", plan)).cells
    assert (cell.status, cell.reason) == (status, "out of memory")


def test_a_finished_unit_is_finished_whatever_an_older_record_says(folder: Path) -> None:
    cell = read_results(folder).cells[0]
    record = folder / "unfinished" / f"{cell.folder}.json"
    record.parent.mkdir()
    record.write_text(json.dumps({"status": "failed", "reason": "earlier"}))
    assert read_results(folder).units[cell.id].finished


def test_units_that_the_study_does_not_list_are_ignored(folder: Path) -> None:
    study = json.loads((folder / "study.json").read_text())
    dropped = study["units"].pop()
    (folder / "study.json").write_text(json.dumps(study))
    assert dropped["id"] not in read_results(folder).units


def test_a_damaged_file_makes_its_unit_unreadable_and_no_other(folder: Path) -> None:
    first, second = read_results(folder).cells
    (folder / "cells" / first.folder / "lens.parquet").write_bytes(b"torn")
    results = read_results(folder)
    assert results.units[first.id].status == "unreadable"
    assert str(folder.parent) not in results.units[first.id].reason
    assert results.units[second.id].finished


def test_the_comparisons_of_a_cell_are_found(folder: Path) -> None:
    results = read_results(folder)
    cell = results.cells[0]
    reference, zero = results.reference_of(cell), results.zero_of(cell)
    assert reference is not None
    assert reference.kind == "reference"
    assert zero is not None
    assert zero.weight == 0


def test_a_comparison_that_is_not_finished_is_none(folder: Path) -> None:
    for marker in [*folder.glob("reference/*/done.json"), *folder.glob("cells/*w=0_s0*/done.json")]:
        marker.unlink()
    results = read_results(folder)
    assert results.reference_of(results.cells[0]) is None
    assert results.zero_of(results.cells[0]) is None


def test_a_folder_without_a_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"holds no study\.json"):
        read_results(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"name": "x"}', '{"name": "x", "config": [], "models": {}, "units": []}'])
def test_a_broken_description_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "study.json").write_text(text)
    with pytest.raises(ResultsError, match="not a study's description"):
        read_results(tmp_path)


ARMS = Plan(
    models={"alpha": 4},
    depths=(0.5,),
    pairs=("multiply/add",),
    weights=(0.0, 0.5),
    arms=("plain", "swapped_tokens", "random_words"),
    wordings=(("symbolic",), ("symbolic", "semantic")),
    predictors=lambda point: {},
    watched=True,
    swapped=True,
    per_class=8,
)


def _trained(results: Results, cell: StudyUnit) -> pd.DataFrame:
    """The read-outs of a cell's own class tokens at its trained layer."""
    lens = results.rows["lens"][cell.id]
    return lens[(lens["stage"] == "stage2") & (lens["pair"] == cell.readout) & (lens["layer"] == cell.layer)]


def test_arms_are_cells_with_read_outs_of_their_own(tmp_path: Path) -> None:
    results = read_results(write_study(tmp_path / "arms", ARMS))
    assert [(cell.arm, cell.readout) for cell in results.cells if cell.wordings == ("symbolic",)] == [
        ("plain", "multiply/add"),
        ("swapped_tokens", "add/multiply"),
        ("random_words", "random:multiply/add"),
    ]
    assert {cell.pair for cell in results.cells} == {"multiply/add"}
    assert [cell.wordings for cell in results.plain] == [("symbolic",), ("symbolic", "semantic")]
    for cell in results.cells:
        assert len(_trained(results, cell)) == 4 * 2 * 8
        (partner,) = results.partners(cell, arm="plain")
        assert (partner.arm, partner.wordings, partner.layer) == ("plain", cell.wordings, cell.layer)
        assert results.partners(cell, arm="shuffled_labels") == []


def test_a_cell_is_compared_with_w_zero_of_its_own_wordings(tmp_path: Path) -> None:
    label = "alpha|multiply-add|w=0|symbolic+semantic|s0"
    plan = Plan(**{**vars(ARMS), "unfinished": {label: ("failed", "killed")}})
    results = read_results(write_study(tmp_path / "zero", plan))
    one, both = results.plain
    zero = results.zero_of(one)
    assert zero is not None
    assert zero.wordings == ("symbolic",)
    assert results.zero_of(both) is None


def test_optional_rows_are_read_where_they_are_and_empty_where_not(tmp_path: Path, folder: Path) -> None:
    results = read_results(write_study(tmp_path / "rows", ARMS))
    cell = results.plain[0]
    for name in ("onset", "interchange"):
        assert not results.rows[name][cell.id].empty
    (predictors,) = results.rows["predictors"].values()
    assert set(predictors["pair"]) == {"multiply/add", "add/multiply", "random:multiply/add"}
    bare = read_results(folder)
    for name in ("onset", "interchange"):
        assert bare.rows[name][bare.cells[0].id].empty
    assert bare.rows["predictors"] == {}


def test_prompts_that_lack_a_layer_are_left_out_of_profiles(folder: Path) -> None:
    results = read_results(folder)
    cell = results.cells[0]
    reference = results.reference_of(cell)
    assert reference is not None
    for unit in (cell, reference):
        profile = results.rows["profile"][unit.id]
        assert set(profile["layer"]) == {0, 1, 2, 3}
        assert set(profile.groupby(["stage", "pair", "layer"], observed=True)["prompts"].sum()) == {16}
