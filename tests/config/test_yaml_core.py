"""YAML as YAML 1.2's core schema reads it, with bounds that end every file within a second."""

import math
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from study.config import yaml_core
from study.config.yaml_core import DEEPEST, LARGEST, MOST

LEVELS = "a0: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9)
)


def parsed(text: str) -> Any:
    mistakes: list[str] = []
    found = yaml_core.parse(text, mistakes).data
    assert mistakes == []
    return found


def mistakes_of(text: str) -> list[str]:
    mistakes: list[str] = []
    began = time.process_time()
    assert yaml_core.parse(text, mistakes).data is None
    assert time.process_time() - began < 20  # without its bounds, some would take hours
    return mistakes


def test_only_what_is_read_as_text_gets_the_advice_to_write_a_number() -> None:
    mistake = "a: input should be a valid integer"
    assert yaml_core.parse("a: 1.5", []).placed(mistake) == f"line 1: {mistake}"
    assert "YAML 1.2 reads it as text" in yaml_core.parse("a: 1_000", []).placed(mistake)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("010", 10), ("0o10", 8), ("0x1F", 31), ("-7", -7), ("+7", 7), ("0", 0), ("0b11", "0b11")),
        *(("1.5", 1.5), ("1e-4", 1e-4), (".5", 0.5), ("5.", 5.0), ("-.inf", -math.inf), ("1e999", math.inf)),
        *((text, text) for text in ("1:30", "1_000", "yes", "no", "on", "Off", "y", "2020-01-01", "tRUE", "=", "inf")),
        *(("true", True), ("True", True), ("TRUE", True), ("false", False)),
        *(("null", None), ("Null", None), ("~", None), ("", None), ("nUll", "nUll")),
        *(("'10'", "10"), ('"true"', "true"), ("''", "")),
    ],
)
def test_a_scalar_means_what_the_core_schema_says(text: str, value: Any) -> None:
    found = parsed(f"key: {text}")["key"]
    assert found == value
    assert type(found) is type(value)


def test_nan_is_a_number_and_no_key_merges_another() -> None:
    assert math.isnan(parsed("key: .nan")["key"])
    assert parsed("a: &a {b: 1}\nc: {<<: *a}") == {"a": {"b": 1}, "c": {"<<": {"b": 1}}}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1\nb: 2\n\na: 3", "line 4: the key 'a' is given twice"),
        ("a: 1\nb:\n  c: 1\n  yes: 2\n  c: 3\n", "line 5: the key 'c' is given twice"),
        ("a:\n- !!binary aGk=", "line 2: the tag !!binary is not allowed: write text, numbers, lists and mappings"),
        ("a: !!set {b}", "line 1: the tag !!set is not allowed: write text, numbers, lists and mappings"),
        ("a: !!python/none", "line 1: the tag !!python/none is not allowed: write text, numbers, lists and mappings"),
        ("a: 1\nb: \0", "line 2: is not YAML: unacceptable character U+0000"),
        ('a: "b\\0"', "line 1: a text with the character U+0000 is not allowed"),
        ("a: &b {c: *b}", "line 1: *b stands within what it stands for"),
        ("a: *b", "line 1: *b stands for nothing: no &b is before it"),
        ("a: 1\n---\na: 2", "line 2: a second document begins; a file has one"),
        ("{[1]: 2}", "line 1: a key is a list or a mapping: write text"),
        ("[" * 10**6, f"line 1: lists and mappings are nested more than {DEEPEST} deep"),
        ("{a: " * 10**5, f"line 1: lists and mappings are nested more than {DEEPEST} deep"),
        (LEVELS, "line 6: the file has more than 100,000 values, what aliases stand for included"),
        (
            "- x\n" * (MOST + 1),
            f"line {MOST + 1}: the file has more than 100,000 values, what aliases stand for included",
        ),
        ("a: " + "9" * 5000, "line 1: a number has 5000 characters; at most 400 are allowed"),
    ],
)
def test_what_no_settings_can_hold_is_refused_with_one_message_and_its_line(text: str, told: str) -> None:
    assert mistakes_of(text) == [told]


@pytest.mark.parametrize("text", ["a: [", "a: b: c", '"\\ud800"', "\t", "%x", "{", "- a\nb: 1"])
def test_what_is_not_yaml_is_told_with_a_line(text: str) -> None:
    (told,) = mistakes_of(text)
    assert told.startswith("line ")
    assert ": is not YAML: " in told


def test_a_duplicate_is_found_among_very_many_keys_at_once() -> None:
    keys = "".join(f"k{i}: 1\n" for i in range(40_000))
    assert mistakes_of(keys + "k7: 2") == ["line 40001: the key 'k7' is given twice"]


def test_a_file_of_any_size_is_refused_and_so_is_one_that_is_not_utf_8(tmp_path: Path) -> None:
    file, mistakes = tmp_path / "x.yaml", list[str]()
    with file.open("wb") as stream:
        stream.truncate(2**40)
    yaml_core.read(file, mistakes)
    file.write_bytes(b"a: 1\nb: \xff")
    yaml_core.read(file, mistakes)
    assert mistakes == [
        f"is larger than {LARGEST // 2**20} MiB, the largest size of a YAML file",
        "line 2: is not YAML: it is not UTF-8",
    ]


def test_a_mistake_has_the_line_of_its_path_or_of_the_part_of_it_that_is_there() -> None:
    document = yaml_core.parse("a:\n  b.c: &x 1\n  b: {d: [1,\n    2]}\ne: *x\n", [])
    placed = {path: document.placed(f"{path}: told") for path in ("a.b.c", "a.b.d.1", "a.q", "e", "the file", "f.a")}
    assert {path: told.removesuffix(f"{path}: told") for path, told in placed.items()} == {
        "a.b.c": "line 2: ",
        "a.b.d.1": "line 4: ",
        "a.q": "line 1: ",
        "e": "line 5: ",
        "the file": "",
        "f.a": "",
    }


def test_what_is_written_is_read_again_as_the_same_by_either_version_of_yaml() -> None:
    words = "1e4 yes 010 0o10 0x1F null ~ .5 1_000 1:30 2020-01-01 << = +1 .inf true é a:b".split()
    data = {"words": [*words, "", "a: b", "line\nline", " "], "numbers": [1e-5, 1e22, 0.1, -3, math.inf], "on": None}
    text = yaml_core.dump(data, sort_keys=False, allow_unicode=True)
    assert parsed(text) == yaml.safe_load(text) == data
