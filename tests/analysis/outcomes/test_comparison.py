"""Two sides against each other: simulated studies whose truth is known, and the committed rows of a real one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.comparing import Found, compare_studies
from analysis.outcomes.comparison import ALONE, AT_DEPTHS, COMPARED, EVERY, HIGHER, LOWER, MAIN
from analysis.statistics.effects import effect
from study.config.names import TIERS
from tests.simulated import Plan, Point, Truth, write_study

PACKED = Path(__file__).parents[3] / "reports" / "data" / "architecture_comparison"
SEEDS = (0, 1, 2)


def _truth(point: Point) -> Truth:
    return Truth(choice=0.9, accuracy_lost=0.05)


def _planted(point: Point) -> Truth:
    """A worse read-out on stories alone, and worse answers on semantic prompts alone."""
    return Truth(choice=0.5 if point.tier == "story" else 0.9, accuracy_lost=0.45 if point.tier == "semantic" else 0.05)


PLAN = Plan(
    models={"alpha": 4},
    depths=(0.5, 1.0),
    pairs=("multiply/add",),
    weights=(0.0, 0.5),
    seeds=SEEDS,
    truth=_truth,
    per_class=108,
)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("a") / "first", PLAN)


@pytest.fixture(scope="module")
def planted(first: Path, tmp_path_factory: pytest.TempPathFactory) -> Found:
    return compare_studies(
        first, write_study(tmp_path_factory.mktemp("b") / "second", replace(PLAN, truth=_planted)), []
    )


def test_a_planted_difference_is_found_with_its_sign_and_size_and_none_where_there_is_none(planted: Found) -> None:
    main = planted.main.set_index(["measure", "tier"])
    assert list(planted.comparison.differences.columns) == COMPARED
    assert len(main) == 2 * len(TIERS)
    story, semantic = main.loc[("choice accuracy", "story")], main.loc[("answers", "semantic")]
    for row, size in ((story, -0.4), (semantic, -0.4)):
        assert row["difference_low"] < size < row["difference_high"] < 0
    assert semantic["verdict"] == LOWER
    assert story["verdict"] in (LOWER, LOWER + ALONE)
    others = main.drop(index=[story.name, semantic.name])
    assert not set(others["verdict"]) & {HIGHER, LOWER}
    assert "answers are lower on 1 (-3" in planted.sentence


def test_without_a_difference_between_other_seeds_none_is_shown(first: Path, tmp_path: Path) -> None:
    found = compare_studies(first, write_study(tmp_path / "seeds", replace(PLAN, seeds=(3, 4, 5))), [])
    assert found.matched.free == ["seed"]
    assert {(pair.a.seed, pair.b.seed) for pair in found.matched.pairs} == {(0, 3), (1, 4), (2, 5)}
    assert not set(found.main["verdict"]) & {HIGHER, LOWER}
    assert found.sentence.startswith("With seed 3, 4, 5 (A: 0, 1, 2), no difference in choice accuracy or answers")


def test_a_difference_is_recomputed_from_the_rows_with_pandas(planted: Found) -> None:
    """Template by template, seed by seed, over depths; the interval is `effect` of that table."""
    tables = []
    for side in (planted.matched.b, planted.matched.a):
        by_place = {}
        for unit in side.units:
            if unit.layer is not None:
                lens = pd.read_parquet(Path(side.folder) / "cells" / unit.folder / "lens.parquet")
                own = lens[(lens["tier"] == "story") & (lens["layer"] == unit.layer) & (lens["seen"] == "nobody")]
                means = own.groupby(["template", "operation"])["choice"].mean().groupby("template").mean()
                by_place[unit.seed, unit.layer] = means
        frame = pd.concat(by_place, axis=1, names=["seed", "layer"])
        tables.append(frame.T.groupby("seed").mean().T)
    b, a = tables
    row = planted.main.set_index(["measure", "tier"]).loc[("choice accuracy", "story")]
    assert row[["a", "b"]].tolist() == pytest.approx([a.to_numpy().mean(), b.to_numpy().mean()])
    assert row["difference"] == pytest.approx((b - a).to_numpy().mean())
    assert (row["seeds"], row["samples"], row["together"]) == (3, len(a), 8)
    assert (row["difference_low"], row["difference_high"]) == pytest.approx(effect((b - a).to_numpy(), 0.95)[1:])
    together = effect((b - a).to_numpy(), 1 - 0.05 / 8)
    assert (row["together_low"], row["together_high"]) == pytest.approx(together[1:])
    assert row["lowest_seed"] == pytest.approx((b - a).mean().min())


def test_single_pairs_and_depths_are_told_too(planted: Found) -> None:
    single, differences = planted.comparison.single, planted.comparison.differences
    story = single[(single["measure"] == "choice accuracy") & (single["tier"] == "story")]
    assert len(story) == len(SEEDS) * 2
    at_depths = differences[differences["family"] == AT_DEPTHS]
    assert set(at_depths["depth"]) == {0.5, 1.0}
    assert set(at_depths["together"]) == {2 * 2 * len(TIERS)}
    own = at_depths[(at_depths["measure"] == "choice accuracy") & (at_depths["tier"] == "story")].set_index("depth")
    for depth, rows in story.groupby("depth"):
        assert own.loc[depth, "difference"] == pytest.approx((rows["b"] - rows["a"]).mean())


def test_pairs_with_a_cell_that_did_not_fit_are_left_out(first: Path, tmp_path: Path) -> None:
    worse = replace(PLAN, truth=lambda point: Truth(choice=0.9, class_loss=2.0 if point.depth == 1.0 else 0.05))
    found = compare_studies(first, write_study(tmp_path / "worse", worse), [])
    assert len(found.comparison.not_fitted) == len(SEEDS)
    assert set(found.comparison.not_fitted["reason"]) == {"the class loss did not fall far enough in B"}
    trained = found.comparison.single[found.comparison.single["measure"] == "choice accuracy"]
    assert set(trained["depth"]) == {0.5}


def test_both_sides_are_named_where_neither_fitted(tmp_path: Path) -> None:
    never = replace(PLAN, truth=lambda point: Truth(choice=0.5, class_loss=2.0))
    other = replace(never, per_class=PLAN.per_class + 1)  # rows that are not equal
    found = compare_studies(write_study(tmp_path / "a", never), write_study(tmp_path / "b", other), [])
    assert len(found.comparison.not_fitted) == len(SEEDS) * 2
    assert set(found.comparison.not_fitted["reason"]) == {"the class loss did not fall far enough in A and B"}
    assert "choice accuracy" not in set(found.comparison.single["measure"])


def test_of_many_models_the_main_differences_are_over_models(tmp_path: Path) -> None:
    plan = replace(PLAN, models={"a": 4, "b": 4, "c": 4, "d": 4}, seeds=(0,), depths=(0.5,), per_class=54)
    folders = [
        write_study(tmp_path / name, replace(plan, truth=truth)) for name, truth in (("x", _truth), ("y", _planted))
    ]
    found = compare_studies(folders[0], folders[1], [])
    assert set(found.main["model"]) == {EVERY}
    assert set(found.main["seeds"]) == {4}
    own = found.comparison.single
    own = own[(own["measure"] == "answers") & (own["tier"] == "semantic")]
    row = found.main.set_index(["measure", "tier"]).loc[("answers", "semantic")]
    assert row["difference"] == pytest.approx((own["b"] - own["a"]).mean())
    assert row["verdict"] == LOWER


@pytest.mark.slow
def test_two_models_of_real_rows_are_matched_by_depth_and_their_difference_is_recomputed() -> None:
    found = compare_studies(PACKED, None, ["smollm2-135m", "gemma-3-270m"])
    cells = [pair for pair in found.matched.pairs if pair.a.layer is not None and pair.a.arm == "plain"]
    assert {(pair.depth, pair.a.layer, pair.b.layer) for pair in cells} == {
        *((0.2, 5, 3), (0.4, 11, 6), (0.6, 17, 10), (0.8, 23, 13), (0.95, 28, 16))
    }
    assert found.left_out.empty
    lens = pd.read_parquet(PACKED / "lens.parquet").astype({"unit": str})
    lens = lens[(lens["tier"] == "semantic") & (lens["seen"] == "nobody") & (lens["stage"] == "stage2")]
    values = []
    for pair in cells:
        sides = []
        for unit in (pair.b, pair.a):
            own = lens[(lens["unit"] == unit.id) & (lens["layer"] == unit.layer)]
            by_operation = own.groupby(["template", "operation"], observed=True)["choice"].mean()
            sides.append(by_operation.groupby("template", observed=True).mean())
        values.append(float(np.mean(sides[0] - sides[1])))
    row = found.main.set_index(["measure", "tier"]).loc[("choice accuracy", "semantic")]
    assert row["family"] == MAIN
    assert row["difference"] == pytest.approx(np.mean(values), abs=1e-6)
    assert found.differs.set_index("name").loc["blocks", ["a", "b"]].tolist() == ["30", "18"]
