import math

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from study import adapters
from study.arithmetic import prompt
from study.config import Lora
from study.encoding import Encoded
from study.lens import attached
from study.objectives import ClassLoss, dual_reward_loss, make_batch, sft_loss
from tests.architectures import make

PROMPT = prompt("symbolic", "multiply", 0, 7, 8)
SHORT = Encoded(PROMPT, (5, 6, 7), (8, 9))
LONG = Encoded(PROMPT, (15, 16, 17, 18, 19), (20, 21, 22))


def log_probabilities(model: nn.Module, ids: list[int]) -> np.ndarray:
    logits = np.array(model(mx.array([ids])))[0].astype(np.float64)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def answer_nll(model: nn.Module, item: Encoded) -> list[float]:
    """Position t predicts token t + 1, one sequence at a time, in numpy."""
    whole = [*item.prompt_ids, *item.answer_ids]
    logp = log_probabilities(model, whole)
    return [-logp[t - 1, whole[t]] for t in range(len(item.prompt_ids), len(whole))]


def test_the_answer_loss_is_the_mean_over_shifted_answer_tokens_whatever_the_padding() -> None:
    model = make("llama")
    with attached(model) as lens:
        loss, _ = sft_loss(lens, make_batch([SHORT, LONG]))
    expected = np.mean(answer_nll(model, SHORT) + answer_nll(model, LONG))
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_the_class_loss_is_read_at_the_last_prompt_token_of_the_layer() -> None:
    model = make("llama")
    target = ClassLoss(layer=1, weight=0.3, tokens={})
    with attached(model) as lens:
        loss, metrics = dual_reward_loss(lens, make_batch([SHORT, LONG]), target, mx.array([50, 60]))
        expected = []
        for item, token in ((SHORT, 50), (LONG, 60)):
            # The prompt alone: nothing of the answer may be seen.
            state = lens.hidden(mx.array([item.prompt_ids]))[1][:, -1]
            logits = np.array(lens.read_out(state))[0].astype(np.float64)
            expected.append(math.log(np.exp(logits).sum()) - logits[token])
    answers = np.mean(answer_nll(model, SHORT) + answer_nll(model, LONG))
    assert metrics["class_loss"].item() == pytest.approx(np.mean(expected), rel=1e-5)
    assert metrics["answer_loss"].item() == pytest.approx(answers, rel=1e-5)
    assert loss.item() == pytest.approx(0.3 * np.mean(expected) + 0.7 * answers, rel=1e-5)


@pytest.mark.parametrize("weight", [0.5, 1.0])
def test_the_class_loss_reaches_no_adapter_above_its_layer(weight: float) -> None:
    model = make("llama")
    adapters.attach(model, Lora(rank=2, alpha=2.0, projections="all"), seed=0)
    with attached(model) as lens:
        target = ClassLoss(layer=0, weight=weight, tokens={})
        batch = make_batch([SHORT, LONG])

        def loss() -> mx.array:
            return dual_reward_loss(lens, batch, target, mx.array([50, 60]))[0]

        _, gradients = nn.value_and_grad(model, loss)()
    moved = {name.split(".")[2] for name, g in tree_flatten(gradients) if mx.abs(g).max().item() > 0}
    assert moved == ({"0"} if weight == 1 else {"0", "1", "2"})


def test_a_batch_counts_real_tokens_and_never_feeds_the_stop_token() -> None:
    batch = make_batch([SHORT, LONG])
    assert batch.ids.shape == (2, 7)
    assert batch.tokens == 4 + 7
    assert 9 not in batch.ids.tolist()[0]
    assert batch.targets.tolist() == [8, 9, 20, 21, 22]
