"""In what two sides differ: settings, models, and by which versions on which machine their units were made."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.data.matching import AXES, Matched, Side, shown_values
from study.config.catalogue import KEYS

DIFFERING = ["kind", "name", "a", "b"]
NOT_SETTINGS = ("name", "models", "grid", "also", "ray")
"""Keys of a study that say which units there are and where they run; the units themselves are compared."""
FACTS = ("architecture", "blocks", "hidden_size", "vocabulary_size", "parameters", "weights", "chat", "note")
"""Of a model's entry, in the order in which they are told, before where its weights are from."""
MANY = 10_000
"""Numbers from here on are written in full."""
NONE, NOT_WRITTEN = "none", "not written"
"""Stand for an empty value, and for a key that a study.json lacks, as one that an earlier version wrote."""


def differing(matched: Matched) -> pd.DataFrame:
    """Return a row for each setting, axis, model, version and machine in which the two differ, with what each has.

    Settings are those of study.json. Versions and machines are of the finished units that are paired.
    """
    a, b = matched.a, matched.b
    rows = [("setting", *row) for row in _unequal("", *(_settings(side) for side in (a, b)))]
    for axis, name in AXES.items():
        own, others = ([value for value in side.values(axis)] for side in (a, b))
        if set(own) != set(others):
            rows.append(("units", name, shown_values(own), shown_values(others)))
    for model, other in matched.axes["model"].items():
        facts = (_facts(side, str(name)) for side, name in ((a, model), (b, other)))
        of = f"{model}: " if model == other else ""
        rows += [("model", f"{of}{name}", own, beside) for name, own, beside in _unequal("", *facts)]
    rows += [("made by", *row) for row in _unequal("", *(_made_by(matched, side) for side in (a, b)))]
    return pd.DataFrame(rows, columns=DIFFERING)


def _settings(side: Side) -> dict[str, Any]:
    """The settings of a side; where a study was written before there was a choice, the only one that there was."""
    settings = {"class_name": "single", "lens": "logit", **side.results.config}
    unused = () if settings["lens"] != "logit" else ("lens_fitting",)
    return {key: value for key, value in settings.items() if key not in (*NOT_SETTINGS, *unused)}


def _facts(side: Side, model: str) -> dict[str, Any]:
    entry = side.results.models.get(model, {})
    source = entry.get("source", {})
    # Of wheels the names without their hashes.
    parts = [_text(list(source[kind]) if kind == "wheels" else source[kind]) for kind in KEYS if kind in source]
    parts += [f"sha256 {source['sha256'][:8]}"] if "sha256" in source else []
    facts = {name: NOT_WRITTEN if entry[name] is None else entry[name] for name in FACTS if name in entry}
    return {**facts, "weights from": ", ".join(parts)}


def _made_by(matched: Matched, side: Side) -> dict[str, str]:
    """The versions, machines and forms of weights of the paired units of a side."""
    found: dict[str, set[str]] = {}
    for pair in matched.pairs:
        done = side.results.done[(pair.a if side is matched.a else pair.b).id]
        held = done.get("held", {})
        about = {**done.get("versions", {}), "machine": done.get("machine"), "BLAS": done.get("blas")}
        for name, value in {**about, "weights in memory": held.get("weights"), "stage 1": held.get("stage1")}.items():
            found.setdefault(name, set()).add(str(value or "unknown"))
    return {name: ", ".join(sorted(values)) for name, values in found.items()}


def _unequal(where: str, own: Any, beside: Any) -> Iterator[tuple[str, str, str]]:
    """Yield the dotted path and both values of what differs."""
    if isinstance(own, dict) and isinstance(beside, dict):
        for key in dict.fromkeys([*own, *beside]):
            if own.get(key) != beside.get(key):
                both = (one.get(key) if key in one else NOT_WRITTEN for one in (own, beside))
                yield from _unequal(f"{where}.{key}".strip("."), *both)
    elif own != beside:
        yield where, _text(own), _text(beside)


def _text(value: Any) -> str:
    if value is None:
        return NONE
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_text(item)}" for key, item in value.items()) or NONE
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(_text, value)) or NONE
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= MANY else f"{value:g}"
    return str(value)
