"""What of a study cannot succeed, or would mislead, told before anything runs.

The tokenizers are loaded in a process of their own, which takes seconds; what it finds is kept in the cache of models
until the study, the models or the program change.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from study.config.arms import PLAIN
from study.config.base import content_hash
from study.config.catalogue import GgufSource, Model
from study.config.licences import terms_of
from study.config.units import Cell, Unit, origin
from study.models.cache import locate
from study.models.cache_root import cache_root
from study.plan.expand import absolute_layer
from study.plan.prompts import samples_by_tier
from study.plan.read import Plan
from study.results.files import write_json
from study.results.store import Status
from study.version import code_fingerprint


@dataclass(frozen=True)
class Foresight:
    """What is known of units before they run."""

    endings: dict[str, Status] = field(default_factory=dict)
    """By unit id, how units will end that cannot be done."""
    warnings: list[str] = field(default_factory=list)
    """What would mislead, or could not be checked."""

    def told(self, units: Sequence[Unit]) -> list[str]:
        """Return a line for each reason why some of these units cannot run."""
        by_reason: dict[str, list[str]] = {}
        for unit in units:
            if unit.id in self.endings:
                by_reason.setdefault(self.endings[unit.id].reason, []).append(unit.label)
        return [
            f"cannot run: {first}{f' and {len(rest)} more' if rest else ''}: {reason}"
            for reason, (first, *rest) in by_reason.items()
        ]

    def none_can_run(self, units: Sequence[Unit], done: set[str]) -> bool:
        """Whether no cell of these units is done or can be; of cells with a class loss, if there are some: without
        one, their controls with w = 0 say nothing."""
        cells = [unit.id for unit in units if isinstance(unit, Cell) and unit.layer is not None]
        cells = cells or [unit.id for unit in units if isinstance(unit, Cell)]
        return bool(cells) and all(cell in self.endings and cell not in done for cell in cells)


def foresee(plan: Plan, config: Path, units: Sequence[Unit], tell: Callable[[str], None]) -> Foresight:
    """Return what can be known of these units of the study in the file `config`; `tell` is called with a line before
    something that takes seconds."""
    found, problems = _found_in_tokens(plan, config, tell)
    endings = {}
    warnings: dict[str, None] = dict.fromkeys(problems)
    for unit in units:
        state, reason, *more = found.get(unit.id, ("run", ""))
        if state in ("failed", "skipped"):
            endings[unit.id] = Status("failed" if state == "failed" else "skipped", reason)
        warnings |= dict.fromkeys(f"{origin(unit).model_name}: {text}" for text in more)
    cells = [unit for unit in units if isinstance(unit, Cell) and unit.pair and unit.arm == PLAIN]
    few = plan.study.decisions.out_of_reach(samples_by_tier(cells[0])) if cells else ""
    told = [f"{few} (evaluation.prompts_per_class)"] if few else []
    told += [f"{name}, which is yet to be fetched: {text}" for name, text in _terms(plan)]
    if not plan.study.data.answered:
        told.append("the prompts have labels alone: there is no stage 1 and no answer loss, and no answers are scored")
    return Foresight(endings, [*told, *coinciding(plan), *warnings])


def _terms(plan: Plan) -> Iterator[tuple[str, str]]:
    """Yield the models that are not on this machine and whose terms ask for something, with the licence and that."""
    for name, model in plan.models.items():
        if (asked := terms_of(model.licence)) and not locate(model):
            yield name, f"{model.licence}: {asked}"


def coinciding(plan: Plan) -> list[str]:
    """Return which of the layers that the grid lists are one block, and a whole number 1 that may be meant as a depth:
    such layers are one cell, without another word."""
    found: dict[str, None] = {}
    blocks = sorted({model.blocks for model in plan.models.values()})
    for grid, _ in plan.study.grids:
        layers = grid.layers if isinstance(grid.layers, list) else []
        for count in blocks:
            by_block: dict[int, list[str]] = {}
            for layer in dict.fromkeys((type(layer), layer) for layer in layers):
                by_block.setdefault(absolute_layer(layer[1], count), []).append(str(layer[1]))
            for block, alike in by_block.items():
                if len(alike) > 1:
                    found[f"layers {', '.join(alike)} are one, block {block}, in a model of {count} blocks"] = None
        if any(isinstance(layer, float) for layer in layers) and 1 in [one for one in layers if isinstance(one, int)]:
            found["layer 1 is the second block; the last one is 1.0"] = None
    return list(found)


def _found_in_tokens(plan: Plan, config: Path, tell: Callable[[str], None]) -> tuple[dict[str, list[str]], list[str]]:
    """Return what `study.pipeline.token_checks` finds by unit, and its problems; what it found before where nothing has
    changed."""
    folders = {name: folder for name, model in plan.models.items() if (folder := locate(model))}
    made = [name for name, model in plan.models.items() if name not in folders and _is_checked(plan, model)]
    if not folders and not made:
        return {}, []
    key = content_hash([code_fingerprint(), [unit.id for unit in plan.units], list(map(_state, folders.values()))])
    kept = cache_root() / "checks" / f"{plan.study.name}.json"
    try:
        content: dict[str, Any] = json.loads(kept.read_bytes())
        if content["key"] == key:
            return content["found"], []
    except (OSError, ValueError, KeyError, TypeError):
        pass
    tell(f"checking the prompts, class tokens and settings of {', '.join([*folders, *made])} …")
    command = [sys.executable, "-m", "study.pipeline.token_checks", str(config), *plan.changes]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return {}, [f"prompts and class tokens could not be checked: {last}"]
    found: dict[str, list[str]] = json.loads(done.stdout)
    with suppress(OSError):  # a cache that cannot be written costs time only
        write_json(kept, {"key": key, "found": found})
    return found, []


def _is_checked(plan: Plan, model: Model) -> bool:
    """Whether a model that is yet to be made may turn out to be none, or not to suit the study. A first run need not
    wait for others."""
    source = model.source
    return not source.missing if isinstance(source, GgufSource) else plan.may_fail_when_built(model)


def _state(folder: Path) -> list[list[Any]]:
    """Return what tells whether the tokenizer or the configuration in a folder has changed."""
    files = [file for file in sorted(folder.iterdir()) if file.is_file() and file.suffix != ".safetensors"]
    return [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]
