import mlx.core as mx
import numpy as np
import pytest
from mlx_lm.models.base import create_attention_mask

from study.lens.hooks import LensError, attached, gap_at_last_layer
from tests.architectures import BLOCKS, NAMES, VOCABULARY, make, some_ids

SHARING = ("gemma4_text", "hunyuan", "rwkv7")
"""Later blocks take keys and values, or values alone, of earlier ones."""


@pytest.mark.parametrize("name", NAMES)
def test_lens_at_the_last_layer_is_the_logits(name: str) -> None:
    assert gap_at_last_layer(make(name), some_ids()) < 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_blocks_are_as_before_after_the_lens(name: str) -> None:
    model = make(name)
    before, types = model(some_ids()), [type(layer) for layer in model.layers]
    with pytest.raises(RuntimeError, match="stop"), attached(model):
        raise RuntimeError("stop")
    assert [type(layer) for layer in model.layers] == types
    assert mx.array_equal(model(some_ids()), before)


def test_hidden_states_are_the_blocks_outputs_computed_by_hand() -> None:
    model, ids = make("llama"), some_ids()
    state = model.model.embed_tokens(ids)
    expected = []
    for layer in model.layers:
        state = layer(state, create_attention_mask(state, None), None)
        expected.append(state)
    with attached(model) as lens:
        states = lens.hidden(ids)
    assert len(states) == BLOCKS
    for ours, theirs in zip(states, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("name", [*NAMES, *SHARING])
@pytest.mark.parametrize("shared", [0, 1, 2])
def test_copies_of_a_batch_go_apart_at_the_first_block_that_is_not_shared(name: str, shared: int) -> None:
    model, ids = make(name), some_ids(batch=2)
    with attached(model) as lens:
        expected = lens.hidden(mx.tile(ids, (3, 1)))
        states = lens.hidden(ids, copies=3, shared=shared)
        assert [len(state) for state in states] == [2] * shared + [6] * (BLOCKS - shared)
        for ours, theirs in zip(states, expected, strict=True):
            largest = float(mx.abs(theirs).max().item())
            np.testing.assert_allclose(ours, theirs[: len(ours)], atol=1e-5 * largest)
        assert [len(state) for state in lens.hidden(ids)] == [2] * BLOCKS


@pytest.mark.parametrize("name", NAMES)
def test_an_edit_changes_what_goes_on_from_its_block_and_not_what_is_returned_of_it(name: str) -> None:
    model, ids = make(name), some_ids()
    with attached(model) as lens:
        before = lens.hidden(ids)
        edited = lens.hidden(ids, edits={1: lambda states: mx.zeros_like(states)})
        assert mx.array_equal(edited[0], before[0])
        assert mx.array_equal(edited[1], before[1])
        assert mx.abs(edited[2] - before[2]).max().item() > 1e-2
        unchanged = lens.hidden(ids, edits={1: lambda states: states})
        for ours, theirs in zip((*unchanged, *lens.hidden(ids)), before * 2, strict=True):
            assert mx.array_equal(ours, theirs)


def test_what_goes_on_from_an_edited_block_is_what_the_blocks_above_make_of_it_by_hand() -> None:
    model, ids = make("llama"), some_ids()
    with attached(model) as lens:
        states = lens.hidden(ids, edits={0: lambda states: 2 * states + 1})
    state = 2 * states[0] + 1
    for layer, ours in zip(model.layers[1:], states[1:], strict=True):
        state = layer(state, create_attention_mask(state, None), None)
        np.testing.assert_allclose(ours, state, rtol=1e-4, atol=1e-4)


def test_read_out_of_a_middle_layer_is_norm_and_head() -> None:
    model, ids = make("llama"), some_ids()
    with attached(model) as lens:
        state = lens.hidden(ids)[1][:, -1]
        read = np.array(lens.read_out(state))
    x = np.array(state)
    normed = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * np.array(model.model.norm.weight)
    np.testing.assert_allclose(read, normed @ np.array(model.model.embed_tokens.weight).T, rtol=1e-4, atol=1e-4)


def test_read_out_keeps_the_models_soft_cap() -> None:
    with attached(make("gemma2")) as lens:
        logits = lens.read_out(100 * mx.ones((1, 32)))
    assert float(mx.abs(logits).max().item()) <= 3.0


def test_each_state_is_read_out_alone() -> None:
    with attached(make("qwen3")) as lens:
        states = lens.hidden(some_ids())[0][0]
        together = lens.read_out(states)
        for i in range(states.shape[0]):
            np.testing.assert_allclose(lens.read_out(states[i : i + 1])[0], together[i], atol=1e-5)


def test_vocabulary_is_the_width_of_the_logits() -> None:
    with attached(make("gpt2")) as lens:
        assert lens.vocabulary(lens.hidden(some_ids())[0][0]) == VOCABULARY


@pytest.mark.parametrize("name", SHARING)
def test_the_state_of_a_block_that_returns_more_is_the_first_of_it(name: str) -> None:
    model, ids = make(name), some_ids()
    assert gap_at_last_layer(model, ids) < 1e-5
    with attached(model) as lens:
        states = lens.hidden(ids)
        assert [state.shape for state in states] == [(*ids.shape, 32)] * BLOCKS
        edited = lens.hidden(ids, edits={1: lambda state: mx.zeros_like(state)})
        assert mx.array_equal(edited[1], states[1])
        assert mx.abs(edited[2] - states[2]).max().item() > 1e-2


def test_several_streams_of_states_are_refused_with_their_shape() -> None:
    with attached(make("gemma3n")) as lens, pytest.raises(LensError, match=r"gemma3n returns \[2, 2, 7, 32\]"):
        lens.hidden(some_ids())


def test_a_model_that_runs_the_parts_of_its_blocks_itself_is_refused() -> None:
    with attached(make("iquestloopcoder")) as lens, pytest.raises(LensError, match="3 blocks gave 0 hidden states"):
        lens.hidden(some_ids())
