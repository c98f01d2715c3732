from typing import Any

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten

from study import adapters
from study.catalogue import Model
from study.config import Data, Lora, Stage1, Stage2, Training
from study.encoding import class_tokens
from study.models.weights import load
from study.objectives import ClassLoss
from study.training import Objective, Row, TrainingError, train

DATA = Data(smallest=2, largest=9)
LORA = Lora(rank=4, alpha=8.0, projections="all")
PAIR: Any = {"multiply": "multiply", "add": "add"}


def run(model: Model, settings: Training, layer: int | None = None, weight: float = 0.5, seed: int = 0) -> list[Row]:
    loaded = load(model)
    adapters.attach(loaded.model, LORA, seed)
    target = None
    if layer is not None:
        tokens = {name: token.id for name, token in class_tokens(loaded.tokenizer, PAIR).items()}
        target = ClassLoss(layer, weight, tokens)
    frozen = {
        name: mx.array(value)
        for name, value in tree_flatten(loaded.model.parameters())
        if not name.endswith(("lora_a", "lora_b"))
    }
    curve = train(loaded.model, loaded.tokenizer, settings, 4, DATA, Objective(["multiply", "add"], target), seed)
    now = dict(tree_flatten(loaded.model.parameters()))
    assert all(mx.array_equal(value, now[name]) for name, value in frozen.items()), "frozen weights moved"
    return curve


def mean(rows: list[Row], name: str) -> float:
    return sum(row[name] for row in rows) / len(rows)


def test_the_answer_loss_of_stage_1_falls(tiny: Model) -> None:
    curve = run(tiny, Stage1(steps=40, learning_rate=1e-2))
    assert [row["step"] for row in curve] == list(range(1, 41))
    assert mean(curve[-8:], "loss") < 0.8 * mean(curve[:4], "loss")
    assert all(row["class_loss"] != row["class_loss"] for row in curve)  # NaN: there is none


def test_both_losses_of_stage_2_fall_and_their_weighted_sum_is_the_loss(tiny: Model) -> None:
    curve = run(tiny, Stage2(steps=60, learning_rate=2e-3), layer=1, weight=0.5)
    assert mean(curve[-8:], "class_loss") < 0.5 * mean(curve[:4], "class_loss")
    assert mean(curve[-8:], "answer_loss") < mean(curve[:4], "answer_loss")
    for row in curve:
        assert row["loss"] == pytest.approx(0.5 * row["class_loss"] + 0.5 * row["answer_loss"], rel=1e-4)


def test_the_same_seed_gives_the_same_curve_and_another_seed_another(tiny: Model) -> None:
    def losses(seed: int) -> list[float]:
        return [row["loss"] for row in run(tiny, Stage2(steps=5), layer=2, seed=seed)]

    assert losses(1) == losses(1)
    assert losses(1) != losses(2)


def test_the_first_step_of_the_warm_up_moves_a_little_and_the_last_is_the_full_rate(tiny: Model) -> None:
    slow = run(tiny, Stage1(steps=3, learning_rate=1e-2, warmup_steps=1000))
    fast = run(tiny, Stage1(steps=3, learning_rate=1e-2, warmup_steps=0))
    assert slow[0]["loss"] == fast[0]["loss"]
    assert slow[1]["loss"] != slow[0]["loss"]
    assert abs(slow[2]["grad_norm"] - slow[1]["grad_norm"]) > 0


def test_a_loss_that_is_not_a_number_stops_at_its_step(tiny: Model) -> None:
    with pytest.raises(TrainingError, match=r"step \d+: .*lower the learning rate"):
        run(tiny, Stage1(steps=50, learning_rate=1e30, warmup_steps=0, clip_norm=1e30))
