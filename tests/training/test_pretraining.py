"""The training from random weights: it goes on as if it had not been interrupted, and its rate does what it says."""

from collections.abc import Sequence
from pathlib import Path

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten

from study.config.catalogue import BuiltSource, Model
from study.config.data import Data
from study.config.nursery import NurseryTraining
from study.config.small_tasks import SmallTasks
from study.lens.tokens import encode, padded
from study.models.load import Loaded, load
from study.tasks import TrainingText
from study.tasks.nursery_text import NurseryText
from study.tasks.small.text import SmallText
from study.training import pretraining
from study.training.checkpoints import State
from study.training.pretraining import WordIds, pretrain

DATA = Data(smallest=1, largest=9)
TEXT = NurseryText(DATA, ["add", "multiply"])
SETTINGS = NurseryTraining(steps=8, batch_size=8, warmup_steps=3)


@pytest.fixture
def fresh(tmp_path: Path) -> Loaded:
    source = BuiltSource(built="llama", hidden_size=32, intermediate_size=64, attention_heads=4, words=TEXT.vocabulary)
    return load(Model(source=source, blocks=2))


def _weights(loaded: Loaded) -> dict[str, mx.array]:
    return {name: mx.array(value) for name, value in tree_flatten(loaded.model.parameters())}


def test_a_training_that_goes_on_from_a_saved_state_ends_with_the_same_weights(
    fresh: Loaded,
) -> None:
    start, states = _weights(fresh), list[State]()
    pretrain(fresh.model, fresh.tokenizer, SETTINGS, TEXT, 0, save_every=3, save=states.append)
    whole = _weights(fresh)
    fresh.model.load_weights(list(start.items()))
    curve = pretrain(fresh.model, fresh.tokenizer, SETTINGS, TEXT, 0, start=states[0])
    assert states[0].step == 3
    assert [row["step"] for row in curve] == list(range(1, 9))
    assert all(mx.array_equal(value, whole[name]) for name, value in _weights(fresh).items())


def test_held_out_operands_are_never_seen_and_every_weight_moves(fresh: Loaded) -> None:
    before = _weights(fresh)
    curve = pretrain(fresh.model, fresh.tokenizer, SETTINGS, TEXT, 1)
    assert all(row["held_out"] == 0 for row in curve)
    assert not any(mx.array_equal(value, before[name]) for name, value in _weights(fresh).items())
    assert not tree_flatten(fresh.model.trainable_parameters())


def test_a_batch_in_two_lengths_is_the_step_of_one_that_is_padded(
    fresh: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, given = _weights(fresh), list[tuple[int, ...]]()

    def counted(sequences: Sequence[Sequence[int]]) -> mx.array:
        given.append((len(sequences), max(map(len, sequences))))
        return padded(sequences)

    monkeypatch.setattr(pretraining, "padded", counted)
    settings = SETTINGS.model_copy(update={"steps": 1, "batch_size": 64})
    divided = pretrain(fresh.model, fresh.tokenizer, settings, TEXT, 0)
    moved = _weights(fresh)
    monkeypatch.setattr(pretraining, "PADDING_SAVED", 1.0)
    fresh.model.load_weights(list(start.items()))
    whole = pretrain(fresh.model, fresh.tokenizer, settings, TEXT, 0)
    short, long, all_rows = given
    assert short[0] + long[0] == all_rows[0] == 64
    assert short[1] < long[1] == all_rows[1]
    for name in ("loss", "answer_loss", "text_loss", "grad_norm"):
        assert divided[0][name] == pytest.approx(whole[0][name], rel=1e-5)
    # All weights as one vector: Adam's first step has the size of the rate even where a gradient is only rounding.
    own, other, first = (
        mx.concatenate([one[name].flatten() for name in start]) for one in (_weights(fresh), moved, start)
    )
    assert mx.linalg.norm(own - other).item() < 0.02 * mx.linalg.norm(own - first).item()


@pytest.mark.parametrize(
    "text",
    [TEXT, SmallText(SmallTasks(tasks=["sums", "things", "swaps"]), ["add", "tool", "crossed"])],
    ids=["arithmetic", "small tasks"],
)
def test_ids_word_by_word_are_those_of_the_whole_text(text: TrainingText) -> None:
    source = BuiltSource(built="llama", hidden_size=32, intermediate_size=64, attention_heads=4, words=text.vocabulary)
    tokenizer = load(Model(source=source, blocks=1)).tokenizer
    words = WordIds(tokenizer)
    for step in range(1, 30):
        for prompt in text.prompts(0, step, 48):
            encoded = encode(tokenizer, prompt)
            assert tuple(words.ids(prompt.text)) == encoded.prompt_ids
            assert (*words.following(prompt.answer), words.stop) == encoded.answer_ids
        for sentence in text.sentences(0, step, 16):
            assert words.ids(sentence.text) == tokenizer.encode(sentence.text)
