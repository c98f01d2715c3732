"""Packing the rows of a study."""

import gzip
import io
import json
import re
import shutil
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.data.manifest import write_manifest
from analysis.data.packing import SHORT, _parquet, pack, rounded
from analysis.data.results import Results, read_results
from analysis.data.stored import log_p
from analysis.report import write_report
from study.commands.pack import main
from study.results.description import ResultsError
from study.results.schema import COLUMNS
from tests.simulated import Plan, list_again, write_study

PLAN = Plan(
    models={"alpha": 4},
    depths=(0.5, 1.0),
    pairs=("multiply/add",),
    weights=(0.0, 0.5),
    arms=("plain", "swapped_tokens"),
    predictors=lambda point: {},
    watched=True,
    swapped=True,
    per_class=12,
    unfinished={"alpha|L3|multiply-add|w=0.5|s0": ("failed", "RuntimeError: killed")},
)
NOTHING = Plan(
    models={"alpha": 4},
    depths=(0.5,),
    pairs=("multiply/add",),
    weights=(0.5,),
    unfinished={f"alpha|{rest}|s0": ("missing", "") for rest in ("stage1", "reference", "L1|multiply-add|w=0.5")},
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("results") / "tiny", PLAN)


@pytest.fixture(scope="module")
def packed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("data") / "tiny"
    pack(folder, target)
    return target


def _same(one: Results, other: Results) -> None:
    for field in fields(Results):
        if field.name != "rows":
            assert getattr(one, field.name) == getattr(other, field.name)
            assert list(getattr(one, field.name)) == list(getattr(other, field.name))
    assert one.rows.keys() == other.rows.keys() == COLUMNS.keys()
    for table, frames in one.rows.items():
        assert list(frames) == list(other.rows[table])
        for unit in frames:
            pd.testing.assert_frame_equal(frames[unit], other.rows[table][unit], check_exact=True)


def test_packed_rows_read_as_the_results_do(folder: Path, packed: Path) -> None:
    _same(read_results(folder), read_results(packed))


@pytest.mark.slow
def test_the_report_is_the_same_to_the_byte(folder: Path, packed: Path, tmp_path: Path) -> None:
    for name, source in (("folders", folder), ("packed", packed)):
        write_report(source, tmp_path / name / "tiny.md")
    files = {path.relative_to(tmp_path / "folders") for path in (tmp_path / "folders").rglob("*") if path.is_file()}
    assert files == {
        path.relative_to(tmp_path / "packed") for path in (tmp_path / "packed").rglob("*") if path.is_file()
    }
    for file in files:
        assert (tmp_path / "folders" / file).read_bytes() == (tmp_path / "packed" / file).read_bytes(), file


def test_packing_again_gives_the_same_bytes(folder: Path, packed: Path, tmp_path: Path) -> None:
    pack(folder, tmp_path / "again")
    pack(packed, tmp_path / "repacked")
    for file in packed.iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes(), file.name
        assert (tmp_path / "repacked" / file.name).read_bytes() == file.read_bytes(), file.name


def test_pieces_of_a_study_pack_as_the_whole_does(
    folder: Path, packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = sorted(path.name for path in (folder / "cells").iterdir())
    assert len(cells) > 3
    for number, piece in enumerate(("first", "second")):
        shutil.copytree(folder, tmp_path / piece)
        for cell in cells[number::2]:
            shutil.rmtree(tmp_path / piece / "cells" / cell)
    target = tmp_path / "packed"
    assert main([str(tmp_path / "first"), str(target)]) == 0
    only_first = {path.name: path.read_bytes() for path in target.iterdir()}
    assert main([str(tmp_path / "second"), str(target), "--add"]) == 0
    whole = {path.name: path.read_bytes() for path in packed.iterdir()}
    assert {path.name: path.read_bytes() for path in target.iterdir()} == whole
    assert only_first["lens.parquet"] != whole["lens.parquet"]
    # Without it, rows that only the packed study has would be lost.
    assert main([str(tmp_path / "first"), str(target)]) == 2
    assert "finished units that the results have not, which would be lost: give --add" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in target.iterdir()} == whole


def test_rows_of_another_study_are_not_added_to(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_study(tmp_path / "other", Plan(models={"beta": 4}, depths=(0.5,), pairs=("multiply/add",)))
    assert main([str(other), str(tmp_path / "packed")]) == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "packed").iterdir()}
    assert main([str(folder), str(tmp_path / "packed"), "--add"]) == 2
    assert "finished units that the study does not have, and adding would lose them" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in (tmp_path / "packed").iterdir()} == before


def test_there_has_to_be_a_packed_study_to_add_to(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(folder), str(tmp_path / "none"), "--add"]) == 2
    assert "is no packed study that could be added to" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_a_study_without_a_finished_unit_packs(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "nothing", NOTHING)
    pack(folder, tmp_path / "packed")
    _same(read_results(folder), read_results(tmp_path / "packed"))


def test_prompts_are_kept_where_a_cell_is_trained_and_at_the_last_layer(packed: Path) -> None:
    results = read_results(packed)
    cell = results.cells[0]
    reference = results.reference_of(cell)
    assert reference is not None
    assert set(results.rows["lens"][cell.id]["layer"]) == {cell.layer, 3}
    assert set(results.rows["lens"][reference.id]["layer"]) == {1, 3}
    assert set(results.rows["profile"][reference.id]["layer"]) == {0, 1, 2, 3}


def test_the_profile_is_over_the_prompts_that_a_cell_has_at_every_layer(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "tiny", PLAN)
    cell = read_results(folder).cells[0]
    file = folder / "cells" / cell.folder / "lens.parquet"
    lens = pd.read_parquet(file)
    some = lens["prompt_id"] % 3 == 0
    lens[some | lens["layer"].isin([cell.layer, 3])].to_parquet(file, index=False)
    list_again(file.parent)
    results = read_results(folder)
    reference = results.reference_of(cell)
    assert reference is not None
    rows = lens[some & (lens["layer"] == 0) & (lens["tier"] == "story")]
    found = results.rows["profile"][cell.id].set_index(["layer", "tier"]).loc[(0, "story")]
    assert found["prompts"] == len(rows)
    assert found["p"] == pytest.approx(np.exp(rows["log_p"]).mean(), rel=1e-6)
    assert found["log_p"] == pytest.approx(rows["log_p"].mean(), rel=1e-6)
    assert set(results.rows["profile"][reference.id]["prompts"]) == {len(rows)}
    assert len(results.rows["lens"][cell.id]) == 2 * lens["prompt_id"].nunique()


def test_a_damaged_file_is_one_message(packed: Path, tmp_path: Path) -> None:
    for file in packed.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "lens.parquet").write_bytes(b"torn")
    with pytest.raises(ResultsError, match=r"not what `study pack` wrote: lens\.parquet has changed"):
        read_results(tmp_path)


def test_rows_that_an_earlier_version_packed_are_one_message(packed: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(packed, tmp_path / "packed")
    file = copy / "answers.parquet"
    pd.read_parquet(file).drop(columns="seen").to_parquet(file)
    write_manifest(copy, [path.name for path in copy.iterdir() if path.name != "manifest.json"])
    with pytest.raises(ResultsError, match="answers has no column seen: run the study with this version"):
        read_results(copy)


def test_the_command_says_how_large_the_packed_rows_are(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(folder), str(tmp_path / "packed")]) == 0
    assert re.fullmatch(rf"{tmp_path}/packed: \d\.\d MB\n", capsys.readouterr().out)
    assert json.loads((tmp_path / "packed" / "unfinished.json").read_text())
    assert main([str(tmp_path / "absent"), str(tmp_path / "other")]) == 2
    assert "holds no study.json" in capsys.readouterr().err


def test_floats_of_a_sample_are_right_to_a_few_bits_and_rounding_them_again_changes_nothing() -> None:
    random = np.random.default_rng(0)
    values = (random.standard_normal(2000) * np.exp(random.uniform(-30, 30, 2000))).astype(np.float32)
    short = rounded(values)
    assert np.abs(short / values - 1).max() <= 2.0**-SHORT
    np.testing.assert_array_equal(rounded(short), short)
    mantissas, _ = np.frexp(short)
    np.testing.assert_array_equal(mantissas * 2**SHORT % 1, 0)
    special = np.array([0, -0.0, np.inf, -np.inf, np.nan, 1, -1, 0.5], np.float32)
    np.testing.assert_array_equal(rounded(special), special)


def _sample(folder: Path, root: Path) -> Path:
    """A copy of a study that says that its models are drawn."""
    copy = shutil.copytree(folder, root)
    study = json.loads((copy / "study.json").read_text())
    study["config"]["nursery"] = {"sample": {"architectures": ["llama", "gpt2"], "each": 1, "hidden_size": [32]}}
    (copy / "study.json").write_text(json.dumps(study))
    return copy


def test_of_a_sample_rows_in_new_templates_where_cells_are_trained_are_kept(folder: Path, tmp_path: Path) -> None:
    partly = shutil.copytree(folder, tmp_path / "partly")
    for file in partly.glob("*/*/lens.parquet"):
        lens = pd.read_parquet(file)
        seen = (lens["tier"] == "story") | ((lens["tier"] == "semantic") & (lens["prompt_id"] % 3 == 0))
        lens.assign(seen=lens["seen"].mask(seen, "nursery")).to_parquet(file, index=False)
        list_again(file.parent)
    whole, sample = read_results(partly), read_results(_sample(partly, tmp_path / "sample"))
    cell = whole.cells[0]
    reference = whole.reference_of(cell)
    assert reference is not None
    for unit, layers in ((cell, {cell.layer}), (reference, {1, 3})):
        rows, kept = whole.rows["lens"][unit.id], sample.rows["lens"][unit.id]
        with_new = set(rows.loc[rows["seen"] == "nobody", "tier"])
        assert with_new == {"symbolic", "semantic", "construction"}
        wanted = rows[rows["layer"].isin(layers) & ((rows["seen"] == "nobody") | ~rows["tier"].isin(with_new))]
        assert 0 < len(wanted) < len(rows)
        plain = (frame.astype({"tier": str, "seen": str, "template": str}) for frame in (kept, wanted))
        pd.testing.assert_frame_equal(*(frame.reset_index(drop=True) for frame in plain), check_categorical=False)
        pd.testing.assert_frame_equal(sample.rows["profile"][unit.id], whole.rows["profile"][unit.id])


def test_the_log_p_of_one_of_two_classes_is_not_packed_but_follows(folder: Path, tmp_path: Path) -> None:
    sample = _sample(folder, tmp_path / "sample")
    for study in (folder, sample):
        pack(study, tmp_path / "packed" / study.name)
    assert "log_p" in pd.read_parquet(tmp_path / "packed" / folder.name / "lens.parquet")
    packed = tmp_path / "packed" / "sample"
    assert "log_p" not in pd.read_parquet(packed / "lens.parquet")
    rows, came = read_results(packed).rows["lens"], read_results(sample).rows["lens"]
    for unit in rows:
        mine, theirs = rows[unit], came[unit]
        assert list(mine) == list(theirs)
        # Both parts are right to 2**-SHORT, and neither sum has parts of different signs.
        right = np.abs(theirs["log_mass"]) + np.abs(theirs["margin"]) + 1
        assert (np.abs(mine["log_p"] - theirs["log_p"]) <= 2.0**-SHORT * right).all()
        assert (mine["choice"] == theirs["choice"]).all()
    pack(packed, tmp_path / "again")
    for file in packed.iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes(), file.name


def test_of_three_classes_it_is_packed() -> None:
    lens = pd.DataFrame({"log_p": [-1.0, -0.5], "log_mass": [-0.3, -0.2], "margin": [0.1, 0.4]}, dtype=np.float32)
    lens = lens.assign(unit="a")
    assert "log_p" in pd.read_parquet(io.BytesIO(_parquet("lens", lens, True)))
    of_two = lens.assign(log_p=log_p(lens["log_mass"], lens["margin"]))
    assert "log_p" not in pd.read_parquet(io.BytesIO(_parquet("lens", of_two, True)))
    assert "log_p" in pd.read_parquet(io.BytesIO(_parquet("lens", of_two, False)))


def test_what_an_earlier_version_packed_without_compressing_is_read_and_replaced(packed: Path, tmp_path: Path) -> None:
    earlier = shutil.copytree(packed, tmp_path / "earlier")
    for name in ("study.json", "done.json"):
        (earlier / name).write_bytes(gzip.decompress((earlier / f"{name}.gz").read_bytes()))
        (earlier / f"{name}.gz").unlink()
    write_manifest(earlier, [path.name for path in earlier.iterdir() if path.name != "manifest.json"])
    _same(read_results(packed), read_results(earlier))
    pack(packed, earlier)
    assert {path.name: path.read_bytes() for path in earlier.iterdir()} == {
        path.name: path.read_bytes() for path in packed.iterdir()
    }


@pytest.mark.parametrize("content", [b"", b"{}", b"\x1f\x8b\x08\x00", gzip.compress(b"{", mtime=0)])
def test_a_compressed_file_that_cannot_be_read_is_one_message(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "study.json.gz").write_bytes(content)
    with pytest.raises(ResultsError, match=r"study\.json\.gz is not a study's description"):
        read_results(tmp_path)
