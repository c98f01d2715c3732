"""Rows of many units in few bytes."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from analysis.data import unit_rows
from analysis.data.unit_rows import Gathering, UnitRows

NAMES = ["tier", "layer", "choice", "p"]


def _gathered(*frames: pd.DataFrame, units: list[str]) -> UnitRows:
    gathering = Gathering(NAMES)
    for frame in frames:
        gathering.add(pa.Table.from_pandas(frame, preserve_index=False))
    return gathering.together(units)


def _rows(unit: str, tiers: list[str], layer: int = 3, **more: object) -> pd.DataFrame:
    size = len(tiers)
    p = np.linspace(0.1, 0.9, size)
    return pd.DataFrame({"unit": unit, "tier": tiers, "layer": layer, "choice": [True] * size, "p": p, **more})


def test_rows_of_units_are_those_that_were_put_in_with_numbers_as_they_are_packed() -> None:
    first, second = _rows("one", ["story", "symbolic"]), _rows("two", ["construction"] * 3, layer=40_000)
    rows = _gathered(first, second, units=["one", "none", "two"])
    assert list(rows) == ["one", "none", "two"]
    assert [rows.count(unit) for unit in rows] == [2, 0, 3]
    for unit, frame in (("one", first), ("two", second)):
        found = rows[unit]
        assert list(found["tier"]) == list(frame["tier"])
        assert list(found["tier"].cat.categories) == ["construction", "story", "symbolic"]
        assert found["layer"].dtype == "int64"
        assert found["layer"].tolist() == frame["layer"].tolist()
        assert found["p"].tolist() == frame["p"].astype("float32").astype("float64").tolist()
        assert rows.values_of(unit, "p").tolist() == found["p"].tolist()
    assert rows["none"].empty
    assert list(rows.frame["unit"]) == ["one"] * 2 + ["two"] * 3
    assert rows.table.nbytes < 5 * (1 + 1 + 4 + 1 + 4) + 100


@pytest.mark.parametrize("number", [0, -1, 127, 128, -128, -129, 32767, 32768, -32769, 2**31 - 1])
def test_numbers_of_any_size_are_held(number: int) -> None:
    rows = _gathered(_rows("a", ["story"], layer=0), _rows("b", ["story"], layer=number), units=["a", "b"])
    assert rows.frame["layer"].tolist() == [0, number]


@pytest.mark.parametrize("count", [127, 128, 129])
def test_text_of_any_number_of_values_is_held(count: int) -> None:
    tiers = [f"tier-{number:03d}" for number in range(count)]
    assert list(_gathered(_rows("a", tiers[::-1]), units=["a"])["a"]["tier"]) == tiers[::-1]


def test_parts_are_of_whole_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit_rows, "CHUNK", 3)
    sizes = {"a": 2, "b": 2, "c": 5, "d": 1, "e": 1}
    rows = _gathered(*(_rows(unit, ["story"] * size) for unit, size in sizes.items()), units=[*sizes, "none"])
    parts = [list(dict.fromkeys(part["unit"])) for part in rows.chunks()]
    assert parts == [["a"], ["b"], ["c"], ["d", "e"]]
    assert pd.concat(list(rows.chunks()))["p"].tolist() == rows.frame["p"].tolist()
    for units in (["none"], []):
        (empty,) = _gathered(units=units).chunks()
        assert empty.empty
        assert list(empty.columns) == ["unit", *NAMES]


def test_a_column_that_some_rows_lack_has_no_values_there() -> None:
    rows = _gathered(_rows("old", ["story"]).drop(columns="p"), _rows("new", ["story"]), units=["old", "new"])
    assert np.isnan(rows["old"]["p"]).all()
    assert rows["new"]["p"].notna().all()


def test_rows_of_a_unit_that_do_not_stand_together_are_refused() -> None:
    with pytest.raises(ValueError, match="do not stand together"):
        _gathered(_rows("a", ["story"]), _rows("b", ["story"]), _rows("a", ["story"]), units=["a", "b"])
