"""Prompts averaged within templates."""

import numpy as np
import pandas as pd
import pytest

from analysis.data.samples import by_sample, order_of_pairs, shown

COLUMNS = ["tier", "template", "operation", "operands", "seen", "choice"]


def _rows(templates: int = 4) -> pd.DataFrame:
    """Of each template two sums that are read right and a product that is not."""
    rows = [
        ("symbolic", f"t{number}", operation, operands, "stage2" if number == 0 else "nobody", choice)
        for number in range(templates)
        for operation, operands, choice in (("add", "1,2", 1), ("add", "3,4", 1), ("multiply", "1,2", 0))
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def test_operations_weigh_the_same_in_a_template() -> None:
    found = by_sample(_rows(), ["choice"])
    assert found["choice"].tolist() == [0.5] * 4
    assert found["prompts"].tolist() == [3] * 4
    assert found.index.tolist() == [("symbolic", f"t{number}") for number in range(4)]


def test_it_is_what_pandas_computes_on_any_rows() -> None:
    random = np.random.default_rng(0)
    size = 900
    rows = pd.DataFrame(
        {
            "tier": random.choice(["a", "b"], size),
            "template": random.choice([f"t{n}" for n in range(9)], size),
            "operation": random.choice(["add", "multiply", "subtract"], size),
            "operands": random.choice(["1,2", "3,4"], size),
            "seen": "nobody",
            "layer": random.choice([3, 1, 2], size),
            "choice": random.random(size),
        }
    ).astype({"tier": "category", "template": "category"})
    found = by_sample(rows, ["choice"], ["layer"])["choice"]
    grouped = rows.astype({"tier": str, "template": str}).groupby(["layer", "tier", "template", "operation"])
    wanted = grouped["choice"].mean().groupby(level=["layer", "tier", "template"]).mean()
    assert len(found) == len(wanted) == 2 * 9 * 3
    for place, value in found.items():
        assert value == pytest.approx(wanted[place])


def test_groups_are_the_sample_where_there_are_few_templates() -> None:
    found = by_sample(_rows(templates=3), ["choice"])
    assert found.loc["symbolic"].index.tolist() == ["1,2", "3,4"]
    assert found["choice"].tolist() == [0.5, 1.0]


def test_a_choice_of_few_prompts_has_the_samples_of_all_that_it_was_chosen_from() -> None:
    """As where only prompts that are answered right have their states exchanged."""
    every = _rows(templates=12)
    few = every[every["template"].isin(["t0", "t1"])]
    assert by_sample(few, ["choice"], among=every).loc["symbolic"].index.tolist() == ["t0", "t1"]
    assert by_sample(few, ["choice"]).loc["symbolic"].index.tolist() == ["1,2", "3,4"]


def test_a_group_of_which_a_training_saw_some_templates_is_seen() -> None:
    rows = _rows(templates=3)
    for order in (rows, rows.iloc[::-1]):
        assert by_sample(order, ["choice"])["seen"].tolist() == ["stage2", "stage2"]
        apart = order[(order["template"] != "t0") | (order["operands"] == "1,2")]
        assert by_sample(apart, ["choice"])["seen"].to_dict() == {
            ("symbolic", "1,2"): "stage2",
            ("symbolic", "3,4"): "nobody",
        }


def test_templates_that_no_training_saw_are_shown_where_there_are_some() -> None:
    own, unseen = shown(by_sample(_rows(), ["choice"]), "symbolic")
    assert unseen
    assert len(own) == 3
    own, unseen = shown(by_sample(_rows().assign(seen="stage1"), ["choice"]), "symbolic")
    assert not unseen
    assert len(own) == 4
    assert shown(by_sample(_rows(), ["choice"]), "story")[0].empty


def _read_outs(add: float, multiply: float, bias: float, template: str = "t0", operands: str = "1,2") -> pd.DataFrame:
    """A pair of prompts by the logit of `add` minus that of `multiply` in each, with the same bias toward `add`."""
    logits = np.array([add + bias, -(multiply + bias)])  # of the right class minus that of the other
    log_p = -np.log1p(np.exp(-logits)) - 3.0  # both tokens together have exp(-3)
    about = {"tier": "symbolic", "template": template, "operation": ["add", "multiply"], "operands": operands}
    return pd.DataFrame({**about, "log_p": log_p, "log_mass": -3.0, "margin": logits})


@pytest.mark.parametrize("bias", [-5.0, 0.0, 5.0])
def test_a_bias_toward_one_class_has_no_part_in_the_order_of_matched_pairs(bias: float) -> None:
    assert order_of_pairs(_read_outs(1.0, -1.0, bias)).tolist() == [1.0, 1.0]
    assert order_of_pairs(_read_outs(-1.0, 1.0, bias)).tolist() == [0.0, 0.0]
    assert order_of_pairs(_read_outs(0.5, 0.4, bias)).tolist() == [1.0, 1.0]


def test_pairs_are_of_one_template_and_the_same_operands() -> None:
    right, wrong = _read_outs(1.0, 0.0, 3.0), _read_outs(0.0, 1.0, 3.0, template="t1")
    other = _read_outs(1.0, 0.0, -3.0, operands="3,4")
    assert order_of_pairs(pd.concat([right, wrong, other])).tolist() == [1.0, 1.0, 0.0, 0.0, 1.0, 1.0]


def test_equal_pairs_count_half() -> None:
    assert order_of_pairs(_read_outs(0.0, 0.0, 0.0)).tolist() == [0.5, 0.5]


@pytest.mark.parametrize(("add", "multiply", "expected"), [(2.0, 0.0, 1.0), (0.0, 2.0, 0.0)])
def test_a_bias_of_thirty_nats_hides_no_order(add: float, multiply: float, expected: float) -> None:
    """Beside that, log-probabilities in float32 say of the favoured token only that it has all the mass of both."""
    for bias in (-30.0, 30.0):
        rows = _read_outs(add, multiply, bias).astype({"log_p": "float32", "margin": "float32"})
        assert order_of_pairs(rows).tolist() == [expected, expected]


def test_there_is_no_order_without_a_partner_or_with_three_classes() -> None:
    pair = _read_outs(1.0, -1.0, 0.0)
    alone = pd.concat([pair, _read_outs(1.0, -1.0, 0.0, template="t1").iloc[:1]])
    assert order_of_pairs(alone).tolist()[:2] == [1.0, 1.0]
    assert np.isnan(order_of_pairs(alone)[2])
    third = pair.iloc[:1].assign(operation="subtract")
    assert np.isnan(order_of_pairs(pd.concat([pair, third]))).all()
    assert len(order_of_pairs(pair.iloc[:0])) == 0
