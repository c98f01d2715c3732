"""From YAML files to a checked Study: every mistake is collected and told at once.

`python -m study.reading` writes the JSON Schemas of the configuration files beside them.
"""

import difflib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import TypeAdapter, ValidationError

from study.arithmetic import largest_held_out, words_of_templates
from study.catalogue import KEYS as SOURCE_KEYS
from study.catalogue import FolderSource, GgufSource, Model
from study.config import TIERS, Grid, Part, Study
from study.settings import Settings


class ConfigError(Exception):
    """What is wrong in the configuration files, one line a mistake."""

    def __init__(self, mistakes: dict[Path, list[str]]) -> None:
        lines = []
        for file, found in mistakes.items():
            if found:
                lines.append(f"{file}: {len(found)} mistake{'s' * (len(found) > 1)}")
                lines += [f"  {mistake}" for mistake in found]
        super().__init__("\n".join(lines))


@dataclass(frozen=True)
class Plan:
    """A study with the models that it names."""

    study: Study
    models: dict[str, Model]


def read_study(file: Path) -> Plan:
    """The study in `file`, with its models from `models.yaml` in the same folder. Raises ConfigError."""
    catalogue_file = file.parent / "models.yaml"
    mistakes: dict[Path, list[str]] = {file: [], catalogue_file: []}
    data = _parsed(file, mistakes[file])
    study: Study | None = None if mistakes[file] else _checked(Study, data, mistakes[file])
    catalogue = read_catalogue(catalogue_file, mistakes[catalogue_file])
    if catalogue is not None:
        mistakes[file] += _catalogue_checks(data, catalogue, catalogue_file)
    if study is not None:
        mistakes[file] += _cross_checks(study)
    if study is None or catalogue is None or any(mistakes.values()):
        raise ConfigError(mistakes)
    return Plan(study, {name: catalogue[name] for name in study.models})


def read_catalogue(file: Path, mistakes: list[str]) -> dict[str, Model] | None:
    """The models of a `models.yaml` by name; None where its mistakes, which are added to `mistakes`, forbid it."""
    before = len(mistakes)
    data = _parsed(file, mistakes)
    catalogue = _checked(dict[str, Model], data, mistakes) if len(mistakes) == before else None
    return None if catalogue is None else {name: _rooted(model, file.parent) for name, model in catalogue.items()}


def write_schemas(folder: Path) -> None:
    """`study.schema.json` and `models.schema.json`, for editors."""
    schemas = {"study": Study.model_json_schema(), "models": TypeAdapter(dict[str, Model]).json_schema()}
    for name, schema in schemas.items():
        (folder / f"{name}.schema.json").write_text(json.dumps(schema, indent=2) + "\n")


def _catalogue_checks(data: Any, catalogue: dict[str, Model], file: Path) -> Iterable[str]:
    """Made on what is written, so that they are told together with mistakes of shape."""
    models = {}
    for i, name in enumerate(_list_at(data, "models")):
        if isinstance(name, str) and name in catalogue:
            models[name] = catalogue[name]
        elif isinstance(name, str):
            yield f"models.{i}: {name!r} is not in {file}{_nearest(name, catalogue)}; known: {', '.join(catalogue)}"
    for where, part in _parts(data):
        for i, layer in enumerate(_list_at(part, "layers")):
            for name, model in models.items():
                if type(layer) is int and layer >= model.blocks:
                    last = model.blocks - 1
                    yield f"{where}.layers.{i}: {layer} is beyond {name}, whose {model.blocks} blocks are 0 to {last}"
    yield from _missing_sources(models)


def _cross_checks(study: Study) -> Iterable[str]:
    parts: list[tuple[str, Grid | Part]] = [("grid", study.grid)]
    parts += [(f"also.{i}", part) for i, part in enumerate(study.also)]
    for where, part in parts:
        for i, pair in enumerate(part.pairs or []):
            for operation, token in pair.items():
                place = f"{where}.pairs.{i}.{operation}"
                if operation not in study.data.operations:
                    yield f"{place}: stage 1 does not train it; add it to data.operations"
                if token.lower() in words_of_templates():
                    yield f"{place}: {token!r} stands in a prompt template; choose a word that does not"
        for axis in ("arms", "wordings", "seeds"):
            values = getattr(part, axis) or []
            if any(values.count(value) > 1 for value in values):
                yield f"{where}.{axis}: {values} names one twice"
    for tier in TIERS:
        asked, most = study.evaluation.prompts_in(tier), largest_held_out(study.data, tier)
        if asked > most:
            yield (
                f"evaluation.prompts_per_class: {asked} is more than the {most} held-out prompts that {tier} has for "
                "every operation; raise data.largest or data.held_out, or ask for fewer"
            )
    if len(set(study.models)) < len(study.models):
        yield f"models: {study.models} names one twice"


def _missing_sources(models: dict[str, Model]) -> Iterable[str]:
    for name, model in models.items():
        source = model.source
        if isinstance(source, FolderSource) and not (Path(source.folder) / "config.json").is_file():
            yield f"models: {name!r} is the folder {source.folder}, which has no config.json"
        if isinstance(source, GgufSource) and not Path(source.gguf).is_file():
            yield f"models: {name!r} is the file {source.gguf}, which is not there"


def _rooted(model: Model, folder: Path) -> Model:
    """Relative paths of a source are relative to the file that names them."""
    source = model.source
    for field in ("folder", "gguf"):
        if hasattr(source, field):
            rooted = source.model_copy(update={field: str((folder / getattr(source, field)).expanduser().resolve())})
            return model.model_copy(update={"source": rooted})
    return model


def _parsed(file: Path, mistakes: list[str]) -> Any:
    """The content of a YAML file, or a mistake."""
    try:
        return yaml.load(file.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        mistakes.append(f"cannot be read: {error.strerror}")
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: not UTF-8, or a date that is none
        mistakes.append("is not YAML: " + " ".join(str(error).split()))
    return None


def _checked(kind: Any, data: Any, mistakes: list[str]) -> Any:
    """`data` as settings of `kind`, or None and its mistakes."""
    try:
        return TypeAdapter(kind).validate_python(data)
    except ValidationError as error:
        mistakes += [_mistake(item, kind) for item in _worth_telling(error)]
    return None


def _parts(data: Any) -> Iterable[tuple[str, Any]]:
    """The grid and its further parts as written, each with its place."""
    if isinstance(data, dict):
        yield "grid", data.get("grid")
        yield from ((f"also.{i}", part) for i, part in enumerate(_list_at(data, "also")))


def _list_at(data: Any, *keys: str) -> list[Any]:
    for key in keys:
        data = data.get(key) if isinstance(data, dict) else None
    return data if isinstance(data, list) else []


def _worth_telling(error: ValidationError) -> list[Any]:
    """One mistake a place: a value that fits no branch of a union gives an error for each branch."""
    kept: dict[str, Any] = {}
    for item in error.errors(include_url=False):
        path = _path(item["loc"])
        if path not in kept:
            kept[path] = {**item, "path": path}
        elif item["msg"] not in kept[path]["msg"]:
            kept[path]["msg"] += f", or {_lower(item['msg'])}"
    return list(kept.values())


def _path(place: tuple[int | str, ...]) -> str:
    """The place as a person writes it: without the branches of unions, which pydantic names in between."""
    branches = {"int", "float", "str", "constrained-int", "constrained-float", "[key]"}
    parts = [
        str(part)
        for before, part in zip((None, *place), place, strict=False)
        if not (
            part in branches
            or (isinstance(part, str) and re.search(r"[\[(]", part))
            or (before == "source" and part in SOURCE_KEYS)
        )
    ]
    return ".".join(parts) or "the file"


def _mistake(item: Any, kind: Any) -> str:
    path, given = item["path"], item["input"]
    if item["type"] == "extra_forbidden":
        allowed = _fields_at(kind, item["loc"][:-1])
        return f"{path}: unknown key{_nearest(item['loc'][-1], allowed)}; allowed: {', '.join(allowed)}"
    if item["type"] == "missing":
        return f"{path}: is missing"
    if item["type"] in ("model_type", "dict_type"):
        return f"{path}: must be keys with values{f' (given: {given!r})' if given is not None else ', but is empty'}"
    shown = f" (given: {given!r})" if not isinstance(given, dict | Settings) else ""
    allowed = re.findall(r"'([^']*)'", item["ctx"]["expected"]) if item["type"] == "literal_error" else []
    return f"{path}: {_lower(item['msg'])}{_nearest(given, allowed)}{shown}"


def _fields_at(kind: Any, place: tuple[int | str, ...]) -> list[str]:
    """The keys that the settings at `place` have."""
    for part in place:
        settings = _settings_within(kind)
        if len(settings) > 1:  # a source, and `part` says which
            kind = next(one for one in settings if part in one.model_fields)
        elif settings and part in settings[0].model_fields:
            kind = settings[0].model_fields[str(part)].annotation
    return [name for one in _settings_within(kind) for name in one.model_fields]


def _settings_within(kind: Any) -> list[type[Settings]]:
    if isinstance(kind, type) and issubclass(kind, Settings):
        return [kind]
    return [one for part in get_args(kind) for one in _settings_within(part)]


def _nearest(word: Any, known: Iterable[str]) -> str:
    match = difflib.get_close_matches(str(word), list(known), n=1)
    return f"; did you mean {match[0]!r}?" if match else ""


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice and reads 1e-4 as a number, as YAML 1.2 does."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)

if __name__ == "__main__":
    write_schemas(Path("configs"))
