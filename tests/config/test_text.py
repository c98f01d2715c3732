"""The form in which texts are compared, and the names that become paths."""

import unicodedata
from pathlib import Path

import pytest

from study.config.text import NAME_LENGTH, check_name, normal_form, rooted, words_in

SAME = [
    ("Café", "Cafe\u0301"),
    ("See the robin, a", "see  the\u00a0ROBIN, a."),
    ("one two", "one\ttwo\n"),
    ("word", "wo\u200brd"),
    ("ﬁve", "FIVE"),
    ("Straße", "STRASSE"),
    ("really?", "really!?"),
    ("好。", "好"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_texts_that_read_alike_have_one_normal_form(one: str, other: str) -> None:
    assert normal_form(one) == normal_form(other)
    assert normal_form(normal_form(one)) == normal_form(one)


@pytest.mark.parametrize(
    ("one", "other"), [("7 * 8 =", "7 + 8 ="), ("7 *", "7 -"), ("a b", "ab"), ("?", ""), ("e", "é")]
)
def test_texts_that_say_different_things_have_different_ones(one: str, other: str) -> None:
    assert normal_form(one) != normal_form(other)


@pytest.mark.parametrize("name", ["smollm2-135m", "qwen2.5-0.5b", "_a", "ä", "हिन्दी", "日本語", "1", "a" * NAME_LENGTH])
def test_names_may_be_of_any_script(name: str) -> None:
    assert check_name(name) == unicodedata.normalize("NFC", name)
    assert check_name(unicodedata.normalize("NFD", name)) == unicodedata.normalize("NFC", name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".a", "-a", "a/b", "a\\b", "a b", "a\0", "a\u200d", "\ud800", "a=b", "<i>", "a" * 41, "😀"]
)
def test_what_no_name_may_be_is_refused_with_the_rule(name: str) -> None:
    with pytest.raises(ValueError, match="a name has 1 to 40 letters, digits"):
        check_name(name)


def test_words_are_of_any_script() -> None:
    assert words_in("The sum of 7, and x_1.") == ["The", "sum", "of", "7", "and", "x_1"]
    assert words_in("Où est नई दिल्ली? 北京。") == ["Où", "est", "नई", "दिल्ली", "北京"]


def test_a_path_is_relative_to_its_file_and_may_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = Path(tmp_path.resolve())
    assert rooted("a/b", folder) == folder / "a" / "b"
    assert rooted("/a/b", folder) == Path("/a/b")
    assert rooted("~/b", folder) == folder / "home" / "b"
