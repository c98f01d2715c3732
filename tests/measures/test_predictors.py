"""What is measured before stage 2, each column against another way to the same figure."""

from itertools import combinations
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten
from mlx_lm.tuner.utils import linear_to_lora_layers
from scipy.special import log_softmax, rel_entr, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from study.config.catalogue import BuiltSource, Model
from study.config.data import Data
from study.config.evaluation import Evaluation
from study.config.names import TIERS, Operation
from study.config.predictors import PREDICTORS
from study.config.stages import Lora
from study.config.units import Readout
from study.lens import readout
from study.lens.head import head_of
from study.lens.hooks import attached
from study.lens.tokens import ClassToken, Encoded, class_tokens, encode
from study.measures.predictors import measure, measure_probes
from study.models.load import Loaded, load
from study.tasks import GRADIENT_PROMPTS
from study.tasks.arithmetic import Arithmetic
from study.tasks.prompts import shuffled_label
from study.training import adapters
from study.training.objectives import make_batch
from tests.architectures import make

pytestmark = pytest.mark.slow

DATA = Data(operations=["multiply", "add", "subtract"], smallest=2, largest=12)
PAIR = Readout(pair={"multiply": "multiply", "add": "add"})
OTHER = Readout(pair={"add": "river", "subtract": "copper"})
THREE = Readout(pair={"multiply": "multiply", "add": "add", "subtract": "subtract"})
LORA = Lora(rank=3, alpha=6.0, projections=["v_proj", "o_proj"])
LAYERS = range(4)


def of_tier(tier: str, items: list[Encoded], tokens: dict[Operation, ClassToken]) -> list[Encoded]:
    return [item for item in items if item.prompt.tier == tier and item.prompt.operation in tokens]


class Measured:
    """The rows of one tiny model, and all that they were made of."""

    def __init__(self, architecture: str) -> None:
        self.loaded: Loaded = load(Model(source=BuiltSource(built=architecture), blocks=4))
        self.model, tokenizer = self.loaded.model, self.loaded.tokenizer
        self.held_out = [
            encode(tokenizer, item)
            for item in Arithmetic(DATA).evaluation_prompts(DATA.operations, Evaluation(prompts_per_class=6), 0)
        ]
        self.training, self.remembered = (
            [encode(tokenizer, item) for item in Arithmetic(DATA).fitting_prompts(DATA.operations, 48, 0, held_out)]
            for held_out in (False, True)
        )
        self.readouts = [(one, class_tokens(tokenizer, one)) for one in (PAIR, OTHER, THREE)]
        self.rows = self.measure()

    def measure(self, batch_size: int = 16) -> dict[tuple[str, int, str], dict[str, Any]]:
        asked = (self.held_out, self.training, self.remembered)
        found = measure(self.model, self.readouts, *asked, LORA, 0, batch_size)
        return {(row["pair"], row["layer"], row["tier"]): row for row in found}

    def state(self, item: Encoded) -> list[np.ndarray]:
        """Of each block, at the last token, one prompt at a time."""
        with attached(self.model) as lens:
            return [np.array(state[0, -1], np.float64) for state in lens.hidden(mx.array([item.prompt_ids]))]

    def logits(self, states: list[np.ndarray]) -> np.ndarray:
        with attached(self.model) as lens:
            return np.array(lens.read_out(mx.array(np.array(states, np.float32))), np.float64)


@pytest.fixture(scope="module", params=["llama", "gemma3_text"])
def measured(request: pytest.FixtureRequest) -> Measured:
    return Measured(request.param)


def test_there_is_one_row_for_each_pair_layer_and_tier(measured: Measured) -> None:
    names = [readout.name for readout in (PAIR, OTHER, THREE)]
    assert set(measured.rows) == {(name, layer, tier) for name in names for layer in LAYERS for tier in TIERS}
    for (_, layer, _), row in measured.rows.items():
        assert (row["depth"], row["remaining"]) == ((layer + 1) / 4, 3 - layer)
        assert set(row) == {
            *("pair", "layer", "tier", "depth", "remaining", "log_p", "rank", "kl", "a_lin"),
            *("probe", "probe_below", "probe_control"),
            *("selectivity", "direction_cosine", "unembedding_norm", "pair_cosine", "tied", "residual_growth"),
            *("lora_parameters", "gradient_cosine", "gradient_ratio"),
        }


@pytest.mark.parametrize("tier", TIERS)
def test_what_the_lens_reads_is_numpys_over_the_full_vocabulary(measured: Measured, tier: str) -> None:
    for readout_, tokens in measured.readouts:
        items = of_tier(tier, measured.held_out, tokens)
        states = [measured.state(item) for item in items]
        for layer in LAYERS:
            log_p = log_softmax(measured.logits([state[layer] for state in states]), axis=1)
            last = log_softmax(measured.logits([state[-1] for state in states]), axis=1)
            right = np.array([tokens[item.prompt.operation].id for item in items])
            chosen = log_p[np.arange(len(items)), right]
            ids = [token.id for token in tokens.values()]
            truth, told = right, [ids[place] for place in log_p[:, ids].argmax(axis=1)]
            row = measured.rows[readout_.name, layer, tier]
            assert row["log_p"] == pytest.approx(chosen.mean(), abs=1e-4)
            assert row["rank"] == np.median((log_p > chosen[:, None]).sum(axis=1))
            assert row["a_lin"] == pytest.approx(balanced_accuracy_score(truth, told))
            expected = rel_entr(softmax(last, axis=1), softmax(log_p, axis=1)).sum(axis=1).mean()
            assert row["kl"] == pytest.approx(expected, abs=1e-4)


def test_the_last_layer_does_not_differ_from_itself_and_the_others_do(measured: Measured) -> None:
    for (_, layer, _), row in measured.rows.items():
        assert row["kl"] == pytest.approx(0, abs=1e-5) if layer == 3 else row["kl"] > 0.01


def test_the_states_grow_and_point_as_numpy_says(measured: Measured) -> None:
    for readout_, tokens in measured.readouts:
        items = of_tier("semantic", measured.held_out, tokens)
        states = np.array([measured.state(item) for item in items])
        norms = np.linalg.norm(states, axis=2).mean(axis=0)
        named = np.array([item.prompt.operation for item in items])
        for layer in LAYERS:
            row = measured.rows[readout_.name, layer, "semantic"]
            if layer == 0:
                assert row["residual_growth"] is None
            else:
                assert row["residual_growth"] == pytest.approx(norms[layer] / norms[layer - 1], rel=1e-4)
            cosines = []
            for one, other in combinations(tokens, 2):
                both = states[(named == one) | (named == other), layer]
                finite = _finite_direction(measured, both, tokens[one].id, tokens[other].id)
                gap = states[named == one, layer].mean(axis=0) - states[named == other, layer].mean(axis=0)
                cosines.append(finite @ gap / np.linalg.norm(finite) / np.linalg.norm(gap))
            assert row["direction_cosine"] == pytest.approx(np.mean(cosines), abs=5e-3)


def _finite_direction(measured: Measured, states: np.ndarray, token: int, other: int) -> np.ndarray:
    """By finite differences of the lens, along each coordinate of all states at once."""
    size = 1e-2 * np.linalg.norm(states, axis=1).mean() / np.sqrt(states.shape[1])
    steps = size * np.eye(states.shape[1])
    both = np.concatenate([states[:, None] + steps, states[:, None] - steps], axis=1)
    logits = measured.logits(list(both.reshape(-1, states.shape[1])))
    gaps = (logits[:, token] - logits[:, other]).reshape(len(states), 2, -1).sum(axis=0)
    return gaps[0] - gaps[1]


@pytest.mark.parametrize("layer", LAYERS)
def test_probes_are_scikit_learns_on_held_out_operands(measured: Measured, layer: int) -> None:
    """The probe on all tiers, and itself and its control on the templates that it saw."""
    names = sorted(DATA.operations)
    asked = (measured.training, measured.held_out, measured.remembered)
    fitted, held_out, again = (np.array([measured.state(i)[layer] for i in items], np.float32) for items in asked)
    tiers = np.array([item.prompt.tier for item in measured.held_out])
    drawn, true = (
        [[label(item) for item in items] for items in asked]
        for label in (lambda item: shuffled_label(item.prompt, names, 0), lambda item: item.prompt.operation)
    )
    probe, control = (
        make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=200)).fit(fitted, labels[0])
        for labels in (true, drawn)
    )
    seen = balanced_accuracy_score(true[2], probe.predict(again))
    remembered = balanced_accuracy_score(drawn[2], control.predict(again))
    told = probe.predict(held_out)
    for tier in TIERS:
        expected = balanced_accuracy_score(np.array(true[1])[tiers == tier], told[tiers == tier])
        for readout_ in (PAIR, OTHER, THREE):
            row = measured.rows[readout_.name, layer, tier]
            assert row["probe"] == pytest.approx(expected, abs=0.06)  # a prompt near the border
            assert row["probe_control"] == pytest.approx(remembered, abs=0.06)
            assert row["selectivity"] == pytest.approx(seen - remembered, abs=0.06)


def test_gradients_are_those_of_mlx_on_an_adapter_alone(measured: Measured) -> None:
    model = measured.model
    for readout_, tokens in (measured.readouts[0], measured.readouts[2]):
        items = [item for item in measured.training[:GRADIENT_PROMPTS] if item.prompt.operation in tokens]
        adapters.stack(model, LORA, [0])
        (initial,) = adapters.unstack(model)
        keys = {name.split(".", 3)[3].rsplit(".", 1)[0] for name in initial}
        linear_to_lora_layers(model, 4, {"rank": 3, "scale": 2.0, "dropout": 0.0, "keys": keys})
        model.load_weights(list(initial.items()), strict=False)
        batch = make_batch(items)
        right = mx.array([tokens[item.prompt.operation].id for item in items])

        def answer(batch: Any = batch) -> mx.array:
            logits = model(batch.ids)[batch.rows, batch.positions]
            return nn.losses.cross_entropy(logits, batch.targets, reduction="mean")

        def named(layer: int, batch: Any = batch, right: Any = right) -> mx.array:
            with attached(model) as lens:
                state = lens.hidden(batch.ids)[layer][batch.all_rows, batch.last]
                return nn.losses.cross_entropy(lens.read_out(state), right, reduction="mean")

        _, of_answer = nn.value_and_grad(model, answer)()
        for layer in LAYERS:
            _, of_class = nn.value_and_grad(model, lambda layer=layer: named(layer))()
            parts = [
                np.concatenate([
                    np.array(value, np.float64).ravel()
                    for name, value in tree_flatten(found)
                    if int(name.split(".")[2]) <= layer
                ])
                for found in (of_class, of_answer)
            ]  # fmt: skip
            lengths = [np.linalg.norm(part) for part in parts]
            for tier in TIERS:
                row = measured.rows[readout_.name, layer, tier]
                assert row["lora_parameters"] == len(parts[0])
                assert row["gradient_ratio"] == pytest.approx(lengths[0] / lengths[1], rel=1e-3)
                assert row["gradient_cosine"] == pytest.approx(parts[0] @ parts[1] / lengths[0] / lengths[1], abs=1e-3)
        adapters.take_off(model)


@pytest.mark.parametrize(
    ("architecture", "head", "tied"),
    [
        ("llama", "model.embed_tokens", 1.0),
        ("llama untied", "lm_head", 0.0),
        ("gemma3_text", "model.embed_tokens", 1.0),
        ("gpt2", "model.wte", 1.0),
        ("phi", "lm_head", 0.0),
    ],
)
def test_the_rows_of_the_head_are_found_tied_or_not(architecture: str, head: str, tied: float) -> None:
    check_head(make(architecture), head, tied)


@pytest.mark.parametrize(
    ("architecture", "head", "tied"), [("gpt2", "model.wte", 1.0), ("gpt_neox", "model.embed_out", 0.0)]
)
def test_the_rows_of_the_head_are_found_among_positions_and_other_names(
    architecture: str, head: str, tied: float
) -> None:
    loaded = load(Model(source=BuiltSource(built=architecture), blocks=2))
    check_head(loaded.model, head, tied)


def check_head(model: nn.Module, head: str, tied: float) -> None:
    ids = [5, 60, 96]
    weights = np.array(dict(model.named_modules())[head].weight, np.float64)
    one, two, three = weights[ids]

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    with attached(model) as lens:
        own = head_of(model, lens, mx.zeros((1, weights.shape[1])))
    at: Any = SimpleNamespace(unembedding=np.array(own.rows(mx.array(ids)), np.float64), tied=own.tied)
    found = {name: PREDICTORS[name].value(at) for name in ("unembedding_norm", "pair_cosine", "tied")}
    assert found["unembedding_norm"] == pytest.approx(np.mean([np.linalg.norm(row) for row in (one, two, three)]))
    assert found["pair_cosine"] == pytest.approx(np.mean([cosine(one, two), cosine(one, three), cosine(two, three)]))
    assert found["tied"] == tied


def test_the_rows_of_the_head_stand_in_the_rows_of_the_model(measured: Measured) -> None:
    modules = dict(measured.model.named_modules())
    own = "lm_head" in modules  # as the tiny gemma3 has
    weights = np.array(modules["lm_head" if own else "model.embed_tokens"].weight, np.float64)
    for readout_, tokens in measured.readouts:
        norms = [np.linalg.norm(weights[token.id]) for token in tokens.values()]
        for layer in LAYERS:
            row = measured.rows[readout_.name, layer, "story"]
            assert row["unembedding_norm"] == pytest.approx(np.mean(norms))
            assert row["tied"] == float(not own)


def test_probes_alone_are_those_of_all_predictors(measured: Measured) -> None:
    alone = measure_probes(measured.model, measured.held_out, measured.training, 16)
    assert len(alone) == len(LAYERS) * len(TIERS)
    for row in alone:
        whole = measured.rows[PAIR.name, row["layer"], row["tier"]]
        assert row == {name: pytest.approx(whole[name]) if name != "tier" else row["tier"] for name in row}


def test_probes_up_to_a_layer_are_the_mean_of_those_at_it_and_below(measured: Measured) -> None:
    for readout_, _ in measured.readouts:
        for tier in TIERS:
            probes = [measured.rows[readout_.name, layer, tier]["probe"] for layer in LAYERS]
            below = [measured.rows[readout_.name, layer, tier]["probe_below"] for layer in LAYERS]
            np.testing.assert_allclose(below, np.cumsum(probes) / np.arange(1, len(probes) + 1))


def test_neither_the_batch_size_nor_the_memory_at_hand_changes_a_row(
    measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readout, "LOGITS", 3000)
    before = dict(tree_flatten(measured.model.parameters()))
    for place, row in measured.measure(batch_size=5).items():
        expected = measured.rows[place]
        for name, value in row.items():
            tolerance = 0.2 if "probe" in name or name == "selectivity" else 1e-3  # a prompt near the border
            same = (
                pytest.approx(expected[name], abs=tolerance, rel=1e-3) if isinstance(value, float) else expected[name]
            )
            assert value == same, name
    after = dict(tree_flatten(measured.model.parameters()))
    assert before.keys() == after.keys()
    assert all(mx.array_equal(before[name], after[name]) for name in before)
