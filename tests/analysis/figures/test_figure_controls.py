"""Pictures of training, controls, causes and causal use, from frames made here."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.data.results import Results, read_results
from analysis.drawing.axes import step_aside
from analysis.drawing.description import Picture
from analysis.drawing.matplotlib_renderer import save
from analysis.figures.causal import causal_use
from analysis.figures.controls import controls_by_depth
from analysis.figures.onset import EVALUATIONS, emergence, evaluations
from analysis.figures.predictors import predictors, predictors_added
from study.config.arms import ARMS
from study.config.names import TIERS
from study.config.predictors import PREDICTORS
from tests.drawn import pixels_of
from tests.simulated import Plan, write_study

pytestmark = pytest.mark.slow

ONE, MANY = ["alpha"], [f"model-{letter}-135m" for letter in "abcdefgh"]
SHOWN = {"symbolic": "p", "construction": "choice"}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    plan = Plan(models={"alpha": 4}, depths=(0.5,), pairs=("multiply/add",), weights=(0.5,), per_class=8)
    return read_results(write_study(tmp_path_factory.mktemp("results") / "pictures", plan))


def _with(results: Results, models: list[str]) -> Results:
    """The same results, with the cells of other models."""
    cell = results.cells[0]
    return replace(results, units={model: replace(cell, id=model, model=model) for model in models})


def _cells(models: list[str], depths: int, seeds: int = 1) -> pd.DataFrame:
    """One row a cell."""
    rows = [
        {"unit": f"{m}{d}{s}", "model": m, "pair": "multiply/add", "layer": d, "depth": (d + 1) / depths, "seed": s}
        for m, d, s in product(models, range(depths), range(seeds))
    ]
    return pd.DataFrame(rows).assign(weight=0.5)


def _with_interval(frame: pd.DataFrame, name: str, values: Any, half: float = 0.08) -> pd.DataFrame:
    return frame.assign(**{name: values, f"{name}_low": values - half, f"{name}_high": values + half})


def _controls(models: list[str], depths: int, seeds: int = 1) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Controls, and the outcomes of the plain cells beside them."""
    rng = np.random.default_rng(0)
    cells = _cells(models, depths, seeds).merge(pd.DataFrame({"tier": TIERS}), how="cross")
    plain = _with_interval(cells, "choice", rng.uniform(0.5, 1, len(cells))).assign(arm="plain")
    arms = [plain.assign(arm=arm, plain_choice=plain["choice"]) for arm in ARMS if arm != "plain"]
    controls = pd.concat(arms, ignore_index=True)
    return _with_interval(controls, "choice", rng.uniform(0.4, 0.9, len(controls))), plain


def _watched(models: list[str], layers: list[int], blocks: int = 8, seeds: int = 1) -> pd.DataFrame:
    rows = [
        [model, "multiply/add", trained, blocks, 0.5, seed, step, layer, tier, p, (1 + p) / 2]
        for model, trained, seed, step, layer, tier in product(
            models, layers, range(seeds), range(20, 201, 20), range(blocks), TIERS
        )
        for p in [float(np.exp(-(((layer - trained) / 2) ** 2)) * step / 200)]
    ]
    return pd.DataFrame(rows, columns=EVALUATIONS)


def _causal(models: list[str], depths: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = _cells(models, depths).merge(pd.DataFrame({"tier": TIERS[:2]}), how="cross").assign(prompts=48)
    for name in ("answers_moved", "nll_swap", "nll_random", "towards_other"):
        frame = _with_interval(frame, name, rng.uniform(-0.1, 0.6, len(frame)))
    last = frame["layer"] == depths - 1
    carried, random = rng.uniform(0.2, 1, len(frame)), rng.uniform(0, 0.2, len(frame))
    return frame.assign(carried=np.where(last, np.nan, carried), carried_random=np.where(last, np.nan, random))


def _predicted(models: list[str], names: list[str]) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Cells with predictors, their correlations, and what each adds."""
    rng = np.random.default_rng(0)
    cells = _cells(models, 7)
    cells = cells.assign(choice=rng.uniform(0.5, 1, len(cells)), **{n: rng.normal(size=len(cells)) for n in names})
    by_model = pd.DataFrame([[n, m, rng.uniform(-1, 1), 7] for n in names for m in models])
    by_model.columns = pd.Index(["predictor", "model", "rho", "cells"])
    added = pd.DataFrame({"predictor": names, "models": len(models), "signs": 1, "words": "not explained by this"})
    return cells, by_model, _with_interval(added, "increment", rng.uniform(-0.1, 0.3, len(names)))


def _why(
    models: list[str], cells: pd.DataFrame, by_model: pd.DataFrame, added: pd.DataFrame, tier: str
) -> list[Picture]:
    return [*predictors(models, cells, by_model, added, tier), *predictors_added(added)]


def _check(pictures: Sequence[Picture], folder: Path) -> None:
    """Save the pictures: they have files, words and pixels as every picture of the report has them."""
    drawn = {save(picture, folder) for picture in pictures}
    assert {file.name for file in folder.iterdir()} == drawn | {f"{picture.name}.csv" for picture in pictures}
    for picture in pictures:
        assert len(picture.alt) > 30
        assert picture.caption.endswith(".")
        assert "nan" not in picture.alt
        assert not pd.read_csv(folder / f"{picture.name}.csv").empty
        pixels = pixels_of(folder, picture.name)
        assert 500 < pixels.shape[1] < 3000
        assert pixels[..., :3].min() < 0.2
        # A white frame: nothing is cut off at the edge.
        assert pixels[:, [0, -1], :3].min() == 1.0
        assert pixels[[0, -1], :, :3].min() == 1.0


@pytest.mark.parametrize(("models", "depths", "seeds"), [(ONE, 1, 1), (ONE, 3, 3), (MANY, 6, 2)])
def test_controls_stand_beside_their_plain_cells(
    results: Results, tmp_path: Path, models: list[str], depths: int, seeds: int
) -> None:
    controls, plain = _controls(models, depths, seeds)
    pictures = controls_by_depth(_with(results, models), controls, plain)
    _check(pictures, tmp_path)
    drawn = pd.read_csv(tmp_path / "controls.csv")
    assert set(drawn["arm"]) == set(ARMS)
    assert len(drawn) == len(controls) + len(plain)


def test_a_plain_cell_is_drawn_once_whatever_else_was_trained_with_its_keys(results: Results, tmp_path: Path) -> None:
    controls, plain = _controls(ONE, 2)
    other = plain.assign(unit="other", choice=0.99)
    _check(controls_by_depth(results, controls, pd.concat([other, plain])), tmp_path)
    drawn = pd.read_csv(tmp_path / "controls.csv")
    drawn = drawn[drawn["arm"] == "plain"]
    assert drawn["choice"].to_list() == pytest.approx(plain["choice"].to_list(), rel=1e-5)


@pytest.mark.parametrize(
    ("models", "layers", "seeds"), [(ONE, [3], 1), (ONE, [1, 3, 7], 2), (MANY[:2], [*range(8)], 1)]
)
def test_every_model_that_was_watched_has_its_picture(
    tmp_path: Path, models: list[str], layers: list[int], seeds: int
) -> None:
    pictures = emergence(_watched(models, layers, seeds=seeds), SHOWN)
    assert [picture.name for picture in pictures] == [f"emergence_{model}" for model in models]
    assert "symbolic mean p 1.00 to 1.00" in pictures[0].alt
    _check(pictures, tmp_path)


def test_training_that_was_evaluated_once_or_not_on_a_tier_is_drawn(tmp_path: Path) -> None:
    watched = _watched(ONE, [3])
    once = watched[(watched["step"] == 20) & (watched["tier"] == "symbolic")]
    pictures = emergence(once, SHOWN)
    assert "construction" not in pictures[0].alt
    _check(pictures, tmp_path)


def test_evaluations_are_those_of_the_given_cells(results: Results) -> None:
    cell = results.cells[0]
    rows = _watched(ONE, [3])[["step", "layer", "tier", "p", "choice"]]
    found = evaluations({cell.id: rows, "other": rows}, [cell])
    assert list(found) == EVALUATIONS
    assert len(found) == len(rows)
    assert set(found["trained_layer"]) == {cell.layer}


@pytest.mark.parametrize(("models", "depths"), [(ONE, 1), (ONE, 4), (MANY, 8)])
def test_causal_use_has_a_row_a_model(
    results: Results, tmp_path: Path, models: list[str], depths: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("analysis.drawing.matplotlib_renderer.LARGEST_SVG", math.inf)  # that of many models is larger
    pictures = causal_use(_with(results, models), _causal(models, depths))
    _check(pictures, tmp_path)
    assert (tmp_path / "causal.svg").read_text().count(">swap<") == 1


@pytest.mark.parametrize(("models", "names"), [(ONE, ["log_p"]), (MANY, [*PREDICTORS][:6])])
def test_why_has_a_panel_a_predictor_with_each_models_correlation(
    tmp_path: Path, models: list[str], names: list[str]
) -> None:
    cells, by_model, added = _predicted(models, names)
    pictures = _why(models, cells, by_model, added, "construction")
    assert [picture.name for picture in pictures] == ["predictors", "predictors_added"]
    _check(pictures, tmp_path)
    text = (tmp_path / "predictors.svg").read_text()
    assert all(f"{value:+.2f}" in text for value in by_model["rho"])
    assert len(pd.read_csv(tmp_path / "predictors.csv")) == len(cells) * len(names)


def test_with_too_few_models_only_the_predictors_are_drawn(tmp_path: Path) -> None:
    cells, by_model, added = _predicted(ONE, ["log_p", "a_lin"])
    cells["a_lin"] = np.nan
    by_model["rho"] = np.nan
    pictures = _why(ONE, cells, by_model, added.assign(increment=np.nan), "construction")
    assert [picture.name for picture in pictures] == ["predictors"]
    assert "none" in pictures[0].alt
    _check(pictures, tmp_path)


def test_empty_frames_have_no_picture(results: Results) -> None:
    controls, plain = _controls(ONE, 1)
    cells, by_model, added = _predicted(ONE, ["log_p"])
    assert controls_by_depth(results, controls[:0], plain) == []
    assert causal_use(results, _causal(ONE, 1)[:0]) == []
    assert emergence(evaluations({}, results.cells), SHOWN) == []
    assert _why(ONE, cells[:0], by_model[:0], added.assign(increment=np.nan), "construction") == []


def test_marks_at_one_depth_keep_clear_of_the_next() -> None:
    assert step_aside([0.5], 6) == 0.022
    assert 6 * step_aside([0.1, 0.15, 1.0], 6) < 0.05
