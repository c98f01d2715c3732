"""The report's pictures."""

from pathlib import Path

import pandas as pd
import pytest

from analysis.data.results import Results, read_results
from analysis.drawing.description import Picture
from analysis.drawing.matplotlib_renderer import save
from analysis.figures.choice_by_depth import cover, transfer
from analysis.figures.heat_map import where
from analysis.figures.lens_profile import lens_profile
from analysis.figures.preservation import preservation
from analysis.outcomes.emergence import judge
from analysis.outcomes.preservation import preservation as kept_accuracy
from tests.drawn import pixels_of
from tests.simulated import Plan, Point, Truth, write_study

pytestmark = pytest.mark.slow


def _truth(point: Point) -> Truth:
    return Truth() if point.tier == "symbolic" or point.depth > 0.9 else Truth(choice=0.5)


PLAN = Plan(
    models={"alpha": 4, "beta": 6},
    depths=(0.5, 1.0),
    pairs=("multiply/add",),
    weights=(0.0, 0.5),
    truth=_truth,
    per_class=24,
    unfinished={
        "alpha|L1|multiply-add|w=0.5|s0": ("failed", "killed"),
        "beta|reference|s0": ("missing", ""),
        "beta|multiply-add|w=0|s0": ("missing", ""),
    },
)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return read_results(write_study(tmp_path_factory.mktemp("results") / "pictures", PLAN))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("figures")


@pytest.fixture(scope="module")
def pictures(results: Results, folder: Path) -> dict[str, Picture]:
    judged = judge(results)
    described = [
        cover(results, judged),
        *(where(results, judged, model) for model in results.model_names),
        transfer(results, judged, "transfer_by_depth"),
        *(lens_profile(results, model) for model in results.model_names),
        preservation(results, judged, kept_accuracy(results)),
    ]
    for picture in described:
        save(picture, folder)
    return {picture.name: picture for picture in described}


def test_every_model_has_its_pictures(pictures: dict[str, Picture]) -> None:
    shared = {"cover", "transfer_by_depth", "preservation"}
    assert set(pictures) == shared | {f"{kind}_{m}" for kind in ("where", "lens_profile") for m in ("alpha", "beta")}


def test_every_picture_has_its_files_and_alt_text(pictures: dict[str, Picture], folder: Path) -> None:
    assert {file.name for file in folder.iterdir()} == {
        f"{name}{suffix}" for name in pictures for suffix in (".svg", ".csv")
    }
    for picture in pictures.values():
        assert len(picture.alt) > 30
        assert picture.caption.endswith(".")
        assert "nan" not in picture.alt
        assert not pd.read_csv(folder / f"{picture.name}.csv").empty


def test_a_csv_holds_what_is_drawn(results: Results, pictures: dict[str, Picture], folder: Path) -> None:
    drawn = pd.read_csv(folder / f"{pictures['where_beta'].name}.csv")
    judged = judge(results)
    expected = judged[judged["model"] == "beta"]
    assert drawn["choice"].to_list() == pytest.approx(expected["choice"].to_list(), rel=1e-5)
    assert drawn["p"].to_list() == pytest.approx(expected["p"].to_list(), rel=1e-5)


def test_a_profile_shows_only_the_stages_that_have_finished(folder: Path, pictures: dict[str, Picture]) -> None:
    stages = {
        model: set(pd.read_csv(folder / f"{pictures[f'lens_profile_{model}'].name}.csv")["stage"])
        for model in ("alpha", "beta")
    }
    assert stages == {"alpha": {"baseline", "stage 1", "w = 0", "stage 2"}, "beta": {"stage 2"}}


def test_a_cell_without_a_result_is_grey_with_its_status(folder: Path, pictures: dict[str, Picture]) -> None:
    for name in ("where_alpha", "transfer_by_depth", "lens_profile_alpha"):
        assert ">failed<" in (folder / f"{pictures[name].name}.svg").read_text()
    assert ">failed<" not in (folder / "where_beta.svg").read_text()


def test_pictures_are_neither_empty_nor_huge(folder: Path, pictures: dict[str, Picture]) -> None:
    for name in pictures:
        pixels = pixels_of(folder, name)
        assert 500 < pixels.shape[1] < 3000
        assert pixels[..., :3].min() < 0.2
        # A white frame: nothing is cut off at the edge.
        assert pixels[:, [0, -1], :3].min() == 1.0
        assert pixels[[0, -1], :, :3].min() == 1.0
