"""What several lenses read: levels over templates, the layer from which a lens does, and where lenses agree."""

import math

import numpy as np
import pandas as pd
import pytest

from analysis.outcomes.lenses import agreement, in_spans, lens_levels, read_from, stays_from
from analysis.statistics.intervals import level

BLOCKS, TEMPLATES = 4, 40


def made(read: dict[str, list[float]]) -> pd.DataFrame:
    """Choices of each lens, right in a share of the templates of each layer, the same for both operations."""
    rows = []
    for lens, shares in read.items():
        for layer, share in enumerate(shares):
            for template in range(TEMPLATES):
                right = template < round(share * TEMPLATES)
                for operation in ("multiply", "add"):
                    place = {"lens": lens, "pair": "multiply/add", "tier": "story", "template": f"story-{template}"}
                    told = {"choice": right, "margin": 1.0 if right else -1.0, "chance": 0.5}
                    asked = {"operation": operation, "operands": "2,3", "layer": layer, "depth": (layer + 1) / BLOCKS}
                    rows.append({**place, **asked, **told})
    return pd.DataFrame(rows)


READ = {"logit": [0.5, 0.5, 0.5, 1.0], "tuned": [0.5, 1.0, 1.0, 1.0], "jacobian": [0.5, 0.8, 1.0, 1.0]}


@pytest.fixture(scope="module")
def told() -> pd.DataFrame:
    return lens_levels(made(READ), 0.95)


def test_a_level_is_that_of_the_templates(told: pd.DataFrame) -> None:
    assert told["lens"].tolist() == [lens for lens in READ for _ in range(BLOCKS)]
    for row in told.to_dict("records"):
        share = READ[row["lens"]][row["layer"]]
        values = (np.arange(TEMPLATES) < round(share * TEMPLATES)).astype(float)
        assert (row["choice"], row["choice_low"], row["choice_high"]) == pytest.approx(level(values, 0.95))
        assert row["samples"] == TEMPLATES
        assert row["chance"] == 0.5
        assert row["depth"] == (row["layer"] + 1) / BLOCKS


def test_a_lens_that_always_names_one_class_is_at_chance_and_its_pairs_may_be_in_order() -> None:
    choices = made({"logit": [1.0]})
    biased = np.where(choices["operation"] == "add", -1.0, 3.0)
    found = lens_levels(choices.assign(margin=biased, choice=biased > 0), 0.95).iloc[0]
    assert found["choice"] == 0.5
    assert found["order"] == 1
    assert found["verdict"] == "not read"


def test_a_lens_reads_from_the_layer_after_the_last_one_at_which_it_does_not(told: pd.DataFrame) -> None:
    found = read_from(told).set_index("lens")
    assert found["choice_from"].to_dict() == {"logit": 3, "tuned": 1, "jacobian": 1}
    assert found["order_from"].to_dict() == found["choice_from"].to_dict()
    assert found.loc["jacobian", ["choice_from_low", "choice_from_high"]].tolist() == [1, 2]
    assert found["at"].to_dict() == {"logit": 3, "tuned": 1, "jacobian": 2}


@pytest.mark.parametrize(
    ("curve", "layer"),
    [([0.8, 0.75, 0.9], 0), ([0.8, 0.7, 0.9], 2), ([0.8, 0.9, 0.7], math.inf), ([math.nan] * 3, math.inf)],
)
def test_a_curve_that_falls_below_again_is_counted_from_its_last_return(curve: list[float], layer: float) -> None:
    assert stays_from(np.array(curve)) == layer


def test_lenses_agree_where_intervals_lie_on_one_side(told: pd.DataFrame) -> None:
    found = agreement(told)
    assert found["together"].tolist() == ["none", "apart", "apart", "all"]
    assert found["jacobian"].tolist() == ["not read", "undecided", "read", "read"]
    only = agreement(told[told["lens"] != "logit"])
    assert only["together"].tolist() == ["none", "undecided", "all", "all"]


def test_blocks_are_told_as_spans() -> None:
    assert in_spans(pd.Series([7, 0, 1, 2, 9, 10])) == "0 to 2, 7, 9 to 10"
    assert in_spans(pd.Series([], dtype=int)) == "none"
