"""Figures of cells by sample: prompts averaged within a template, since templates are the sample of a wording."""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from study.config.evaluation import FEWEST_TEMPLATES
from study.config.names import NOBODY

Codes = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Key = tuple[object, ...]
"""Of a row of Samples: a unit's id, and what else tells its rows apart."""
Templates = Literal["unseen", "seen", "labelled", "all"]
"""Those that no training saw; those that some training saw; those that stage 2 trained on, with class labels; or
all."""

LACKING, UNSEEN, SEEN, LABELLED = -1, 0, 1, 2
"""What trainings saw of a sample that a row has, or that it lacks it."""


@dataclass(frozen=True)
class Samples:
    """Figures on one tier: arrays [rows, samples] with a row for each key, and a last one that lacks all samples.

    A sample is a template, or the operands in tiers with few templates. The operations of a template count alike.
    """

    places: Mapping[Key, int]
    names: list[str]
    values: Mapping[str, Floats]
    """By column, NaN where a row lacks a sample."""
    prompts: npt.NDArray[np.int32]
    """How many prompts each value is the mean of."""
    seen: npt.NDArray[np.int8]
    """LACKING, UNSEEN, SEEN or LABELLED."""

    def rows(self, keys: Iterable[Key]) -> Codes:
        """Return the row of each key; the last one, which lacks all samples, where there is none."""
        return np.fromiter((self.places.get(key, len(self.places)) for key in keys), np.intp)

    def of(self, rows: Codes, templates: Templates = "all") -> Flags:
        """Return which samples of the rows are of a kind, [rows, samples]."""
        seen, least = self.seen[rows], {"unseen": UNSEEN, "all": UNSEEN, "seen": SEEN, "labelled": LABELLED}[templates]
        return np.asarray(seen == least if templates == "unseen" else seen >= least)

    def shown(self, rows: Codes) -> tuple[Flags, Flags]:
        """Return the samples [rows, samples] that no training saw, all where there are none, and which [rows] have
        some."""
        unseen = self.of(rows, "unseen")
        has = np.asarray(unseen.any(axis=1))
        return np.where(has[:, None], unseen, self.of(rows)), has

    def figures(self, column: str, rows: Codes, chosen: Flags) -> Floats:
        """Return the values of the rows [rows, samples], NaN where they are not chosen."""
        return np.where(chosen, self.values[column][rows], np.nan)


FewTemplates = Set[tuple[str, str]]
"""Units and tiers that have few templates."""


def by_sample(
    chunks: Iterable[pd.DataFrame], columns: Sequence[str], apart: Sequence[str], few: FewTemplates
) -> dict[str, Samples]:
    """Average columns of rows of prompts over the operations and operands of a template, or of a group, by tier.

    Rows that differ in the columns `apart`, of which the first is the unit, are averaged apart; their values are the
    keys. Samples are groups of operands where a unit has `few` templates on a tier. A group of which a training saw
    some templates is seen. Samples are in the order in which they appear.
    """
    parts: dict[str, list[Samples]] = {}
    for rows in chunks:
        for tier, samples in _by_sample(rows, columns, apart, few).items():
            parts.setdefault(tier, []).append(samples)
    return {tier: several[0] if len(several) == 1 else _merged(several) for tier, several in parts.items()}


def few_templates(chunks: Iterable[pd.DataFrame]) -> FewTemplates:
    """Return the units and tiers that have fewer than FEWEST_TEMPLATES templates in rows of prompts."""
    found: set[tuple[str, str]] = set()
    for rows in chunks:
        place = _joined([_codes(rows[name]) for name in ("unit", "tier")])
        size = int(_codes(rows["template"]).max(initial=-1)) + 1
        templates = np.bincount(np.unique(place * size + _codes(rows["template"])) // max(size, 1))
        first = np.unique(place, return_index=True)[1][templates < FEWEST_TEMPLATES]
        found |= set(zip(*(rows[name].iloc[first].tolist() for name in ("unit", "tier")), strict=True))
    return found


def _by_sample(
    rows: pd.DataFrame, columns: Sequence[str], apart: Sequence[str], few: FewTemplates
) -> dict[str, Samples]:
    place = _joined([_codes(rows[name]) for name in apart])
    template, operands = _codes(rows["template"]), _codes(rows["operands"])
    sample = np.where(_are_few(rows, apart[0], few), operands + template.max(initial=-1) + 1, template)
    names = [*_names(rows["template"]), *_names(rows["operands"])]
    seen = np.array([_seen(words) for words in _names(rows["seen"])], np.int8)[_codes(rows["seen"])]
    tier, tiers = _codes(rows["tier"]), _names(rows["tier"])
    found = {}
    for code in pd.unique(tier):
        own = np.flatnonzero(tier == code)
        first, place_here = np.unique(place[own], return_index=True)[1], pd.factorize(place[own])[0]
        keys = zip(*(rows[name].iloc[own[np.sort(first)]].tolist() for name in apart), strict=True)
        sample_here, samples = pd.factorize(sample[own])
        figures = {name: rows[name].to_numpy(float)[own] for name in columns}
        found[tiers[code]] = Samples(
            {key: row for row, key in enumerate(keys)},
            [names[one] for one in samples],
            *_dense(place_here, sample_here, _codes(rows["operation"])[own], figures, seen[own]),
        )
    return found


def _merged(parts: Sequence[Samples]) -> Samples:
    """The samples of several parts, no two of which have a row in common."""
    names = list(dict.fromkeys(name for part in parts for name in part.names))
    at = {name: column for column, name in enumerate(names)}
    places: dict[Key, int] = {}
    for part in parts:
        places |= {key: len(places) + row for key, row in part.places.items()}

    def under_each_other(arrays: Sequence[npt.NDArray[Any]], lacking: float) -> npt.NDArray[Any]:
        table = np.full((len(places) + 1, len(names)), lacking, arrays[0].dtype)
        start = 0
        for part, array in zip(parts, arrays, strict=True):
            table[start : start + len(part.places), [at[name] for name in part.names]] = array[:-1]
            start += len(part.places)
        return table

    values = {name: under_each_other([part.values[name] for part in parts], np.nan) for name in parts[0].values}
    prompts = under_each_other([part.prompts for part in parts], 0)
    return Samples(places, names, values, prompts, under_each_other([part.seen for part in parts], LACKING))


def _dense(
    place: Codes, sample: Codes, operation: Codes, figures: Mapping[str, Floats], seen: npt.NDArray[np.int8]
) -> tuple[dict[str, Floats], npt.NDArray[np.int32], npt.NDArray[np.int8]]:
    """Average figures [prompts] into arrays [places + 1, samples], of which the last row is empty."""
    kinds = int(operation.max(initial=-1)) + 1
    shape = int(place.max(initial=-1)) + 2, int(sample.max(initial=-1)) + 1
    flat = place * shape[1] + sample
    within, size = flat * kinds + operation, shape[0] * shape[1] * kinds
    counts = np.bincount(within, minlength=size).reshape(*shape, kinds)
    of_operations = (counts > 0).sum(axis=2)
    values = {}
    with np.errstate(invalid="ignore"):  # what a row lacks is 0 / 0
        for name, column in figures.items():
            sums = np.bincount(within, column, size).reshape(*shape, kinds)
            values[name] = (sums / np.maximum(counts, 1)).sum(axis=2) / of_operations
    told = np.full(shape[0] * shape[1], LACKING, np.int8)
    np.maximum.at(told, flat, seen)
    return values, counts.sum(axis=2, dtype=np.int32), told.reshape(shape)


def order_of_pairs(rows: pd.DataFrame, apart: Sequence[str] = ()) -> Floats:
    """Return, for each row of read-outs, whether its matched pair of prompts is in the right order.

    A pair is two prompts that differ in their operation alone, of the same template and operands, and of the same
    values in the columns `apart`. It is in order where the logit of one class token minus that of the other is higher
    in the prompt of that class than in its partner: 1, or 0 where it is lower, 0.5 where they are equal. What favours
    one class in both prompts, such as a bias toward one token, has no part in it, as in two-alternative forced choice
    (Green & Swets 1966). NaN where rows of the same values `apart` have not two classes, or a prompt has no partner.
    """
    place = _joined([_codes(rows[name]) for name in apart]) if apart else np.zeros(len(rows), np.intp)
    operation = _codes(rows["operation"])
    kinds = int(operation.max(initial=-1)) + 1
    there = np.zeros((int(place.max(initial=-1)) + 1, kinds), bool)
    there[place, operation] = True
    side = (np.cumsum(there, axis=1) - 1)[place, operation]
    pair = _joined([place, *(_codes(rows[name]) for name in ("tier", "template", "operands"))])
    margin = rows["margin"].to_numpy(float)  # of the right one over the other; the two log-probabilities lose it
    counts = np.stack([np.bincount(pair, side == one) for one in (0, 1)])
    margins = np.stack([np.bincount(pair, margin * (side == one)) for one in (0, 1)])
    with np.errstate(divide="ignore", invalid="ignore"):
        together = (margins / counts).sum(axis=0)
    order = np.where(np.isfinite(together), (np.sign(together) + 1) / 2, np.nan)
    return np.where(there.sum(axis=1)[place] == 2, order[pair], np.nan)


def grouped(codes: Codes) -> dict[int, Codes]:
    """Return where each code stands, in the order in which they appear first."""
    order = np.argsort(codes, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(codes[order])) + 1) if len(codes) else []
    return {int(codes[part[0]]): part for part in sorted(parts, key=lambda part: int(part[0]))}


def has_any(values: Floats) -> Flags:
    """Return which rows [rows, samples] have a value."""
    return np.asarray((~np.isnan(values)).any(axis=1))


def mean_of_rows(values: Floats) -> Floats:
    """Return the mean of each row [rows, samples] over the samples that it has; NaN where it has none."""
    there = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        means: Floats = np.where(there, values, 0.0).sum(axis=1) / there.sum(axis=1)
    return means


def _seen(words: str) -> int:
    """What trainings saw of a template, of the words for it."""
    return UNSEEN if words == NOBODY else LABELLED if "stage2" in words else SEEN


def _are_few(rows: pd.DataFrame, unit: str, few: FewTemplates) -> Flags:
    """Return which rows are of a unit and tier that has few templates."""
    place = _joined([_codes(rows[unit]), _codes(rows["tier"])])
    first = np.sort(np.unique(place, return_index=True)[1])
    keys = zip(*(rows[name].iloc[first].tolist() for name in (unit, "tier")), strict=True)
    return np.array([key in few for key in keys], bool)[place] if len(rows) else np.zeros(0, bool)


def _codes(column: "pd.Series[Any]") -> Codes:
    if column.dtype == "category":
        return column.cat.codes.to_numpy().astype(np.intp)
    return pd.factorize(column, sort=True)[0]


def _names(column: "pd.Series[Any]") -> list[str]:
    """Return the values of a column of text in the order of `_codes`."""
    return list(column.cat.categories) if column.dtype == "category" else sorted(set(column))


def _joined(several: Sequence[Codes]) -> Codes:
    """Return one code for each combination of codes, numbered in the order in which they appear."""
    joined = several[0].astype(np.int64)
    for more in several[1:]:
        size = int(more.max(initial=0)) + 1
        if int(joined.max(initial=0)) >= 2**62 // size:
            joined = pd.factorize(joined)[0]
        joined = joined * size + more
    return pd.factorize(joined)[0]
