"""What a page holds compressed."""

import base64
import json
import zlib
from typing import Any

import pytest


def inflated(script: str) -> str:
    """The text of a script element that the page unpacks."""
    return zlib.decompress(base64.b64decode(script)).decode()


def held(script: str) -> tuple[dict[str, str], dict[str, Any]]:
    """Tables as CSV and charts, by their names."""
    content = json.loads(inflated(script), parse_constant=pytest.fail)
    assert content.keys() == {"texts", "tables", "charts"}
    assert len(set(content["texts"])) == len(content["texts"])
    return {name: content["texts"][index] for name, index in content["tables"].items()}, content["charts"]
