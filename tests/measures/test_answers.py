from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm.generate import generate_step

from study.config.catalogue import Model
from study.config.data import Data
from study.config.evaluation import Evaluation
from study.config.names import TIERS
from study.config.stages import Stage1
from study.config.units import Readout
from study.lens.tokens import Encoded, class_tokens, encode, ends_answer
from study.measures import answers
from study.measures.answers import evaluate
from study.models.load import Loaded, load
from study.tasks.arithmetic import Arithmetic
from study.training import adapters
from study.training.loop import Objective, TrainingData, train

DATA = Data(smallest=2, largest=9)
OPERATIONS: list[Any] = ["multiply", "add"]
PAIRS = [Readout(pair={"multiply": "multiply", "add": "add"}), Readout(pair={"multiply": "river", "add": "copper"})]


@pytest.fixture(scope="module")
def trained(tiny: Model) -> tuple[Loaded, list[Encoded]]:
    """A tiny model that has learned some of the prompts that it was trained on, and few of the others."""
    loaded = load(tiny)
    settings = Stage1(steps=120, learning_rate=1e-3)
    (cell,) = train(loaded.model, loaded.tokenizer, settings, TrainingData(DATA, OPERATIONS, 0), [Objective(1e-3)])
    adapters.put(loaded.model, settings.lora, cell.weights)
    adapters.fuse(loaded.model)
    prompts = Arithmetic(DATA).evaluation_prompts(OPERATIONS, Evaluation(prompts_per_class=12), 0)
    for step, tiers in enumerate([TIERS[:1], TIERS[1:]]):
        prompts += Arithmetic(DATA).training_prompts(OPERATIONS, tiers, 0, step, 100)
    return loaded, [encode(loaded.tokenizer, item) for item in prompts]


def rows(trained: tuple[Loaded, list[Encoded]], batch_size: int = 16) -> tuple[list[Any], list[Any]]:
    loaded, encoded = trained
    readouts = [(pair, class_tokens(loaded.tokenizer, pair)) for pair in PAIRS]
    return evaluate(loaded.model, loaded.tokenizer, dict(enumerate(encoded)), readouts, batch_size, "stage2")


def greedy_verdicts(loaded: Loaded, item: Encoded) -> tuple[bool, bool]:
    """Whether mlx-lm's own decoding gives the answer's tokens and then a stop, or no further digit."""
    number = list(item.answer_ids[:-1])
    steps = generate_step(mx.array(item.prompt_ids), loaded.model, max_tokens=len(number) + 1)
    *ids, after = [token for token, _ in steps]
    right = ids == number
    goes_on = loaded.tokenizer.decode([after])[0] in "0123456789"
    return right and ends_answer(loaded.tokenizer, after), right and not goes_on


def is_tie(loaded: Loaded, item: Encoded) -> bool:
    """Whether the two best logits at a token of the answer are too near for another order of the sums to keep."""
    logits = loaded.model(mx.array([[*item.prompt_ids, *item.answer_ids[:-1]]]))[0, len(item.prompt_ids) - 1 :]
    best = np.sort(np.array(logits), axis=-1)
    return bool((best[:, -1] - best[:, -2] < 1e-4).any())


@pytest.mark.slow
def test_teacher_forcing_gives_the_verdicts_of_mlx_lms_greedy_decoding(trained: tuple[Loaded, list[Encoded]]) -> None:
    loaded, encoded = trained
    answers, _ = rows(trained)
    ties = [number for number, item in enumerate(encoded) if is_tie(loaded, item)]
    clear = [number for number in range(len(encoded)) if number not in ties]
    assert len(ties) <= 3, ties
    assert len(clear) >= 250
    decoded = [greedy_verdicts(loaded, encoded[number]) for number in clear]
    assert [(answers[number]["right"], answers[number]["number_right"]) for number in clear] == decoded
    assert 0 < sum(right for right, _ in decoded) < len(decoded)


@pytest.mark.slow
@pytest.mark.parametrize(("after", "is_number"), [(",", True), ("\n", True), ("7", False)])
def test_a_number_that_is_followed_by_something_else_than_a_stop_is_right_only_as_a_number(
    trained: tuple[Loaded, list[Encoded]], after: str, is_number: bool
) -> None:
    loaded, encoded = trained
    answers, _ = rows(trained)
    right = {number: encoded[number] for number, row in enumerate(answers) if row["right"]}
    head = loaded.model.model.embed_tokens.weight
    (token,) = loaded.tokenizer.encode(after, add_special_tokens=False)
    stop = next(iter(right.values())).answer_ids[-1]
    try:  # a tied head: a row that is twice the stop's is mostly the best where the stop was
        loaded.model.model.embed_tokens.weight = mx.array(head)
        loaded.model.model.embed_tokens.weight[token] = 2 * head[stop]
        told, _ = evaluate(loaded.model, loaded.tokenizer, right, [], 8, "stage2")
        decoded = [greedy_verdicts(loaded, right[row["prompt_id"]]) for row in told]
        assert [(row["right"], row["number_right"]) for row in told] == decoded
        assert (after == "\n", is_number) in decoded
    finally:
        loaded.model.model.embed_tokens.weight = head


def test_there_is_one_answer_a_prompt_and_one_lens_row_a_prompt_layer_and_pair(
    trained: tuple[Loaded, list[Encoded]],
) -> None:
    answers, lens = rows(trained)
    assert [row["prompt_id"] for row in answers] == list(range(len(trained[1])))
    assert len(lens) == len(answers) * 4 * 2
    assert {row["pair"] for row in lens} == {"multiply/add", "river/copper"}


def test_lens_figures_equal_numpys_over_the_full_vocabulary(trained: tuple[Loaded, list[Encoded]]) -> None:
    loaded, encoded = trained
    _, lens = rows(trained)
    last_layer = {(row["prompt_id"], row["pair"]): row for row in lens if row["layer"] == 3}
    for number, item in list(enumerate(encoded))[::7]:
        logits = np.array(loaded.model(mx.array([item.prompt_ids])))[0, -1].astype(np.float64)
        logp = logits - np.log(np.exp(logits).sum())
        for pair in PAIRS:
            ids = {name: token.id for name, token in class_tokens(loaded.tokenizer, pair).items()}
            right = ids.pop(item.prompt.operation)
            (other,) = ids.values()
            row = last_layer[number, pair.name]
            assert row["log_p"] == pytest.approx(logp[right], abs=1e-4)
            assert row["margin"] == pytest.approx(logp[right] - logp[other], abs=1e-4)
            assert row["log_mass"] == pytest.approx(np.logaddexp(logp[right], logp[other]), abs=1e-4)
            assert row["rank"] == (logits > logits[right]).sum()
            assert row["choice"] == (logp[right] > logp[other])


def test_the_answers_nll_equals_numpys(trained: tuple[Loaded, list[Encoded]]) -> None:
    loaded, encoded = trained
    answers, _ = rows(trained)
    for number, item in list(enumerate(encoded))[::9]:
        whole = [*item.prompt_ids, *item.answer_ids]
        logits = np.array(loaded.model(mx.array([whole])))[0].astype(np.float64)
        logp = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        expected = -sum(logp[t - 1, whole[t]] for t in range(len(item.prompt_ids), len(whole)))
        assert answers[number]["nll"] == pytest.approx(expected, abs=1e-4)
        assert answers[number]["tokens"] == len(item.answer_ids)


def test_the_batch_size_changes_no_row(trained: tuple[Loaded, list[Encoded]]) -> None:
    for one, other in zip(rows(trained, 5), rows(trained, 96), strict=True):
        for a, b in zip(one, other, strict=True):
            assert a.keys() == b.keys()
            for name in a:
                expected = pytest.approx(b[name], abs=1e-4) if isinstance(b[name], float) else b[name]
                assert a[name] == expected


def test_how_many_batches_are_read_out_together_changes_no_row(
    monkeypatch: pytest.MonkeyPatch, trained: tuple[Loaded, list[Encoded]]
) -> None:
    together = rows(trained, 5)
    monkeypatch.setattr(answers, "BATCHES", 1)
    for one, other in zip(together, rows(trained, 5), strict=True):
        assert [row["prompt_id"] for row in one] == [row["prompt_id"] for row in other]
        for name in ("nll", "log_p", "rank", "right", "choice"):
            np.testing.assert_allclose(
                [r[name] for r in one if name in r], [r[name] for r in other if name in r], atol=1e-4
            )


def test_a_prompt_of_an_operation_without_a_class_has_no_lens_rows(trained: tuple[Loaded, list[Encoded]]) -> None:
    loaded, _ = trained
    encoded = [
        encode(loaded.tokenizer, item)
        for item in Arithmetic(DATA).evaluation_prompts(["add", "subtract"], Evaluation(prompts_per_class=2), 0)
    ]
    readouts = [(PAIRS[0], class_tokens(loaded.tokenizer, PAIRS[0]))]
    _, lens = evaluate(loaded.model, loaded.tokenizer, dict(enumerate(encoded)), readouts, 8, "baseline")
    assert {row["operation"] for row in lens} == {"add"}
