"""Tables as CSV keep text as it is, and figures and tables stay within the report's folder."""

import csv
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.data.files import check_file_name, from_csv, quoted_columns, short_name, to_csv, write_file
from study.results.description import ResultsError

NAMES = ["NA", "null", "None", "nan", "NaN", "true", "1", "01", "1e3", "", "-inf", "=1+1", "'=1+1", "''@x", "\ty", "x"]


def test_every_name_is_read_back_as_it_was_and_numbers_as_numbers() -> None:
    count = len(NAMES)
    table = pd.DataFrame(
        {"name": NAMES, "p": np.linspace(-1, 1, count), "layer": [None, *range(1, count)], "right": True}
    )
    table["kind"] = table["name"].astype("category")
    read = from_csv(to_csv(table), table)
    assert list(read["name"]) == list(read["kind"]) == NAMES
    assert list(read.dtypes.astype(str))[1:4] == ["float64", "float64", "bool"]
    assert np.allclose(read["p"], table["p"], atol=1e-6)
    assert np.isnan(read["layer"][0])


def test_a_text_that_a_spreadsheet_would_compute_is_quoted_and_a_number_is_not() -> None:
    table = pd.DataFrame({"a": ["=1+1", "+x", "-x", "@x", "\tx", "\rx", "x=1", "-"], "b": -1.0, "c": "plain"})
    rows = list(csv.reader(io.StringIO(to_csv(table).decode(), newline="")))[1:]
    assert [row[0] for row in rows] == ["'=1+1", "'+x", "'-x", "'@x", "'\tx", "'\nx", "x=1", "'-"]
    assert {row[1] for row in rows} == {"-1"}
    assert quoted_columns(table) == ["a"]


@pytest.mark.parametrize(
    "name", ["where_../x", "..", "", "/x", "a\\b", "x\0", "a" * 121, "<b>", "=1", ".x", "a\nb", "~"]
)
def test_a_name_that_is_none_of_a_file_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="which is no name of a file"):
        write_file(tmp_path / "report", name, ".csv", b"x")
    assert list(tmp_path.rglob("*")) == []


def test_a_name_of_many_wordings_is_short_enough_for_a_file() -> None:
    assert short_name("transfer_by_depth_symbolic_story") == "transfer_by_depth_symbolic_story"
    long = [short_name("transfer_by_depth_" + sign * 200) for sign in "aभ"]
    for name in long:
        check_file_name(name)
        assert name.startswith("transfer_by_depth_")
    assert len(set(long)) == 2


@pytest.mark.parametrize("name", ["where_smollm2-135m", "qwen2.5-0.5b", "größe", "a" * 120])
def test_plain_names_are_written(name: str, tmp_path: Path) -> None:
    write_file(tmp_path / "report", name, ".csv", b"x")
    assert (tmp_path / "report" / f"{name}.csv").read_bytes() == b"x"
