from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
import pytest
from mlx.utils import tree_flatten
from mlx_lm.tuner.utils import linear_to_lora_layers

from study.config.catalogue import BuiltSource, Model
from study.config.data import Data
from study.config.names import Tier
from study.config.stages import Lora, Stage1, Stage2
from study.config.units import Readout
from study.lens.tokens import class_tokens, encode
from study.models.load import Loaded, load
from study.results.schema import Row
from study.tasks.arithmetic import Arithmetic
from study.training import adapters
from study.training.loop import Callbacks, Objective, Trained, TrainingData, TrainingError, train
from study.training.objectives import ClassLoss, make_batch, tokens_in

DATA = Data(smallest=2, largest=9)
LORA = Lora(rank=4, alpha=8.0, projections="all")
FEWER = Lora(rank=4, alpha=8.0, projections=["v_proj", "o_proj"])
PAIRS = [Readout(pair={"multiply": "multiply", "add": "add"}), Readout(pair={"multiply": "river", "add": "copper"})]
OPERATIONS: list[Any] = ["multiply", "add"]
WILD = 1e30
"""A learning rate, and a limit of the gradient norm, that no training survives."""


@pytest.fixture(scope="module", params=["llama", "gemma3_text"])
def loaded(request: pytest.FixtureRequest) -> Loaded:
    return load(Model(source=BuiltSource(built=request.param), blocks=4))


def stage_1(**changes: Any) -> Stage1:
    """Settings with values that may lie beyond what a study allows, so that training diverges."""
    return Stage1(batch_size=4, lora=LORA).model_copy(update=changes)


def stage_2(**changes: Any) -> Stage2:
    return Stage2(lora=LORA).model_copy(update=changes)


def objective(loaded: Loaded, rate: float, layer: int | None = None, weight: float = 0.5, pair: int = 0) -> Objective:
    if layer is None:
        return Objective(rate)
    tokens = {name: token.id for name, token in class_tokens(loaded.tokenizer, PAIRS[pair]).items()}
    return Objective(rate, ClassLoss(layer, weight, tokens))


def run(loaded: Loaded, settings: Stage1 | Stage2, *objectives: Objective, seed: int = 0) -> list[Trained]:
    """Train, and see that the model is afterwards what it was before."""
    before = {name: mx.array(value) for name, value in tree_flatten(loaded.model.parameters())}
    cells = train(loaded.model, loaded.tokenizer, settings, TrainingData(DATA, OPERATIONS, seed), objectives)
    after = dict(tree_flatten(loaded.model.parameters()))
    assert before.keys() == after.keys()
    assert all(mx.array_equal(before[name], after[name]) for name in before), "frozen weights moved"
    return cells


def curve(loaded: Loaded, settings: Stage1 | Stage2, layer: int | None = None, seed: int = 0) -> list[Row]:
    (cell,) = run(loaded, settings, objective(loaded, settings.learning_rate, layer), seed=seed)
    assert cell.error is None
    return cell.curve


def mean(rows: list[Row], name: str) -> float:
    return sum(row[name] for row in rows) / len(rows)


def assert_same(one: Trained, other: Trained, tolerance: float = 1e-4) -> None:
    """The same adapter and the same losses at every step."""
    assert one.weights.keys() == other.weights.keys() != set()
    for name, value in one.weights.items():
        np.testing.assert_allclose(value, other.weights[name], atol=tolerance, err_msg=name)
    for name in ("loss", "class_loss", "answer_loss", "grad_norm"):
        ours, theirs = ([row[name] for row in cell.curve] for cell in (one, other))
        np.testing.assert_allclose(ours, theirs, atol=tolerance, rtol=tolerance, err_msg=name)


def test_the_answer_loss_of_stage_1_falls(loaded: Loaded) -> None:
    rows = curve(loaded, stage_1(steps=40, learning_rate=1e-2))
    assert [row["step"] for row in rows] == list(range(1, 41))
    assert mean(rows[-8:], "loss") < 0.8 * mean(rows[:4], "loss")
    assert all(row["class_loss"] != row["class_loss"] for row in rows)  # NaN: there is none


def test_both_losses_of_stage_2_fall_and_their_weighted_sum_is_the_loss(loaded: Loaded) -> None:
    rows = curve(loaded, stage_2(steps=60, learning_rate=2e-3), layer=1)
    assert mean(rows[-8:], "class_loss") < 0.5 * mean(rows[:4], "class_loss")
    assert mean(rows[-8:], "answer_loss") < mean(rows[:4], "answer_loss")
    for row in rows:
        assert row["loss"] == pytest.approx(0.5 * row["class_loss"] + 0.5 * row["answer_loss"], rel=1e-4)


@pytest.mark.slow
def test_a_cell_of_a_stack_ends_as_the_same_cell_alone(loaded: Loaded) -> None:
    settings = stage_2(steps=50, warmup_steps=5, weight_decay=0.01, lora=FEWER)
    objectives = [
        objective(loaded, 1e-3, layer=0, weight=0.5),
        objective(loaded, 5e-4),
        objective(loaded, 1.5e-3, layer=3, weight=0.2, pair=1),
        objective(loaded, 3e-4, layer=2, weight=0.8, pair=1),
    ]
    stacked = run(loaded, settings, *objectives, seed=1)
    assert [row["stacked"] for row in stacked[0].curve] == [4] * 50
    for one, cell in zip(objectives, stacked, strict=True):
        assert_same(cell, *run(loaded, settings, one, seed=1))
    firsts = [cell.weights["model.layers.0.self_attn.v_proj.lora_b"] for cell in stacked]
    assert all(float(mx.abs(firsts[0] - other).max().item()) > 1e-2 for other in firsts[1:])


def test_a_cell_that_diverges_is_dropped_with_its_error_and_its_neighbours_are_as_without_it(loaded: Loaded) -> None:
    settings = stage_2(steps=15, warmup_steps=0, clip_norm=WILD)
    well = [objective(loaded, 2e-3, layer=1), objective(loaded, 1e-3), objective(loaded, 1e-3, layer=2, pair=1)]
    wild = objective(loaded, WILD, layer=1)
    first, dropped, *others = run(loaded, settings, well[0], wild, *well[1:])
    assert isinstance(dropped.error, TrainingError)
    assert not dropped.weights
    assert 0 < len(dropped.curve) < 15
    assert str(dropped.error).startswith(f"step {len(dropped.curve) + 1}: the loss is ")
    assert first.curve[-1]["stacked"] == 3
    for cell, without in zip([first, *others], run(loaded, settings, *well), strict=True):
        assert cell.error is None
        assert len(cell.curve) == 15
        assert_same(cell, without)


def test_where_every_cell_diverges_each_has_its_error_and_the_model_is_as_it_was(loaded: Loaded) -> None:
    cells = run(loaded, stage_2(steps=50, warmup_steps=0, clip_norm=WILD), *[objective(loaded, WILD)] * 2)
    assert all(str(cell.error).endswith("lower the learning rate (1e+30)") for cell in cells)


def test_with_all_weight_on_the_class_the_blocks_above_are_never_run(loaded: Loaded) -> None:
    settings = stage_2(steps=5)
    objectives = [objective(loaded, 1e-3, layer=1, weight=1.0, pair=pair) for pair in (0, 1)]
    expected = run(loaded, settings, *objectives)
    above = [block.mlp.down_proj for block in loaded.model.layers[2:]]
    kept = [layer.weight for layer in above]
    for layer in above:
        layer.weight = mx.full(layer.weight.shape, float("nan"))
    try:
        cells = train(loaded.model, loaded.tokenizer, settings, TrainingData(DATA, OPERATIONS, 0), objectives)
    finally:
        for layer, weight in zip(above, kept, strict=True):
            layer.weight = weight
    for cell, same in zip(cells, expected, strict=True):
        assert len(cell.curve) == 5
        assert_same(cell, same, tolerance=1e-6)
        moved = {
            name.split(".")[2] for name, value in cell.weights.items() if "lora_b" in name and mx.any(value).item()
        }
        assert moved == {"0", "1"}


def test_one_cell_is_trained_as_mlxs_adamw_trains_it() -> None:
    """A second, plain way to the same adapter: mlx-lm's layers, mlx's own clipping, schedule and loss."""
    loaded = load(Model(source=BuiltSource(built="llama"), blocks=4))
    settings = stage_2(steps=20, learning_rate=2e-3, warmup_steps=4, weight_decay=0.1, clip_norm=0.5)
    (ours,) = run(loaded, settings, objective(loaded, 2e-3))
    model = loaded.model
    adapters.stack(model, LORA, [0])
    (initial,) = adapters.unstack(model)
    keys = {name.split(".", 3)[3].rsplit(".", 1)[0] for name in initial}
    linear_to_lora_layers(model, 4, {"rank": 4, "scale": 2.0, "dropout": 0.0, "keys": keys})
    model.load_weights(list(initial.items()), strict=False)
    optimizer = optim.AdamW(lambda step: 2e-3 * mx.minimum((step + 1) / 5, 1.0), weight_decay=0.1)
    for step in range(1, 21):
        prompts = Arithmetic(DATA).training_prompts(OPERATIONS, ["symbolic"], 0, step, settings.batch_size)
        batch = make_batch([encode(loaded.tokenizer, prompt) for prompt in prompts])

        def loss(batch: Any = batch) -> mx.array:
            logits = model(batch.ids)[batch.rows, batch.positions]
            return nn.losses.cross_entropy(logits, batch.targets, reduction="mean")

        value, gradients = nn.value_and_grad(model, loss)()
        gradients, norm = optim.clip_grad_norm(gradients, 0.5)
        optimizer.update(model, gradients)
        assert value.item() == pytest.approx(ours.curve[step - 1]["loss"], rel=1e-4)
        assert norm.item() == pytest.approx(ours.curve[step - 1]["grad_norm"], rel=1e-3)
    trained = dict(tree_flatten(model.trainable_parameters()))
    for name, weight in ours.weights.items():
        np.testing.assert_allclose(trained[name], weight, atol=1e-4, err_msg=name)


def test_the_same_seed_gives_the_same_curve_and_another_seed_another(loaded: Loaded) -> None:
    def losses(seed: int) -> list[float]:
        return [row["loss"] for row in curve(loaded, stage_2(steps=5), layer=2, seed=seed)]

    assert losses(1) == losses(1)
    assert losses(1) != losses(2)


def test_the_batches_are_of_the_wordings_that_are_asked_for(loaded: Loaded) -> None:
    settings = stage_2(steps=6)
    counts = []
    asked: list[list[Tier]] = [["symbolic"], ["symbolic", "story"]]
    for wordings in asked:
        (cell,) = train(
            loaded.model, loaded.tokenizer, settings, TrainingData(DATA, OPERATIONS, 0, wordings), [Objective(1e-3)]
        )
        counts.append([row["tokens"] for row in cell.curve])
        batches = [Arithmetic(DATA).training_prompts(OPERATIONS, wordings, 0, step, 4) for step in range(1, 7)]
        assert counts[-1] == [tokens_in([encode(loaded.tokenizer, item) for item in batch]) for batch in batches]
    assert max(counts[0]) < max(counts[1])


def test_the_first_step_of_the_warm_up_moves_a_little_and_the_last_is_the_full_rate(loaded: Loaded) -> None:
    slow = curve(loaded, stage_1(steps=3, learning_rate=1e-2, warmup_steps=1000))
    fast = curve(loaded, stage_1(steps=3, learning_rate=1e-2, warmup_steps=0))
    assert slow[0]["loss"] == fast[0]["loss"]
    assert slow[1]["loss"] != slow[0]["loss"]
    assert abs(slow[2]["grad_norm"] - slow[1]["grad_norm"]) > 0


def test_a_step_tells_the_cell_that_it_was_of(loaded: Loaded) -> None:
    told: list[tuple[int, int]] = []
    objectives = [objective(loaded, WILD), objective(loaded, 1e-3)]
    settings = stage_2(steps=6, warmup_steps=0, clip_norm=WILD)
    train(
        loaded.model, loaded.tokenizer, settings, TrainingData(DATA, OPERATIONS, 0), objectives,
        Callbacks(on_step=lambda cell, row: told.append((cell, row["step"]))),
    )  # fmt: skip
    assert [step for cell, step in told if cell == 1] == [1, 2, 3, 4, 5, 6]
    assert [step for cell, step in told if cell == 0] in ([1], [1, 2])


def test_a_last_update_that_is_not_a_number_is_an_error_too(loaded: Loaded) -> None:
    settings = stage_1(steps=1, learning_rate=WILD, warmup_steps=0, weight_decay=WILD)
    (trained,) = train(loaded.model, loaded.tokenizer, settings, TrainingData(DATA, OPERATIONS, 0), [Objective(WILD)])
    assert trained.error


def test_the_rounded_shapes_of_a_compiled_stack_train_the_same_adapters(loaded: Loaded) -> None:
    tokens = {name: token.id for name, token in class_tokens(loaded.tokenizer, PAIRS[0]).items()}
    objectives = [Objective(1e-3, ClassLoss(1, 0.5, tokens)), Objective(1e-3)]
    settings = Stage2(steps=10, warmup_steps=2, lora=FEWER)
    exact, rounded = (
        train(
            loaded.model, loaded.tokenizer, settings, TrainingData(DATA, OPERATIONS, 0), objectives, compiled=compiled
        )
        for compiled in (False, True)  # on a CPU compiling is switched off, which leaves the shapes
    )
    for one, other in zip(exact, rounded, strict=True):
        assert [row["tokens"] for row in one.curve] == [row["tokens"] for row in other.curve]
        for name, value in one.weights.items():
            np.testing.assert_allclose(value, other.weights[name], atol=1e-4)
