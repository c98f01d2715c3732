"""When a class emerges: rows along a training, against an evaluation of the adapter of that step."""

from typing import Any

import mlx.core as mx
import numpy as np
import pandas as pd
import pytest

from study.config.catalogue import BuiltSource, Model
from study.config.evaluation import Evaluation
from study.config.names import Operation
from study.config.stages import Lora, Stage2
from study.config.units import Readout
from study.lens.tokens import Encoded, class_tokens, encode
from study.measures.answers import evaluate
from study.measures.onset import Onset
from study.models.load import Loaded, load
from study.tasks.arithmetic import Arithmetic
from study.training import adapters
from study.training.loop import Callbacks, Objective, Trained, TrainingData, train
from study.training.objectives import ClassLoss
from tests.training.test_loop import DATA, WILD

pytestmark = pytest.mark.slow

OPERATIONS: list[Operation] = ["multiply", "add"]
PAIRS = [Readout(pair={"multiply": "multiply", "add": "add"}), Readout(pair={"multiply": "river", "add": "copper"})]
LORA = Lora(rank=4, alpha=8.0, projections=["v_proj", "o_proj"])
EVERY = 5


@pytest.fixture(scope="module", params=["llama", "gemma3_text"])
def loaded(request: pytest.FixtureRequest) -> Loaded:
    return load(Model(source=BuiltSource(built=request.param), blocks=4))


def ids(loaded: Loaded, pair: int = 0) -> dict[Operation, int]:
    return {operation: token.id for operation, token in class_tokens(loaded.tokenizer, PAIRS[pair]).items()}


def objective(loaded: Loaded, layer: int | None, rate: float = 3e-3, pair: int = 0) -> Objective:
    return Objective(rate, None if layer is None else ClassLoss(layer, 0.5, ids(loaded, pair)))


def held_out(loaded: Loaded) -> list[Encoded]:
    return [
        encode(loaded.tokenizer, item)
        for item in Arithmetic(DATA).evaluation_prompts(OPERATIONS, Evaluation(prompts_per_class=3), 0)
    ]


def watched(
    loaded: Loaded, *objectives: Objective, steps: int = 12, every: int = EVERY, **settings: Any
) -> tuple[list[Trained], list[list[dict[str, Any]]]]:
    """The cells, and the onset rows of each."""
    stage2 = Stage2(steps=steps, warmup_steps=2, lora=LORA).model_copy(update=settings)
    onset = Onset(
        loaded.model, held_out(loaded), [one.target.tokens if one.target else None for one in objectives], every
    )
    cells = train(
        loaded.model,
        loaded.tokenizer,
        stage2,
        TrainingData(DATA, OPERATIONS, 0),
        objectives,
        Callbacks(watch=onset.look),
    )
    return cells, onset.rows


def assert_same_rows(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> None:
    pd.testing.assert_frame_equal(pd.DataFrame(ours), pd.DataFrame(theirs), rtol=1e-3, atol=1e-4)


def test_there_is_a_row_for_each_layer_and_tier_every_few_steps_of_cells_with_a_class(loaded: Loaded) -> None:
    _, (rows, none) = watched(loaded, objective(loaded, 1), objective(loaded, None))
    assert none == []
    tiers = ["symbolic", "semantic", "construction", "story"]
    expected = [(step, layer, tier) for step in (5, 10) for tier in tiers for layer in range(4)]
    assert [(row["step"], row["layer"], row["tier"]) for row in rows] == expected
    assert {row["prompts"] for row in rows} == {6}
    assert set(rows[0]) == {"step", "layer", "tier", "prompts", "choice", "p", "margin"}


def test_nothing_is_looked_at_where_it_is_switched_off_and_looking_changes_no_training(loaded: Loaded) -> None:
    (blind,), (none,) = watched(loaded, objective(loaded, 1), every=0)
    (seen,), _ = watched(loaded, objective(loaded, 1), every=1)
    assert none == []
    assert [row["loss"] for row in blind.curve] == [row["loss"] for row in seen.curve]
    assert all(mx.array_equal(blind.weights[name], value) for name, value in seen.weights.items())


@pytest.mark.parametrize(("layer", "pair"), [(1, 0), (3, 1)])
def test_the_figures_are_those_of_an_evaluation_after_so_many_steps(loaded: Loaded, layer: int, pair: int) -> None:
    _, (_, rows) = watched(loaded, objective(loaded, 0, 1e-3), objective(loaded, layer, pair=pair), steps=10)
    for step in (5, 10):
        (cell,), _ = watched(loaded, objective(loaded, layer, pair=pair), steps=step, every=0)
        adapters.put(loaded.model, LORA, cell.weights)
        readouts = [(PAIRS[pair], class_tokens(loaded.tokenizer, PAIRS[pair]))]
        encoded = dict(enumerate(held_out(loaded)))
        lens = pd.DataFrame(evaluate(loaded.model, loaded.tokenizer, encoded, readouts, 7, "stage2")[1])
        adapters.take_off(loaded.model)
        for row in (row for row in rows if row["step"] == step):
            here = lens[(lens.layer == row["layer"]) & (lens.tier == row["tier"])]
            assert row["prompts"] == len(here) == 6
            assert row["p"] == pytest.approx(np.exp(here.log_p).mean(), abs=1e-4)
            assert row["margin"] == pytest.approx(here.margin.mean(), abs=1e-3)
            assert row["choice"] == pytest.approx(here.groupby("operation").choice.mean().mean())


def test_the_class_is_seen_to_emerge_at_the_trained_layer(loaded: Loaded) -> None:
    _, (rows,) = watched(loaded, objective(loaded, 2), steps=60, every=20)
    p = [row["p"] for row in rows if row["layer"] == 2 and row["tier"] == "symbolic"]
    assert p[0] < p[-1]
    assert p[-1] > 0.3


def test_a_cell_of_a_stack_has_the_rows_that_it_has_alone(loaded: Loaded) -> None:
    objectives = [objective(loaded, 0), objective(loaded, None), objective(loaded, 3, 1e-3, 1), objective(loaded, 2)]
    _, together = watched(loaded, *objectives)
    for one, rows in zip(objectives, together, strict=True):
        _, (alone,) = watched(loaded, one)
        assert_same_rows(rows, alone)


@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_cell_that_diverges_keeps_its_earlier_rows_and_harms_nobody_elses(loaded: Loaded) -> None:
    wild, well = objective(loaded, 1, 0.5), objective(loaded, 2)
    settings: dict[str, Any] = {"every": 1, "steps": 25, "clip_norm": WILD, "weight_decay": 10.0}  # a factor of -4
    (first, second), (lost, rows) = watched(loaded, wild, well, **settings)
    assert first.error
    assert not second.error
    assert 2 < len(first.curve) < 25
    assert {row["step"] for row in lost} == set(range(1, len(first.curve) + 1))
    assert {row["step"] for row in rows} == set(range(1, 26))
    _, (alone,) = watched(loaded, wild, **settings)
    # Each of its steps multiplies what rounding makes of the one before.
    assert_same_rows(*([row for row in found if row["step"] < 3] for found in (lost, alone)))
    _, (alone,) = watched(loaded, well, **settings)
    assert_same_rows(rows, alone)
