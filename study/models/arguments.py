"""The argument classes of mlx-lm's architectures: the keys of a config.json that each of them reads."""

import contextlib
import dataclasses
import importlib
import inspect
import io
import pkgutil
from typing import Any, get_type_hints

import mlx_lm.models
from mlx_lm.utils import MODEL_REMAPPING

from study.models import ModelError

WRAPPED = {
    "gemma3": "gemma3_text",
    "gemma4": "gemma4_text",
    "lfm2-vl": "lfm2",
    "mistral3": "ministral3",
    "pixtral": "llama",
    "qwen2_vl": "qwen2",
    "qwen3_5_moe": "qwen3_5",
    "qwen3_vl": "qwen3",
    "qwen3_vl_moe": "qwen3_moe",
}
"""Architectures of models of images and text, with the architecture of their text model."""


def architectures() -> list[str]:
    """Return the names of the modules of the installed mlx-lm that define an architecture."""
    names = [module.name for module in pkgutil.iter_modules(mlx_lm.models.__path__)]
    return [name for name in names if _defines_one(name)]


def read_as(architecture: str) -> str:
    """Return the module with which mlx-lm reads a `model_type`: llama for mistral."""
    return str(MODEL_REMAPPING.get(architecture, architecture))


def module_of(name: str) -> Any:
    """Return mlx-lm's module of an architecture.

    Raises ModelError where there is none, or where it needs a package that is not installed.
    """
    told = io.StringIO()
    try:
        with contextlib.redirect_stdout(told):
            return importlib.import_module(f"mlx_lm.models.{name}")
    except ImportError as error:
        raise ModelError(f"mlx-lm has no architecture {name!r}; docs/architectures.md lists them") from error
    except SystemExit as error:  # olmo exits where its package is missing
        raise ModelError(f"mlx-lm cannot read {name!r}: {told.getvalue().strip()}") from error


def types(arguments: type) -> dict[str, Any]:
    """Return the declared types of the fields of an argument class; empty where they cannot be resolved."""
    try:
        return get_type_hints(arguments)
    except (NameError, TypeError):  # a declaration that is only a text
        return {}


def fields(arguments: type) -> dict[str, Any]:
    """Return the fields of an argument class with their defaults; `inspect.Parameter.empty` where one is required."""
    return {name: parameter.default for name, parameter in inspect.signature(arguments).parameters.items()}


def required(arguments: type) -> list[str]:
    """Return the fields that have no default."""
    return [name for name, default in fields(arguments).items() if default is inspect.Parameter.empty]


def has_text_config(arguments: type) -> bool:
    """Whether the arguments of the language model are in `text_config`."""
    return "text_config" in fields(arguments)


def text_arguments(name: str, model_type: str | None = None) -> tuple[str, type]:
    """Return the architecture of the language model in one that has a `text_config`, and its argument class.

    `model_type` is that of the `text_config`, by which `mistral3` chooses.
    """
    if name == "mistral3" and model_type is not None:
        inner = model_type if model_type in ("ministral3", "mistral4") else "llama"
        return inner, module_of(inner).ModelArgs
    if name in WRAPPED:
        inner_module = module_of(WRAPPED[name])
        if has_text_config(inner_module.ModelArgs):
            return text_arguments(WRAPPED[name])
        return WRAPPED[name], inner_module.ModelArgs
    found = (getattr(module_of(name), of_text, None) for of_text in ("TextArgs", "TextConfig", "TextModelArgs"))
    return name, next(filter(None, found))


def _defines_one(name: str) -> bool:
    try:
        module = module_of(name)
    except ModelError:
        return True
    return hasattr(module, "Model") and dataclasses.is_dataclass(getattr(module, "ModelArgs", None))
