"""What is kept of the lens of a unit: its prompts at few layers, and means over prompts at all of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from study.config.names import NOBODY
from study.results.finished import UNREADABLE, DamagedError
from study.results.schema import PROFILE
from study.results.values import FigureError

Entry = Mapping[str, Any]
"""A unit in study.json."""


class LensLayers:
    """Leaves a row a prompt at the last layer and where a cell is trained, and means over prompts at every layer.

    Of a designed sample, which has millions of such rows, only what it is decided on: where a cell is trained, prompts
    in templates that no training saw, where a tier has such templates.
    """

    def __init__(self, description: Mapping[str, Any], read: Callable[[Entry], pa.Table]) -> None:
        """Take the description of a study, and what reads the lens of one of its units."""
        entries: Sequence[Entry] = description["units"]
        self._is_sample = is_sample(description)
        self._read = read
        self._cells: dict[tuple[str, int], list[Entry]] = {}
        self._trained: dict[str, set[int]] = {}
        self._everywhere: dict[tuple[str, int], pa.Array | None] = {}
        for entry in entries:
            if entry["layer"] is not None:
                self._trained.setdefault(entry["model"], set()).add(entry["layer"])
                self._cells.setdefault((entry["model"], entry["seed"]), []).append(entry)

    def summarised(self, entry: Entry, lens: pa.Table) -> dict[str, pa.Table]:
        """Return the tables `lens` and `profile` of a unit."""
        layers = {entry["layer"]} if entry["layer"] is not None else self._trained.get(entry["model"], set())
        prompts = self._prompts(entry["model"], entry["seed"])
        means = profile(lens if prompts is None else lens.filter(pc.is_in(lens["prompt_id"], prompts)))
        if not self._is_sample:
            layers = layers | {entry["blocks"] - 1}
        lens = lens.filter(pc.is_in(lens["layer"], pa.array(sorted(layers), lens["layer"].type)))
        return {"lens": _shown(lens) if self._is_sample else lens, "profile": means}

    def _prompts(self, model: str, seed: int) -> pa.Array | None:
        """The prompts that the first finished cell of a model and seed has at every layer; None without such a cell."""
        if (model, seed) not in self._everywhere:
            self._everywhere[model, seed] = None
            for entry in self._cells.get((model, seed), []):
                try:
                    lens = self._read(entry)
                except (*UNREADABLE, DamagedError, FigureError):
                    continue
                self._everywhere[model, seed] = prompts_at_every_layer(lens, entry["blocks"])
                break
        return self._everywhere[model, seed]


def is_sample(description: Mapping[str, Any]) -> bool:
    """Return whether a study is of a designed sample of small models."""
    return bool((description["config"].get("nursery") or {}).get("sample"))


def _shown(lens: pa.Table) -> pa.Table:
    """Return the rows in templates that no training saw, and all rows of tiers that have none."""
    unseen = pc.equal(lens["seen"], NOBODY)
    without = pa.array(set(lens["tier"].to_pylist()) - set(lens["tier"].filter(unseen).to_pylist()), pa.string())
    return lens.filter(pc.or_(unseen, pc.is_in(lens["tier"], without)))


def prompts_at_every_layer(lens: pa.Table, blocks: int) -> pa.Array:
    """Return the ids of the prompts at every layer: a cell's lens is read at every layer for some of the prompts
    only."""
    layers = lens.group_by("prompt_id").aggregate([("layer", "count_distinct")])
    return layers["prompt_id"].filter(pc.equal(layers["layer_count_distinct"], blocks)).combine_chunks()


def profile(lens: pa.Table) -> pa.Table:
    """Return mean p, choice and mean log p of the right class token, by stage, pair, layer and tier."""
    log_p = lens["log_p"].cast(pa.float32()).cast(pa.float64())  # as it is packed
    rows = lens.select([*PROFILE, "choice"]).append_column("log_p", log_p).append_column("p", pc.exp(log_p))
    # One thread adds in one order, so that the same rows give the same bytes.
    groups = rows.group_by(PROFILE, use_threads=False)
    found = groups.aggregate([("p", "count"), ("p", "mean"), ("choice", "mean"), ("log_p", "mean")])
    names = {"p_count": "prompts", "p_mean": "p", "choice_mean": "choice", "log_p_mean": "log_p"}
    found = found.rename_columns([names.get(name, name) for name in found.column_names])
    return found.sort_by([(name, "ascending") for name in PROFILE])
