"""What the control arms train, on stacks of tiny models and on each cell alone."""

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from study.config.arms import ARMS
from study.config.catalogue import BuiltSource, Model
from study.config.grid import Grid
from study.config.names import ClassName, Operation
from study.config.stages import Lora, Stage2
from study.config.units import Readout
from study.config.wordings import words_of_templates
from study.lens.hooks import attached
from study.lens.tokens import COMMON_WORDS, MATCHED, ClassTokenError, class_tokens
from study.models.built import word_tokenizer
from study.models.load import Loaded, load
from study.plan.expand import readout
from study.tasks.prompts import shuffled_label
from study.training import adapters
from study.training.loop import Objective, Trained, TrainingData, train
from study.training.objectives import ClassLoss, dual_reward, make_batch
from tests.architectures import NAMES, make
from tests.training.test_adapters import stack_shaken
from tests.training.test_loop import DATA, WILD, assert_same
from tests.training.test_objectives import LONG, SHORT, class_nll

OPERATIONS: list[Operation] = ["multiply", "add"]
PAIR = Readout(pair={"multiply": "multiply", "add": "add"})
LORA = Lora(rank=4, alpha=8.0, projections=["v_proj", "o_proj"])
ALL = Lora(rank=2, alpha=2.0, projections="all")
TOKENS: dict[Operation, int] = {"multiply": 50, "add": 60}


@pytest.fixture(scope="module")
def loaded(tiny: Model) -> Loaded:
    return load(tiny)


def ids(loaded: Loaded) -> dict[Operation, int]:
    return {operation: token.id for operation, token in class_tokens(loaded.tokenizer, PAIR).items()}


def run(loaded: Loaded, *objectives: Objective, **changes: Any) -> list[Trained]:
    settings = Stage2(steps=30, warmup_steps=3, weight_decay=0.01, lora=LORA).model_copy(update=changes)
    return train(loaded.model, loaded.tokenizer, settings, TrainingData(DATA, OPERATIONS, 0), objectives)


def test_the_labels_of_a_batch_are_those_of_the_templates_whatever_the_operands(loaded: Loaded) -> None:
    data = TrainingData(DATA, OPERATIONS, 3)
    drawn: dict[tuple[str, str], set[str]] = {}
    for step in range(40):
        encoded, labels = data.batch(loaded.tokenizer, step, 8)
        for item, label in zip(encoded, labels, strict=True):
            assert label == shuffled_label(item.prompt, OPERATIONS, 3)
            drawn.setdefault((item.prompt.template, item.prompt.operation), set()).add(label)
    assert all(len(found) == 1 for found in drawn.values())
    assert {(operation in found) for (_, operation), found in drawn.items()} == {True, False}


def test_the_class_loss_of_shuffled_labels_is_that_of_the_labels_and_no_other_cells() -> None:
    model = make("llama")
    targets = [ClassLoss(1, 1.0, TOKENS), ClassLoss(1, 1.0, TOKENS, shuffled=True)]
    batch = make_batch([SHORT, LONG], cells=targets, shuffled=["add", "add"])
    with attached(model) as lens:
        _, losses = dual_reward(lens, batch, targets)
    expected = [np.mean(class_nll(model, 1, tokens)) for tokens in (TOKENS, {"multiply": 60, "add": 60})]
    np.testing.assert_allclose(losses["class_loss"].tolist(), expected, rtol=1e-5)


@pytest.mark.slow
def test_cells_of_shuffled_labels_stack_with_plain_ones_and_train_otherwise(loaded: Loaded) -> None:
    plain, shuffled = (Objective(1e-3, ClassLoss(2, 0.5, ids(loaded), shuffled=which)) for which in (False, True))
    stacked = run(loaded, plain, shuffled)
    for objective, cell in zip((plain, shuffled), stacked, strict=True):
        assert_same(cell, *run(loaded, objective))
    told = [[row["class_loss"] for row in cell.curve] for cell in stacked]
    assert told[0] != told[1]


def test_swapped_tokens_give_each_operation_the_token_of_the_next() -> None:
    pair: dict[Operation, str] = {"multiply": "a", "add": "b", "subtract": "c"}
    swapped = readout(pair, "swapped_tokens")
    assert swapped == Readout(pair={"multiply": "b", "add": "c", "subtract": "a"})
    assert (swapped.name, swapped.random) == ("b/c/a", False)
    assert readout(PAIR.pair, "swapped_tokens").name == "add/multiply"
    for arm in ("plain", "shuffled_labels", "lora_below", "detached_answer"):
        assert readout(pair, arm) == Readout(pair=pair)
    assert readout(PAIR.pair, "random_words").name == "random:multiply/add"


def common_words() -> list[str]:
    return COMMON_WORDS.read_text().split()


@pytest.fixture(scope="module")
def large() -> Any:
    """A tokenizer that has every common word, and the class names, as one token."""
    return word_tokenizer([*common_words(), "multiply", "add"])


@pytest.mark.parametrize("seed", range(5))
def test_random_words_stand_near_the_class_token_and_are_no_word_of_a_prompt(large: Any, seed: int) -> None:
    own = class_tokens(large, PAIR)
    drawn = class_tokens(large, Readout(pair=PAIR.pair, random=True), seed, words_of_templates())
    usable = [word for word in common_words() if word not in words_of_templates() | {"multiply", "add"}]
    place = {word: large.encode(f" {word}", add_special_tokens=False)[0] for word in usable}
    for operation, token in drawn.items():
        word = token.text.strip()
        assert (token.text, token.id, token.leading_space) == (f" {word}", place[word], True)
        nearer = [
            other for other in usable if abs(place[other] - own[operation].id) < abs(token.id - own[operation].id)
        ]
        assert len(nearer) < MATCHED + len(drawn)
    assert len({token.id for token in drawn.values()}) == len(drawn)


def test_random_words_follow_from_the_seed_and_not_from_the_order_of_the_pair(large: Any) -> None:
    def drawn(seed: int, *operations: Operation) -> Any:
        (pair,) = Grid(layers=[0], pairs=[{name: PAIR.pair[name] for name in operations}], weights=[0.5]).pairs
        return class_tokens(large, Readout(pair=pair, random=True), seed)

    assert drawn(0, "multiply", "add") == drawn(0, "multiply", "add") == drawn(0, "add", "multiply")
    assert len({str(drawn(seed, "multiply", "add")) for seed in range(6)}) > 3


@pytest.mark.parametrize(("class_name", "counts"), [("first", (1, 1)), ("sequence", (3, 2))])
def test_random_words_are_as_many_as_the_tokens_that_are_read(
    large: Any, class_name: ClassName, counts: tuple[int, int]
) -> None:
    pair = {"multiply": "multiply river stone", "add": "add copper"}
    drawn = class_tokens(large, Readout(pair=pair, random=True, class_name=class_name), 0)
    assert tuple(len(token.ids) for token in drawn.values()) == counts
    for token in drawn.values():
        assert large.encode(token.text, add_special_tokens=False) == list(token.ids)
    assert len({one for token in drawn.values() for one in token.ids}) == sum(counts)


@pytest.mark.parametrize("words", [["multiply", "add"], ["multiply", "add", "river"]])
def test_a_vocabulary_without_enough_common_words_has_no_random_words(words: list[str]) -> None:
    tokenizer = word_tokenizer(words)
    with pytest.raises(ClassTokenError, match=r"has no word of words\.txt to put in the place of ' (multiply|add)'"):
        class_tokens(tokenizer, Readout(pair=PAIR.pair, random=True))


def test_the_common_words_are_no_words_of_a_prompt_once_each_and_in_lower_case() -> None:
    words = common_words()
    assert len(words) == len(set(words)) > 500
    assert all(word.isalpha() and word.islower() for word in words)


@pytest.mark.parametrize("weight", [0.5, 1.0])
def test_adapters_above_the_layer_stay_zero_and_those_at_and_below_train(loaded: Loaded, weight: float) -> None:
    (cell,) = run(loaded, Objective(2e-3, ClassLoss(1, weight, ids(loaded)), adapted=range(2)))
    for name, value in cell.weights.items():
        if name.endswith("lora_b"):
            assert bool(mx.any(value != 0).item()) == (int(name.split(".")[2]) <= 1), name


@pytest.mark.parametrize("weight", [0.5, 1.0])
def test_with_adapters_at_the_layer_alone_all_others_stay_zero(loaded: Loaded, weight: float) -> None:
    (cell,) = run(loaded, Objective(2e-3, ClassLoss(2, weight, ids(loaded)), adapted=range(2, 3)))
    for name, value in cell.weights.items():
        if name.endswith("lora_b"):
            assert bool(mx.any(value != 0).item()) == (int(name.split(".")[2]) == 2), name


def test_arms_say_which_blocks_have_adapters() -> None:
    having = {name: (arm.adapters_below, arm.adapters_above) for name, arm in ARMS.items()}
    assert having["lora_at"] == (False, False)
    assert having["lora_below"] == (True, False)
    assert set(having.values()) == {(True, True), (True, False), (False, False)}


@pytest.mark.slow
def test_a_cell_that_trains_below_alone_stacks_and_leaves_its_neighbours_as_they_are(loaded: Loaded) -> None:
    below = Objective(2e-3, ClassLoss(1, 0.5, ids(loaded)), adapted=range(2))
    free = Objective(2e-3, ClassLoss(1, 0.5, ids(loaded)))
    lowest = Objective(1e-3, ClassLoss(0, 0.3, ids(loaded)), adapted=range(1))
    stacked = run(loaded, below, free, lowest)
    for objective, cell in zip((below, free, lowest), stacked, strict=True):
        assert_same(cell, *run(loaded, objective))
    (without,) = run(loaded, free)
    above = "model.layers.3.self_attn.v_proj.lora_b"
    assert mx.any(without.weights[above] != 0).item()
    assert stacked[0].curve[0]["grad_norm"] < stacked[1].curve[0]["grad_norm"]  # clipped by what it trains alone


def gradients(model: nn.Module, *targets: ClassLoss) -> list[dict[str, np.ndarray]]:
    """Of each cell, on adapters whose updates are the same and not zero."""
    stack_shaken(model, ALL, seeds=[0] * len(targets))
    for _, layer in model.named_modules():
        if isinstance(layer, adapters.StackedLoRA):
            layer.lora_b = mx.repeat(layer.lora_b[:1], len(targets), axis=0)
    batch = make_batch([SHORT, LONG], cells=targets)
    with attached(model) as lens:
        _, found = nn.value_and_grad(model, lambda: dual_reward(lens, batch, targets)[0])()
    adapters.take_off(model)
    return [{name: np.array(value[g], np.float64) for name, value in tree_flatten(found)} for g in range(len(targets))]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_a_detached_answer_reaches_no_adapter_at_or_below_the_layer_and_those_above_as_ever(
    name: str, layer: int
) -> None:
    model = make(name)
    none, detached, plain, of_class = gradients(
        model,
        ClassLoss(layer, 0.0, TOKENS, detached=True),
        ClassLoss(layer, 0.4, TOKENS, detached=True),
        ClassLoss(layer, 0.0, TOKENS),
        ClassLoss(layer, 1.0, TOKENS),
    )
    for path, value in none.items():
        largest = max(np.abs(plain[path]).max(), np.abs(of_class[path]).max(), 1e-3)
        if adapters_block(path) > layer:
            np.testing.assert_allclose(value, plain[path], atol=1e-4 * largest)
            np.testing.assert_allclose(detached[path], 0.6 * plain[path], atol=1e-4 * largest)
        else:
            assert not value.any()
            assert plain[path].any()
            np.testing.assert_allclose(detached[path], 0.4 * of_class[path], atol=1e-4 * largest)


def adapters_block(path: str) -> int:
    return next(int(part) for part in path.split(".") if part.isdecimal())


@pytest.mark.slow
def test_a_detached_cell_stacks_and_leaves_its_neighbours_as_they_are(loaded: Loaded) -> None:
    objectives = [
        Objective(2e-3, ClassLoss(1, 0.5, ids(loaded), detached=True)),
        Objective(2e-3, ClassLoss(1, 0.5, ids(loaded))),
        Objective(2e-3, ClassLoss(2, 0.5, ids(loaded), detached=True)),
        Objective(1e-3),
    ]
    stacked = run(loaded, *objectives)
    for objective, cell in zip(objectives, stacked, strict=True):
        assert_same(cell, *run(loaded, objective))
    name = "model.layers.0.self_attn.v_proj.lora_b"
    assert np.abs(np.array(stacked[0].weights[name] - stacked[1].weights[name])).max() > 1e-3


def test_a_neighbour_that_diverges_leaves_every_arm_as_without_it(loaded: Loaded) -> None:
    arms = [
        Objective(2e-3, ClassLoss(1, 0.5, ids(loaded)), adapted=range(2)),
        Objective(2e-3, ClassLoss(2, 0.5, ids(loaded), detached=True)),
        Objective(2e-3, ClassLoss(1, 0.5, ids(loaded), shuffled=True)),
    ]
    wild = Objective(WILD, ClassLoss(3, 0.5, ids(loaded), detached=True), adapted=range(4))
    dropped, *cells = run(loaded, wild, *arms, steps=10, clip_norm=WILD)
    assert dropped.error
    for cell, alone in zip(cells, run(loaded, *arms, steps=10, clip_norm=WILD), strict=True):
        assert cell.error is None
        assert_same(cell, alone)


def test_an_answer_that_is_detached_is_the_same_in_a_compiled_stack(loaded: Loaded) -> None:
    objectives = [Objective(2e-3, ClassLoss(1, 0.5, ids(loaded), detached=True)), Objective(1e-3, adapted=range(3))]
    settings = Stage2(steps=8, warmup_steps=2, lora=LORA)
    exact, rounded = (
        train(
            loaded.model, loaded.tokenizer, settings, TrainingData(DATA, OPERATIONS, 0), objectives, compiled=compiled
        )
        for compiled in (False, True)
    )
    for one, other in zip(exact, rounded, strict=True):
        assert_same(one, other)


def test_the_model_of_another_architecture_trains_every_arm() -> None:
    other = load(Model(source=BuiltSource(built="gemma3_text"), blocks=4))
    tokens = ids(other)
    objectives = [
        Objective(2e-3, ClassLoss(1, 0.5, tokens, shuffled=True)),
        Objective(2e-3, ClassLoss(1, 0.5, tokens), adapted=range(2)),
        Objective(2e-3, ClassLoss(2, 0.5, tokens, detached=True)),
    ]
    for objective, cell in zip(objectives, run(other, *objectives, steps=10), strict=True):
        assert_same(cell, *run(other, objective, steps=10))
