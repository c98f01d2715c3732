"""GGUF files of several parts, and files that are broken."""

import random
import time
from pathlib import Path

import numpy as np
import pytest

from study.models import ModelError
from study.models.gguf import convert
from tests.models.made_gguf import LLAMA, random_model, write_gguf

import mlx.core as mx  # isort: skip
from mlx_lm.utils import load_model  # isort: skip


def parts(folder: Path, count: int = 15) -> list[Path]:
    write_gguf(folder / "m.gguf", split=count)
    return sorted(folder.glob("*.gguf"))


@pytest.mark.parametrize("given", [0, 1, 2])
def test_all_parts_of_a_split_file_are_read_whichever_is_given(tmp_path: Path, given: int) -> None:
    written = parts(tmp_path)
    assert [part.name for part in written] == [f"m-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
    original, _ = random_model(LLAMA)
    convert(written[given], tmp_path / "out")
    converted, _ = load_model(tmp_path / "out")
    tokens = mx.array([[5, 17, 250]])
    np.testing.assert_allclose(np.array(converted(tokens)), np.array(original(tokens)), atol=2e-4)


def test_parts_that_are_missing_are_named(tmp_path: Path) -> None:
    written = parts(tmp_path)
    written[1].unlink()
    with pytest.raises(
        ModelError, match=r"one of 3 parts of a split file, and beside it m-00002-of-00003\.gguf is miss"
    ):
        convert(written[0], tmp_path / "out")


def test_a_part_under_another_name_is_no_whole_file(tmp_path: Path) -> None:
    part = parts(tmp_path)[0].rename(tmp_path / "whole.gguf")
    with pytest.raises(ModelError, match=r"whole\.gguf says that it is part 1 of 3: all parts.*NAME-00001-of-00003"):
        convert(part, tmp_path / "out")


def test_parts_of_two_files_are_refused(tmp_path: Path) -> None:
    written = parts(tmp_path)
    written[2].write_bytes(written[1].read_bytes())
    with pytest.raises(ModelError, match="says that it is part 2 of 3"):
        convert(written[0], tmp_path / "out")


def outcome(file: Path, out: Path) -> str:
    """Of a conversion, which takes milliseconds; a count that is believed would take hours, or all memory."""
    began = time.process_time()
    try:
        convert(file, out)
    except ModelError:
        return "refused"
    finally:
        assert time.process_time() - began < 20
    return "converted"


def test_a_file_that_is_cut_anywhere_is_refused_at_once(tmp_path: Path) -> None:
    whole = write_gguf(tmp_path / "m.gguf").read_bytes()
    cut = tmp_path / "cut.gguf"
    for length in [*range(0, 6400, 64), *range(6400, len(whole), 4096), len(whole) - 1]:
        cut.write_bytes(whole[:length])
        assert outcome(cut, tmp_path / "out") == "refused", length


def test_a_header_with_random_bytes_is_refused_or_read_at_once(tmp_path: Path) -> None:
    whole = write_gguf(tmp_path / "m.gguf").read_bytes()
    header = whole.index(b"blk.3.ffn_up.weight") + 60
    broken, rng, ends = tmp_path / "broken.gguf", random.Random(0), set[str]()
    for number in range(300):
        content = bytearray(whole)
        for _ in range(rng.choice([1, 2, 8])):
            place = rng.randrange(header if number % 2 else 900)
            content[place : place + rng.choice([1, 8])] = rng.choice([b"\xff", b"\x00", bytes([rng.randrange(256)])])
        broken.write_bytes(content)
        ends.add(outcome(broken, tmp_path / str(number)))
    assert ends == {"refused", "converted"}


@pytest.mark.parametrize("field", [8, 16])
@pytest.mark.parametrize("count", [10**5, 2**40, 2**64 - 1])
def test_a_count_that_the_file_cannot_hold_is_refused_at_once(tmp_path: Path, field: int, count: int) -> None:
    content = bytearray(write_gguf(tmp_path / "m.gguf").read_bytes())
    content[field : field + 8] = count.to_bytes(8, "little")
    (tmp_path / "m.gguf").write_bytes(content)
    assert outcome(tmp_path / "m.gguf", tmp_path / "out") == "refused"
