"""Text of users in Markdown shows as the text itself, wherever it stands."""

from html.parser import HTMLParser
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from analysis.data.markdown import Markdown, cell, code, code_block, escape, in_tag, one_line, path

NASTY = [
    *("<b>x</b>", "<script>alert(1)</script>", "a | b", "`x` ``", "*x* **y**", "_x_ __y__ a_b_", "[x](y)", "![x](y)"),
    *("&lt; &amp; &#60; &", "a\nb", "\n\n# x", "\n| a |\n| --- |\n", "~~x~~", "$x$", "\\<b>", "\\| \\", "[x]: /y"),
    *("[97, 99](javascript:x)", "[97, 99][x]", "x #", "</details>", "<!-- all cells -->", "--- x", "a\\", "]( <y>"),
    *(
        "98 % [97, 99]",
        "+0.41 [+0.35, +0.47]",
        "log_p",
        "multiply/add · L16 (0.57)",
        "\x00\x1b[1m",
        "\u2028x",
        "\ud800",
    ),
]


class Shown(HTMLParser):
    """The text of a page, and its tags."""

    def __init__(self, markdown: str) -> None:
        super().__init__()
        self.text, self.tags = "", list[str]()
        # As GitHub reads it: HTML is HTML.
        self.feed(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(markdown))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.text += "".join(value or "" for name, value in attrs if name == "alt")

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.tags.append("comment")


PLACES = {
    "a x{} z": ("a x{} z", ["p"]),
    "- {} z": ("{} z", ["ul", "li"]),
    "### {}": ("{}", ["h3"]),
    "**a {}b**: z": ("a {}b: z", ["p", "strong"]),
    "[{}.csv](t.csv)": ("{}.csv", ["p", "a"]),
    "![{} z](t.png)": ("{} z", ["p", "img"]),
}
"""Markdown with a place for text, and what shows of it: its text and its tags."""


def words(text: str) -> list[str]:
    return one_line(text).split()


@pytest.mark.parametrize("text", NASTY)
@pytest.mark.parametrize("place", PLACES)
def test_text_shows_as_itself_and_makes_no_tag(place: str, text: str) -> None:
    shown = Shown(place.format(escape(text)))
    expected, tags = PLACES[place]
    assert words(shown.text) == words(expected.format(one_line(text)))
    assert shown.tags == tags


@given(st.text(alphabet="<>&;lt#*_`~$[]()!|\\\n \"'ab1:/-+=.\t", max_size=30))
def test_any_text_shows_as_itself(text: str) -> None:
    shown = Shown(f"a {escape(text)} b")
    assert (words(shown.text), shown.tags) == (words(f"a {text} b"), ["p"])
    shown = Shown(f"| h | i |\n| --- | --- |\n| {cell(text)} | {cell(code(text))} |\n")
    assert words(shown.text) == words(f"h i {text} {text}")
    code_tags = ["code"] if text else []
    assert [tag for tag in shown.tags if tag not in ("table", "thead", "tbody", "tr", "th", "td")] == code_tags
    shown = Shown(f"{code_block(text, 'yaml')}\n\nafter")
    assert (shown.text.split(), shown.tags) == ([*text.split(), "after"], ["pre", "code", "p"])
    shown = Shown(f"<details><summary>{in_tag(text)}</summary>\n\nx\n")
    assert (words(shown.text), shown.tags) == (words(f"{text} \nx"), ["details", "summary", "p"])


def test_code_keeps_its_spaces() -> None:
    texts = [" multiply", "x ", " x ", "`", ""]
    assert [code(text) for text in texts] == ["` multiply`", "`x `", "`  x  `", "`` ` ``", ""]


def test_what_is_markdown_on_purpose_is_left_alone() -> None:
    assert escape(Markdown("**x**")) == "**x**"
    assert cell(Markdown("`a|b`")) == "`a\\|b`"
    assert escape(f"{Markdown('**x**')}") == "\\*\\*x\\*\\*"


def test_ordinary_names_and_numbers_are_not_changed() -> None:
    for text in ("smollm2-135m", "log_p", "98 % [97, 99]", "-1.0 [-3.1, +1.0]", "12 % [0.8 %, 29 %]", "R² & w = 0.5"):
        assert escape(text) == text


@pytest.mark.parametrize("name", ["st rep", "a#b?c%d", "(x)", "größe", "a'b\"c", "<x>", "a:b"])
def test_a_path_of_a_link_is_percent_encoded(name: str) -> None:
    link = f"[x]({path(name)}/x.csv)"
    assert 'href="' in (html := MarkdownIt().render(link))
    assert unquote(html.split('"')[1]) == f"{name}/x.csv"
