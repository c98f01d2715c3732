"""Results that travel between stores that share no folder."""

import pytest

from study.config.units import folder_name
from study.results.finished import DONE, DamagedError
from study.results.parcels import Parcel, pack, remove, unpack
from study.results.store import Store
from tests.actors.test_ray import CELLS, ONE_MODEL
from tests.finished import complete

UNIT = ONE_MODEL[0]


def finished(store, content):
    with store.attempt(UNIT) as folder:
        (folder / "rows.bin").write_bytes(content)
        complete(folder, UNIT)


def files(store):
    return {file.name: file.read_bytes() for file in store.folder(UNIT).iterdir()}


def test_a_finished_unit_arrives_byte_for_byte(tmp_path):
    there, here = Store(tmp_path / "there"), Store(tmp_path / "here")
    finished(there, b"\x00\x01\xff")
    unpack(pack(there, UNIT), here, UNIT)
    assert here.is_done(UNIT)
    assert files(here).items() >= {"rows.bin": b"\x00\x01\xff"}.items()
    assert files(here)[DONE] == files(there)[DONE]


def test_the_first_result_of_a_unit_stays(tmp_path):
    there, here = Store(tmp_path / "there"), Store(tmp_path / "here")
    finished(here, b"first")
    finished(there, b"second")
    unpack(pack(there, UNIT), here, UNIT)
    assert files(here)["rows.bin"] == b"first"
    assert list((here.root / "tmp").iterdir()) == []


def test_why_a_unit_did_not_finish_arrives_too(tmp_path):
    there, here = Store(tmp_path / "there"), Store(tmp_path / "here")
    there.record(UNIT, "failed", "the loss is NaN", "a traceback")
    unpack(pack(there, UNIT), here, UNIT)
    assert here.status(UNIT).state == "failed"
    assert here.record_file(folder_name(UNIT)).read_bytes() == there.record_file(folder_name(UNIT)).read_bytes()


def test_of_a_unit_that_left_nothing_nothing_arrives(tmp_path):
    here = Store(tmp_path / "here")
    unpack(pack(Store(tmp_path / "there"), UNIT), here, UNIT)
    assert here.status(UNIT).state == "run"
    assert not here.root.exists()


def test_what_changed_on_the_way_is_refused_and_leaves_nothing(tmp_path):
    there, here = Store(tmp_path / "there"), Store(tmp_path / "here")
    with there.attempt(UNIT) as folder:
        (folder / "rows.parquet").write_bytes(b"1234")
        complete(folder, UNIT)
    parcel = pack(there, UNIT)
    for content in (b"1235", b"123"):
        changed = Parcel({**parcel.files, "rows.parquet": content})
        with pytest.raises(DamagedError, match=r"rows\.parquet"):
            unpack(changed, here, UNIT)
    assert not here.is_done(UNIT)
    assert list((here.root / "tmp").iterdir()) == []
    unpack(parcel, here, UNIT)
    assert here.is_done(UNIT)


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/b", "a\\b", "..", ""])
def test_a_file_cannot_be_written_outside_the_folder_of_its_unit(tmp_path, name):
    here = Store(tmp_path / "here")
    with pytest.raises(DamagedError, match="is not the name of a file"):
        unpack(Parcel({DONE: b"{}", name: b"evil"}), here, UNIT)
    assert not here.is_done(UNIT)
    assert [path for path in tmp_path.rglob("*evil*")] == []


def test_what_was_taken_elsewhere_is_removed_and_no_other_unit(tmp_path):
    store = Store(tmp_path)
    finished(store, b"rows")
    store.record(CELLS[0], "failed", "the loss is NaN")
    remove(store, UNIT)
    assert store.status(UNIT).state == "run"
    assert store.status(CELLS[0]).state == "failed"
