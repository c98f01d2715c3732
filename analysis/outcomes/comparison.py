"""What differs between two sides: B minus A of units that stand beside each other, paired by template and seed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from analysis.data.equal_rows import Compared
from analysis.data.matching import BOTH, LEFT_OUT, Matched, Pair
from analysis.data.samples import Flags, Key, Samples, mean_of_rows
from analysis.data.units import StudyUnit
from analysis.outcomes.effects import AT_CEILING, CEILING, FEWEST_MODELS, UNDECIDED, Series, paired_effects
from analysis.outcomes.fit import has_fitted
from analysis.statistics.effects import effect, of_each
from analysis.statistics.equivalence import Verdict, equivalent
from analysis.statistics.intervals import Floats, columns
from study.config.arms import PLAIN
from study.config.evaluation import Decisions
from study.config.recipes import CORRECTED
from study.config.units import CHAT

SERIES = ["model", "pair", "weight", "wordings", "arm", "recipe", "changed"]
"""What the pairs of a difference have in common, of A; they differ in depth and seed."""
COMPARED = [
    *("family", "together", "measure", *SERIES, "tier", "templates", "depth", "depths", "seeds", "samples", "a", "b"),
    *("difference", "difference_low", "difference_high", "together_low", "together_high"),
    *("lowest_seed", "highest_seed", "verdict"),
]
SINGLE = ["measure", "unit_a", "unit_b", *SERIES, "depth", "seed_a", "seed_b", "tier", "templates", "samples", "a", "b"]
P = "p of the class token"
HIGHER, LOWER, NONE = "higher", "lower", "none"
ALONE = ", alone"
"""Added to HIGHER and LOWER where it holds for the difference by itself, but not for all of its family together."""
MOST_MODELS = 3
"""Of more models, the main family is over models."""
EVERY = "all models"
"""Stands for the model in differences over models."""
MAIN, AT_DEPTHS, FURTHER, FURTHER_AT_DEPTHS = "main", "main, by depth", "further", "further, by depth"


@dataclass(frozen=True)
class Measure:
    """A figure of units that is compared."""

    name: str
    column: str
    stage: str = "stage2"
    trained: bool = True
    """Whether it is of cells with a class loss; otherwise of all that have the stage."""


MEASURES = (
    Measure("choice accuracy", "choice"),
    Measure("answers", "right"),
    Measure("pairs in order", "order"),
    Measure(P, "p"),
    Measure("answers, w = 0", "right", trained=False),
    Measure("answers after stage 1", "right", "stage1", trained=False),
    Measure("answers before training", "right", "baseline", trained=False),
)
"""Those of the main family are the first two."""
DECIDED = tuple(measure.name for measure in MEASURES[:2])


@dataclass(frozen=True)
class Comparison:
    """The differences between two sides."""

    differences: pd.DataFrame
    """COMPARED, over templates and seeds."""
    single: pd.DataFrame
    """SINGLE, the values of each pair of units."""
    not_fitted: pd.DataFrame
    """Pairs that are left out since a cell of theirs did not learn its class tokens: LEFT_OUT, the unit of A."""


def compare(matched: Matched, rows: Compared) -> Comparison:
    """Return what differs between the pairs whose rows are not equal.

    Choice accuracy, the order of matched pairs and p are at the trained layer, on templates that no training saw where
    both have some; answers are on all templates. Cells count where both have fitted. Each row is a mean of B minus A
    over depths, or at one, with an interval over templates and seeds (`effects`), and over templates and models where
    it is of all of at least three models, each being averaged over its depths and seeds.

    `together_low` and `together_high` are the ends of the interval at the confidence with which all rows of a `family`
    hold together (Bonferroni's, 1 - alpha / `together`). The verdict is `higher` or `lower` where that interval
    excludes zero, with ALONE where only the row's own does, CEILING where both are nearly always right, `none` where it
    lies within the margin of non-inferiority either way (TOST at alpha / `together`), else `undecided`.
    """
    asked = [pair for pair in matched.pairs if pair.a.id != pair.b.id or pair.a.id not in rows.equal]
    unfit = pd.DataFrame([row for pair in asked if (row := _unfit(matched, pair))], columns=LEFT_OUT)
    pairs = [pair for pair in asked if pair.a.id not in set(unfit["unit"])]
    parts, tables, single = [], list[Floats](), []
    for measure in MEASURES:
        own = [pair for pair in pairs if _has(pair, measure)]
        for tier in matched.a.results.tiers if own else ():
            if (values := _values(matched, own, measure, tier)) is None:
                continue
            a, b, templates = values
            about = {"measure": measure.name, "tier": tier, "templates": templates}
            found, of_rows = _differences(own, measure, a, b)
            parts.append(found.assign(**about))
            tables += of_rows
            single.append(_single(own, a, b).assign(**about))
    if not parts:
        return Comparison(pd.DataFrame(columns=COMPARED), pd.DataFrame(columns=SINGLE), unfit)
    decided = _decided(pd.concat(parts, ignore_index=True), tables, matched.a.results.decisions)
    decided = decided.loc[_in_order(decided, matched.a.results.tiers)].reset_index(drop=True)
    return Comparison(decided, pd.concat(single, ignore_index=True)[SINGLE], unfit)


def _unfit(matched: Matched, pair: Pair) -> list[str]:
    """The row of a pair of which a cell has not fitted; empty where both have."""
    sides = ((matched.a, pair.a), (matched.b, pair.b))
    unfit = [side.letter for side, unit in sides if unit.layer is not None and not has_fitted(side.results, unit)]
    reason = f"the class loss did not fall far enough in {' and '.join(unfit)}"
    return [BOTH, pair.a.id, pair.a.label, pair.a.kind, reason] if unfit else []


def _has(pair: Pair, measure: Measure) -> bool:
    if measure.stage != "stage2":
        return pair.a.kind == "reference"
    return pair.a.kind == "cell" and (pair.a.layer is not None) == measure.trained


def _values(matched: Matched, pairs: Sequence[Pair], measure: Measure, tier: str) -> tuple[Floats, Floats, str] | None:
    """The values [pairs, samples] of A and of B, NaN in both where one lacks the sample, and of which templates they
    are; None where they share none."""
    answers = measure.column == "right"
    found = [side.results.answered if answers else side.results.readouts for side in (matched.a, matched.b)]
    sides = [by_tier[tier] for by_tier in found if tier in by_tier]
    if len(sides) < 2:
        return None
    keys = [[_key(pair.a, measure) for pair in pairs], [_key(pair.b, measure) for pair in pairs]]
    shared = [name for name in sides[0].names if name in set(sides[1].names)]
    chosen = [_at(samples, own, measure.column, shared) for samples, own in zip(sides, keys, strict=True)]
    unseen = np.logical_and(*(new for _, new in chosen))
    kind = "unseen" if unseen.any() and not answers else "all"
    lacking = np.logical_or(*(np.isnan(values) for values, _ in chosen)) | (~unseen if kind == "unseen" else False)
    a, b = (np.where(lacking, np.nan, values) for values, _ in chosen)
    return None if lacking.all() else (a, b, kind)


def _key(unit: StudyUnit, measure: Measure) -> Key:
    return (unit.id, measure.stage) if measure.column == "right" else unit.trained


def _at(samples: Samples, keys: Sequence[Key], column: str, names: Sequence[str]) -> tuple[Floats, Flags]:
    """The values of rows at samples of these names [keys, names], and which no training saw."""
    rows, place = samples.rows(keys), {name: number for number, name in enumerate(samples.names)}
    at = [place[name] for name in names]
    return samples.figures(column, rows, samples.of(rows))[:, at], samples.of(rows, "unseen")[:, at]


def _differences(pairs: Sequence[Pair], measure: Measure, a: Floats, b: Floats) -> tuple[pd.DataFrame, list[Floats]]:
    """The differences of one measure on one tier, and the table [samples, seeds] of each."""
    series: Series = {}
    for number, pair in enumerate(pairs):
        series.setdefault(_series(pair.a), []).append(number)
    rows, tables = paired_effects(b, a, [(pair.depth, pair.a.seed) for pair in pairs], series)
    if not measure.trained:  # there is no depth, at which the mean over depths would stand again
        kept = rows["depth"].isna().to_numpy()
        rows, tables = rows[kept].reset_index(drop=True), tables[kept]
    keys = pd.DataFrame(list(series), columns=SERIES)
    own = rows.join(keys.iloc[rows["series"]].reset_index(drop=True))
    own = own.rename(columns={"value": "b", "value_beside": "a"})
    further, of_models = _over_models(keys, series, a, b)
    return pd.concat([own, *([pd.DataFrame(further)] if further else [])], ignore_index=True), [*tables, *of_models]


def _single(pairs: Sequence[Pair], a: Floats, b: Floats) -> pd.DataFrame:
    """The values of each pair of units that shares samples."""
    about = [
        [pair.a.id, pair.b.id, *_series(pair.a), pair.depth if pair.a.layer is not None else np.nan] for pair in pairs
    ]
    found = pd.DataFrame(about, columns=["unit_a", "unit_b", *SERIES, "depth"]).assign(
        seed_a=[pair.a.seed for pair in pairs],
        seed_b=[pair.b.seed for pair in pairs],
        samples=(~np.isnan(a)).sum(axis=1),
        a=mean_of_rows(a),
        b=mean_of_rows(b),
    )
    return found[found["samples"] > 0]


def _series(unit: StudyUnit) -> tuple[object, ...]:
    wordings = "+".join(unit.wordings)
    recipe = unit.recipe if unit.kind == "cell" else ""
    return unit.model, unit.pair, unit.weight, wordings, unit.arm, recipe, unit.changed


def _over_models(
    keys: pd.DataFrame, series: Series, a: Floats, b: Floats
) -> tuple[list[dict[str, object]], list[Floats]]:
    """The rows over all models where there are at least FEWEST_MODELS, and their tables [samples, models]."""
    rows: list[dict[str, object]] = []
    tables, members = [], list(series.values())
    # A model that is prompted through its chat template is no further one.
    plainly = keys[~keys["model"].str.endswith(CHAT)]
    for about, own in plainly.groupby(SERIES[1:], sort=False, dropna=False):
        sides = (np.stack([mean_of_rows(side[members[number]].T) for number in own.index], axis=1) for side in (a, b))
        of_a, of_b = (side[:, ~np.isnan(side).all(axis=0)] for side in sides)
        if of_a.shape[1] >= FEWEST_MODELS:
            table = (of_b - of_a)[~np.isnan(of_a).all(axis=1)]
            means = {"a": float(np.nanmean(of_a)), "b": float(np.nanmean(of_b))}
            of_models = np.nanmean(table, axis=0)
            ends = {"lowest_seed": of_models.min(), "highest_seed": of_models.max()}
            counts = {"seeds": table.shape[1], "samples": len(table)}
            rows.append({"model": EVERY, **dict(zip(SERIES[1:], about, strict=True)), **counts, **means, **ends})
            tables.append(table)
    return rows, tables


def _decided(frame: pd.DataFrame, tables: Sequence[Floats], decisions: Decisions) -> pd.DataFrame:
    """The rows with their intervals, family and verdict, of which the tables [samples, seeds] are the differences."""
    frame = frame.assign(family=_families(frame))
    sizes = frame.groupby("family")["family"].transform("size").to_numpy()
    together = np.full((len(frame), 3), np.nan)
    for size in np.unique(sizes):
        at = np.flatnonzero(sizes == size).tolist()
        together[at] = of_each([tables[number] for number in at], 1 - (1 - decisions.confidence) / size)
    ends = {"together": sizes, "together_low": together[:, 1], "together_high": together[:, 2]}
    frame = frame.assign(**columns("difference", of_each(tables, decisions.confidence)), **ends)
    verdicts = [_verdict(row, table, decisions) for row, table in zip(frame.to_dict("records"), tables, strict=True)]
    return frame.assign(verdict=verdicts).reindex(columns=COMPARED)


def _in_order(frame: pd.DataFrame, tiers: Sequence[str]) -> "pd.Index[int]":
    """The rows in the order in which they are told: by measure, series, tier, and depth."""
    order = {name: number for number, name in enumerate([*(measure.name for measure in MEASURES), *tiers])}
    keys = pd.DataFrame({name: frame[name].map(order) for name in ("measure", "tier")})
    keys["series"] = frame.groupby(SERIES, sort=False, dropna=False).ngroup()
    keys["depth"] = frame["depth"].fillna(-1.0)
    return keys.sort_values(["measure", "series", "tier", "depth"], kind="stable").index


def _families(frame: pd.DataFrame) -> list[str]:
    """The family of each row: MAIN of the measures that are decided on, over depths, of the series that comes first."""
    main = main_series(frame)
    several = (frame["model"] == EVERY).any() and frame["model"].nunique() - 1 > MOST_MODELS
    found = []
    for row in frame.to_dict("records"):
        own = row["measure"] in DECIDED and tuple(row[name] for name in SERIES[1:]) == main
        if pd.notna(row["depth"]):
            found.append(AT_DEPTHS if own else FURTHER_AT_DEPTHS)
        else:
            found.append(MAIN if own and (row["model"] == EVERY) == several else FURTHER)
    return found


def main_series(frame: pd.DataFrame) -> tuple[object, ...]:
    """Return what the table and the figure are about, by SERIES without the model: plain cells where there are some, of
    these what most of them have, and the larger weight of two that are as frequent."""
    trained = frame[frame["measure"].isin(DECIDED) & frame["depth"].notna()]
    plain = trained[(trained["arm"] == PLAIN) & (trained["recipe"] == CORRECTED) & (trained["changed"] == "")]
    chosen = (plain if len(plain) else trained).sort_values("weight", ascending=False, kind="stable")
    cells: Counter[tuple[object, ...]] = Counter()
    for row in chosen.to_dict("records"):
        cells[tuple(row[name] for name in SERIES[1:])] += int(row["seeds"])
    return cells.most_common(1)[0][0] if cells else ()


def _verdict(row: Mapping[Any, Any], table: Floats, decisions: Decisions) -> str:
    for name, more in (("together", ""), ("difference", ALONE)):
        if row[f"{name}_low"] > 0 or row[f"{name}_high"] < 0:
            return (HIGHER if row[f"{name}_low"] > 0 else LOWER) + more
    if row["measure"] != P and min(row["a"], row["b"]) >= AT_CEILING:
        return CEILING
    margin, alpha = decisions.non_inferiority_margin, (1 - decisions.confidence) / row["together"]
    if abs(row["difference"]) >= margin:  # no interval of it lies within
        return UNDECIDED
    return NONE if equivalent(partial(effect, table), margin, alpha) == Verdict.SHOWN else UNDECIDED
