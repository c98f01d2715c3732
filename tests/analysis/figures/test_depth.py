"""What the figure of choice accuracy by depth shows."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis.drawing.description import DRAWN, PANEL, SERIES, Chart
from analysis.drawing.matplotlib_chart import draw
from analysis.drawing.style import COLOURS
from analysis.figures.depth import depth
from analysis.figures.series import shown
from study.config.names import TIERS
from tests.made_frames import by_depth, made_levels, made_means, made_study

RESULTS = made_study(seeds=(0, 1, 2))
LEVELS = made_levels(RESULTS)
SYMBOLIC = shown(RESULTS, ("symbolic",))


def _chart(levels: pd.DataFrame = LEVELS) -> Chart:
    (chart,) = depth(RESULTS, levels, made_means(levels), SYMBOLIC, "depth")
    return chart


def _panels(chart: Chart) -> list[Axes]:
    return [ax for ax in draw(chart).axes if ax.get_visible()]


def _lines(ax: Axes, colour: str) -> list[Line2D]:
    lines = [line for line in ax.get_lines() if line.get_color() == colour]
    return [line for line in lines if line.get_linestyle() == "-" and len(line.get_xdata()) > 1]


def test_there_is_one_panel_a_tier_in_the_order_of_tiers() -> None:
    titles = [ax.get_title().split("\n")[0] for ax in _panels(_chart())]
    assert titles == list(TIERS)


def test_a_thick_line_is_the_mean_and_thin_ones_are_the_seeds_of_each_model() -> None:
    for tier, ax in zip(TIERS, _panels(_chart()), strict=True):
        for index, model in enumerate(("alpha", "beta")):
            cells = [cell for cell in RESULTS.plain if cell.model == model]
            lines = _lines(ax, COLOURS[index])
            thick = max(lines, key=lambda line: line.get_linewidth())
            own = [[by_depth(c, tier) for c in cells if c.seed == seed] for seed in RESULTS.seeds]
            np.testing.assert_allclose(thick.get_xdata(), [0.5, 1.0])
            np.testing.assert_allclose(thick.get_ydata(), np.mean(own, axis=0))
            thin = sorted(list(line.get_ydata()) for line in lines if line is not thick)
            np.testing.assert_allclose(thin, own)


def test_chance_is_dotted_and_75_percent_is_faint() -> None:
    for ax in _panels(_chart()):
        through = {line.get_ydata()[0]: line for line in ax.get_lines() if list(line.get_xdata()) == [0, 1]}
        assert sorted(through) == [0.5, 0.75]
        assert through[0.5].get_linestyle() == ":"
        assert through[0.75].get_color() == "#BBBBBB"


def test_the_caption_says_weight_tokens_seeds_and_templates() -> None:
    caption = _chart().caption
    for words in ("w = 0.5", "multiply/add", "trained on symbolic", "3 seeds a depth", "27 templates a tier", "50 %"):
        assert words in caption
    assert "left out" not in caption


def test_panels_say_what_was_trained_on_other_templates_of_a_tier() -> None:
    said = [ax.get_title().split("\n")[1] for ax in _panels(_chart())]
    assert said == ["(class trained)", "(answers trained)", "(not trained)", "(not trained)"]


def test_a_single_seed_has_no_thin_lines() -> None:
    chart = _chart(LEVELS[LEVELS["seed"] == 1])
    assert set(chart.data[DRAWN]) == {"mean"}
    assert "thin" not in chart.caption
    assert "1 seed a depth" in chart.caption
    assert [text.get_text() for text in draw(chart).legends[0].get_texts()][:2] == ["alpha", "beta"]


def test_cells_that_did_not_fit_are_counted_and_drawn_nowhere() -> None:
    failed = (LEVELS["model"] == "beta") & (LEVELS["layer"] == 3) & (LEVELS["seed"] < 2)
    chart = _chart(LEVELS.assign(fitted=~failed))
    deepest = chart.data[(chart.data["model"] == "beta") & (chart.data["layer"] == 3)]
    assert set(deepest[DRAWN]) == {"mean"}
    assert deepest["seeds"].eq(1).all()
    assert "2 cells whose class loss stayed above chance are left out" in chart.caption
    assert "1 to 3 seeds a depth" in chart.caption


def test_templates_that_were_seen_appear_only_where_there_are_no_others() -> None:
    seen = made_levels(RESULTS, lambda cell, tier: 0.123, "seen")
    both = pd.concat([LEVELS, seen[seen["tier"] == "symbolic"]], ignore_index=True)
    assert 0.123 not in set(_chart(both).data["choice"])
    chart = _chart(pd.concat([LEVELS[LEVELS["tier"] != "symbolic"], seen[seen["tier"] == "symbolic"]]))
    assert set(chart.data.loc[chart.data["tier"] == "symbolic", "choice"]) == {0.123}
    assert chart.data.loc[chart.data["tier"] == "symbolic", PANEL].iloc[0].endswith("all templates)")
    assert "all templates of tiers of which some training saw all" in chart.caption


def test_every_set_of_trained_wordings_has_a_picture_of_its_own_cells() -> None:
    results = made_study(wordings=(("symbolic",), ("symbolic", "semantic")))
    levels = made_levels(results, lambda cell, _: 0.6 + 0.2 * len(cell.wordings))
    for wordings, value in ((("symbolic",), 0.8), (("symbolic", "semantic"), 1.0)):
        (chart,) = depth(results, levels, made_means(levels), shown(results, wordings), f"depth_{len(wordings)}")
        assert chart.name == f"depth_{len(wordings)}"
        assert set(chart.data["choice"].round(9)) == {value}
        assert f"trained on {' and '.join(wordings)} at" in chart.caption


def test_several_class_tokens_are_told_apart_by_line_and_marker() -> None:
    results = made_study({"alpha": 4}, pairs=("multiply/add", "river/copper"))
    levels = made_levels(results)
    (chart,) = depth(results, levels, made_means(levels), shown(results, ("symbolic",)), "depth")
    assert list(chart.looks) == ["alpha · multiply/add", "alpha · river/copper"]
    one, other = chart.looks.values()
    assert one.colour == other.colour
    assert (one.line, one.marker) != (other.line, other.marker)
    assert set(chart.data[SERIES]) == set(chart.looks)


@pytest.mark.parametrize("rows", [LEVELS[:0], LEVELS.assign(fitted=False), LEVELS.assign(arm="random_words")])
def test_without_a_plain_cell_that_fitted_there_is_no_figure(rows: pd.DataFrame) -> None:
    assert depth(RESULTS, rows, made_means(rows), SYMBOLIC, "depth") == []
