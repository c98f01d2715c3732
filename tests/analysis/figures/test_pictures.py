"""Whether every picture comes out whole: as files, within its frame, for one cell and for many models."""

from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.drawing.axes import step_aside
from analysis.drawing.description import Picture
from analysis.drawing.matplotlib_renderer import save
from analysis.drawing.style import colour, marker
from analysis.figures.contrasts import contrasts
from analysis.figures.cost import cost
from analysis.figures.depth import depth
from analysis.figures.emergence import emergence
from analysis.figures.lens import lens
from analysis.figures.predictors import predictors, predictors_added
from analysis.figures.recipes import by_choice
from analysis.figures.series import TITLE, counted, short, shown
from analysis.figures.use import use
from study.config.names import TIERS
from tests.drawn import pixels_of
from tests.made_frames import (
    MANY,
    add_profiles,
    made_associations,
    made_contrast,
    made_correlations,
    made_doses,
    made_evaluations,
    made_levels,
    made_means,
    made_recipes,
    made_shares,
    made_study,
)

ONE = {"alpha": 4}
STRANGE = {"a name with $dollars$ & <signs>, longer than any title has room for": 4}


def _pictures(models: dict[str, int], layers: tuple[int, ...], seeds: tuple[int, ...]) -> list[Picture]:
    results = made_study(models, layers, seeds)
    add_profiles(results)
    levels, place = made_levels(results), shown(results, ("symbolic",))
    means, names = made_means(levels), list(models)
    words = made_contrast(results, "names against random_words", "choice", TIERS, lambda c, _: c.depth / 4)
    costs = made_contrast(results, "cost against w = 0", "right", TIERS[:2], lambda c, _: -c.depth / 20, "all")
    return [
        *depth(results, levels, means, place, "depth"),
        *contrasts(results, words[1], words[0], means, place),
        *cost(results, costs[1], costs[0], place),
        *use(results, made_doses(results), made_shares(made_doses(results)), place),
        *lens(results, place),
        *emergence(made_evaluations(results), ["symbolic", "construction"])[:1],
        *predictors(names, made_correlations(names, ["a_lin", "probe"]), "construction"),
        *predictors_added(made_associations(["a_lin", "probe"], len(names))),
        *by_choice(results, made_recipes({"corrected": seeds, "as-published": seeds}, names[0])),
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("models", "layers", "seeds"),
    [
        (ONE, (3,), (0,)),
        (STRANGE, (1, 3), (0, 1, 2)),
        ({name: 8 + i for i, name in enumerate(MANY)}, (1, 3, 5, 7), (0, 1)),
    ],
)
def test_pictures_are_whole_and_have_words_and_data(
    tmp_path: Path, models: dict[str, int], layers: tuple[int, ...], seeds: tuple[int, ...]
) -> None:
    pictures = _pictures(models, layers, seeds)
    # A model's name that is none of a file is refused where files are written.
    pictures = [picture for picture in pictures if "$" not in picture.name]
    written = {picture.name: save(picture, tmp_path) for picture in pictures}
    assert {file.name for file in tmp_path.iterdir()} == set(chain(*written.values()))
    for picture in pictures:
        assert len(picture.alt) > 30
        assert picture.caption.endswith(".")
        assert "nan" not in picture.alt + picture.caption
        data = tmp_path / written[picture.name][1]
        assert data.stem == picture.name
        assert not (pd.read_csv(data) if data.suffix == ".csv" else pd.read_parquet(data)).empty
        pixels = pixels_of(tmp_path, picture.name)
        assert 500 < pixels.shape[1] <= 1120
        assert pixels[..., :3].min() < 0.2
        # A white frame: nothing is cut off at the edge.
        assert pixels[:, [0, -1], :3].min() == 1.0
        assert pixels[[0, -1], :, :3].min() == 1.0


def test_looks_of_many_models_are_all_different() -> None:
    assert len({(colour(index), marker(index)) for index in range(56)}) == 56


def test_marks_at_one_depth_keep_clear_of_the_next() -> None:
    assert step_aside([0.5], 6) == 0.022
    assert 6 * step_aside([0.1, 0.15, 1.0], 6) < 0.05


def test_long_names_in_titles_keep_both_ends_and_stay_different() -> None:
    assert short("smollm2-135m") == "smollm2-135m"
    long = f"start-{'x' * 100}-end"
    assert len(short(long)) <= TITLE
    assert short(long).startswith("start-")
    assert "-end" in short(long)
    assert short(long) != short(long.replace("xxx", "xyx"))


@pytest.mark.parametrize(
    ("numbers", "words"), [([3, 3], "3 seeds"), ([1], "1 seed"), ([2, 1, 3], "1 to 3 seeds"), ([], "no seeds")]
)
def test_what_is_counted_is_a_number_or_a_range(numbers: list[int], words: str) -> None:
    assert counted(np.array(numbers), "seed") == words
