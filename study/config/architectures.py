"""The architectures of the installed mlx-lm, and the sizes that models of them may have; found without loading MLX."""

import ast
import importlib.util
import re
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

NOT_TINY = {
    "phi3small": "it writes at fixed places of a vocabulary of 100,352",
    "prism_hadamard_qwen35": "it has packed 2-bit weights only",
}
"""Architectures of which no small model can be made, with the reason."""
UNTIED = ("baichuan_m1", "minicpm", "qwen3_vl_moe")
"""Architectures whose small models have an unembedding of their own unless they are told otherwise."""


@cache
def _exists(name: str) -> bool:
    """Whether mlx-lm reads this `model_type`; true where mlx-lm is not installed."""
    folder = _folder()
    if folder is None:
        return True
    modules = folder / "models"
    there = re.fullmatch(r"\w[\w-]*", name) and (modules / f"{name}.py").is_file() and _is_one(modules / f"{name}.py")
    return bool(there) or name in _read_as_others(folder)


def _folder() -> Path | None:
    found = importlib.util.find_spec("mlx_lm")
    return Path(found.origin).parent if found and found.origin else None


def _is_one(module: Path) -> bool:
    return "class ModelArgs" in module.read_text("utf-8")


def _read_as_others(folder: Path) -> list[str]:
    """Return the names that mlx-lm reads as other architectures, from the table in its source."""
    for node in ast.parse((folder / "utils.py").read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and [getattr(one, "id", None) for one in node.targets] == ["MODEL_REMAPPING"]:
            return list(ast.literal_eval(node.value))
    return []


def _architecture(name: str) -> str:
    folder = _folder()
    if folder is None or _exists(name):
        return name
    known = [module.stem for module in (folder / "models").glob("*.py") if _is_one(module)]
    near = "".join(f"; did you mean {match!r}?" for match in get_close_matches(name, known, n=1))
    told = "mlx-lm has no architecture '{name}'{near}; docs/architectures.md lists them"
    raise PydanticCustomError("architecture", told, {"name": name, "near": near})


def _small(name: str) -> str:
    if name in NOT_TINY:
        raise PydanticCustomError("architecture", "cannot be made tiny: {why}", {"why": NOT_TINY[name]})
    return name


def check_heads(hidden_size: int, attention_heads: int, settings: Mapping[str, Any]) -> None:
    """Check that heads divide the hidden size, and heads of keys and values those of queries.

    Raises PydanticCustomError. `settings` are keys of `config.json` that replace what is given.
    """
    heads = settings.get("num_attention_heads", attention_heads)
    hidden = settings.get("hidden_size", hidden_size)
    shared = settings.get("num_key_value_heads", heads)
    for name, value in (("num_attention_heads", heads), ("hidden_size", hidden), ("num_key_value_heads", shared)):
        if type(value) is not int or value < 1:
            raise PydanticCustomError(
                "heads",
                "settings.{name} must be a whole number of at least 1, not {value}",
                {"name": name, "value": value},
            )
    if "head_dim" not in settings and hidden % (2 * heads):
        raise PydanticCustomError(
            "heads",
            "hidden_size {hidden} does not give {heads} attention_heads an even width: it must be a multiple of twice "
            "their number",
            {"hidden": hidden, "heads": heads},
        )
    if heads % shared:
        raise PydanticCustomError(
            "heads",
            "num_key_value_heads {shared} does not divide the {heads} attention_heads",
            {"shared": shared, "heads": heads},
        )


Architecture = Annotated[str, Field(min_length=1, max_length=40), AfterValidator(_architecture)]
"""An architecture of mlx-lm (its `model_type`)."""
SmallArchitecture = Annotated[Architecture, AfterValidator(_small)]
"""An architecture of mlx-lm of which a small model can be made."""
