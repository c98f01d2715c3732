"""Text that users write: the form in which it is compared, the names that become paths, and paths themselves."""

import os
import re
import unicodedata
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

NAME_LENGTH = 40
"""Largest number of characters of a name."""
NAME_RULE = (
    f"a name has 1 to {NAME_LENGTH} letters, digits, - _ and . of any script, and begins with a letter, a digit or _"
)
_REORDERING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Characters that embed or override the direction of a text, so that it is seen in another order than it is read."""
_ENDS = ".,;:!?…。、،؛؟।॥"
"""Punctuation that ends a sentence or a part of one."""


def normal_form(text: str) -> str:
    """Return the form in which texts are compared: two texts with the same one read alike.

    Compatibility variants, upper and lower case, the length of white space, invisible characters and punctuation at the
    end make no difference.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    seen = folded if folded.isascii() else "".join(c for c in folded if unicodedata.category(c) != "Cf")
    spaced = " ".join(seen.split())
    return spaced.rstrip(_ENDS + " ") or spaced


def check_name(text: str) -> str:
    """Return a name in its canonical form (NFC). Raises ValueError where it breaks NAME_RULE."""
    name = unicodedata.normalize("NFC", text)
    if not 1 <= len(name) <= NAME_LENGTH or name[0] in ".-" or not all(c in "-_." or _in_word(c) for c in name):
        raise ValueError(NAME_RULE)
    return name


def words_in(text: str) -> list[str]:
    """Return the words of a text in its order: runs of letters, marks and digits of any script, and _."""
    if text.isascii():
        return re.findall(r"\w+", text)
    return ["".join(run) for is_word, run in groupby(text, lambda c: c == "_" or _in_word(c)) if is_word]


def rooted(written: str, folder: Path) -> Path:
    """Return the path that a YAML file in `folder` means: `~` is expanded, and the rest is relative to the folder."""
    return folder / Path(written).expanduser()


@cache
def _in_word(character: str) -> bool:
    return unicodedata.category(character)[0] in "LMN"


def _name(text: str) -> str:
    try:
        return check_name(text)
    except ValueError as error:
        raise PydanticCustomError("name", "{rule}", {"rule": str(error)}) from None


def _visible(text: str) -> str:
    """Return the text in NFC. Raises PydanticCustomError on control characters and invisible ones, and on spaces other
    than one between two words."""
    if any(unicodedata.category(c)[0] in "CZ" for c in text if c != " ") or text.split(" ") != text.split():
        raise PydanticCustomError(
            "visible", "must be words with one space between them, without control and invisible characters"
        )
    return unicodedata.normalize("NFC", text)


def readable(text: str) -> str:
    """Return the text. Raises PydanticCustomError on control characters, and on those that show it in another order."""
    wrong = [c for c in text if (unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t") or c in _REORDERING]
    if wrong:
        raise PydanticCustomError("readable", "has the control character U+{code}", {"code": f"{ord(wrong[0]):04X}"})
    return text


def _path(text: str) -> str:
    """Return the text of a path. Raises PydanticCustomError where no file can have it."""
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in text):
        raise PydanticCustomError("path", "must be without control characters")
    try:
        parts = Path(text).expanduser().parts
    except RuntimeError:  # ~name of no user
        raise PydanticCustomError("path", "begins with ~ and the name of no user") from None
    if any(len(os.fsencode(part)) > 255 for part in parts):
        raise PydanticCustomError("path", "has a part of more than 255 bytes, which no file system has")
    return text


Name = Annotated[str, AfterValidator(_name), Field(json_schema_extra={"maxLength": NAME_LENGTH})]
"""A name that becomes part of paths and labels."""
Token = Annotated[str, Field(min_length=1, max_length=NAME_LENGTH), AfterValidator(_visible)]
"""A class name."""
Note = Annotated[str, Field(max_length=1000), AfterValidator(readable)]
"""A short text that is only shown."""
PathText = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_path)]
"""The path of a local file or folder, as it is written."""
