"""The exchange of hidden states in a model whose answer is decided by one direction, and by nothing else."""

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pandas as pd
import pytest

from study.lens.tokens import Encoded
from study.measures.interchange import Pair, interchange
from study.tasks.prompts import Prompt

HIDDEN = 256
EOS, TIMES, PLUS, IS, DIGITS, PRODUCT, SUM, MULTIPLY, ADD = 0, 1, 2, 3, range(4, 10), 10, 11, 12, 13
TOKENS = {"multiply": MULTIPLY, "add": ADD}
ANSWERS = {"multiply": PRODUCT, "add": SUM}


class Tokenizer:
    eos_token_ids = (EOS,)

    def encode(self, text: str, **options: Any) -> list[int]:
        raise AssertionError("no text is encoded")

    def decode(self, ids: list[int]) -> str:
        return "x"


class Gather(nn.Module):  # type: ignore[misc]
    """A block that adds, at each position, what stands in some directions at all before it."""

    def __init__(self, directions: np.ndarray) -> None:
        super().__init__()
        self.onto = mx.array(directions.T @ directions)

    def __call__(self, x: mx.array, mask: Any = None) -> mx.array:
        within = x @ self.onto
        return x + mx.cumsum(within, axis=1) - within


class Pass(nn.Module):  # type: ignore[misc]
    def __call__(self, x: mx.array, mask: Any = None) -> mx.array:
        return x + 0


class ByHand(nn.Module):  # type: ignore[misc]
    """The sign stands in two directions. The first decides the answer; the head does not read the second."""

    def __init__(self) -> None:
        super().__init__()
        rng = np.random.default_rng(0)
        decides, idle, stop, *others = np.linalg.qr(rng.normal(size=(HIDDEN, HIDDEN)))[0].T.astype(np.float32)
        embedding, head = np.zeros((2, 14, HIDDEN), np.float32)
        embedding[TIMES], embedding[PLUS] = decides + 0.5 * idle, -decides - 0.5 * idle
        for token in (IS, *DIGITS):
            embedding[token] = others[token]
        embedding[PRODUCT] = embedding[SUM] = 10 * stop
        head[PRODUCT], head[SUM], head[EOS] = decides, -decides, stop
        head[MULTIPLY], head[ADD] = 0.1 * decides, -0.1 * decides
        self.embedding, self.head = mx.array(embedding), mx.array(head)
        self.layers = [Gather(np.stack([decides, idle])), Pass(), Pass()]

    def __call__(self, ids: mx.array) -> mx.array:
        x = self.embedding[ids]
        for layer in self.layers:
            x = layer(x)
        logits: mx.array = x @ self.head.T
        return logits


def encoded(operation: str, a: int, b: int) -> Encoded:
    sign = TIMES if operation == "multiply" else PLUS
    prompt = Prompt("symbolic", "symbolic-0", operation, f"{a},{b}", "", "", (a, b))
    return Encoded(prompt, (DIGITS[a], sign, DIGITS[b], IS), (ANSWERS[operation], EOS))


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    places = [(a, b) for a in range(4) for b in range(4)]
    both = [[encoded(name, a, b) for name in ("multiply", "add")] for a, b in places]
    pairs = [Pair(2 * i + k, of[k], of[1 - k]) for i, of in enumerate(both) for k in (0, 1)]
    known = [Pair(0, encoded(name, a, 5), encoded(other, a, 5)) for a in range(6) for name, other in TWO]
    return pd.DataFrame(interchange(ByHand(), Tokenizer(), pairs, known, TOKENS, (0, 1, 2), 8, 0))


TWO = (("multiply", "add"), ("add", "multiply"))


def share(rows: pd.DataFrame, subspace: str, strength: float = 1.0) -> dict[int, float]:
    """By layer, how often the answer is the source's."""
    chosen = rows[(rows.subspace == subspace) & (rows.strength == strength)]
    found: dict[int, float] = chosen.groupby("layer").source_right.mean().to_dict()
    return found


def test_the_model_answers_what_it_is_asked(rows: pd.DataFrame) -> None:
    for name in TOKENS:
        item = encoded(name, 2, 3)
        told = ByHand()(mx.array([[*item.prompt_ids, item.answer_ids[0]]]))[0, -2:].argmax(axis=-1)
        assert tuple(told.tolist()) == item.answer_ids
    assert share(rows, "none") == {0: 0.0, 1: 0.0, 2: 0.0}


@pytest.mark.parametrize("subspace", ["full", "class", "paired_1", "paired_4"])
def test_a_subspace_with_the_direction_that_decides_moves_every_answer(rows: pd.DataFrame, subspace: str) -> None:
    assert share(rows, subspace) == {0: 1.0, 1: 1.0, 2: 1.0}


@pytest.mark.parametrize("subspace", ["complement", "random", "random_4"])
def test_a_subspace_without_it_moves_none(rows: pd.DataFrame, subspace: str) -> None:
    assert share(rows, subspace) == {0: 0.0, 1: 0.0, 2: 0.0}


def test_the_move_along_the_class_is_the_step_between_the_two_signs(rows: pd.DataFrame) -> None:
    moved = {(s, k): rows[(rows.subspace == s) & (rows.strength == k)].moved for s, k in (("class", 1), ("class", 4))}
    np.testing.assert_allclose(moved["class", 1], 2, rtol=1e-5)
    np.testing.assert_allclose(moved["class", 4], 8, rtol=1e-5)
    np.testing.assert_allclose(rows[rows.subspace == "full"].moved, np.sqrt(5), rtol=1e-5)
    np.testing.assert_allclose(rows[rows.subspace == "complement"].moved, 1, rtol=1e-5)
    np.testing.assert_allclose(rows[rows.subspace == "paired_1"].moved, np.sqrt(5), rtol=1e-5)


def test_the_further_the_class_is_moved_the_likelier_is_the_sources_answer(rows: pd.DataFrame) -> None:
    nll = rows[rows.subspace == "class"].groupby("strength").source_nll.mean()
    assert nll.loc[:4.0].is_monotonic_decreasing
    assert share(rows, "class", 4.0) == {0: 1.0, 1: 1.0, 2: 1.0}
    # Moved further yet, the answer outranks the stop that has to follow it.
    assert share(rows, "class", 8.0) == {0: 0.0, 1: 0.0, 2: 0.0}
