"""What the page holds besides its text: pictures, and data and the library that draws charts, which are compressed."""

import base64
import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

import vl_convert

from study.config.json_files import read_json, seal, unseal
from study.models.cache_root import cache_root
from study.results.files import UnwritableError, write_json

VEGA_LITE = "6.4"
LIBRARY = "window.vegaEmbed = vegaEmbed;"
"""What the page uses of Vega."""
IN_URI = " !$'()*+,-./:;<=>?@[]^_`{|}~"
"""What stands for itself in a data URI within double quotes, where `&` would begin a character reference."""


@cache
def drawing_library() -> str:
    """Return the JavaScript that draws charts: from the cache, since to put it together takes seconds."""
    made_of = hashlib.sha256("|".join([version("vl-convert-python"), VEGA_LITE, LIBRARY]).encode()).hexdigest()
    file = cache_root() / "pages" / f"vega_{made_of[:16]}.json"
    with suppress(OSError, ValueError, KeyError):  # it is not there, or damaged
        return str(unseal(read_json(file), ())["script"])
    script = vl_convert.javascript_bundle(LIBRARY, vl_version=VEGA_LITE)
    with suppress(UnwritableError):
        write_json(file, seal({"script": script}))
    return script


@cache
def packed_library() -> str:
    """Return the same, compressed."""
    return _compressed(drawing_library())


def packed(files: Mapping[str, str], charts: Mapping[str, Any]) -> str:
    """Return tables as CSV and charts, by their names, compressed; several names of one text share it.

    Raises ValueError where a chart has a number that is none.
    """
    texts = list(dict.fromkeys(files.values()))
    tables = {name: texts.index(text) for name, text in files.items()}
    content = {"texts": texts, "tables": tables, "charts": charts}
    return _compressed(json.dumps(content, allow_nan=False, ensure_ascii=False))


def data_uri(drawing: Path) -> str:
    """Return the picture as what an image can have as its source."""
    if drawing.suffix == ".png":
        return "data:image/png;base64," + base64.b64encode(drawing.read_bytes()).decode()
    text = re.sub(r"\s+", " ", drawing.read_text(encoding="utf-8"))
    return "data:image/svg+xml," + quote(re.sub(r"<[^>]*>", _in_apostrophes, text), safe=IN_URI)


def script(text: str) -> str:
    """Return a script that cannot end the element that it stands in."""
    return re.sub(r"<(?=/script|!--)", r"\\u003c", text, flags=re.IGNORECASE)


def content_hash(text: str) -> str:
    """Return what allows a script in a content security policy."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _compressed(text: str) -> str:
    """zlib's format, which has no time and no system in it, in base64."""
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def _in_apostrophes(tag: re.Match[str]) -> str:
    """A tag whose values stand in apostrophes, which a URI need not escape; as it is where a value has one."""
    return tag[0] if "'" in tag[0] else tag[0].replace('"', "'")
