"""Which units of two studies stand beside each other, what differs, and whether the same units have the same rows."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.comparing import compare_studies
from study.results.description import ResultsError
from tests.simulated import Plan, list_again, write_study

PLAN = Plan(models={"alpha": 4}, depths=(0.5, 1.0), pairs=("multiply/add",), weights=(0.0, 0.5), per_class=12)


@pytest.fixture
def study(tmp_path: Path) -> Callable[..., Path]:
    """Writes PLAN with changes, in a folder of this name."""
    return lambda name, **changed: write_study(tmp_path / name, replace(PLAN, **changed))


def edit(file: Path, how: Callable[[Any], object]) -> None:
    content = json.loads(file.read_text())
    how(content)
    file.write_text(json.dumps(content))


def test_the_same_study_on_another_machine_is_told_to_be_equal(study: Callable[..., Path]) -> None:
    folders = study("here"), study("there")
    for file in folders[1].glob("*/*/done.json"):
        edit(file, lambda done: done.update(machine="Darwin arm64, gpu", seconds={"train": 1.0}))
    found = compare_studies(*folders, [])
    rows = sum(len(pd.read_parquet(file)) for file in folders[0].glob("*/*/*.parquet") if file.stem != "lens")
    assert found.rows.rows > rows
    assert found.sentence == f"5 units of the same settings, {found.rows.rows:,} rows, all equal."
    assert found.differs.to_numpy().tolist() == [["made by", "machine", "Linux x86_64, cpu", "Darwin arm64, gpu"]]
    assert found.main.empty


def test_read_outs_of_layers_that_one_side_alone_keeps_are_not_compared(study: Callable[..., Path]) -> None:
    found = compare_studies(study("here"), study("there", depths=(0.75, 1.0)), [])
    (reference,) = (pair for pair in found.matched.pairs if pair.a.kind == "reference")
    assert reference.a.id == reference.b.id
    assert reference.a.id in found.rows.equal


def test_of_the_same_units_the_largest_difference_is_told_with_its_unit(study: Callable[..., Path]) -> None:
    folders = study("here"), study("there")
    (file,) = folders[1].glob("cells/*L3*/answers.parquet")
    rows = pd.read_parquet(file)
    rows.loc[[3, 5], "nll"] += [0.25, 0.125]
    rows.to_parquet(file, index=False)
    list_again(file.parent)
    found = compare_studies(*folders, [])
    (row,) = found.rows.columns.to_dict("records")
    assert (row["table"], row["column"], row["units"], row["different"]) == ("answers", "nll", 1, 2)
    assert row["largest"] == pytest.approx(0.25)
    assert row["unit"] == file.parent.name.rpartition("_")[2]
    assert "2 rows differ, by at most 0.25 (answers nll)" in found.sentence
    assert set(found.comparison.single["unit_a"]) == {row["unit"]}  # the others are equal, and asked no further


def test_settings_versions_and_weights_that_differ_are_told(study: Callable[..., Path]) -> None:
    folders = study("here"), study("there")

    def changed(described: Any) -> None:
        described["config"]["stage2"]["steps"] = 200
        described["config"]["decisions"] = {**described["config"]["decisions"], "floor": 0.2}
        described["models"]["alpha"]["source"] = {"hub": "org/other"}

    edit(folders[1] / "study.json", changed)
    for file in folders[1].glob("*/*/done.json"):
        edit(file, lambda done: done["versions"].update(mlx="0.33.0"))
    differs = compare_studies(*folders, []).differs
    assert differs.to_numpy().tolist() == [
        ["setting", "stage2.steps", "60", "200"],
        ["setting", "decisions.floor", "not written", "0.2"],
        ["model", "alpha: weights from", "org/alpha", "org/other"],
        ["made by", "mlx", "0.32.4", "0.33.0"],
    ]


def test_what_one_of_the_two_lacks_is_left_out_with_the_reason(study: Callable[..., Path]) -> None:
    failed = {"alpha|L1|multiply-add|w=0.5|s0": ("failed", "RuntimeError: killed")}
    first, second = study("here", seeds=(0, 1)), study("there", arms=("plain", "random_words"), unfinished=failed)
    left_out = compare_studies(first, second, []).matched.left_out
    told = set(zip(left_out["side"], left_out["label"], left_out["reason"], strict=True))
    assert ("A", "alpha|L1|multiply-add|w=0.5|s0", "in B failed: RuntimeError: killed") in told
    assert ("B", "alpha|L1|multiply-add|w=0.5|s0", "failed: RuntimeError: killed") in told
    assert ("A", "alpha|reference|s1", "seed 1 is not in B") in told
    assert ("B", "alpha|L3|multiply-add|w=0.5|random_words|s0", "arm random_words is not in A") in told


def test_a_single_weight_of_each_is_left_free_and_w_zero_stands_beside_w_zero(study: Callable[..., Path]) -> None:
    matched = compare_studies(study("here"), study("there", weights=(0.0, 0.2)), []).matched
    assert matched.free == ["weight"]
    assert {(pair.a.weight, pair.b.weight) for pair in matched.pairs} == {(None, None), (0.0, 0.0), (0.5, 0.2)}


def test_models_of_other_depths_stand_beside_each_other_at_the_depths_of_the_grid(study: Callable[..., Path]) -> None:
    matched = compare_studies(study("here", models={"alpha": 4, "beta": 6}), None, ["alpha", "beta"]).matched
    layers = {(pair.depth, pair.a.layer, pair.b.layer) for pair in matched.pairs if pair.a.layer is not None}
    assert layers == {(0.5, 1, 2), (1.0, 3, 5)}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"models": {"beta": 4, "gamma": 4}}, "share nothing that could be compared: of model, A has alpha and B beta"),
        ({"pairs": ("one/two", "three/four")}, "of class tokens, A has multiply/add and B one/two, three/four"),
        ({"depths": (0.25, 0.75)}, ""),
    ],
)
def test_where_nothing_is_shared_it_is_said(study: Callable[..., Path], changed: dict[str, Any], message: str) -> None:
    first, second = study("here"), study("there", **changed)
    if message:
        with pytest.raises(ResultsError, match=message):
            compare_studies(first, second, [])
    else:  # stage 1 and w = 0 are shared all the same
        found = compare_studies(first, second, [])
        assert found.main.empty
        assert found.sentence.endswith("rows, all equal; no cell with a class loss is shared.")
        assert {pair.a.layer for pair in found.matched.pairs} == {None}
