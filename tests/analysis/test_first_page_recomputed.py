"""The first page of each committed report, computed again from its packed rows by code of its own.

Nothing here imports `analysis` or `study`: pandas on reports/data alone, with intervals by simulation instead of by
quadrature, beside the tables and the Markdown that are committed.
"""

import gzip
import json
import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

pytestmark = pytest.mark.slow

STUDY = "architecture_comparison"
REPORTS = Path(__file__).parents[2] / "reports"
PACKED = REPORTS / "data" / STUDY
Floats = npt.NDArray[np.float64]
WITHOUT: dict[str, object] = {"weight": 0.0, "layer": -1}
ARMS = ("random_words", "shuffled_labels", "swapped_tokens")


@dataclass(frozen=True)
class Place:
    """What the label of a cell says of it."""

    model: str
    layer: int
    weight: float
    arm: str
    wordings: str
    seed: int


@cache
def places() -> dict[str, Place]:
    """Every finished cell, by unit."""
    done = json.loads(gzip.decompress((PACKED / "done.json.gz").read_bytes()))
    return {unit: _place(facts["label"]) for unit, facts in done.items() if facts["kind"] == "cell"}


def _place(label: str) -> Place:
    """`model|L3|multiply-add|w=0.5|random_words|s0`."""
    model, *middle, seed = label.split("|")
    layer = next((int(part[1:]) for part in middle if re.fullmatch(r"L\d+", part)), -1)
    (weight,) = (float(part[2:]) for part in middle if part.startswith("w="))
    arm = next((part for part in middle if part in ARMS), "plain")
    wordings = next((part for part in middle if part.startswith("symbolic")), "symbolic")
    return Place(model, layer, weight, arm, wordings, int(seed[1:]))


def cells(**wanted: object) -> dict[int, str]:
    """The finished cells of which each named fact is as wanted, by seed."""
    found = {
        place.seed: unit
        for unit, place in places().items()
        if all(getattr(place, name) == value for name, value in wanted.items())
    }
    return dict(sorted(found.items()))


@cache
def frame(name: str) -> pd.DataFrame:
    return pd.read_parquet(PACKED / f"{name}.parquet").astype({"unit": str})


def rows(name: str, unit: str, tier: str) -> pd.DataFrame:
    """Rows of a cell after stage 2."""
    own = frame(name)
    return own[(own["unit"] == unit) & (own["tier"] == tier) & (own["stage"] == "stage2")]


def table(name: str) -> pd.DataFrame:
    return pd.read_csv(REPORTS / STUDY / f"table_{name}.csv")


def templates_of(rows: pd.DataFrame, column: str) -> "pd.Series[float]":
    """The mean of a column by template, in which the operations count alike."""
    by_operation = rows.astype({column: float}).groupby(["template", "operation"], observed=True)[column].mean()
    return by_operation.groupby("template").mean()


def read_out(unit: str, tier: str, unseen: bool, layer: int | None = None) -> pd.DataFrame:
    """The rows at the trained layer, or at another; of a model with w = 0 those of the grid's pair."""
    own = rows("lens", unit, tier)
    own = own[(own["layer"] == (places()[unit].layer if layer is None else layer))]
    own = own[(own["pair"] == "multiply/add") | (len(set(own["pair"])) == 1)]
    return own[(own["seen"] == "nobody") == unseen]


def choice(unit: str, tier: str, unseen: bool, layer: int | None = None) -> "pd.Series[float]":
    """Choice accuracy, by template."""
    return templates_of(read_out(unit, tier, unseen, layer), "choice")


def order(unit: str, tier: str, unseen: bool, layer: int | None = None) -> "pd.Series[float]":
    """The share of matched pairs in the right order, by template: the sum of both prompts' log odds of the right token
    against the other one is above zero."""
    own = read_out(unit, tier, unseen, layer)
    odds = own.assign(odds=own["margin"].astype(float)).groupby(["template", "operands"], observed=True)["odds"]
    sums = odds.agg(["mean", "size"])
    assert (sums["size"] >= 2).all()
    in_order = (np.sign(sums["mean"]) + 1) / 2
    return in_order.mul(sums["size"]).groupby("template").sum() / sums["size"].groupby("template").sum()


def right(unit: str, tier: str) -> "pd.Series[float]":
    """Answer accuracy, by template."""
    return templates_of(rows("answers", unit, tier), "right")


def fitted(unit: str) -> bool:
    """Whether the mean class loss of the last 20 steps is at most 0.05 nats, or that of the plain cell beside it."""
    place = places()[unit]
    plain = cells(**{**vars(place), "arm": "plain"}).values()
    return _loss(unit) <= max(0.05, *(map(_loss, plain))) if place.arm in ARMS[:3] else _loss(unit) < np.log(2)


def _loss(unit: str) -> float:
    curve = frame("curves")
    return float(curve.loc[curve["unit"] == unit, "class_loss"].iloc[-20:].mean())


def interval(values: Floats) -> tuple[float, float, float]:
    """Of the mean of [templates, seeds] in [-1, 1] at 95 %, by simulation: of one seed the Beta interval of templates,
    of more the generalised confidence interval of the two-way layout."""
    templates, seeds = values.shape
    draws = np.random.default_rng(1)
    mean = float(values.mean())
    by_template, by_seed = values.mean(1), values.mean(0)
    if seeds == 1 or np.ptp(by_template) < 1e-12:
        span = max(float(np.abs(by_template).max()), 0.5)
        if not by_template.any():
            exact = 1 - 0.025 ** (1 / templates)
            return 0.0, -exact, exact
        sample = np.append((by_template / span + 1) / 2, np.nan)
        middle = (np.nansum(sample) + 0.5) / (templates + 1)
        spread = np.nansum((sample - middle) ** 2) + (middle**2 + (1 - middle) ** 2) / 2
        size = middle * (1 - middle) / (spread / ((templates + 1) * (templates + 2))) - 1
        low, high = np.quantile(draws.beta(size * middle, size * (1 - middle), 400_000), [0.025, 0.975])
        least = 0.025 ** (1 / templates)
        ends = (min(low, least), max(high, 1 - least))
        return mean, *(min(max((2 * end - 1) * span, -1), 1) for end in ends)
    left = values - by_template[:, None] - by_seed[None, :] + mean
    parts = (
        (seeds * ((by_template - mean) ** 2).sum(), templates - 1, 1),
        (templates * ((by_seed - mean) ** 2).sum(), seeds - 1, 1),
        ((left**2).sum(), (templates - 1) * (seeds - 1), -1),
    )
    variance = sum(sign * squares / draws.chisquare(df, 400_000) for squares, df, sign in parts)
    half = np.quantile(np.abs(draws.normal(size=400_000)) * np.sqrt(np.maximum(variance, 0) / values.size), 0.95)
    return mean, max(mean - half, -1), min(mean + half, 1)


def check(told: Mapping[Hashable, Any], name: str, values: Floats, chance: float) -> None:
    """Hold a row beside the values [templates, seeds] that it is of: the point to rounding, the ends to 4 % of the
    width, since both are quantiles of draws. Where a seed lacks a template, the ends are not held."""
    if np.isnan(values).any():
        return
    mean, low, high = (part + chance for part in interval(values - chance))
    floor = 0.0 if chance else -1.0
    assert told[name] == pytest.approx(mean, abs=2e-6)
    ends = told[f"{name}_low"], told[f"{name}_high"]
    slack = 0.04 * (ends[1] - ends[0]) + 0.002
    expected = max(low, floor), min(high, 1.0)
    assert ends == (pytest.approx(expected[0], abs=slack), pytest.approx(expected[1], abs=slack)), dict(told)


def test_the_table_of_means() -> None:
    means = table("means")
    for told in means.to_dict("records"):
        series = {name: told[name] for name in ("model", "layer", "weight", "arm", "wordings")}
        of_series = cells(**series)
        used = [unit for unit in of_series.values() if fitted(unit)]
        assert (len(used), len(of_series) - len(used)) == (told["seeds"], told["not_fitted"]), series
        values = pd.concat([choice(unit, told["tier"], told["templates"] == "unseen") for unit in used], axis=1)
        assert len(values) == told["samples"]
        ends = (told["lowest_seed"], told["highest_seed"])
        assert ends == (pytest.approx(values.mean().min(), abs=2e-6), pytest.approx(values.mean().max(), abs=2e-6))
        check(told, "choice", values.to_numpy(float), chance=0.5)
        pairs = pd.concat([order(unit, told["tier"], told["templates"] == "unseen") for unit in used], axis=1)
        check(told, "order", pairs.to_numpy(float), chance=0.5)
        if told["arm"] == "plain":
            place = (told["tier"], told["templates"] == "unseen", told["layer"])
            zeros = [one for unit in used for one in cells(**{**vars(places()[unit]), **WITHOUT}).values()]
            for name, of in (("zero_choice", choice), ("zero_order", order)):
                expected = np.mean([of(zero, *place).mean() for zero in zeros])
                assert told[name] == pytest.approx(expected, abs=2e-6)
            for name, of in (("zero", choice), ("zero_order", order)):
                seeds = [float(of(zero, *place).mean()) for zero in zeros]
                ends = (told[f"{name}_lowest_seed"], told[f"{name}_highest_seed"])
                assert ends == (pytest.approx(min(seeds), abs=2e-6), pytest.approx(max(seeds), abs=2e-6))
    assert set(means["model"]) == {place.model for place in places().values() if place.layer >= 0}
    assert len(means) == 96


BESIDE = {
    "cost against w = 0": WITHOUT,
    **{f"names against {arm}": {"arm": arm} for arm in ARMS},
}


def labelled(unit: str, tier: str, templates: str) -> "pd.Series[float]":
    """Choice accuracy on new templates, or on those that stage 2 trained on."""
    if templates == "unseen":
        return choice(unit, tier, True)
    own = read_out(unit, tier, False)
    return templates_of(own[own["seen"].astype(str).str.contains("stage2")], "choice")


def test_the_table_of_effects() -> None:
    effects = table("effects")
    effects = effects[effects["contrast"].isin(BESIDE)]
    for told in effects.to_dict("records"):
        cost = told["contrast"] == "cost against w = 0"
        differences = {}
        for unit, place in places().items():
            same = (place.model, place.weight, place.wordings) == (told["model"], told["weight"], told["wordings"])
            there = cells(**{**vars(place), **BESIDE[told["contrast"]]}).values()
            if not (same and place.arm == "plain" and place.layer >= 0 and all(map(fitted, there if not cost else ()))):
                continue
            for beside in there:
                pair = [
                    right(one, told["tier"]) if cost else labelled(one, told["tier"], told["templates"])
                    for one in (unit, beside)
                ]
                differences[place.layer, place.seed] = pair[0] - pair[1]
        layers = sorted({layer for layer, _ in differences})
        if not np.isnan(told["depth"]):
            depths = sorted(effects.loc[_same(effects, told) & effects["depth"].notna(), "depth"])
            layers = [layers[depths.index(told["depth"])]]
        here = {place: one for place, one in differences.items() if place[0] in layers}
        by_seed = pd.concat(here, axis=1).T.groupby(level=1).mean().T
        assert by_seed.shape == (told["samples"], told["seeds"])
        check(told, "difference", by_seed.to_numpy(float), chance=0.0)
        if not cost:
            words = {"above": told["difference_low"] > 0, "below": told["difference_high"] < 0}
            assert all(holds == (told["verdict"] == word) for word, holds in words.items())
        elif told["verdict"] in ("preserved", "hurt"):
            low, high = told["difference_low"], told["difference_high"]
            assert low > -0.03 if told["verdict"] == "preserved" else high < 0
    assert set(effects["contrast"]) == set(BESIDE)


def _same(effects: pd.DataFrame, told: Mapping[Hashable, Any]) -> "pd.Series[bool]":
    names = ["contrast", "model", "weight", "wordings", "tier", "templates"]
    return (effects[names] == [told[name] for name in names]).all(axis=1)


def additive_mean(values: Floats) -> float:
    """The mean of a table [templates, seeds] whose missing values are what least squares of template and seed give:
    of several solutions, as where seeds share no template, the one of the smallest effects around the mean of all."""
    values = values[~np.isnan(values).all(axis=1)][:, ~np.isnan(values).all(axis=0)]
    templates, seeds = values.shape
    design, at = np.zeros((values.size, templates + seeds)), np.arange(values.size)
    design[at, at // seeds] = design[at, templates + at % seeds] = 1
    there, mean = ~np.isnan(values.ravel()), np.nanmean(values)
    fitted = mean + design @ np.linalg.lstsq(design[there], values.ravel()[there] - mean, rcond=None)[0]
    return float(np.where(there, values.ravel(), fitted).mean())


def test_the_table_of_exchanges() -> None:
    """(subspace - floor) / (ceiling - floor) of the probability of the source's answer."""
    shares = table("shares")
    moves = frame("interchange").assign(p=lambda rows: np.exp(-rows["source_nll"]))
    floors = {"class": "random", "paired_1": "random", "paired_4": "random_4", "complement": "random_4"}
    assert dict(zip(shares["subspace"], shares["floor"], strict=True)) == floors
    for told in shares.to_dict("records"):
        layer = told["layer"] if told["weight"] else -1
        series = {name: told[name] for name in ("model", "weight", "wordings")}
        units = cells(**series, layer=layer, arm="plain").values()
        p = {}
        for subspace in (told["subspace"], told["floor"], "full"):
            own = moves[(moves["layer"] == told["layer"]) & (moves["tier"] == told["tier"]) & (moves["strength"] == 1)]
            own = own[own["subspace"] == subspace]
            p[subspace] = pd.concat([templates_of(own[own["unit"] == unit], "p") for unit in units], axis=1)
        means = {name: float(values.mean(axis=None)) for name, values in p.items()}
        assert means[told["subspace"]] == pytest.approx(told["p"], abs=1e-5)
        assert means["full"] == pytest.approx(told["ceiling_p"], abs=1e-5)
        moved, possible = (means[name] - means[told["floor"]] for name in (told["subspace"], "full"))
        table_of_moves = (p[told["subspace"]] - p[told["floor"]]).to_numpy(float)
        assert additive_mean(table_of_moves) == pytest.approx(told["moved"], abs=1e-5)
        if told["ceiling"]:
            assert told["share"] == pytest.approx(moved / possible, abs=1e-3)
    assert shares["ceiling"].any()


def test_the_first_page_tells_the_table_of_means() -> None:
    page = (REPORTS / f"{STUDY}.md").read_text().split("\n## ")[0]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:1] == "|"]
    lines = lines[: next(i for i, line in enumerate(lines) if line[0] == "Question")]
    heads = [i for i, line in enumerate(lines) if line[0] == "wording"]
    assert len(heads) == 2
    for measure, start, end in zip(("choice", "order"), heads, [heads[1], len(lines)], strict=True):
        _tells(measure, lines[start], lines[start + 2 : end])


def _tells(measure: str, head: list[str], body: list[list[str]]) -> None:
    means, tier, told = table("means"), "", 0
    for name, model, *figures in body:
        tier = name.split(",")[0] or tier
        own = means[(means["model"] == model) & (means["tier"] == tier) & (means["templates"] == "unseen")]
        own = own[(own["arm"] == "plain") & (own["wordings"] == "symbolic") & (own["weight"] == 0.5)]
        for depth, figure in zip(head[2:7], figures, strict=False):
            if not figure:
                continue
            near = own.iloc[(own["depth"] - float(depth)).abs().argmin()]
            assert abs(near["depth"] - float(depth)) < 0.05
            text, _, zero = figure.partition(" (")
            found = [int(part) for part in (re.findall(r"\d+", text)[0], *re.findall(r"\d+", zero))]
            told_of = [near[measure], near[f"zero_{measure}"]]
            ends = [near["zero_order_lowest_seed"], near["zero_order_highest_seed"]]
            told_of += ends if measure == "order" and len(found) == 4 else []
            assert found == pytest.approx([100 * value for value in told_of], abs=0.5 + 1e-4)
            assert len(found) == 4 or measure == "choice" or ends[0] == pytest.approx(ends[1], abs=0.01)
            assert figure.startswith("**") == (near[f"{measure}_low"] > 0.75 and near["seeds"] > 1)
            assert ("\\*" in figure) == (near["seeds"] == 1)
            told += 1
    assert told >= 40
