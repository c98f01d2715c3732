"""The main tables of the committed report on a sample of small models, computed again from its packed rows.

Nothing here imports `analysis` or `study`: pandas, SciPy and statsmodels on reports/data alone.
"""

import gzip
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

pytestmark = pytest.mark.slow

STUDY = "atlas"
REPORTS = Path(__file__).parents[2] / "reports"
PACKED = REPORTS / "data" / STUDY
FIRST = ("signs", "named", "one")
"""The wordings that class labels are given on."""
LEAST = 0.5
"""Right answers on such a wording below which a task was not learned."""
CLAMP = 0.01
SEEDS = 2


@cache
def units() -> pd.DataFrame:
    """What the label of every finished unit says of it."""
    done = json.loads(gzip.decompress((PACKED / "done.json.gz").read_bytes()))
    return pd.DataFrame([_unit(unit, facts["label"]) for unit, facts in done.items()]).set_index("unit")


def _unit(unit: str, label: str) -> dict[str, Any]:
    """`llama-4x96h4|L3|add-subtract|w=0.5|lora_at|s0`."""
    model, *middle, seed = label.split("|")
    layer = next((int(part[1:]) for part in middle if re.fullmatch(r"L\d+", part)), -1)
    weight = next((float(part[2:]) for part in middle if part.startswith("w=")), None)
    arm = next((part for part in middle if part.endswith(("_at", "_rows"))), "plain") if weight is not None else ""
    blocks = int(re.findall(r"-(\d+)x", model)[-1])
    about = {"unit": unit, "model": model, "architecture": model.split("-")[0], "blocks": blocks}
    kind = "cell" if weight is not None else middle[0]
    return {**about, "kind": kind, "layer": layer, "weight": weight, "arm": arm, "seed": int(seed[1:])}


@cache
def choices() -> pd.DataFrame:
    """Choice accuracy of every cell with a class loss on templates that nobody saw, by tier: a mean over templates, in
    which both classes count alike."""
    lens = pd.read_parquet(PACKED / "lens.parquet").join(
        units()[units()["weight"] > 0].rename(columns={"layer": "layer_own"}), on="unit"
    )
    own = lens[(lens["stage"] == "stage2") & (lens["seen"] == "nobody") & (lens["layer"] == lens["layer_own"])]
    place = ["model", "architecture", "blocks", "layer", "arm", "seed", "pair", "unit", "tier"]
    of_class = own.groupby([*place, "template", "operation"], observed=True)["choice"].mean()
    of_template = of_class.groupby([*place, "template"], observed=True).mean()
    return of_template.groupby(place, observed=True).mean().reset_index()


@cache
def answers() -> "pd.Series[float]":
    """Right answers after stage 1, in all templates, by model, seed and tier."""
    rows = pd.read_parquet(PACKED / "answers.parquet").join(units(), on="unit")
    own = rows[rows["stage"] == "stage1"]
    of_class = own.groupby(["model", "seed", "tier", "template", "operation"], observed=True)["right"].mean()
    return of_class.groupby(["model", "seed", "tier", "template"]).mean().groupby(["model", "seed", "tier"]).mean()


@cache
def fitted() -> "pd.Series[bool]":
    """Whether the mean class loss of a cell's last 20 steps is below that of guessing."""
    curves = pd.read_parquet(PACKED / "curves.parquet", columns=["unit", "class_loss"])
    ended = curves.groupby("unit", observed=True)["class_loss"].apply(lambda losses: losses.iloc[-20:].mean())
    return ended < np.log(2)


def known(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of models and pairs whose task was learned with every seed."""
    first = answers()[answers().index.get_level_values("tier").isin(FIRST)].unstack("seed")
    assert first.shape[1] == SEEDS
    task = dict(zip(FIRST, ("add/subtract", "animal/tool", "straight/crossed"), strict=True))
    learned = {(model, task[tier]) for (model, tier), row in first.iterrows() if (row >= LEAST).all()}
    return frame[[place in learned for place in zip(frame["model"], frame["pair"], strict=True)]]


@cache
def areas() -> pd.DataFrame:
    """The area under (choice accuracy - 1/2) / (1/2) from depth 0.25 to 1, of plain cells, and of seeds in which the
    cell of every depth fitted."""
    plain = choices()[choices()["arm"] == "plain"]
    plain = plain[plain["unit"].map(fitted()).astype(bool)]
    depths = plain.groupby(["model", "pair", "seed"], observed=True)["layer"].transform("nunique")
    plain = plain[depths == plain.groupby(["model", "pair"], observed=True)["layer"].transform("nunique")]
    rows = []
    for (model, architecture, seed, pair, tier), own in plain.groupby(
        ["model", "architecture", "seed", "pair", "tier"], observed=True
    ):
        own = own.sort_values("layer")
        depth = (own["layer"].to_numpy() + 1) / own["blocks"].to_numpy()
        at = np.array(sorted({0.25, *depth[depth > 0.25]}))
        curve = 2 * np.interp(at, depth, own["choice"].to_numpy(float)) - 1
        rows.append([model, architecture, seed, pair, tier, np.trapezoid(curve, at) / 0.75])
    return pd.DataFrame(rows, columns=["model", "architecture", "seed", "pair", "tier", "area"])


def table(name: str) -> pd.DataFrame:
    file = REPORTS / STUDY / f"table_{name}"
    packed = file.with_suffix(".parquet")
    return pd.read_parquet(packed) if packed.exists() else pd.read_csv(file.with_suffix(".csv"))


def test_areas_and_which_tasks_were_learned() -> None:
    told = table("areas").merge(areas(), on=["model", "seed", "pair", "tier"], suffixes=("", "_here"))
    assert len(told) == len(table("areas")) == len(areas())
    assert told["area"].to_numpy() == pytest.approx(told["area_here"].to_numpy(), abs=1e-5)
    right = [answers()[place] for place in zip(told["model"], told["seed"], told["tier"], strict=True)]
    assert told["answers"].to_numpy() == pytest.approx(np.array(right), abs=1e-5)
    both = told.groupby(["model", "pair"])["learned"].transform("all")
    assert sorted(told.index[both]) == sorted(known(told).index)


def test_the_table_of_the_first_page() -> None:
    text = (REPORTS / f"{STUDY}.md").read_text()
    page = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ") and "`" in line]
    by_tier = dict(list(known(areas()).groupby("tier")))
    found = 0
    for cells in page:
        name = next((tier for tier in by_tier if tier in cells[:2]), None)
        if name is None or len(cells) < 8:
            continue
        found += 1
        models, area, ends = cells[cells.index(name) + 2 : cells.index(name) + 5]
        means = by_tier[name].groupby("model")["area"].mean()
        assert int(models) == len(means)
        assert float(area) == pytest.approx(means.mean(), abs=0.0051)
        assert [float(end) for end in ends.split(" to ")] == pytest.approx([means.min(), means.max()], abs=0.0051)
    assert found == len(by_tier) == 15


def test_the_variance_of_areas() -> None:
    """Of all tasks together: the expected mean squares of the nested and crossed layout, solved as linear equations."""
    own = known(areas())
    wide = own.pivot_table(index=["architecture", "model", "seed"], columns="tier", values="area", observed=True)
    assert wide.shape[1] == 15
    wide = wide.dropna()
    each = wide.groupby("architecture").size()
    wide = wide.loc[each.index[each == each.max()]]
    told = table("variance").set_index(["pair", "component"]).loc["all pairs"]
    count, models = len(set(wide.index.get_level_values(0))), len(set(wide.index.get_level_values(1)))
    assert set(told["architectures"]) == {count}
    assert set(told["models"]) == {models}
    values = wide.to_numpy().reshape(count, models // count, SEEDS, 15)
    a, m, s, t = values.shape
    axes = {"a": 0, "m": 1, "s": 2, "t": 3}

    def mean(over: str) -> Any:
        gone = tuple(axis for name, axis in axes.items() if name not in over)
        return values.mean(gone, keepdims=True)

    effects = {
        "tier": (mean("t") - mean(""), t - 1),
        "architecture": (mean("a") - mean(""), a - 1),
        "model": (mean("am") - mean("a"), a * (m - 1)),
        "seed": (mean("ams") - mean("am"), a * m * (s - 1)),
        "architecture x tier": (mean("at") - mean("a") - mean("t") + mean(""), (a - 1) * (t - 1)),
        "model x tier": (mean("amt") - mean("am") - mean("at") + mean("a"), a * (m - 1) * (t - 1)),
        "rest": (values - mean("amt") - mean("ams") + mean("am"), a * m * (s - 1) * (t - 1)),
    }
    # What each mean square is expected to be: how often each component stands in it.
    times = {"architecture": m * s * t, "model": s * t, "seed": t, "architecture x tier": m * s, "model x tier": s}
    times |= {"tier": a * m * s, "rest": 1}
    within = {
        "tier": ("tier", "architecture x tier", "model x tier", "rest"),
        "architecture": ("architecture", "model", "seed", "architecture x tier", "model x tier", "rest"),
        "model": ("model", "seed", "model x tier", "rest"),
        "seed": ("seed", "rest"),
        "architecture x tier": ("architecture x tier", "model x tier", "rest"),
        "model x tier": ("model x tier", "rest"),
        "rest": ("rest",),
    }
    names = [name for name, (_, free) in effects.items() if free]
    squares = [float((np.broadcast_to(effects[name][0], values.shape) ** 2).sum()) / effects[name][1] for name in names]
    expected = [[times[part] if part in within[name] else 0 for part in names] for name in names]
    found = np.linalg.solve(np.array(expected, float), np.array(squares)).clip(0)
    shares = dict(zip(names, found / found.sum(), strict=True))
    assert set(told.index) == set(shares)
    assert told["share"].to_dict() == pytest.approx(shares, abs=1e-4)
    assert (told["share_low"] <= told["share"]).all()
    assert (told["share"] <= told["share_high"]).all()


def test_manipulations() -> None:
    every = known(choices())
    own = every[every["unit"].map(fitted()).astype(bool)]
    place = ["architecture", "model", "seed", "pair", "tier", "layer"]
    plain = own[own["arm"] == "plain"].set_index(place)["choice"]
    told = table("manipulations").set_index(["arm", "tier"])
    p = {}
    for arm in ("lora_at", "aligned_rows", "orthogonal_rows"):
        changed = own[own["arm"] == arm].set_index(place)["choice"]
        differences = (changed - plain).dropna().rename("difference").reset_index()
        by_model = differences.groupby(["architecture", "model", "seed", "pair", "tier"], observed=True)["difference"]
        means = by_model.mean().groupby(["architecture", "model", "tier"], observed=True).mean()
        by_architecture = means.groupby(["architecture", "tier"], observed=True).mean().unstack("tier")
        for tier, values in by_architecture.items():
            row = told.loc[(arm, tier)]
            assert row["difference"] == pytest.approx(values.mean(), abs=1e-5)
            assert row["architectures"] == values.notna().sum()
            if values.std() > 0:
                ends = stats.ttest_1samp(values.dropna(), 0).confidence_interval(0.95)
                assert (row["difference_low"], row["difference_high"]) == pytest.approx(tuple(ends), abs=1e-5)
        pairs = len(differences[[*place[:-2], "layer"]].drop_duplicates())
        units_of = every.drop_duplicates("unit").query("seed == 0")
        assert set(told.loc[arm, "pairs"]) == {(units_of["arm"] == arm).sum()}
        assert set(told.loc[arm, "fitted"]) == {pairs}
        together = by_architecture.dropna().mean(axis=1)
        row, test = told.loc[(arm, "all")], stats.ttest_1samp(together, 0)
        ends = test.confidence_interval(0.95)
        assert row["architectures"] == len(together)
        shown = tuple(row[["difference", "difference_low", "difference_high"]])
        assert shown == pytest.approx((together.mean(), *ends), abs=1e-5)
        p[arm] = test.pvalue
    corrected = multipletests(list(p.values()), method="holm")[1]
    assert [told.loc[(arm, "all")]["p_holm"] for arm in p] == pytest.approx(list(corrected), abs=1e-4)


@pytest.mark.parametrize(("arm", "predictor"), [("plain", "probe_below"), ("lora_at", "probe")])
def test_what_is_foretold_of_architectures_that_are_left_out(arm: str, predictor: str) -> None:
    before = pd.read_parquet(PACKED / "predictors.parquet").join(units()[["model", "seed"]], on="unit")
    before = before[["model", "seed", "pair", "layer", "tier", predictor]].astype({"tier": str, "pair": str})
    own = known(choices()).query("arm == @arm").astype({"tier": str, "pair": str})
    own = own[own["unit"].map(fitted()).astype(bool)]
    # Of seeds in which the plain cell of every depth fitted.
    own = own.merge(areas()[["model", "seed", "pair"]].drop_duplicates())
    own = own[(own["layer"] < own["blocks"] - 1) & ~own["tier"].isin(FIRST)]
    own = own.merge(before, on=["model", "seed", "pair", "layer", "tier"])
    choice = own["choice"].astype(float).clip(CLAMP, 1 - CLAMP)
    own["target"] = np.log(choice / (1 - choice))
    for architecture in set(own["architecture"]):
        rest = own[own["architecture"] != architecture]
        weight = 1 / rest.groupby("architecture")["target"].transform("size")
        weight = weight / weight.sum() * len(rest)
        x = rest[predictor].astype(float) - 0.5
        slope = (weight * x * rest["target"]).sum() / ((weight * x * x).sum() + 0.1)
        here = own["architecture"] == architecture
        own.loc[here, "told"] = slope * (own.loc[here, predictor].astype(float) - 0.5)
    ranks = [
        stats.spearmanr(one["told"], one["target"]).statistic
        for _, one in own.groupby(["model", "pair"])
        if one["told"].nunique() > 1 and one["target"].nunique() > 1
    ]
    row = table("forecast").set_index("arm").loc[arm]
    assert row["places"] == len(own)
    assert row["rank"] == pytest.approx(np.mean(ranks), abs=1e-4)
    error = (1 / (1 + np.exp(-own["told"])) - 1 / (1 + np.exp(-own["target"]))).abs().mean()
    assert row["error"] == pytest.approx(error, abs=1e-4)
    assert row["rank"] > row["baseline_rank"]
