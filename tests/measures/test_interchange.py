"""The exchange of hidden states, against models and numpy that do it by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
import pandas as pd
import pytest

from study.config.catalogue import Model
from study.config.data import Data
from study.config.evaluation import Evaluation
from study.config.grid import Grid
from study.config.study import Study
from study.config.units import Cell, Readout
from study.lens.tokens import Encoded, class_tokens, encode
from study.measures import interchange as module
from study.measures.interchange import MEASURE, RANKS, STRENGTHS, Pair, interchange
from study.measures.measured_cell import MeasuredCell
from study.models.load import Loaded, load
from study.pipeline.units import run_unit
from study.plan.expand import expand
from study.results.schema import TABLES
from study.results.store import Store
from study.tasks.arithmetic import Arithmetic
from study.training.objectives import make_batch

pytestmark = pytest.mark.slow

DATA = Data(smallest=2, largest=9)
TASK = Arithmetic(DATA)
PAIR = Readout(pair={"multiply": "multiply", "add": "add"})
OPERATIONS = ["multiply", "add"]
NEXT = {"multiply": "add", "add": "multiply"}
LEARNED = 10
"""Evaluated symbolic prompts of each operation, of the 16, that the model is taught."""
EVALUATION = Evaluation(prompts_per_class=16, causal_prompts=4, batch_size=8)


def teach(model: nn.Module, items: list[Encoded]) -> None:
    """Train all weights of the model on these prompts."""
    optimizer, batch = optim.Adam(3e-3), make_batch(items)
    model.unfreeze()

    def loss() -> mx.array:
        return nn.losses.cross_entropy(model(batch.ids)[batch.rows, batch.positions], batch.targets, reduction="mean")

    for _ in range(150):
        _, gradients = nn.value_and_grad(model, loss)()
        optimizer.update(model, gradients)
        mx.eval(model.parameters(), optimizer.state)
    model.freeze()


@pytest.fixture(scope="module")
def fitted(tiny: Model) -> Loaded:
    """A model that was taught some evaluated prompts until it answers them right."""
    loaded = load(tiny)
    taught = [item for k, items in enumerate(columns(loaded).values()) for item in items[: LEARNED - k]]
    teach(loaded.model, taught)
    assert all(greedy(loaded, item) for item in taught)
    return loaded


def columns(loaded: Loaded) -> dict[str, list[Encoded]]:
    """The evaluated symbolic prompts of each operation; the i-th of one is the source of the i-th of the other."""
    asked = TASK.evaluation_prompts(OPERATIONS, EVALUATION, 0)
    return {
        name: [encode(loaded.tokenizer, p) for p in asked if p.tier == "symbolic" and p.operation == name]
        for name in OPERATIONS
    }


def log_p(loaded: Loaded, ids: tuple[int, ...]) -> np.ndarray:
    logits = np.array(loaded.model(mx.array([list(ids)]))[0], np.float64)
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def greedy(loaded: Loaded, item: Encoded) -> bool:
    """Whether the most likely tokens are those of the answer, one sequence at a time."""
    told = log_p(loaded, (*item.prompt_ids, *item.answer_ids[:-1])).argmax(axis=1)[len(item.prompt_ids) - 1 :]
    return tuple(told.tolist()) == item.answer_ids


def pairs(loaded: Loaded) -> list[Pair]:
    of = columns(loaded)
    return [
        Pair(7 * i + k, of[name][i], of[NEXT[name]][i]) for i in range(LEARNED - 1) for k, name in enumerate(OPERATIONS)
    ]


def fitting(loaded: Loaded) -> list[Pair]:
    asked = [encode(loaded.tokenizer, p) for p in TASK.fitting_prompts(OPERATIONS, 24, 0)]
    both = [(asked[i], asked[i + 1]) for i in range(0, len(asked), 2)]
    return [Pair(-1, one, other) for pair in both for one, other in (pair, pair[::-1])]


def exchanged(loaded: Loaded, batch_size: int = 8, seed: int = 0, layers: tuple[int, ...] = (0, 2, 3)) -> pd.DataFrame:
    tokens = {name: token.id for name, token in class_tokens(loaded.tokenizer, PAIR).items()}
    model, tokenizer = loaded.model, loaded.tokenizer
    rows = interchange(model, tokenizer, pairs(loaded), fitting(loaded), tokens, layers, batch_size, seed)
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def rows(fitted: Loaded) -> pd.DataFrame:
    return exchanged(fitted)


def at(rows: pd.DataFrame, subspace: str, layer: int, strength: float = 1.0) -> pd.DataFrame:
    chosen = (rows.subspace == subspace) & (rows.layer == layer) & (rows.strength == strength)
    return rows[chosen].set_index("prompt_id")


def test_there_is_a_row_for_every_prompt_layer_subspace_and_strength(fitted: Loaded, rows: pd.DataFrame) -> None:
    once = ["none", "full", "complement", "paired_1", "paired_4", "random_4"]
    expected = {(name, 1.0) for name in once} | {(name, s) for name in ("class", "random") for s in STRENGTHS}
    assert expected == set(zip(rows.subspace, rows.strength, strict=True))
    assert set(rows.groupby(["prompt_id", "layer"]).size()) == {len(expected)}
    assert list(rows.prompt_id) == sorted(rows.prompt_id)
    assert set(rows.prompt_id) == {pair.number for pair in pairs(fitted)}
    assert set(rows.layer) == {0, 2, 3}


def test_without_a_move_the_sources_answer_is_as_likely_as_in_a_plain_evaluation(
    fitted: Loaded, rows: pd.DataFrame
) -> None:
    for pair in pairs(fitted):
        whole = (*pair.base.prompt_ids, *pair.source.answer_ids)
        every = log_p(fitted, whole[:-1])[len(pair.base.prompt_ids) - 1 :]
        nll = -sum(row[token] for row, token in zip(every, pair.source.answer_ids, strict=True))
        for layer in (0, 2, 3):
            none = at(rows, "none", layer).loc[pair.number]
            assert none.source_nll == pytest.approx(nll, rel=1e-4, abs=1e-3)
            assert none.source_right == (tuple(every.argmax(axis=1)) == pair.source.answer_ids)
            assert none.moved == 0
    assert not at(rows, "none", 0).source_right.any()  # it answers what it is asked


def with_token(item: Encoded, token: int) -> Encoded:
    return Encoded(item.prompt, item.prompt_ids, (*item.answer_ids[:-2], token, item.answer_ids[-1]))


def nll_of(loaded: Loaded, item: Encoded) -> float:
    """The negative log-likelihood of an answer and its stop, after the prompt alone."""
    every = log_p(loaded, (*item.prompt_ids, *item.answer_ids[:-1]))[len(item.prompt_ids) - 1 :]
    return -float(sum(row[token] for row, token in zip(every, item.answer_ids, strict=True)))


def test_with_all_of_the_last_states_every_answer_is_as_likely_as_after_the_source_prompt(fitted: Loaded) -> None:
    """Whatever tokens the answer has, the first of which is a space that all answers begin with."""
    tokens = {name: token.id for name, token in class_tokens(fitted.tokenizer, PAIR).items()}
    for token in (columns(fitted)["add"][0].answer_ids[0], *range(20, 60, 13), *tokens.values()):
        asked = [Pair(pair.number, pair.base, with_token(pair.source, token)) for pair in pairs(fitted)]
        model, tokenizer = fitted.model, fitted.tokenizer
        rows = pd.DataFrame(interchange(model, tokenizer, asked, fitting(fitted), tokens, (3,), 8, 0))
        for pair in asked:
            wanted = nll_of(fitted, pair.wanted), nll_of(fitted, pair.source)
            assert at(rows, "none", 3).source_nll[pair.number] == pytest.approx(wanted[0], abs=3e-3)
            assert at(rows, "full", 3).source_nll[pair.number] == pytest.approx(wanted[1], abs=3e-3)


def test_the_whole_state_is_the_ceiling_and_random_moves_are_the_floor(fitted: Loaded, rows: pd.DataFrame) -> None:
    answers = {pair.source.answer_ids[0] for pair in pairs(fitted)}
    assert len(answers) == 1  # the space: the last prompt token alone decides nothing
    assert at(rows, "full", 3).source_right.all()
    none = at(rows, "none", 3).source_nll
    gains = {name: (none - at(rows, name, 3).source_nll).mean() for name in set(rows.subspace)}
    assert gains["full"] > 1
    assert gains["full"] > gains["paired_4"] - 0.01 > gains["random_4"]
    assert abs(gains["random"]) < 0.5 * gains["full"]


def moves_of(loaded: Loaded, monkeypatch: pytest.MonkeyPatch, seed: int = 0) -> dict[int, dict[Any, np.ndarray]]:
    """The moves of all prompts, by layer."""
    found: dict[int, dict[Any, np.ndarray]] = {}

    def record(lens: Any, tokenizer: Any, part: Any, layer: int, moves: Any) -> list[Any]:
        found[layer] = moves
        return []

    with monkeypatch.context() as patch:
        patch.setattr(module, "_measure", record)
        tokens = {name: token.id for name, token in class_tokens(loaded.tokenizer, PAIR).items()}
        known, all_pairs = fitting(loaded), pairs(loaded)
        interchange(loaded.model, loaded.tokenizer, all_pairs, known, tokens, (0, 3), 512, seed)
    return found


def test_the_class_and_its_complement_make_up_the_whole_move_at_right_angles(
    fitted: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    for moves in moves_of(fitted, monkeypatch).values():
        full, of_class, rest = (moves[name, 1.0] for name in ("full", "class", "complement"))
        np.testing.assert_allclose(of_class + rest, full, atol=1e-9)
        np.testing.assert_allclose((of_class * rest).sum(axis=1), 0, atol=1e-6)
        assert (np.linalg.norm(of_class, axis=1) > 0).all()
        for strength in STRENGTHS:
            np.testing.assert_allclose(moves["class", strength], strength * of_class)
            np.testing.assert_allclose(moves["random", strength], strength * moves["random", 1.0])


def test_random_moves_are_as_long_as_those_they_are_held_against_and_another_for_each_prompt_and_seed(
    fitted: Loaded, rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    moves, same, other = (moves_of(fitted, monkeypatch, seed)[3] for seed in (0, 0, 1))
    for strength in STRENGTHS:
        lengths = [np.linalg.norm(moves[name, strength], axis=1) for name in ("random", "class")]
        np.testing.assert_allclose(*lengths, rtol=1e-9)
        of_rows = [at(rows, name, 3, strength).moved for name in ("random", "class")]
        np.testing.assert_allclose(*of_rows, rtol=1e-6)
    np.testing.assert_allclose(
        *(np.linalg.norm(moves[name, 1.0], axis=1) for name in ("random_4", "paired_4")), rtol=1e-9
    )
    for name in ("random", "random_4"):
        np.testing.assert_array_equal(moves[name, 1.0], same[name, 1.0])
        assert not np.allclose(moves[name, 1.0], other[name, 1.0])
        first = np.cumsum([0, *(pair.spots for pair in pairs(fitted))])[:-1]
        at_prompts = moves[name, 1.0][first]
        units = at_prompts / np.linalg.norm(at_prompts, axis=1, keepdims=True)
        assert np.abs(units @ units.T - np.eye(len(units))).max() < 0.9
    # Each moves towards the source, if at all.
    assert ((moves["random", 1.0] * moves["full", 1.0]).sum(axis=1) >= 0).all()


def test_more_directions_explain_more_and_are_numpys_leading_ones(
    fitted: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    for moves in moves_of(fitted, monkeypatch).values():
        lengths = {name: np.linalg.norm(moves[name, 1.0], axis=1) for name in ("paired_1", "paired_4", "full")}
        assert (lengths["paired_1"] <= lengths["paired_4"] + 1e-9).all()
        assert (lengths["paired_4"] <= lengths["full"] + 1e-9).all()
        explained = [(lengths[name] ** 2).sum() / (lengths["full"] ** 2).sum() for name in ("paired_1", "paired_4")]
        assert explained[1] > explained[0] + 0.01
    differences = np.random.default_rng(0).normal(size=(40, 12)) * np.arange(1, 13)
    learned = module._directions(differences)
    values = np.linalg.eigvalsh(differences.T @ differences)[::-1]
    assert learned.shape == (max(RANKS), 12)
    np.testing.assert_allclose(learned @ learned.T, np.eye(4), atol=1e-9)
    np.testing.assert_allclose(((differences @ learned.T) ** 2).sum(axis=0), values[:4])


def test_neither_the_batch_size_nor_other_layers_change_a_row(fitted: Loaded, rows: pd.DataFrame) -> None:
    key = ["prompt_id", "layer", "subspace", "strength"]
    expected = rows.sort_values(key).reset_index(drop=True)
    other = exchanged(fitted, batch_size=64).sort_values(key).reset_index(drop=True)
    pd.testing.assert_frame_equal(other, expected, rtol=1e-3, atol=1e-3)
    alone = exchanged(fitted, layers=(2,)).sort_values(key).reset_index(drop=True)
    there = expected[expected.layer == 2].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, there, rtol=1e-3, atol=1e-3)


def study(tiny_study: Any, **changes: Any) -> Study:
    made: Study = tiny_study(
        grid=Grid(layers=[1, 3], pairs=[PAIR.pair], weights=[0.0, 0.5]), evaluation=EVALUATION, **changes
    )
    return made


def measured(loaded: Loaded, tiny: Model, tiny_study: Any) -> tuple[list[Any], dict[int, Encoded]]:
    """The rows of a cell with this model, and the evaluated prompts by their numbers."""
    cells = [unit for unit in expand(study(tiny_study), {"tiny-llama": tiny}) if isinstance(unit, Cell)]
    asked = TASK.evaluation_prompts(OPERATIONS, EVALUATION, 0)
    encoded = {i: encode(loaded.tokenizer, item) for i, item in enumerate(asked)}
    readouts = [(PAIR, class_tokens(loaded.tokenizer, PAIR))]
    taken = {"answers": [{"prompt_id": n, "right": greedy(loaded, item)} for n, item in encoded.items()]}
    of_cell = MeasuredCell(loaded.model, loaded.tokenizer, None, cells[0], encoded, readouts, lambda done: None, taken)
    assert cells[0].weight == 0
    return MEASURE.rows(of_cell).get("interchange", []), encoded


def test_only_prompts_that_are_answered_right_with_their_sources_are_measured(
    fitted: Loaded, tiny: Model, tiny_study: Any
) -> None:
    found, encoded = measured(fitted, tiny, tiny_study)
    right = {}
    for name in OPERATIONS:
        own = [n for n, item in encoded.items() if (item.prompt.tier, item.prompt.operation) == ("symbolic", name)]
        sources = columns(fitted)[NEXT[name]]
        among = zip(own, sources, strict=True)
        right[name] = [n for n, source in among if greedy(fitted, encoded[n]) and greedy(fitted, source)]
    assert all(len(numbers) < 16 for numbers in right.values())  # there are others to be left out
    asked: dict[str, list[int]] = {}
    for row in found:
        asked.setdefault(row["operation"], []).append(row["prompt_id"])
    assert {name: sorted(set(numbers)) for name, numbers in asked.items()} == {
        name: numbers[: EVALUATION.causal_prompts] for name, numbers in right.items()
    }
    assert {row["tier"] for row in found} == {"symbolic"}
    assert {row["layer"] for row in found} == {1, 3}  # of both plain cells, since w = 0
    assert {row["source_right"] for row in found if row["subspace"] == "none"} == {False}


def test_a_model_that_answers_nothing_right_has_no_row(tiny: Model, tiny_study: Any) -> None:
    assert measured(load(tiny), tiny, tiny_study)[0] == []


def test_a_cell_publishes_the_table_that_is_declared(
    tiny: Model, tiny_study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def all_right(cell: MeasuredCell) -> list[Pair]:
        taken = {"answers": [{**row, "right": True} for row in cell.taken["answers"]]}
        return right_pairs(replace(cell, taken=taken))

    right_pairs = module._right_pairs
    monkeypatch.setattr(module, "_right_pairs", all_right)
    first, _, _, without, one, other = expand(study(tiny_study), {"tiny-llama": tiny})
    layers = {without.id: {1, 3}, one.id: {1}, other.id: {3}}
    assert run_unit(first, tmp_path).state == "done"
    for unit in (without, one, other):
        assert run_unit(unit, tmp_path).state == "done"
        table = pd.read_parquet(Store(tmp_path).folder(unit) / "interchange.parquet")
        assert list(table.columns) == list(TABLES["interchange"].columns)
        assert set(table.layer) == layers[unit.id]
        assert set(table.groupby(["layer", "operation"]).prompt_id.nunique()) == {EVALUATION.causal_prompts}
        assert set(table.seen) <= {"nobody", "stage1", "stage2", "stage1+stage2"}


def test_sources_that_are_not_evaluated_are_asked_for(fitted: Loaded, tiny: Model, tiny_study: Any) -> None:
    """As in a custom task, whose sources may be other prompts than those that are evaluated."""
    answered = [item for items in columns(fitted).values() for item in items]
    told = module.answered_right(fitted.model, fitted.tokenizer, answered, 5)
    assert told == [greedy(fitted, item) for item in answered]
    assert set(told) == {True, False}
