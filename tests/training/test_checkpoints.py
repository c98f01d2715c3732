"""The file of one training: read back as it was written, or not at all."""

import errno
import json
import logging
import os
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from study.training.checkpoints import MOMENTS, Checkpoint, State

SHAPES = {"layers.0.lora_a": (6, 2), "layers.0.lora_b": (2, 5)}
CURVE: list[dict[str, Any]] = [
    {"step": step, "loss": 1 / (3 + step), "class_loss": float("nan"), "grad_norm": 1e-30, "tokens": 7 * step}
    for step in (1, 2, 3)
]
ONSET = [{"step": 2, "layer": 0, "tier": "story", "p": 0.1, "choice": 1.0}]


def state(**changes: mx.array) -> State:
    arrays = {
        name + part: mx.random.normal(shape, key=mx.random.key(len(name + part)))
        for name, shape in SHAPES.items()
        for part in ("", *MOMENTS)
    }
    return State({**arrays, **changes}, CURVE, ONSET)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints" / "cell.safetensors"


@pytest.fixture
def checkpoint(file: Path) -> Checkpoint:
    return Checkpoint(file, "1a2b3c4d", every=1)


def test_a_state_is_read_back_as_it_was_to_the_bit(checkpoint: Checkpoint, file: Path) -> None:
    assert checkpoint.load(SHAPES) is None
    written = state()
    checkpoint.save(written)
    read = checkpoint.load(SHAPES)
    assert read is not None
    assert read.step == 3
    assert read.arrays.keys() == written.arrays.keys()
    assert all(mx.array_equal(value, written.arrays[name]).item() for name, value in read.arrays.items())
    assert json.dumps([read.curve, read.onset]) == json.dumps([CURVE, ONSET])  # NaN is not equal to itself
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    checkpoint.remove()
    checkpoint.remove()
    assert checkpoint.load(SHAPES) is None


def test_of_two_states_the_last_is_kept(checkpoint: Checkpoint) -> None:
    checkpoint.save(state())
    checkpoint.save(State(state().arrays, CURVE[:1]))
    read = checkpoint.load(SHAPES)
    assert read is not None
    assert (read.step, read.onset) == (1, [])


def test_a_file_that_is_torn_anywhere_is_told_and_not_used(
    checkpoint: Checkpoint, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint.save(state())
    whole = file.read_bytes()
    cut = [whole[:length] for length in [*range(0, len(whole), 37), len(whole) - 1]]
    blank = [whole[:length] + bytes(len(whole) - length) for length in (0, 4, 8, 100)]
    for content in [*cut, *blank]:
        file.write_bytes(content)
        assert checkpoint.load(SHAPES) is None, content
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == len(cut) + len(blank)
    assert all(line.startswith(f"{file} cannot be used, training starts at its first step: ") for line in told)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"layers.0.lora_a": mx.zeros((6, 3))}, "its arrays are not those of the adapter and its optimiser"),
        ({"layers.0.lora_b.v": mx.zeros((5, 2))}, "its arrays are not those of the adapter and its optimiser"),
        ({"layers.1.lora_a": mx.zeros((6, 2))}, "its arrays are not those of the adapter and its optimiser"),
        ({"layers.0.lora_a": mx.full((6, 2), float("nan"))}, "it holds values that are not finite"),
        ({"layers.0.lora_b.m": mx.full((2, 5), float("inf"))}, "it holds values that are not finite"),
    ],
)
def test_arrays_that_do_not_fit_or_are_not_finite_are_told_and_not_used(
    checkpoint: Checkpoint, caplog: pytest.LogCaptureFixture, changes: dict[str, mx.array], why: str
) -> None:
    checkpoint.save(state(**changes))
    assert checkpoint.load(SHAPES) is None
    assert caplog.records[-1].getMessage().endswith(f"first step: {why}")


def test_a_file_of_another_unit_or_of_nothing_known_is_told_and_not_used(
    checkpoint: Checkpoint, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Checkpoint(file, "5e6f7a8b", every=1).save(state())
    assert checkpoint.load(SHAPES) is None
    assert "it is of the unit 5e6f7a8b, not of 1a2b3c4d" in caplog.text
    mx.save_safetensors(str(file), state().arrays)
    assert checkpoint.load(SHAPES) is None
    file.write_text("weights")
    assert checkpoint.load(SHAPES) is None
    assert len(caplog.records) == 3


def test_a_full_disk_is_told_and_leaves_the_state_before(
    checkpoint: Checkpoint, file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint.save(state())

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "fsync", full)
    with caplog.at_level(logging.WARNING):
        checkpoint.save(State(state().arrays, CURVE[:1]))
    told = caplog.records[-1].getMessage()
    assert told.startswith(f"step 1 is not saved in {file}, training continues: ")
    assert told.endswith("no space left; free some space")
    read = checkpoint.load(SHAPES)
    assert read is not None
    assert read.step == 3
    assert [path.name for path in file.parent.iterdir()] == [file.name]
