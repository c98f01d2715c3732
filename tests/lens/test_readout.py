import mlx.core as mx
import numpy as np
import pytest
from scipy.special import logsumexp, rel_entr

from study.config.catalogue import BuiltSource, Model
from study.config.wordings import NEUTRAL
from study.lens import readout
from study.lens.hooks import attached
from study.lens.readout import class_direction, read_classes
from study.measures.answers import divergence, text_log_probs
from study.models.load import Loaded, load
from tests.architectures import VOCABULARY, make, some_ids

PAIRS = [[50, 60], [7, 50, 33], [0, 96]]


def states_and_places() -> tuple[mx.array, list[np.ndarray]]:
    rng = np.random.default_rng(0)
    states = mx.array(3 * rng.standard_normal((23, 32)).astype(np.float32))
    return states, [rng.integers(0, len(ids), 23) for ids in PAIRS]


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2"])
@pytest.mark.parametrize("logits", [2**26, 5 * VOCABULARY, 1])
def test_classes_are_read_as_numpy_reads_them_over_the_full_vocabulary(
    monkeypatch: pytest.MonkeyPatch, name: str, logits: int
) -> None:
    monkeypatch.setattr(readout, "LOGITS", logits)
    states, right = states_and_places()
    with attached(make(name)) as lens:
        every = np.array(lens.read_out(states), np.float64)
        read = read_classes(lens, states, PAIRS, right)
    log_p = every - logsumexp(every, axis=1, keepdims=True)
    for ids, places, figures in zip(PAIRS, right, read, strict=True):
        for i, place in enumerate(places):
            own, others = log_p[i, ids[place]], [log_p[i, token] for k, token in enumerate(ids) if k != place]
            assert figures["log_p"][i] == pytest.approx(own, abs=1e-4)
            assert figures["rank"][i] == (every[i] > every[i, ids[place]]).sum()
            assert figures["margin"][i] == pytest.approx(own - max(others), abs=1e-4)
            assert figures["log_mass"][i] == pytest.approx(logsumexp([own, *others]), abs=1e-4)
            assert figures["choice"][i] == (own > max(others))


@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_the_class_direction_is_the_mean_gradient_of_the_difference_of_the_logits(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    states, _ = states_and_places()
    with attached(make(name)) as lens:
        whole = class_direction(lens, states, 0, 50, 60)
        monkeypatch.setattr(readout, "LOGITS", 4 * VOCABULARY)
        np.testing.assert_allclose(class_direction(lens, states, 0, 50, 60), whole, atol=1e-6)

        def gap(values: np.ndarray) -> float:
            logits = np.array(lens.read_out(mx.array(values.astype(np.float32))), np.float64)
            return float((logits[:, 50] - logits[:, 60]).sum())

        values = np.array(states, np.float64)
        finite = np.array([gap(values + step) - gap(values - step) for step in 0.01 * np.eye(32)])
    np.testing.assert_allclose(whole, finite / np.linalg.norm(finite), atol=1e-3)


@pytest.fixture(scope="module")
def loaded(tiny: Model) -> Loaded:
    return load(tiny)


def test_the_text_is_read_as_scipy_reads_it(loaded: Loaded) -> None:
    ids = loaded.tokenizer.encode(NEUTRAL)
    logits = np.array(loaded.model(mx.array([ids])))[0].astype(np.float64)
    expected = logits - logsumexp(logits, axis=1, keepdims=True)
    np.testing.assert_allclose(text_log_probs(loaded.model, loaded.tokenizer), expected, atol=1e-4)


def test_the_divergence_of_two_models_on_the_text_is_scipys_and_zero_for_the_same_model(loaded: Loaded) -> None:
    other = load(Model(source=BuiltSource(built="llama", seed=1), blocks=4))
    one, two = (text_log_probs(model.model, loaded.tokenizer) for model in (loaded, other))
    assert divergence(one, one) == 0
    for before, after in ((one, two), (two, one)):
        expected = rel_entr(np.exp(before.astype(np.float64)), np.exp(after.astype(np.float64))).sum(axis=1).mean()
        assert divergence(before, after) == pytest.approx(expected, rel=1e-4)
        assert expected > 0.1


def test_a_state_is_read_alike_alone_and_among_others() -> None:
    states, _ = states_and_places()
    with attached(make("qwen3")) as lens:
        hidden = lens.hidden(some_ids())[1][:, -1]
        mixed = mx.concatenate([states[:3], hidden, states[3:6]])
        together = read_classes(lens, mixed, PAIRS[:1], [np.zeros(8, int)])[0]
        alone = read_classes(lens, hidden, PAIRS[:1], [np.zeros(2, int)])[0]
    for name, values in alone.items():
        np.testing.assert_allclose(together[name][3:5], values, atol=1e-5)
