"""Choice accuracy by cue, against the rows that it is of."""

import pytest

from analysis.data.results import Results, read_results
from analysis.outcomes.cues import COLUMNS, cues
from study.config.wordings import cues_of, templates
from tests.simulated import Plan, write_study

PLAN = Plan(models={"alpha": 4}, depths=(0.5,), pairs=("multiply/add",), weights=(0.0, 0.5), seeds=(0, 1), per_class=54)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return read_results(write_study(tmp_path_factory.mktemp("results") / "cues", PLAN))


def test_a_cue_is_what_tells_the_operations_apart() -> None:
    assert {tier: len(set(cues_of(tier).values())) for tier in ("symbolic", "semantic", "construction", "story")} == {
        "symbolic": 1,
        "semantic": 3,
        "construction": 1,
        "story": 9,
    }
    for template in templates("semantic"):
        assert template.cue in template.texts["multiply"]
        assert template.cue not in template.texts["add"]


def test_figures_are_means_over_new_templates_and_seeds_of_a_cue(results: Results) -> None:
    found = cues(results)
    assert list(found.columns) == COLUMNS
    assert set(found["tier"]) == {"semantic", "story"}
    assert set(found["seeds"]) == {2}
    row = found[found["cue"] == "times"].iloc[0]
    values = []
    for cell in results.plain:
        lens = results.rows["lens"][cell.id].astype({"tier": str, "template": str, "seen": str, "operation": str})
        lens = lens[(lens["layer"] == cell.layer) & (lens["tier"] == "semantic") & (lens["seen"] == "nobody")]
        lens = lens[lens["template"].map(cues_of("semantic")) == "times"]
        values.append(lens.groupby(["template", "operation"])["choice"].mean().groupby("template").mean())
    assert row["templates"] == len(values[0])
    assert row["choice"] == pytest.approx(sum(one.mean() for one in values) / 2)
