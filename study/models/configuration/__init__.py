"""What a config.json means, in the keys that mlx-lm reads.

mlx-lm gives an architecture those keys of config.json that its argument class has, and drops all others without a
word. Here the others are translated, known to mean what is computed, or the model is refused.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from mlx_lm.utils import _get_classes

from study.models import ModelError
from study.models.arguments import has_text_config, text_arguments
from study.models.cache import WORD_TOKENIZER
from study.models.configuration import rotary
from study.models.configuration.disagreements import find
from study.models.configuration.following import fill_in
from study.models.configuration.harmless import is_harmless
from study.models.configuration.meaning import knows, meaning
from study.models.configuration.mended import Mend, with_multipliers
from study.models.configuration.part import Part, shown
from study.models.configuration.values import OWN, USUAL

_SIZES = frozenset("hidden_size num_attention_heads num_hidden_layers vocab_size".split())
"""Keys without which there is no model; for others null may mean what the class makes of it."""
_DERIVED = frozenset("attn_temperature_tuning layers_block_type layer_types quantization_config".split())
"""Keys without transformers' values, since classes of mlx-lm derive them, or write them otherwise."""
_WINDOWS = {"sliding_attention": "sliding_window", "chunked_attention": "attention_chunk_size"}
"""Kinds of blocks that attend to a part of the text, and the key that gives its number of tokens."""
_UNUSED_WINDOWS = {"plamo2": "attention_window_size"}
"""Architectures whose class takes a window and does not use it, and its key."""
_CHECKED_APART = frozenset(("layer_types", *_WINDOWS.values()))
"""Keys of windows, which `_check_windows` sees to."""
_KINDS = {bool: "true or false", int: "a number", float: "a number", str: "text"}
"""What a value of a simple type is, as messages say it."""


@dataclass(frozen=True)
class Reading:
    """A config.json as it is given to mlx-lm."""

    replaced: dict[str, Any]
    """Outer keys that replace those of config.json."""
    told: tuple[str, ...] = ()
    """What was translated and assumed, a line each."""
    warnings: tuple[str, ...] = ()
    """What mlx-lm computes otherwise than transformers, by little."""
    mends: tuple[Mend, ...] = ()
    """What is to be changed in the loaded model."""
    longest: int | None = None
    """Number of tokens of the longest text that is computed as meant; None for any."""
    longest_words: str = ""
    """What that number is, as messages say it."""


def read(config: Mapping[str, Any], folder: Path) -> Reading:
    """Return what replaces keys of the config.json in a folder, so that mlx-lm computes the model that it means.

    Raises ModelError where that cannot be said in the keys of mlx-lm's class, or a key is not known; and ValueError, as
    mlx-lm does, where it has no such architecture.
    """
    arguments: type = _get_classes(dict(config))[1]
    architecture = arguments.__module__.rpartition(".")[2]
    built = config.get("tokenizer") == WORD_TOKENIZER  # by mlx-lm's class, with its defaults
    meant, nested = {} if built else meaning(config), config.get("text_config")
    if has_text_config(arguments):
        part, replaced = _text_part(architecture, arguments, config, meant)
    elif isinstance(nested, Mapping):  # a class that takes the keys of both as one
        part = _part(architecture, arguments, {**config, **nested, "text_config": None}, {**meant, **nested})
        replaced = {"text_config": {**nested, **part.replaced}}
    else:
        part = _part(architecture, arguments, config, meant)
        replaced = part.replaced
    if not (meant or built) and knows(str(config["model_type"])):
        part.told.append("transformers does not accept this config.json: keys that it lacks have mlx-lm's defaults")
    different = [] if built else find(part)
    part.problems += [str(one) for one in different if not one.small]
    if part.problems:
        raise ModelError(
            f"mlx-lm would compute another model than the config.json of {folder} means ({config['model_type']}): "
            f"{'; '.join(part.problems)}. Use another model; or, where a key does not change what the model computes, "
            "remove it from the config.json of a copy of the folder, and name that folder"
        )
    warnings = tuple(str(one) for one in different if one.small)
    return Reading(replaced, tuple(part.told), warnings, tuple(part.mends), part.longest, part.longest_words)


def _text_part(
    architecture: str, arguments: type, config: Mapping[str, Any], meant: Mapping[str, Any]
) -> tuple[Part, dict[str, Any]]:
    """Read the language model's part of a model of several kinds; return it, and the outer keys to replace."""
    nested = config.get("text_config")
    written = config if nested is None else nested
    inner, inner_arguments = text_arguments(architecture, written.get("model_type"))
    part = _part(inner, inner_arguments, written, meant.get("text_config") or {})
    if nested is None:
        return part, part.replaced
    outer = Part(architecture, arguments, config, meant)
    for key in ("vocab_size", "num_attention_heads", "num_key_value_heads"):
        if key in outer.fields and key not in config and key in part.fields and part.said(key) is not None:
            outer.replace(key, part.said(key), f"text_config.{key}")
    for key, value in config.items():
        same = key in nested and nested[key] == value
        if not (key in outer.fields or same or value is None or is_harmless(key) or key in rotary.KEYS):
            part.problems.append(f"{key} {shown(value)} (not known)")
    part.told += outer.told
    replaced_text = {"text_config": {**nested, **part.replaced}} if part.replaced else {}
    return part, {**outer.replaced, **replaced_text}


def _part(architecture: str, arguments: type, written: Mapping[str, Any], meant: Mapping[str, Any]) -> Part:
    part = Part(architecture, arguments, written, meant)
    rotary.translate(part)
    fill_in(part)
    _take_defaults(part)
    _mend_multipliers(part)
    _check_types(part)
    _check_values(part)
    _check_windows(part)
    return part


def _take_defaults(part: Part) -> None:
    """Give the class transformers' values of keys that config.json leaves out, where its own defaults are others."""
    for key in part.fields:
        if key in part.written or key in part.replaced or key in rotary.KEYS or key in _DERIVED:
            continue
        if part.meant.get(key) is not None and not (part.read(key) is None and part.meant[key] == _derived(key, part)):
            part.assume(key, part.meant[key], "the default of transformers")


def _mend_multipliers(part: Part) -> None:
    """Note the multipliers of Falcon-H1 that mlx-lm does not apply."""
    of_input, of_keys = (part.read(key) or 1.0 for key in ("attention_in_multiplier", "key_multiplier"))
    if part.architecture == "falcon_h1" and part.meant and (of_input, of_keys) != (1.0, 1.0):
        told = f"key_multiplier {shown(of_keys)}, attention_in_multiplier {shown(of_input)}"
        part.mend(with_multipliers(of_input, of_keys), f"{told} → the weights of keys and values")


def _derived(key: str, part: Part) -> Any:
    """Return what classes of mlx-lm make of a key that is None."""
    heads = part.read("num_attention_heads") or 1
    return {"head_dim": (part.read("hidden_size") or 0) // heads, "num_key_value_heads": heads}.get(key)


def _check_types(part: Part) -> None:
    """Note values that are no finite numbers, or of another type than the class declares: it would take them all."""
    for key in part.fields.keys() & part.written.keys():
        value = part.written[key]
        if key in _SIZES and part.read(key) is None:
            part.problems.append(f"{key} null (it is a number)")
        if key in part.replaced or not isinstance(value, bool | int | float | str):
            continue
        declared = part.types.get(key)
        kinds = {_KINDS.get(kind) for kind in get_args(declared) or (declared,) if kind is not type(None)}
        if None not in kinds and _KINDS[type(value)] not in kinds:
            part.problems.append(f"{key} {shown(value)} (it is {' or '.join(sorted(filter(None, kinds)))})")
        elif isinstance(value, float) and not math.isfinite(value):
            part.problems.append(f"{key} {shown(value)} (it is no finite number)")


def _check_values(part: Part) -> None:
    """Note keys that the class does not read or use, and that are not known to mean what it computes."""
    rules = {key: rule for key, rule in USUAL.items() if key not in part.fields} | OWN.get(part.architecture, {})
    for key, rule in rules.items():
        allowed, value = rule(part) if callable(rule) else rule, part.said(key)
        if part.states(key) and allowed and value not in allowed:
            computed = " or ".join(shown(one) for one in allowed if one) or "none"
            part.problems.append(f"{key} {shown(value)} (computed: {computed})")
    unread = set(part.written) - set(part.fields) - set(rules) - rotary.KEYS - _CHECKED_APART
    for key in sorted(unread):
        if part.written[key] is not None and not is_harmless(key):
            part.problems.append(f"{key} {shown(part.written[key])} (not known)")


def _check_windows(part: Part) -> None:
    """Note windows of attention that mlx-lm does not compute, and kinds of blocks that it does not have."""
    kinds = set(part.said("layer_types") or ["sliding_attention"])
    if "layer_types" not in part.fields and "layer_types" not in OWN.get(part.architecture, {}):
        others = sorted(kinds - {"full_attention", *_WINDOWS})
        if others:
            part.problems.append(f"layer_types with {', '.join(others)} (computed: full_attention)")
    if window := part.said(_UNUSED_WINDOWS.get(part.architecture, "")):
        part.limit(int(window), _without(window))
    for kind, key in _WINDOWS.items():
        window = None if key in OWN.get(part.architecture, {}) else part.said(key)
        if window and kind in kinds and part.said("use_sliding_window") is not False and not _computes(key, part):
            part.limit(int(window), _without(window))


def _without(window: int) -> str:
    return f"the window of {window} tokens, without which the model is computed"


def _computes(key: str, part: Part) -> bool:
    """Whether the class computes a window; that of llama does so only where it is told which blocks have one."""
    if part.architecture == "llama":
        return bool(part.written.get("layer_types")) or part.written.get("model_type") == "llama"
    return any(one in part.fields for one in (key, "sliding_window_size", "attention_window_size"))
