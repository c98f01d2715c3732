"""The published experiment's score, against the same written out plainly on a model with a head of its own."""

import re
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten
from mlx_lm.models.llama import Model as Llama
from mlx_lm.models.llama import ModelArgs
from mlx_lm.tokenizer_utils import TokenizerWrapper

from study.config.catalogue import BuiltSource, Model
from study.config.units import Readout
from study.lens.hooks import gap_at_last_layer, input_embedding_head
from study.lens.tokens import class_tokens, encode
from study.measures.published_score import EIGHT, MOST_PROBABLE, WORDS, score
from study.models.built import word_tokenizer
from study.models.limits import CheckedTokenizer, Limits
from study.models.load import load
from study.results.schema import Row
from study.tasks.prompts import Prompt

LAYERS = [1, 2]


WORD_TOKENIZER = word_tokenizer(["multiply", "add", "times", "plus", "product", "sum", "seven", "eight"])
TOKENIZER = CheckedTokenizer(TokenizerWrapper(WORD_TOKENIZER), Limits())
PROMPTS = [
    Prompt("symbolic", "s", "multiply", "3,4", "3 * 4 =", "12", (3, 4)),
    Prompt("semantic", "w", "add", "7,8", "seven plus eight =", "15", (7, 8)),
    Prompt("construction", "c", "add", "7,8", "the sum of seven and eight is", "15", (7, 8)),
]


@pytest.fixture(scope="module")
def untied() -> Llama:
    """Sharp enough that some tokens stand out, and so that what attention sees matters."""
    arguments = ModelArgs.from_dict(
        {
            **{"model_type": "llama", "hidden_size": 32, "num_hidden_layers": 3, "intermediate_size": 64},
            **{"num_attention_heads": 4, "num_key_value_heads": 4, "rms_norm_eps": 1e-6, "vocab_size": len(TOKENIZER)},
            "tie_word_embeddings": False,
        }
    )
    model = Llama(arguments)
    rng = np.random.default_rng(0)
    model.load_weights(
        [
            (n, mx.array(rng.normal(0, 0.4, w.shape).astype(np.float32)) if w.ndim > 1 else w)
            for n, w in tree_flatten(model.parameters())
        ]
    )
    return model


@pytest.fixture(scope="module")
def rows(untied: Llama) -> list[Row]:
    return _score(untied)[0]


def _score(model: Any) -> tuple[list[Row], list[Row]]:
    readout = Readout(pair={"multiply": "multiply", "add": "add"})
    encoded = {10 + i: encode(TOKENIZER, prompt) for i, prompt in enumerate(PROMPTS)}
    readouts = [(readout, class_tokens(TOKENIZER, readout))]
    return score(model, TOKENIZER, encoded, readouts, LAYERS, "stage2")


def plain(model: Any, prompt: Prompt, masked: bool, embedding: bool) -> tuple[dict[int, float], tuple[float, int, str]]:
    """p of the class token at LAYERS, and the largest p of a token in the top 20 that holds a word, over layers."""
    ids = TOKENIZER.encode(prompt.text)
    h = model.model.embed_tokens(mx.array([ids]))
    at_layers, best = {}, (0.0, 0, "")
    token = class_tokens(TOKENIZER, Readout(pair={"multiply": "multiply", "add": "add"}))[prompt.operation]
    for layer, block in enumerate(model.layers):
        h = block(h, "causal" if masked else None, None)
        normed = model.model.norm(h)[0, -1]
        head = model.model.embed_tokens.weight if embedding else model.lm_head.weight
        p = np.array(mx.softmax(head @ normed))
        if layer in LAYERS:
            at_layers[layer] = float(p[token.id])
        for candidate in np.argsort(-p)[:MOST_PROBABLE].tolist():
            text = TOKENIZER.decode([candidate]).lower().strip()
            if any(word in text for word in WORDS[prompt.operation]):
                if p[candidate] > best[0]:
                    best = (float(p[candidate]), layer, TOKENIZER.decode([candidate]))
                break
    return at_layers, best


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("head", ["model", "input embedding"])
def test_score_is_what_the_published_reading_gives_written_out_prompt_by_prompt(
    untied: Llama, rows: list[Row], masked: bool, head: str
) -> None:
    of_kind = [row for row in rows if row["masked"] == masked and row["head"] == head]
    found_some = False
    for asked, number, prompt in [("held-out", 10, PROMPTS[0]), ("held-out", 11, PROMPTS[1]), ("eight", 4, EIGHT[4])]:
        here = [row for row in of_kind if (row["asked"], row["prompt_id"]) == (asked, number)]
        at_layers, (p, layer, token) = plain(untied, prompt, masked, head != "model")
        for row in here:
            if row["score"] == "layer":
                assert row["p"] == pytest.approx(at_layers[row["layer"]], rel=1e-4)
            else:
                assert row["p"] == pytest.approx(p, rel=1e-4)
                assert p == 0 or (row["layer"], row["token"]) == (layer, token)
                found_some |= p > 0
        assert len(here) == len(LAYERS) + 1
    assert found_some


def test_mask_and_head_make_a_difference_where_the_head_is_its_own(rows: list[Row]) -> None:
    def p(masked: bool, head: str) -> list[float]:
        return [row["p"] for row in rows if row["masked"] == masked and row["head"] == head and row["score"] == "layer"]

    assert not np.allclose(p(True, "model"), p(False, "model"))
    assert not np.allclose(p(True, "model"), p(True, "input embedding"))


def test_only_prompts_of_the_two_scored_tiers_and_of_the_pairs_operations_are_read(rows: list[Row]) -> None:
    assert {row["tier"] for row in rows} == {"symbolic", "semantic"}
    assert {row["prompt_id"] for row in rows if row["asked"] == "held-out"} == {10, 11}
    assert {EIGHT[row["prompt_id"]].operation for row in rows if row["asked"] == "eight"} == {"multiply", "add"}


def test_the_head_is_the_models_own_again_after_the_input_embedding_was_read_with(untied: Llama) -> None:
    before = mx.array(untied.lm_head.weight)
    with input_embedding_head(untied) as differs:
        assert differs
        assert mx.array_equal(untied.lm_head.weight, untied.model.embed_tokens.weight)
    assert mx.array_equal(untied.lm_head.weight, before)
    assert gap_at_last_layer(untied, mx.array([[1, 2, 3]])) < 1e-6


def test_a_tied_head_has_nothing_to_replace(tiny: Any) -> None:
    with input_embedding_head(load(tiny).model) as differs:
        assert not differs


def test_blocks_without_an_attention_mask_have_no_unmasked_rows() -> None:
    recurrent = load(Model(source=BuiltSource(built="rwkv7"), blocks=2))
    readout = Readout(pair={"multiply": "multiply", "add": "add"})
    readouts = [(readout, class_tokens(recurrent.tokenizer, readout))]
    encoded = {0: encode(recurrent.tokenizer, PROMPTS[0])}
    rows, _ = score(recurrent.model, recurrent.tokenizer, encoded, readouts, [1], "baseline")
    assert {row["masked"] for row in rows} == {True}


def test_decoded_answers_are_the_first_number_of_the_greedy_continuation(untied: Llama) -> None:
    _, decoded = _score(untied)
    for row, prompt in zip(decoded, EIGHT, strict=True):
        ids = TOKENIZER.encode(prompt.text)
        for _ in range(10):
            token = int(mx.argmax(untied(mx.array([ids]))[0, -1]).item())
            if token in TOKENIZER.eos_token_ids:
                break
            ids.append(token)
        told = re.search(r"-?\d+", TOKENIZER.decode(ids[len(TOKENIZER.encode(prompt.text)) :]))
        assert row["given"] == (told.group() if told else "")
        assert row["right"] == (row["given"] == prompt.answer)


def test_a_class_name_with_capitals_is_found_among_the_tokens(untied: Llama) -> None:
    words = ["Sunday", "Rainy", "times", "plus", "product", "sum", "seven", "eight"]  # as many as the model has rows
    tokenizer = CheckedTokenizer(TokenizerWrapper(word_tokenizer(words)), Limits())
    readout = Readout(pair={"multiply": "Sunday", "add": "Rainy"})
    readouts = [(readout, class_tokens(tokenizer, readout))]
    rows, _ = score(untied, tokenizer, {0: encode(tokenizer, PROMPTS[0])}, readouts, LAYERS, "stage2")
    assert {row["token"].strip() for row in rows if row["score"] == "maximum"} <= {"Sunday", "Rainy", ""}
    assert all(np.isfinite(row["p"]) for row in rows)
