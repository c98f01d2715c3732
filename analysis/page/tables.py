"""Marks the cells of tables by what they are: names of their row, which stay in sight, numbers, or words; and keeps
numbers on a line with their interval."""

import re
from itertools import takewhile

from markdown_it.token import Token

SIGN = "[-+±\N{MINUS SIGN}]"
NUMBER = re.compile(rf"{SIGN}?[\d.,]*\d(?:e{SIGN}?\d+)?(?:\s?%)?|[-\u2013]?")
"""A number alone, or that there is none."""
MEASURED = re.compile(rf"{SIGN}?\d")
"""Beginning of a cell that tells of its row and does not name it."""
LONGEST = 30
"""Characters of a cell above which a column is words: no name of its row, unless it is the first, and no value."""
QUESTION = "Question"
"""Head of the first column of a table of words, whose columns share the width."""
INTERVAL = re.compile(r"[-+.\d*%]+ \[[^\[\]]{1,24}\]")
"""A number with its interval or range, or a mark for which it stands."""


def mark_tables(tokens: list[Token]) -> None:
    """Make the leading columns that name rows their heads, mark those of numbers, and label tables by their section."""
    section, start = "", 0
    for index, token in enumerate(tokens):
        if token.type == "heading_open":
            section = _text(tokens[index + 1])
        elif token.type == "table_open":
            token.meta["label"] = f"table, {section}"
            start = index
        elif token.type == "table_close":
            _mark(tokens[start:index])


def _mark(table: list[Token]) -> None:
    rows: list[list[tuple[Token, Token, Token]]] = []
    for index, token in enumerate(table):
        if token.type == "tr_open":
            rows.append([])
        elif token.type in ("th_open", "td_open"):
            rows[-1].append((token, table[index + 1], table[index + 2]))
    columns = list(zip(*rows, strict=True))
    texts = [[_text(inline) for _, inline, _ in column[1:]] for column in columns]
    names = 1 + len(list(takewhile(_names_rows, texts[1:])))
    if names == len(columns):
        # Nothing tells what the other columns are the names of.
        names = 1
    kinds = [_kind(column) for column in texts]
    if _text(columns[0][0][1]) == QUESTION:
        table[0].attrJoin("class", "words")
    numbers = kinds.count("number") >= kinds.count("value")
    for index, column in enumerate(columns):
        for _, inline, _ in column:
            _keep_intervals(inline)
        if index < names:
            for place, (opening, _, closing) in enumerate(column):
                opening.attrJoin("class", "name")
                if place:
                    opening.tag = closing.tag = "th"
                    opening.attrSet("scope", "row")
        elif kinds[index]:
            for opening, _, _ in column:
                opening.attrJoin("class", kinds[index] if numbers else "value")


def _keep_intervals(inline: Token) -> None:
    """No line ends before or within an interval in brackets."""
    children: list[Token] = []
    for child in inline.children or []:
        found = INTERVAL.search(child.content) if child.type == "text" else None
        while found:
            before, whole, after = child.content[: found.start()], found[0], child.content[found.end() :]
            marked = [Token("whole_open", "span", 1, attrs={"class": "whole"}), Token("whole_close", "span", -1)]
            children += [
                Token("text", "", 0, content=before),
                marked[0],
                Token("text", "", 0, content=whole),
                marked[1],
            ]
            child = Token("text", "", 0, content=after)
            found = INTERVAL.search(after)
        children.append(child)
    inline.children = children


def _text(inline: Token) -> str:
    return "".join(child.content for child in inline.children or []).strip()


def _names_rows(texts: list[str]) -> bool:
    """Whether a column has words that are short."""
    told = [text for text in texts if text]
    return bool(told) and not any(MEASURED.match(text) or len(text) > LONGEST for text in told)


def _kind(texts: list[str]) -> str:
    """`number` where a column has numbers alone, `value` where it has some with their interval, else nothing."""
    if not any(texts) or not all(MEASURED.match(text) or NUMBER.fullmatch(text) for text in texts):
        return ""
    if all(map(NUMBER.fullmatch, texts)):
        return "number"
    return "value" if all(len(text) <= LONGEST for text in texts) else ""
