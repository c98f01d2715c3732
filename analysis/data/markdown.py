"""Text of users in Markdown: what is not Markdown on purpose is escaped where it is inserted, and shows as it is."""

import html
import re
import unicodedata
from urllib.parse import quote

NUMBER = r"[-+]?(?:\d[\d.]*|nan|inf)(?:[ ]%)?"
SPECIAL = re.compile(
    rf"""
    (?P<interval>\[{NUMBER},[ ]{NUMBER}\](?![(\[]))  # of which no link can come
    | (?P<entity>&(?=[A-Za-z\#]|$))
    | (?P<tag><)
    | [\\`*~$\[\]]
    | (?<![^\W_])_ | _(?![^\W_])                      # within a word it is no emphasis
    | (?:^|(?<=\s))\#                                 # a heading, or the end of one
    """,
    re.VERBOSE,
)
BREAKS = re.compile(r"\s*[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]\s*")


class Markdown(str):
    """Text that is Markdown on purpose, so that it is inserted as it is."""

    def __html__(self) -> str:
        """Return the text itself: by this method jinja2 knows what needs no escaping."""
        return self


def escape(value: object) -> Markdown:
    """Return Markdown that shows the text of `value` and nothing else, on one line; Markdown is returned as it is."""
    return Markdown(value) if hasattr(value, "__html__") else Markdown(SPECIAL.sub(_escaped, one_line(str(value))))


def one_line(text: str) -> str:
    """Return the text with a space for each line break, and a sign in the place of each control character."""
    spaced = BREAKS.sub(" ", text).replace("\t", " ")
    return "".join("\ufffd" if unicodedata.category(sign) in ("Cc", "Cs") else sign for sign in spaced)


def cell(value: object) -> Markdown:
    """Return Markdown for a cell of a table, which the text cannot end."""
    markdown = value if hasattr(value, "__html__") else escape(" ".join(str(value).split()))
    return Markdown(str(markdown).replace("|", "\\|"))


def code(text: str) -> Markdown:
    """Return the text as code, which it cannot end; nothing for no text."""
    line = one_line(text)
    fence = "`" * (_longest_fence(line) + 1)
    # One space at either end is taken away by Markdown, and separates the fence from text that begins with its sign.
    padding = " " if re.search(r"^`|`$|^ .*\S.* $", line) else ""
    return Markdown(f"{fence}{padding}{line}{padding}{fence}" if line else "")


def code_block(text: str, language: str) -> Markdown:
    """Return lines as a block of code, which they cannot end."""
    fence = "`" * max(3, _longest_fence(text) + 1)
    return Markdown(f"{fence}{language}\n{text.removesuffix(chr(10))}\n{fence}")


def in_tag(text: str) -> Markdown:
    """Return the text for a line of HTML in the Markdown."""
    return Markdown(html.escape(one_line(text)))


def path(text: str) -> Markdown:
    """Return a name as a part of a link's path."""
    return Markdown(quote(text, safe="", errors="replace"))


def _escaped(found: re.Match[str]) -> str:
    match found.lastgroup:
        case "interval":
            return found[0]
        case "entity":
            return "&amp;"
        case "tag":
            return "&lt;"
        case _:
            return f"\\{found[0]}"


def _longest_fence(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)
