"""What the heat maps of training show."""

import numpy as np
import pandas as pd
from matplotlib.collections import QuadMesh
from matplotlib.colors import TwoSlopeNorm

from analysis.figures.emergence import EVALUATIONS, emergence, evaluations
from tests.made_frames import made_evaluations, made_study

RESULTS = made_study({"alpha": 8, "beta": 8}, layers=(3, 7), seeds=(0, 1))
SHOWN = ["symbolic", "construction"]


def test_every_model_that_was_watched_has_its_picture_of_two_tiers() -> None:
    pictures = emergence(made_evaluations(RESULTS), SHOWN)
    assert [picture.name for picture in pictures] == ["emergence_alpha", "emergence_beta"]
    for picture in pictures:
        assert list(picture.data["tier"].unique()) == SHOWN
        assert "Not shown" not in picture.caption
        for words in ("16 prompts a tier", "2 seeds", "w = 0.5", "trained on symbolic", "White is chance, 50 %"):
            assert words in picture.caption


def test_tiles_are_means_over_seeds_on_one_scale_that_is_white_at_chance() -> None:
    watched = made_evaluations(RESULTS)
    (picture, _) = emergence(watched, SHOWN)
    figure = picture.draw()
    maps = [
        mesh for ax in figure.axes for mesh in ax.collections if isinstance(mesh, QuadMesh) and len(figure.axes) > 1
    ]
    maps = [mesh for mesh in maps if mesh.get_array().shape == (8, 10)]
    assert len(maps) == 4
    for mesh, (tier, layer) in zip(maps, [(t, n) for t in SHOWN for n in (3, 7)], strict=True):
        norm = mesh.norm
        assert isinstance(norm, TwoSlopeNorm)
        assert (norm.vmin, norm.vcenter, norm.vmax) == (0, 0.5, 1)
        own = watched[(watched["model"] == "alpha") & (watched["tier"] == tier) & (watched["trained_layer"] == layer)]
        expected = own.pivot_table(index="layer", columns="step", values="choice")
        np.testing.assert_allclose(mesh.get_array(), expected)
    bar = figure.axes[-1]
    assert [label.get_text() for label in bar.get_yticklabels()] == ["0 %", "25 %", "50 %", "75 %", "100 %"]


def test_a_tier_that_stays_near_chance_at_every_depth_is_named_and_not_drawn() -> None:
    (picture, _) = emergence(made_evaluations(RESULTS, flat=("construction",)), SHOWN)
    assert list(picture.data["tier"].unique()) == ["symbolic"]
    assert "within 10 points of chance at every trained depth: construction." in picture.caption


def test_a_model_that_stays_near_chance_everywhere_has_no_picture() -> None:
    watched = made_evaluations(RESULTS)
    alpha = made_evaluations(RESULTS, flat=SHOWN)
    mixed = pd.concat([alpha[alpha["model"] == "alpha"], watched[watched["model"] == "beta"]])
    assert [picture.name for picture in emergence(mixed, SHOWN)] == ["emergence_beta"]


def test_a_row_is_kept_where_one_trained_depth_alone_leaves_chance() -> None:
    watched = made_evaluations(RESULTS)
    shallow = (watched["tier"] == "construction") & (watched["trained_layer"] == 3)
    (picture, _) = emergence(watched.assign(choice=watched["choice"].where(~shallow, 0.5)), SHOWN)
    assert set(picture.data.loc[picture.data["tier"] == "construction", "trained_layer"]) == {3, 7}


def test_training_that_was_evaluated_once_or_not_on_a_tier_is_drawn() -> None:
    watched = made_evaluations(RESULTS)
    once = watched[(watched["step"] == 200) & (watched["tier"] == "symbolic")]
    for picture in emergence(once, SHOWN):
        assert "construction" not in picture.alt + picture.caption
        assert picture.draw().axes


def test_evaluations_are_those_of_the_given_cells() -> None:
    cell = RESULTS.cells[0]
    rows = made_evaluations(RESULTS)[["step", "layer", "tier", "prompts", "p", "choice"]]
    found = evaluations({cell.id: rows, "other": rows}, [cell])
    assert list(found) == EVALUATIONS
    assert len(found) == len(rows)
    assert set(found["trained_layer"]) == {cell.layer}
    assert set(found["chance"]) == {0.5}
    assert emergence(evaluations({}, RESULTS.cells), SHOWN) == []
