"""`study schemas`: write what is made from the code, the JSON Schemas of the YAML files and docs/reference.md."""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from study.config.arms import ARMS
from study.config.predictors import PREDICTORS
from study.plan.read import write_schemas
from study.results.files import write_bytes
from study.results.schema import TABLES

REFERENCE = Path("docs") / "reference.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write `study.schema.json`, `models.schema.json` and the reference page; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="study schemas",
        description="Write what is made from the code: the JSON Schemas in configs/, and docs/reference.md.",
    )
    parser.add_argument(
        "folder", type=Path, nargs="?", default=Path(), metavar="FOLDER", help="folder of the repository (default: .)"
    )
    folder = parser.parse_args(arguments).folder
    if not (folder / "configs").is_dir() or not (folder / REFERENCE).parent.is_dir():
        parser.error(f"{folder.resolve()} has no configs/ and docs/: give the folder of the repository")
    write_schemas(folder / "configs")
    write_bytes(folder / REFERENCE, reference().encode())
    return 0


def reference() -> str:
    """Return the page that lists arms, predictors and the columns of all rows, in Markdown."""
    return "\n".join([*_arms(), *_predictors(), *_tables()]) + "\n"


def _arms() -> Iterator[str]:
    yield "# Reference: arms, predictors, rows"
    yield ""
    yield "Made from the code by `study schemas`. Every setting of a study's YAML is in `configs/study.schema.json`."
    yield ""
    yield "## Arms"
    yield ""
    yield "| `arms` | role | what changes | what it decides |"
    yield "|---|---|---|---|"
    for name, arm in ARMS.items():
        yield f"| `{name}` | {arm.role} | {arm.changes} | {arm.asks} |"
    yield ""


def _predictors() -> Iterator[str]:
    yield "## Predictors"
    yield ""
    yield "Measured on a model before stage 2, for each pair of class tokens, layer and tier of wording."
    yield ""
    yield "| `decisions.predictors` | what it is | can be tested |"
    yield "|---|---|---|"
    for name, predictor in PREDICTORS.items():
        yield f"| `{name}` | {predictor.words} | {'yes' if predictor.testable else 'no'} |"
    yield ""


def _tables() -> Iterator[str]:
    yield "## Rows"
    yield ""
    yield "Each is a Parquet file in the folder of a unit, `results/NAME/KIND/UNIT/`. Columns marked * are only there."
    yield "Packed studies keep the others, fewer rows of `lens`, and means in `profile.parquet`."
    for name, table in TABLES.items():
        kinds = ", ".join([*table.always, *(f"{kind} (where the study measures it)" for kind in table.sometimes)])
        yield ""
        yield f"### {name}.parquet"
        yield ""
        yield f"One row per {table.row}. Units that have it: {kinds}."
        yield ""
        yield "| column | what it holds |"
        yield "|---|---|"
        for column, about in table.columns.items():
            missing = "; may be missing" if about.missing or about.missing_with else ""
            yield f"| `{column}`{'' if about.reported else ' *'} | {about.meaning}{missing} |"
