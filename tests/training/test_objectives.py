import math
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from study.config.stages import Lora
from study.config.wordings import templates
from study.lens.hooks import attached
from study.lens.tokens import Encoded
from study.tasks.arithmetic import prompt_of
from study.training import adapters
from study.training.objectives import ClassLoss, Losses, dual_reward, make_batch, tokens_in
from tests.architectures import make
from tests.training.test_adapters import stack_shaken

SHORT = Encoded(prompt_of(templates("symbolic")[0], "multiply", 7, 8), (5, 6, 7), (8, 9))
LONG = Encoded(prompt_of(templates("symbolic")[0], "add", 7, 8), (15, 16, 17, 18, 19), (20, 21, 22))
TOKENS: Any = {"multiply": 50, "add": 60}
LORA = Lora(rank=2, alpha=2.0, projections="all")


def log_probabilities(model: nn.Module, ids: list[int]) -> np.ndarray:
    logits = np.array(model(mx.array([ids])))[0].astype(np.float64)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def answer_nll(model: nn.Module, item: Encoded) -> list[float]:
    """Position t predicts token t + 1, one sequence at a time, in numpy."""
    whole = [*item.prompt_ids, *item.answer_ids]
    logp = log_probabilities(model, whole)
    return [-logp[t - 1, whole[t]] for t in range(len(item.prompt_ids), len(whole))]


def class_nll(model: nn.Module, layer: int, tokens: dict[Any, int] = TOKENS) -> list[float]:
    """From the prompt alone: nothing of the answer may be seen."""
    losses = []
    with attached(model) as lens:
        for item in (SHORT, LONG):
            state = lens.hidden(mx.array([item.prompt_ids]))[layer][:, -1]
            logits = np.array(lens.read_out(state))[0].astype(np.float64)
            losses.append(math.log(np.exp(logits).sum()) - logits[tokens[item.prompt.operation]])
    return losses


def rewards(model: nn.Module, *targets: ClassLoss | None, shared: int = 0, bucket: int = 1) -> tuple[float, Losses]:
    with attached(model) as lens:
        loss, losses = dual_reward(lens, make_batch([SHORT, LONG], bucket, targets), targets, shared)
    return loss.item(), losses


def test_the_answer_loss_is_the_mean_over_shifted_answer_tokens_whatever_the_padding() -> None:
    model = make("llama")
    loss, losses = rewards(model, None)
    expected = np.mean(answer_nll(model, SHORT) + answer_nll(model, LONG))
    assert loss == pytest.approx(expected, rel=1e-5)
    assert losses["answer_loss"].item() == pytest.approx(expected, rel=1e-5)
    assert math.isnan(losses["class_loss"].item())


def test_the_class_loss_is_read_at_the_last_prompt_token_of_the_layer() -> None:
    model = make("llama")
    loss, losses = rewards(model, ClassLoss(layer=1, weight=0.3, tokens=TOKENS))
    classes = np.mean(class_nll(model, 1))
    answers = np.mean(answer_nll(model, SHORT) + answer_nll(model, LONG))
    assert losses["class_loss"].item() == pytest.approx(classes, rel=1e-5)
    assert losses["answer_loss"].item() == pytest.approx(answers, rel=1e-5)
    assert loss == pytest.approx(0.3 * classes + 0.7 * answers, rel=1e-5)


def test_shapes_rounded_up_for_compilation_change_no_loss() -> None:
    model = make("llama")
    target = ClassLoss(layer=1, weight=0.3, tokens=TOKENS)
    batch = make_batch([SHORT, LONG], bucket=8)
    assert batch.ids.shape == (2, 8)
    assert batch.targets.shape == (16,)
    (_, exact), (_, rounded) = rewards(model, target, None), rewards(model, target, None, bucket=8)
    for name in ("loss", "answer_loss"):
        np.testing.assert_allclose(rounded[name].tolist(), exact[name].tolist(), rtol=1e-5)


def test_each_cell_has_the_losses_of_its_own_adapter_target_and_weight() -> None:
    model = make("llama")
    other: Any = {"multiply": 70, "add": 50}
    targets = [ClassLoss(2, 0.5, TOKENS), None, ClassLoss(0, 1.0, other), ClassLoss(1, 0.2, other)]
    stack_shaken(model, LORA, seeds=[0, 1, 2, 3])
    total, losses = rewards(model, *targets)
    expected: dict[str, list[float]] = {"loss": [], "class_loss": [], "answer_loss": []}
    for target, weights in zip(targets, adapters.unstack(model), strict=True):
        adapters.put(model, LORA, weights)
        weight = target.weight if target else 0.0
        classes = np.mean(class_nll(model, target.layer, target.tokens)) if target else math.nan
        answers = np.mean(answer_nll(model, SHORT) + answer_nll(model, LONG)) if weight < 1 else math.nan
        expected["class_loss"].append(float(classes))
        expected["answer_loss"].append(float(answers))
        expected["loss"].append(float(np.nansum([weight * classes, (1 - weight) * answers])))
        adapters.take_off(model)
    for name, values in expected.items():
        np.testing.assert_allclose(losses[name].tolist(), values, rtol=1e-4, err_msg=name)
    assert total == pytest.approx(sum(expected["loss"]), rel=1e-4)


def test_blocks_without_adapters_may_be_shared_and_change_no_loss() -> None:
    model = make("llama")
    stack_shaken(model, LORA, seeds=[0, 1])
    plain = make("llama")
    for block in (0, 1):  # the lowest block with adapters is the last one
        model.model.layers[block] = plain.model.layers[block]
    targets = [ClassLoss(0, 0.5, TOKENS), ClassLoss(2, 0.5, {"multiply": 70, "add": 50})]
    assert adapters.lowest_adapted(model) == 2
    _, apart = rewards(model, *targets, shared=0)
    _, together = rewards(model, *targets, shared=2)
    for name in apart:
        np.testing.assert_allclose(together[name].tolist(), apart[name].tolist(), rtol=1e-5)
    assert apart["class_loss"][0].item() == pytest.approx(np.mean(class_nll(plain, 0)), rel=1e-5)


@pytest.mark.parametrize("weight", [0.5, 1.0])
def test_the_class_loss_reaches_no_adapter_above_its_layer(weight: float) -> None:
    model = make("llama")
    adapters.stack(model, LORA, [0, 1])
    targets = [ClassLoss(0, weight, TOKENS), ClassLoss(1, weight, TOKENS)]
    with attached(model) as lens:
        batch = make_batch([SHORT, LONG], cells=targets)
        _, gradients = nn.value_and_grad(model, lambda: dual_reward(lens, batch, targets)[0])()
    for cell, target in enumerate(targets):
        moved = {name.split(".")[2] for name, g in tree_flatten(gradients) if mx.abs(g[cell]).max().item() > 0}
        assert moved == set("012" if weight < 1 else "012"[: target.layer + 1])


def test_with_all_weight_on_the_class_the_blocks_above_its_layer_are_never_run() -> None:
    model = make("llama")
    adapters.stack(model, LORA, [0, 1])
    expected = class_nll(make("llama"), 0)
    for block in model.layers[1:]:
        for _, module in block.named_modules():
            if isinstance(module, nn.Linear):
                module.weight = mx.full(module.weight.shape, math.nan)
    loss, losses = rewards(model, ClassLoss(0, 1.0, TOKENS), ClassLoss(0, 1.0, TOKENS))
    assert loss == pytest.approx(2 * np.mean(expected), rel=1e-5)
    assert all(math.isnan(value) for value in losses["answer_loss"].tolist())
    assert math.isnan(rewards(model, ClassLoss(0, 0.9, TOKENS), ClassLoss(0, 1.0, TOKENS))[0])  # as it must be


def test_a_batch_counts_real_tokens_and_never_feeds_the_stop_token() -> None:
    batch = make_batch([SHORT, LONG])
    assert batch.ids.shape == (2, 7)
    assert tokens_in([SHORT, LONG]) == 4 + 7
    assert 9 not in batch.ids.tolist()[0]
    assert batch.targets.tolist() == [8, 9, 20, 21, 22]


NAMES: Any = {"multiply": (50, 51, 52), "add": (60,)}
"""Class names of three tokens and of one."""
SEQUENCE = {"tokens": TOKENS, "rests": {"multiply": (51, 52)}}


def name_nll(model: nn.Module, layer: int, names: dict[Any, tuple[int, ...]] = NAMES) -> list[float]:
    """Of the right name after each prompt, token by token in a text of its own."""
    losses = []
    with attached(model) as lens:
        for item in (SHORT, LONG):
            name, total = names[item.prompt.operation], 0.0
            for k, token in enumerate(name):
                state = lens.hidden(mx.array([[*item.prompt_ids, *name[:k]]]))[layer][:, -1]
                logits = np.array(lens.read_out(state))[0].astype(np.float64)
                total += math.log(np.exp(logits).sum()) - logits[token]
            losses.append(total)
    return losses


@pytest.mark.parametrize("architecture", ["llama", "mamba2"])
@pytest.mark.parametrize("bucket", [1, 8])
def test_the_class_loss_of_a_name_of_several_tokens_is_the_sum_over_them(architecture: str, bucket: int) -> None:
    model = make(architecture)
    _, losses = rewards(model, ClassLoss(layer=1, weight=0.3, **SEQUENCE), bucket=bucket)
    assert losses["class_loss"].item() == pytest.approx(np.mean(name_nll(model, 1)), rel=1e-5)
    answers = np.mean(answer_nll(model, SHORT) + answer_nll(model, LONG))
    assert losses["answer_loss"].item() == pytest.approx(answers, rel=1e-5)


def test_cells_with_other_names_and_without_train_side_by_side() -> None:
    model = make("llama")
    other: Any = {"multiply": (60, 61), "add": (50, 70, 71)}
    targets = [
        ClassLoss(2, 0.5, **SEQUENCE),
        None,
        ClassLoss(0, 0.4, TOKENS),
        ClassLoss(1, 0.5, {"multiply": 60, "add": 50}, {"multiply": (61,), "add": (70, 71)}, detached=True),
        ClassLoss(1, 1.0, **SEQUENCE),
    ]
    stack_shaken(model, LORA, seeds=[0, 1, 2, 3, 4])
    _, losses = rewards(model, *targets)
    single = {operation: (token,) for operation, token in TOKENS.items()}
    for g, (names, weights) in enumerate(
        zip([NAMES, None, single, other, NAMES], adapters.unstack(model), strict=True)
    ):
        adapters.put(model, LORA, weights)
        target = targets[g]
        if target and names:
            assert losses["class_loss"][g].item() == pytest.approx(
                np.mean(name_nll(model, target.layer, names)), rel=1e-4
            )
        if target is None or target.weight < 1:
            answers = np.mean(answer_nll(model, SHORT) + answer_nll(model, LONG))
            assert losses["answer_loss"][g].item() == pytest.approx(answers, rel=1e-4)
        adapters.take_off(model)


def test_names_are_counted_among_the_tokens_of_a_batch() -> None:
    target = ClassLoss(1, 0.5, **SEQUENCE)
    assert tokens_in([SHORT, LONG], [target, target]) == tokens_in([SHORT, LONG]) + len(SHORT.prompt_ids) + 2
    batch = make_batch([SHORT, LONG], cells=[target])
    assert batch.ids.tolist()[2][:5] == [5, 6, 7, 50, 51]
    assert make_batch([SHORT, LONG], cells=[ClassLoss(1, 0.5, TOKENS)]).ids.shape[0] == 2


def test_a_shuffled_label_trains_the_name_that_it_draws() -> None:
    model = make("llama")
    target = ClassLoss(1, 0.5, **SEQUENCE, shuffled=True)
    with attached(model) as lens:
        batch = make_batch([SHORT, LONG], cells=[target], shuffled=["add", "multiply"])
        _, losses = dual_reward(lens, batch, [target])
    drawn = name_nll(model, 1, {"multiply": NAMES["add"], "add": NAMES["multiply"]})
    assert losses["class_loss"].item() == pytest.approx(np.mean(drawn), rel=1e-5)
