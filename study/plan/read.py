"""Reading and checking a study's YAML files: all mistakes are collected and reported together."""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from study.config import yaml_core
from study.config.architectures import NOT_TINY
from study.config.catalogue import BuiltSource, Entry, HubSource, Model
from study.config.data import Data
from study.config.evaluation import Decisions, Evaluation
from study.config.examples import Examples
from study.config.mistakes import checked, nearest
from study.config.names import LONGEST_MODEL, Names
from study.config.predictors import PREDICTORS
from study.config.small_tasks import SmallTasks
from study.config.study import Study
from study.config.text import Name, rooted
from study.config.units import Cell, Reference, Unit, describe
from study.models import ModelError
from study.models.facts import known_model
from study.models.sources import looks_like_a_path, place_of
from study.plan.by_name import ByName, with_short_names
from study.plan.checks import alike, cross_checks, nothing_to_fit, too_many_cells
from study.plan.expand import class_words, expand
from study.plan.nursery import nursery_models
from study.plan.published import PublishedFile, as_study, is_published_file
from study.plan.read_examples import place_of_examples, read_examples
from study.tasks import task_of, vocabulary_of

CATALOGUE = Path("configs/models.yaml")
"""The project's catalogue of models, relative to the folder in which commands are run."""
CELL_PROPERTIES = ("model", "layer", "pair", "weight", "arm", "wordings", "seed", "id")
TOLD = 20
"""Largest number of mistakes of a file that are reported; the others are counted."""


class ConfigError(Exception):
    """The configuration files have mistakes; the message lists them by file, one a line."""

    def __init__(self, mistakes: dict[Path, list[str]]) -> None:
        lines = []
        for file, found in mistakes.items():
            if found:
                lines.append(f"{file}: {len(found)} mistake{'s' * (len(found) > 1)}")
                lines += [f"  {mistake}" for mistake in found[:TOLD]]
                lines += [f"  … and {len(found) - TOLD} more"] * (len(found) > TOLD)
        super().__init__("\n".join(lines))


@dataclass(frozen=True)
class Plan:
    """A study with the models that it names, and those of its nursery."""

    study: Study
    models: dict[str, Model]
    changes: tuple[str, ...] = ()
    """Settings that were given beside the file, as KEY=VALUE."""

    @cached_property
    def units(self) -> list[Unit]:
        """Every unit of the study once, each after the units that it builds on."""
        return expand(self.study, self.models)

    def cells(self, **where: Any) -> list[Cell]:
        """Return the cells with these properties, such as `layer=16, weight=0.5, arm="plain"`; CELL_PROPERTIES lists
        all.

        Without `weight`, only cells with a class loss (w > 0). Raises TypeError on a property that cells do not have.
        """
        if unknown := where.keys() - CELL_PROPERTIES:
            raise TypeError(f"cells have no {', '.join(sorted(unknown))}; allowed: {', '.join(CELL_PROPERTIES)}")
        cells = [unit for unit in self.units if isinstance(unit, Cell) and ("weight" in where or unit.weight > 0)]
        return [cell for cell in cells if all(describe(cell)[name] == value for name, value in where.items())]

    def may_fail_when_built(self, model: Model) -> bool:
        """Whether a model that is built locally may turn out not to suit the study: with settings of the user's, or
        where class names are not all made one token of it."""
        source = model.source
        return isinstance(source, BuiltSource) and (bool(source.settings) or self.study.class_name != "single")

    def reference(self, cell: Cell) -> Reference:
        """Return the unit that evaluates the cell's model before and after stage 1, on the same prompts as the cell."""
        return next(unit for unit in self.units if isinstance(unit, Reference) and unit.id == cell.reference_id)


def read_study(file: Path, changes: Sequence[str] = ()) -> Plan:
    """Read the study in `file`, with its models from `models.yaml` in the same folder. Raises ConfigError.

    `changes` are settings in place of those of the file, such as `stage2.steps=200`: a dotted path and a value in YAML.
    The prompts of a custom task are read too, and their words are added to tokenizers that are built locally. `file`
    may also be the `config.yaml` of the published experiment. Without a `models.yaml` beside it the project's is used.
    """
    catalogue_file = file.parent / "models.yaml"
    mistakes: dict[Path, list[str]] = {file: []}
    document = yaml_core.read(file, mistakes[file])
    for change in changes if not mistakes[file] else ():
        path, _, value = change.partition("=")
        document.change(f"--set {change}", path.strip() if "=" in change else "", value, mistakes[file])
    data = document.data
    if not catalogue_file.exists():
        catalogue_file = own_catalogue() or catalogue_file
    catalogue, entries = _catalogue(catalogue_file, mistakes.setdefault(catalogue_file, []))
    if is_published_file(data) and catalogue is not None:
        data = _translated(data, catalogue, catalogue_file, mistakes[file])
    found: list[str] = []
    models: dict[str, Model] = {}
    if catalogue is not None:
        named = with_short_names(data, catalogue, file.parent)
        data, catalogue = named.data, catalogue | named.entries
        models = _known(_list_at(data, "models"), catalogue, entries, mistakes[catalogue_file], named, found)
        found += [*named.mistakes, *_catalogue_checks(data, catalogue, models, catalogue_file, file.parent)]
    study: Study | None = None if mistakes[file] else _study(data, file, mistakes)
    mistakes[file] += found
    mistakes[file] = [document.placed(mistake) for mistake in mistakes[file]]
    if study is None or any(mistakes.values()):
        raise ConfigError(mistakes)
    listed = {name: _knowing_words(models[name], study) for name in study.models}
    plan = Plan(study, {**listed, **nursery_models(study)}, tuple(changes))
    unfit = [
        *too_many_cells(study, [model.blocks for model in plan.models.values()]),
        *nothing_to_fit(study, plan.models),
    ]
    if unfit:
        raise ConfigError({file: unfit})
    return plan


def read_catalogue(file: Path, mistakes: list[str]) -> dict[str, Entry] | None:
    """Return the entries of a `models.yaml` by name; None, with its mistakes added to `mistakes`, if it has any."""
    return _catalogue(file, mistakes)[0]


def _catalogue(file: Path, mistakes: list[str]) -> tuple[dict[str, Entry] | None, yaml_core.Document]:
    """Return the entries of a `models.yaml` by name, and its content as it is written."""
    found: list[str] = []
    document = yaml_core.read(file, found)
    catalogue = checked(dict[Name, Entry], document.data, found) if not found else None
    found += alike(catalogue or {})
    mistakes += map(document.placed, found)
    if found or catalogue is None:
        return None, document
    return {name: _rooted(entry, file.parent) for name, entry in catalogue.items()}, document


def catalogue_of(file: Path | None = None) -> dict[str, Entry]:
    """Return the models of `file` or, if none is given, of configs/models.yaml in this folder or in the project.

    Raises ConfigError with the mistakes of the file. Empty if no file is given and none is found.
    """
    chosen = file or own_catalogue()
    if chosen is None:
        return {}
    mistakes: list[str] = []
    catalogue = read_catalogue(chosen, mistakes)
    if catalogue is None:
        raise ConfigError({chosen: mistakes})
    return catalogue


def own_catalogue() -> Path | None:
    """Return configs/models.yaml in this folder or in the project; None where there is none."""
    beside = Path(__file__).parents[2] / CATALOGUE
    return next((one for one in (CATALOGUE, beside) if one.is_file()), None)


def write_schemas(folder: Path) -> None:
    """Write `study.schema.json` and `models.schema.json`, from which editors complete settings, to `folder`."""
    schemas = {"study": Study.model_json_schema(), "models": TypeAdapter(dict[Name, Entry]).json_schema()}
    for name, schema in schemas.items():
        (folder / f"{name}.schema.json").write_text(json.dumps(schema, indent=2) + "\n")


def _study(data: Any, file: Path, mistakes: dict[Path, list[str]]) -> Study | None:
    """Return the study whose YAML in `file` is `data`; None, with its mistakes added, if it is not valid."""
    written = data.get("data") if isinstance(data, dict) else None
    study: Study | None
    if isinstance(written, dict) and "tasks" in written:
        tasks = checked(SmallTasks, written, [])
        names = tasks.names if tasks else Names((), ())
        study = checked(Study, _completed(data, tasks) if tasks else data, mistakes[file], names)
        mistakes[file] += cross_checks(study) if study else []
        return study
    written = written if isinstance(written, dict) else {}
    given = {key: written[key] for key in ("file", "dataset") if key in written}
    if not given:
        study = checked(Study, data, mistakes[file])
        mistakes[file] += cross_checks(study) if study else []
        return study
    source = checked(Examples, written, []) or checked(Examples, given, [])
    if source is None:
        checked(Study, data, mistakes[file], Names((), ()))
        return None
    found = mistakes.setdefault(place_of_examples(source, file.parent), [])
    examples = read_examples(source, file.parent, found)
    # Of a file with mistakes some names may lie in the wrong lines.
    names = Names((), ()) if found else Names(examples.operations, examples.tiers)
    study = checked(Study, data if found else _completed(data, examples), mistakes[file], names)
    if study is None or found:
        return None
    if written.get("sha256") not in (None, examples.sha256):
        mistakes[file].append(f"data.sha256: the SHA-256 of {source.name} is {examples.sha256}, not the one given")
    study = study.model_copy(update={"data": examples})
    mistakes[file] += cross_checks(study)
    return study


def _translated(data: Any, catalogue: dict[str, Entry], file: Path, mistakes: list[str]) -> Any:
    """Return the published experiment's file as a study's YAML; mistakes are reported with the file's own keys."""
    published_file: PublishedFile | None = checked(PublishedFile, data, mistakes)
    try:
        return as_study(published_file, catalogue) if published_file else None
    except KeyError as error:
        known = ", ".join(catalogue)
        mistakes.append(f"model: {error.args[0]!r} is neither a name nor a hub repository in {file}; known: {known}")
        return None
    except ModelError as error:
        mistakes.append(f"model: {error}")
        return None


def _completed(data: dict[str, Any], source: Examples | SmallTasks) -> dict[str, Any]:
    """Return a study's YAML with the defaults of settings that name wordings replaced by those of its source."""
    trained, farthest = source.first_tiers, source.tiers[-1]
    usual, task = Evaluation.model_fields["prompts_per_class"].default, task_of(source)
    prompts = {tier: min(usual, task.largest_held_out(tier)) for tier in source.tiers}
    follows: dict[str, dict[str, Any]] = {
        "grid": {"wordings": [trained]},
        "stage1": {"wordings": trained},
        "evaluation": {"prompts_per_class": prompts},
        "decisions": {"primary_tier": farthest},
    }
    if not source.answered:
        usual_ones = Decisions.model_fields["predictors"].default
        follows["decisions"]["predictors"] = [name for name in usual_ones if not PREDICTORS[name].of_answers]
    for section, settings in follows.items():
        written = data.get(section, {})
        data = {**data, section: {**settings, **written} if isinstance(written, dict) else written}
    return data


def _knowing_words(model: Model, study: Study) -> Model:
    """Return the model; if it is built locally, the class tokens of the grid and all text of a custom task are added to
    its vocabulary."""
    source = model.source
    if isinstance(source, BuiltSource):
        of_task = [] if isinstance(study.data, Data) else vocabulary_of(study.data)
        named = {word for name in class_words(study) for word in name.split()}
        words = sorted({*source.words, *named, *of_task})
        return model.model_copy(update={"source": source.model_copy(update={"words": words})})
    return model


def _known(
    names: list[Any],
    catalogue: dict[str, Entry],
    entries: yaml_core.Document,
    mistakes: list[str],
    named: ByName,
    of_study: list[str],
) -> dict[str, Model]:
    """Return the models of these names of which all is known that units need; mistakes in their entries are added, and
    to `of_study` those of models without an entry."""
    models = {}
    for name in dict.fromkeys(name for name in names if isinstance(name, str) and name in catalogue):
        found: list[str] = []
        if model := known_model(_rooted(catalogue[name], Path()), found):
            models[name] = model
        if name in named.places:
            on_hub = isinstance(catalogue[name].source, HubSource)
            near = nearest(name, [other for other in catalogue if other != name]) if on_hub else ""
            of_study += [f"models.{named.places[name]}: {mistake}{near}" for mistake in found]
        else:
            mistakes += [entries.placed(f"{name}.{mistake}") for mistake in found]
    return models


def _catalogue_checks(
    data: Any, catalogue: dict[str, Entry], models: dict[str, Model], file: Path, folder: Path
) -> Iterable[str]:
    """Yield mistakes in names of models and in layers, from the YAML as written, to report them with all others."""
    for i, name in enumerate(_list_at(data, "models")):
        if isinstance(name, str) and name not in catalogue and len(name) <= LONGEST_MODEL:
            beside = "" if file == own_catalogue() else f"; a study reads the {file.name} in its own folder"
            known = ", ".join(catalogue)
            if looks_like_a_path(name):
                yield f"models.{i}: {name!r} is no folder of a model and no .gguf file: {place_of(name, folder)}"
                continue
            yield (
                f"models.{i}: {name!r} is not in {file}, and is no folder, .gguf file or hub id (owner/name)"
                f"{nearest(name, catalogue)}; known: {known}{beside}"
            )
    for where, part in _parts(data):
        for i, layer in enumerate(_list_at(part, "layers")):
            for name, model in models.items():
                if type(layer) is int and layer >= model.blocks:
                    last = model.blocks - 1
                    yield f"{where}.layers.{i}: {layer} is beyond {name}, whose {model.blocks} blocks are 0 to {last}"
    for name, model in models.items():
        source = model.source
        if isinstance(source, BuiltSource) and source.built in NOT_TINY:
            yield f"models: {name!r} is a {source.built}, which cannot be made tiny: {NOT_TINY[source.built]}"


def _rooted(model: Entry, folder: Path) -> Entry:
    """Return the model with the path of its source made absolute; it is relative to the folder of the catalogue."""
    source = model.source
    for field in ("folder", "gguf"):
        if hasattr(source, field):
            there = source.model_copy(update={field: os.path.realpath(rooted(getattr(source, field), folder))})
            return model.model_copy(update={"source": there})
    return model


def _parts(data: Any) -> Iterable[tuple[str, Any]]:
    """Yield the path and the content of the grid and of its further parts, as written."""
    if isinstance(data, dict):
        yield "grid", data.get("grid")
        yield from ((f"also.{i}", part) for i, part in enumerate(_list_at(data, "also")))


def _list_at(data: Any, *keys: str) -> list[Any]:
    for key in keys:
        data = data.get(key) if isinstance(data, dict) else None
    return data if isinstance(data, list) else []
