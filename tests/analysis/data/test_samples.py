"""Prompts averaged within templates."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from analysis.data import samples
from analysis.data.samples import LABELLED, LACKING, SEEN, UNSEEN, Samples, by_sample, few_templates, order_of_pairs

COLUMNS = ["tier", "template", "operation", "operands", "seen", "choice"]


def _rows(templates: int = 4, unit: str = "cell") -> pd.DataFrame:
    """Of each template two sums that are read right and a product that is not."""
    rows = [
        ("symbolic", f"t{number}", operation, operands, "stage2" if number == 0 else "nobody", choice)
        for number in range(templates)
        for operation, operands, choice in (("add", "1,2", 1), ("add", "3,4", 1), ("multiply", "1,2", 0))
    ]
    return pd.DataFrame(rows, columns=COLUMNS).assign(unit=unit)


def _sampled(*chunks: pd.DataFrame, apart: Sequence[str] = ()) -> Samples:
    """The samples of the only tier, of which there are few templates where there are few."""
    (found,) = by_sample(chunks, ["choice"], ["unit", *apart], few_templates(chunks)).values()
    return found


def test_operations_weigh_the_same_in_a_template() -> None:
    found = _sampled(_rows())
    (row,) = found.rows([("cell",)])
    assert found.values["choice"][row].tolist() == [0.5] * 4
    assert found.prompts[row].tolist() == [3] * 4
    assert found.names == [f"t{number}" for number in range(4)]


def test_it_is_what_pandas_computes_on_any_rows_in_one_part_or_several() -> None:
    random = np.random.default_rng(0)
    size = 900
    rows = pd.DataFrame(
        {
            "unit": np.repeat(["x", "y", "z"], 300),
            "tier": random.choice(["a", "b"], size),
            "template": random.choice([f"t{n}" for n in range(9)], size),
            "operation": random.choice(["add", "multiply", "subtract"], size),
            "operands": random.choice(["1,2", "3,4"], size),
            "seen": "nobody",
            "layer": random.choice([3, 1, 2], size),
            "choice": random.random(size),
        }
    ).astype({"tier": "category", "template": "category"})
    rows = rows[(rows["unit"] != "x") | (rows["template"] != "t3")]
    for parts in ([rows], [rows[rows["unit"] == "x"], rows[rows["unit"] != "x"]]):
        found = by_sample(parts, ["choice"], ["unit", "layer"], few_templates(parts))
        grouped = rows.astype({"tier": str, "template": str}).groupby(
            ["tier", "unit", "layer", "template", "operation"]
        )
        wanted = grouped["choice"].mean().groupby(level=["tier", "unit", "layer", "template"]).mean()
        values = {
            (tier, *key, name): of.values["choice"][row, column]
            for tier, of in found.items()
            for key, row in of.places.items()
            for column, name in enumerate(of.names)
            if of.prompts[row, column]
        }
        assert values == pytest.approx(wanted.to_dict())
        for of in found.values():
            lacking = of.prompts == 0
            assert np.isnan(of.values["choice"][lacking]).all()
            assert (of.seen[lacking] == LACKING).all()
            assert lacking[-1].all()


def test_what_has_no_rows_lacks_all_samples() -> None:
    found = _sampled(_rows())
    none = found.rows([("other",), ()])
    assert not found.of(none).any()
    assert not found.shown(none)[0].any()
    assert np.isnan(found.figures("choice", none, found.of(none))).all()
    assert by_sample([_rows()[:0]], ["choice"], ["unit"], set()) == {}


def test_groups_are_the_sample_where_there_are_few_templates() -> None:
    found = _sampled(_rows(templates=3))
    assert found.names == ["1,2", "3,4"]
    assert found.values["choice"][0].tolist() == [0.5, 1.0]


def test_a_choice_of_few_prompts_has_the_samples_of_all_that_it_was_chosen_from() -> None:
    """As where only prompts that are answered right have their states exchanged."""
    every = _rows(templates=12)
    chosen = every[every["template"].isin(["t0", "t1"])]
    (of_all,) = by_sample([chosen], ["choice"], ["unit"], few_templates([every])).values()
    assert of_all.names == ["t0", "t1"]
    assert _sampled(chosen).names == ["1,2", "3,4"]


def test_a_group_of_which_a_training_saw_some_templates_is_seen() -> None:
    rows = _rows(templates=3)
    for order in (rows, rows.iloc[::-1]):
        assert set(_sampled(order).seen[0]) == {LABELLED}
        apart = _sampled(order[(order["template"] != "t0") | (order["operands"] == "1,2")])
        assert dict(zip(apart.names, apart.seen[0], strict=True)) == {"1,2": LABELLED, "3,4": UNSEEN}


def test_templates_that_no_training_saw_are_shown_where_there_are_some() -> None:
    found = _sampled(pd.concat([_rows(), _rows(unit="trained").assign(seen="stage1")]))
    shown, unseen = found.shown(found.rows([("cell",), ("trained",)]))
    assert shown.sum(axis=1).tolist() == [3, 4]
    assert unseen.tolist() == [True, False]
    assert set(found.seen[1]) == {SEEN}


@pytest.mark.parametrize(
    ("kind", "counts"), [("unseen", [3, 0]), ("seen", [1, 4]), ("labelled", [1, 0]), ("all", [4, 4])]
)
def test_samples_are_chosen_by_who_saw_them(kind: samples.Templates, counts: list[int]) -> None:
    found = _sampled(pd.concat([_rows(), _rows(unit="trained").assign(seen="stage1")]))
    rows = found.rows([("cell",), ("trained",)])
    assert found.of(rows, kind).sum(axis=1).tolist() == counts


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


def test_whether_there_are_two_classes_is_asked_of_each_unit() -> None:
    two = _read_outs(1.0, -1.0, 0.0).assign(unit="two")
    three = pd.concat([two, two.iloc[:1].assign(operation="subtract")]).assign(unit="three")
    others = _read_outs(-1.0, 1.0, 0.0).assign(unit="others", operation=["divide", "subtract"])
    found = order_of_pairs(pd.concat([two, three, others]), ["unit"])
    assert found[:2].tolist() == [1.0, 1.0]
    assert np.isnan(found[2:5]).all()
    assert found[5:].tolist() == [0.0, 0.0]
