"""The swap of the class direction, against numpy and against an evaluation of the same model."""

from typing import Any

import mlx.core as mx
import numpy as np
import pandas as pd
import pytest
from mlx_lm.models.base import create_attention_mask

from study.config.catalogue import Model
from study.config.names import Operation, Tier
from study.config.study import Data, Evaluation, Lora, Stage2
from study.config.units import Readout
from study.lens.tokens import Encoded, class_tokens, encode
from study.measures import causal
from study.measures.answers import evaluate
from study.measures.causal import swap_classes
from study.models.load import Loaded, load
from study.tasks.arithmetic import Arithmetic, result
from study.training import adapters
from study.training.loop import Objective, TrainingData, train
from study.training.objectives import ClassLoss

DATA = Data(smallest=2, largest=9)
PAIR = Readout(pair={"multiply": "multiply", "add": "add"})
THREE = Readout(pair={"multiply": "multiply", "add": "add", "subtract": "subtract"})
TIERS: tuple[Tier, ...] = ("symbolic", "semantic")
LORA = Lora(rank=4, alpha=8.0, projections=["v_proj", "o_proj"])
LAYERS = (0, 2, 3)


def ids(loaded: Loaded, readout: Readout = PAIR) -> dict[Operation, int]:
    return {operation: token.id for operation, token in class_tokens(loaded.tokenizer, readout).items()}


@pytest.fixture(scope="module")
def trained(tiny: Model) -> dict[int, Loaded]:
    """By layer, a model that has learned to name the operation there."""
    found = {}
    for layer in LAYERS:
        loaded = load(tiny)
        objective = Objective(3e-3, ClassLoss(layer, 0.5, ids(loaded)))
        settings = Stage2(steps=80, lora=LORA)
        (cell,) = train(
            loaded.model, loaded.tokenizer, settings, TrainingData(DATA, ["multiply", "add"], 0, TIERS), [objective]
        )
        adapters.put(loaded.model, LORA, cell.weights)
        found[layer] = loaded
    return found


def prompts(loaded: Loaded, *operations: Operation) -> dict[int, Encoded]:
    """By numbers that are neither 0, 1, 2, … nor in the order of their lengths."""
    asked = Arithmetic(DATA).evaluation_prompts(operations or ("multiply", "add"), Evaluation(prompts_per_class=4), 0)
    return {3 * i + 5: encode(loaded.tokenizer, item) for i, item in enumerate(asked) if item.tier in TIERS}


def swapped(loaded: Loaded, layer: int, readout: Readout = PAIR, **changes: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    encoded = prompts(loaded, *readout.pair)
    settings = {"batch_size": 5, "seed": 0, "task": Arithmetic(DATA), **changes}
    answers, lens = swap_classes(loaded.model, loaded.tokenizer, encoded, ids(loaded, readout), layer, **settings)
    return pd.DataFrame(answers), pd.DataFrame(lens)


class ByHand:
    """The tiny llama block by block in plain steps, with a change of the last prompt token's state at one layer."""

    def __init__(self, loaded: Loaded, layer: int) -> None:
        self.model, self.layer = loaded.model, layer

    def state(self, item: Encoded) -> np.ndarray:
        """At the layer, at the last prompt token."""
        return self._run(list(item.prompt_ids), len(item.prompt_ids) - 1, None)[self.layer]

    def read(self, item: Encoded, move: np.ndarray) -> list[np.ndarray]:
        """Log-probabilities at the last prompt token, of the layer and of those above."""
        states = self._run(list(item.prompt_ids), len(item.prompt_ids) - 1, move)
        return [self.log_p(state) for state in states[self.layer :]]

    def nll(self, item: Encoded, answer: tuple[int, ...], move: np.ndarray) -> float:
        last, sequence = len(item.prompt_ids) - 1, [*item.prompt_ids, *answer]
        every = [self._run(sequence, at, move, last)[-1] for at in range(last, len(sequence) - 1)]
        return -sum(self.log_p(state)[token] for state, token in zip(every, answer, strict=True))

    def log_p(self, state: np.ndarray) -> np.ndarray:
        model = self.model.model
        normed = state / np.sqrt((state**2).mean() + 1e-6) * np.array(model.norm.weight)
        logits: np.ndarray = np.array(model.embed_tokens.weight, np.float64) @ normed
        return logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max()

    def direction(self, states: np.ndarray, token: int, other: int) -> np.ndarray:
        """By the gradient of the norm, written out."""
        model = self.model.model
        weights = np.array(model.embed_tokens.weight, np.float64)
        along = (weights[token] - weights[other]) * np.array(model.norm.weight)
        total = np.zeros_like(along)
        for x in states:
            rms = np.sqrt((x**2).mean() + 1e-6)
            total += along / rms - x * (x @ along) / (len(x) * rms**3)
        return total / np.linalg.norm(total)

    def _run(self, tokens: list[int], at: int, move: np.ndarray | None, moved: int | None = None) -> list[np.ndarray]:
        x = self.model.model.embed_tokens(mx.array([tokens]))
        found = []
        for block, layer in enumerate(self.model.model.layers):
            x = layer(x, create_attention_mask(x, None), None)
            if block == self.layer and move is not None:
                row = np.array(x)
                row[0, at if moved is None else moved] += move
                x = mx.array(row)
            found.append(np.array(x[0, at], np.float64))
        return found


def moves_by_hand(loaded: Loaded, layer: int, readout: Readout = PAIR) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Of each prompt the move of the swap, and its direction."""
    by_hand, tokens, encoded = ByHand(loaded, layer), ids(loaded, readout), prompts(loaded, *readout.pair)
    states = {number: by_hand.state(item) for number, item in encoded.items()}
    names, found = list(readout.pair), {}
    for k, own in enumerate(names):
        other = names[(k + 1) % len(names)]
        of = {name: [n for n, i in encoded.items() if i.prompt.operation == name] for name in (own, other)}
        both = np.array([states[n] for n in (*of[own], *of[other])])
        unit = by_hand.direction(both, tokens[own], tokens[other])
        goal = np.mean([states[n] @ unit for n in of[other]])
        for n in of[own]:
            found[n] = ((goal - states[n] @ unit) * unit, unit)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("layer", LAYERS)
def test_without_an_intervention_answers_and_lens_are_those_of_the_evaluation(
    trained: dict[int, Loaded], layer: int
) -> None:
    loaded = trained[layer]
    answers, lens = swapped(loaded, layer)
    readouts = [(PAIR, class_tokens(loaded.tokenizer, PAIR))]
    expected = evaluate(loaded.model, loaded.tokenizer, prompts(loaded), readouts, 6, "stage2")
    for ours, theirs, columns in zip(
        (answers, lens), map(pd.DataFrame, expected), (["right", "nll"], ["log_p", "margin"]), strict=True
    ):
        none = ours[ours.intervention == "none"]
        theirs = theirs[theirs.layer >= layer] if "layer" in theirs else theirs
        key = ["prompt_id", *(["layer"] if "layer" in theirs else []), "tier", "template", "operation", "operands"]
        ours, theirs = (frame[key + columns].sort_values(key).reset_index(drop=True) for frame in (none, theirs))
        pd.testing.assert_frame_equal(ours, theirs, rtol=1e-4, atol=1e-4)
    assert (answers[answers.intervention == "none"].moved == 0).all()


def test_there_is_a_row_for_every_prompt_intervention_and_layer_from_the_trained_one_on(
    trained: dict[int, Loaded],
) -> None:
    answers, lens = swapped(trained[2], 2)
    numbers = sorted(prompts(trained[2]))
    for name in ("none", "swap", "random"):
        assert sorted(answers[answers.intervention == name].prompt_id) == numbers
        layers = lens[lens.intervention == name].groupby("prompt_id").layer.agg(list)
        assert sorted(layers.index) == numbers
        assert all(found == [2, 3] for found in layers)


@pytest.mark.parametrize("layer", LAYERS)
def test_a_swap_gives_the_state_the_other_classes_mean_component_as_numpy_does(
    trained: dict[int, Loaded], layer: int
) -> None:
    loaded = trained[layer]
    answers, lens = swapped(loaded, layer)
    by_hand, moves, tokens = ByHand(loaded, layer), moves_by_hand(loaded, layer), ids(loaded)
    swap = answers[answers.intervention == "swap"].set_index("prompt_id")
    read = lens[lens.intervention == "swap"].set_index(["prompt_id", "layer"])
    for number, item in list(prompts(loaded).items())[::3]:
        move, _ = moves[number]
        assert swap.moved[number] == pytest.approx(np.linalg.norm(move), rel=1e-3)
        (other,) = [name for name in tokens if name != item.prompt.operation]
        for k, log_p in enumerate(by_hand.read(item, move)):
            own = log_p[tokens[item.prompt.operation]]
            assert read.log_p[number, layer + k] == pytest.approx(own, abs=1e-3)
            assert read.margin[number, layer + k] == pytest.approx(own - log_p[tokens[other]], abs=1e-3)
        text = f"{item.prompt.text} {result(other, *item.prompt.numbers)}"
        theirs = (*loaded.tokenizer.encode(text)[len(item.prompt_ids) :], item.answer_ids[-1])
        assert swap.nll[number] == pytest.approx(by_hand.nll(item, item.answer_ids, move), abs=1e-3)
        assert swap.other_nll[number] == pytest.approx(by_hand.nll(item, theirs, move), abs=1e-3)


@pytest.mark.parametrize("layer", LAYERS)
def test_a_swap_flips_what_is_read_at_the_trained_layer_and_a_random_move_does_not(
    trained: dict[int, Loaded], layer: int
) -> None:
    _, lens = swapped(trained[layer], layer)
    margins = {name: rows[rows.layer == layer].margin for name, rows in lens.groupby("intervention")}
    assert (margins["none"] > 0).mean() > 0.9
    assert (margins["swap"] < 0).mean() > 0.9
    assert (margins["random"] > 0).mean() > 0.8


def test_a_random_move_is_as_long_at_right_angles_and_follows_from_the_seed(
    trained: dict[int, Loaded], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[np.ndarray] = []
    real = causal._random
    monkeypatch.setattr(causal, "_random", lambda *arguments: made.append(real(*arguments)) or made[-1])
    answers = [swapped(trained[2], 2, seed=seed)[0] for seed in (0, 0, 1)]
    assert np.array_equal(made[0], made[1])
    assert not np.allclose(made[0], made[2])
    by_name = {name: rows.set_index("prompt_id").moved for name, rows in answers[0].groupby("intervention")}
    np.testing.assert_allclose(by_name["random"], by_name["swap"], rtol=1e-5)
    assert (by_name["swap"] > 0).all()
    moves = moves_by_hand(trained[2], 2)
    units = np.array([unit for number in prompts(trained[2]) for unit in [moves[number][1]]])
    cosines = (made[0] * units).sum(axis=1) / np.linalg.norm(made[0], axis=1)
    assert np.abs(cosines).max() < 1e-3
    between = np.corrcoef(made[0])
    assert np.abs(between - np.eye(len(between))).max() < 0.6


def test_the_batch_size_changes_no_row(trained: dict[int, Loaded]) -> None:
    for one, other in zip(swapped(trained[2], 2), swapped(trained[2], 2, batch_size=64), strict=True):
        key = [name for name in ("intervention", "prompt_id", "layer") if name in one]
        ours, theirs = (frame.sort_values(key).reset_index(drop=True) for frame in (one, other))
        pd.testing.assert_frame_equal(ours, theirs, rtol=1e-3, atol=1e-3)


def test_each_of_three_classes_is_moved_to_the_next(trained: dict[int, Loaded]) -> None:
    loaded = trained[2]
    answers, lens = swapped(loaded, 2, THREE)
    assert set(answers.operation) == {"multiply", "add", "subtract"}
    moves, by_hand, tokens = moves_by_hand(loaded, 2, THREE), ByHand(loaded, 2), ids(loaded, THREE)
    swap = answers[answers.intervention == "swap"].set_index("prompt_id")
    read = lens[lens.intervention == "swap"].set_index(["prompt_id", "layer"])
    after = {"multiply": "add", "add": "subtract", "subtract": "multiply"}
    for number, item in list(prompts(loaded, *THREE.pair).items())[::2]:
        move, _ = moves[number]
        assert swap.moved[number] == pytest.approx(np.linalg.norm(move), rel=1e-3)
        log_p = by_hand.read(item, move)[0]
        own, *others = [log_p[tokens[name]] for name in sorted(tokens, key=lambda o: o != item.prompt.operation)]
        assert read.margin[number, 2] == pytest.approx(own - max(others), abs=1e-3)
        operation: Any = after[item.prompt.operation]
        answer = result(operation, *item.prompt.numbers)
        theirs = (*loaded.tokenizer.encode(f"{item.prompt.text} {answer}")[len(item.prompt_ids) :], item.answer_ids[-1])
        assert swap.other_nll[number] == pytest.approx(by_hand.nll(item, theirs, move), abs=1e-3)


def test_prompts_of_an_operation_without_a_class_are_left_out(trained: dict[int, Loaded]) -> None:
    loaded = trained[2]
    encoded = prompts(loaded, "multiply", "add", "subtract")
    answers, _ = swap_classes(loaded.model, loaded.tokenizer, encoded, ids(loaded), 2, 8, 0, Arithmetic(DATA))
    assert {row["operation"] for row in answers} == {"multiply", "add"}
