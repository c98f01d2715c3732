"""How the page reads the report's Markdown: its opening and its tables."""

import re

from analysis.page.outline import mark_opening
from analysis.page.reader import reader
from analysis.page.tables import mark_tables


def _reads(markdown: str) -> str:
    parser = reader()
    tokens = parser.parse(markdown)
    mark_tables(tokens)
    mark_opening(tokens)
    return str(parser.renderer.render(tokens, parser.options, {}))


def test_the_opening_has_its_first_bold_paragraph_or_a_quotation_as_the_lead() -> None:
    text = _reads("# Title\n\nOf *it*.\n\n**All that counts.**\n\n**More.**\n\n## Section\n\n**No.**\n")
    assert re.findall(r'<p class="lead"><strong>(.*?)</strong></p>', text) == ["All that counts."]
    assert text.index("</div>") < text.index("<h2>")
    assert text.startswith('<div class="opening">')
    text = _reads("# Title\n\n> **In short.** All that counts.\n\n**One** and **two**\n")
    assert 'class="lead"' not in text
    assert re.search(r'<div class="opening">.*<blockquote>.*</div>', text, flags=re.DOTALL)
    assert "opening" not in _reads("## Section\n\n**Bold.**\n")


def test_cells_of_a_table_are_names_numbers_values_or_words() -> None:
    rows = "| a `b` | one | 62* | 5 | words |\n| | two | 63 [50\u201379] | \u22127.5e-3 % | 3 words, not a number |\n"
    text = _reads(f"| place | model | x | y | z |\n|---|---|---|---|---|\n{rows}")
    body = re.findall(r"<(t[hd])([^>]*)>", text.split("<tbody>")[1])
    classes = [(tag, (re.findall(r'class="(\w+)"', attributes) or [""])[0]) for tag, attributes in body]
    assert classes == 2 * [("th", "name"), ("th", "name"), ("td", "value"), ("td", "number"), ("td", "")]


def test_no_line_ends_within_an_interval_and_tables_of_words_are_marked() -> None:
    row = "| a | **94 [82-100]** (50) | -0.7 [-4.7, +3.3], seeds +1.0 to +2.0; 5 [1, 2] | [no, number] |"
    text = _reads(f"| place | x | y | z |\n|---|---|---|---|\n{row}\n")
    whole = re.findall(r'<span class="whole">(.*?)</span>', text)
    assert whole == ["94 [82-100]", "-0.7 [-4.7, +3.3]", "5 [1, 2]"]
    assert re.sub("<[^>]*>", "", text.split("<tbody>")[1]).split("\n") == [
        *("", "", "a", "94 [82-100] (50)", "-0.7 [-4.7, +3.3], seeds +1.0 to +2.0; 5 [1, 2]", "[no, number]"),
        *("", "", "", ""),
    ]
    assert '<table class="words">' not in text
    assert '<table class="words">' in _reads("| Question | Answer |\n|---|---|\n| why | because |\n")
