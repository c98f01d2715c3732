"""Texts that lenses are fitted on: what the model writes is drawn from its own predictions, and a text is cut."""

import copy
from dataclasses import replace
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from study.config.catalogue import BuiltSource, Model
from study.config.lenses import LensFitting
from study.lens.hooks import attached
from study.lens.texts import cut, states_along, written
from study.models.limits import EncodingError
from study.models.load import Loaded, load

SETTINGS = LensFitting(texts=6, held_out=2, tokens=9, jacobian_tokens=9)


@pytest.fixture(scope="module")
def loaded(tiny: Model) -> Loaded:
    return load(tiny)


class Certain(nn.Module):
    """A model after whose every token the next id is certain."""

    def __init__(self) -> None:
        super().__init__()
        self.layers: list[nn.Module] = []

    def __call__(self, ids: mx.array, cache: Any = None) -> mx.array:
        return 1e4 * (mx.arange(500) == (ids[..., None] + 1) % 400).astype(mx.float32)


def test_texts_go_on_as_the_model_predicts(loaded: Loaded) -> None:
    ids = written(Certain(), loaded.tokenizer, SETTINGS).ids
    begun = len(loaded.tokenizer.encode(" water"))
    assert ids.shape == (8, 9)
    np.testing.assert_array_equal(ids[:, begun:], (ids[:, begun - 1 : -1] + 1) % 400)
    assert len(np.unique(ids[:, begun - 1])) > 1


@pytest.mark.parametrize("built", ["llama", "mamba2", "gemma3_text", "gpt2"])
def test_every_architecture_writes_the_same_texts_again(built: str) -> None:
    found = load(Model(source=BuiltSource(built=built), blocks=2))
    one, two = (written(found.model, found.tokenizer, SETTINGS).ids for _ in range(2))
    np.testing.assert_array_equal(one, two)
    other = written(found.model, found.tokenizer, SETTINGS.model_copy(update={"seed": 1})).ids
    assert (one != other).any()
    assert found.tokenizer.limits.rows is None or one.max() < found.tokenizer.limits.rows


def test_a_text_of_the_users_is_cut_into_pieces_over_all_of_it(loaded: Loaded) -> None:
    tokenizer = loaded.tokenizer
    special = tokenizer.encode("")
    lines = [f"{number} and {number}\n" for number in range(40)]
    ids = [one for line in lines for one in tokenizer.encode(line, add_special_tokens=False)]
    pieces = cut(tokenizer, "".join(lines), SETTINGS, "mine").ids
    own = 9 - len(special)
    places = {tuple(ids[start : start + own]): start for start in range(len(ids) - own + 1)}
    assert pieces.shape == (8, 9)
    assert all(piece[: len(special)].tolist() == special for piece in pieces)
    starts = [places[tuple(piece[len(special) :].tolist())] for piece in pieces]
    assert min(starts) == 0
    assert max(starts) == len(ids) - own
    assert starts != sorted(starts)  # or the texts that are held out would all be the last ones
    with pytest.raises(EncodingError, match=r"mine has 4 tokens: lenses are fitted on 8 texts of 8, which are 64"):
        cut(tokenizer, "".join(tokenizer.decode(ids[:4])), SETTINGS, "mine")


def test_states_are_those_of_all_positions_but_the_first(loaded: Loaded) -> None:
    ids = written(loaded.model, loaded.tokenizer, SETTINGS).ids
    with attached(loaded.model) as lens:
        states = states_along(lens, ids, skipped=2)
        expected = lens.hidden(mx.array(ids))
    assert states.shape[:2] == (8 * 7, loaded.blocks)
    for block, one in enumerate(expected):
        np.testing.assert_allclose(states[:, block], one[:, 2:].reshape(56, -1), atol=1e-5)


def test_texts_are_no_longer_than_the_model_takes(loaded: Loaded) -> None:
    short = replace(loaded.tokenizer.limits, learned_positions=7)
    tokenizer = copy.copy(loaded.tokenizer)
    tokenizer.limits = short
    assert written(loaded.model, tokenizer, SETTINGS).ids.shape == (8, 7)
    many = SETTINGS.model_copy(update={"skipped": 6})
    with pytest.raises(EncodingError, match=r"at least 8 tokens .* and the model takes 7 \(the 7 positions"):
        written(loaded.model, tokenizer, many)
