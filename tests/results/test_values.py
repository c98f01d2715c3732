"""Numbers that are none, and values of another type, are neither written nor read in silence."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from study.config.predictors import PREDICTORS
from study.results.files import write_json, write_rows
from study.results.schema import COLUMNS, TABLES, Row
from study.results.values import FigureError, check_values, read_table


def rows(name: str, count: int = 4) -> list[Row]:
    """Rows of a table that have all its columns."""
    columns = TABLES[name].columns.items()
    return [{key: "a" if column.text else 0.5 for key, column in columns} for _ in range(count)]


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None])
def test_a_row_without_a_finite_figure_is_refused_where_none_may_miss(tmp_path: Path, name: str, value: Any) -> None:
    for column, declared in TABLES[name].columns.items():
        if declared.text and value is not None:
            continue
        found = rows(name)
        found[1][column] = value
        if declared.missing and (value is None or math.isnan(value)):
            write_rows(tmp_path / f"{name}.parquet", found)
            assert read_table(tmp_path / f"{name}.parquet")[column].to_pandas().isna().sum() == 1
            continue
        with pytest.raises(FigureError, match=f"^{name}: {column} is not finite or missing in 1 of 4 rows$"):
            write_rows(tmp_path / f"{name}.parquet", found)
        pd.DataFrame(found).to_parquet(tmp_path / f"{name}.parquet")  # as an older version wrote it
        with pytest.raises(FigureError, match=f"^{name}: {column} "):
            read_table(tmp_path / f"{name}.parquet")


def test_only_what_is_declared_may_be_missing() -> None:
    missing = {(name, key) for name, table in TABLES.items() for key, column in table.columns.items() if column.missing}
    of_answers = {("answers", "right"), ("predictors", "gradient_cosine"), ("predictors", "gradient_ratio")}
    assert missing == of_answers | {
        ("curves", "class_loss"),
        ("curves", "answer_loss"),
        ("predictors", "residual_growth"),
    }
    assert PREDICTORS["residual_growth"].missing


def test_verdicts_are_missing_together_where_there_is_no_answer_and_never_alone(tmp_path: Path) -> None:
    verdicts = ("right", "number_right", "nll")
    labels = [{**row, **dict.fromkeys(verdicts)} for row in rows("answers")]
    write_rows(tmp_path / "answers.parquet", labels)
    assert read_table(tmp_path / "answers.parquet", verdicts).to_pandas().isna().all(axis=None)
    labels[0] |= {"right": True, "number_right": True}
    with pytest.raises(FigureError, match=r"^answers: nll is not finite or missing in 1 of 4 rows$"):
        write_rows(tmp_path / "answers.parquet", labels)


def test_a_column_of_another_type_or_none_is_named(tmp_path: Path) -> None:
    file = tmp_path / "curves.parquet"
    for column, value, told in (("step", "1", "step has values of the type"), ("loss", [1.0], "loss has values of")):
        pd.DataFrame([{**row, column: value} for row in rows("curves")]).to_parquet(file)
        with pytest.raises(FigureError, match=told):
            read_table(file)
    pd.DataFrame(rows("curves")).drop(columns="loss").to_parquet(file)
    with pytest.raises(FigureError, match="curves: it has no column loss"):
        read_table(file, COLUMNS["curves"])
    with pytest.raises(FigureError, match="answers: tier has values of the type double, not text"):
        check_values("answers", pa.table({"tier": [1.0]}))


def test_a_table_without_rows_has_no_wrong_values(tmp_path: Path) -> None:
    write_rows(tmp_path / "lens.parquet", [])
    assert read_table(tmp_path / "lens.parquet").num_rows == 0


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_no_json_file_holds_a_number_that_is_none(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "file.json", {"a": [value]})
    assert list(tmp_path.iterdir()) == []
