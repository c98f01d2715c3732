"""`python -m simulations.samples`: what a sample of so many architectures can show, with the variances of the pilot.

Reads the areas of the models of `configs/pilot.yaml` in `reports/atlas/table_areas.csv`, draws samples whose variance
components are theirs, and counts how often what is planted is found, and what is not there. Writes SAMPLES.md and
samples.csv.
"""

import math
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from analysis.outcomes.sample import learned
from analysis.statistics.explained import explained
from analysis.statistics.variance import COMPONENTS, components, shares
from simulations.truth import Floats
from study.plan.read import read_study

HERE = Path(__file__).parent
AREAS = HERE.parent / "reports/atlas/table_areas.csv"
PILOT = HERE.parent / "configs/pilot.yaml"
DESIGNS = ((12, 1, 2), (24, 1, 2), (24, 2, 2), (48, 2, 2))
"""Architectures, models of each, and pre-training seeds."""
EFFECTS = (0.0, 0.05, 0.1)
"""What half of the architectures have more, in points of the area."""
EXPLAINS = (0.0, 0.1, 0.3)
"""Shares of the variance within tiers that a predictor knows."""
PREDICTORS = 6
"""That are tested together: the smallest p has to be below 5 % of one of so many (Holm)."""
DRAWS = 300
PERMUTATIONS = 299
RESAMPLES = 200
HEAD = """# What a sample of architectures can show

`python -m simulations.samples` draws samples with the variance components of the areas of `configs/pilot.yaml` (below),
and decides as the report does. A *factor* is one that half of the architectures have, such as a norm after the block;
it is tested between means of architectures (Welch). A *predictor* is measured for each model, seed and tier, knows a
share of the variance within tiers, and is tested as in the report, corrected for {predictors} predictors. 0 is what is
not there: a rate of 5 % or less is right, and of 0.8 % with the correction. {draws} draws each, so that a rate of 50 %
has a standard error of {error:.0f} points.

"""


def areas_of_pilot() -> pd.DataFrame:
    """Return the areas of the pilot's models, whose rows count in the atlas."""
    nursery = read_study(PILOT).study.nursery
    assert nursery is not None
    assert nursery.sample is not None
    areas = pd.read_csv(AREAS)
    return areas[areas["model"].isin(nursery.sample.models)]


def measured(areas: pd.DataFrame) -> dict[str, float]:
    """Return the variance components of the areas of every architecture that has all seeds and tiers; none below 0."""
    table = learned(areas).pivot_table(index=["architecture", "model"], columns=["seed", "tier"], values="area")
    whole = table.sort_index(axis=1).dropna()
    first = whole.groupby("architecture").head(1)
    seeds = first.columns.get_level_values("seed").nunique()
    parts = components(first.to_numpy(float).reshape(len(first), 1, seeds, -1))
    return {name: max(0.0, 0.0 if math.isnan(parts[name]) else parts[name]) for name in COMPONENTS}


def tables(sizes: dict[str, float], shape: tuple[int, int, int, int], random: np.random.Generator) -> Floats:
    """Draw a table [architectures, models, seeds, tiers] with components of these sizes."""
    a, m, s, t = shape
    forms = {
        **{"tier": (1, 1, 1, t), "architecture": (a, 1, 1, 1), "model": (a, m, 1, 1), "seed": (a, m, s, 1)},
        **{"architecture x tier": (a, 1, 1, t), "model x tier": (a, m, 1, t), "rest": shape},
    }
    parts = [math.sqrt(sizes[name]) * random.standard_normal(form) for name, form in forms.items()]
    found: Floats = np.sum([np.broadcast_to(part, shape) for part in parts], axis=0)
    return found


def of_factors(sizes: dict[str, float], shape: tuple[int, int, int, int], random: np.random.Generator) -> list[float]:
    """Return, for each of EFFECTS, how often a factor of half of the architectures is found at 5 %."""
    rates = []
    for effect in EFFECTS:
        found = 0
        for _ in range(DRAWS):
            means = tables(sizes, shape, random).mean((1, 2, 3))
            means[::2] += effect
            found += stats.ttest_ind(means[::2], means[1::2], equal_var=False).pvalue <= 0.05
        rates.append(found / DRAWS)
    return rates


def of_predictors(
    sizes: dict[str, float], shape: tuple[int, int, int, int], random: np.random.Generator
) -> list[float]:
    """Return, for each of EXPLAINS, how often a predictor that knows so much is said to explain."""
    known = {**sizes, "tier": 0.0}
    spread = math.sqrt(math.fsum(known.values()))
    rates = []
    for share in EXPLAINS:
        found = 0
        for _ in range(DRAWS):
            within, noise = (tables(known, shape, random) / spread for _ in range(2))
            predictor = math.sqrt(share) * within + math.sqrt(1 - share) * noise
            outcome = within + tables({**dict.fromkeys(sizes, 0.0), "tier": sizes["tier"] / spread**2}, shape, random)
            tiers = np.broadcast_to(np.eye(shape[3]), (*shape, shape[3]))
            told = explained(
                outcome.reshape(shape[0], -1),
                predictor.reshape(shape[0], -1),
                tiers.reshape(shape[0], -1, shape[3]),
                PERMUTATIONS,
                RESAMPLES,
                0.95,
            )
            found += told.p <= 0.05 / PREDICTORS and told.increment.low > 0
        rates.append(found / DRAWS)
    return rates


def of_shares(
    sizes: dict[str, float], shape: tuple[int, int, int, int], random: np.random.Generator
) -> Iterator[tuple[str, float, float]]:
    """Yield for tier and architecture how often the interval of its share holds the truth for the tiers at hand, and
    the median width of the intervals."""
    held: dict[str, list[tuple[bool, float]]] = {"tier": [], "architecture": []}
    for _ in range(DRAWS):
        values = tables(sizes, shape, random)
        # Intervals are over architectures, for the tiers at hand: those of this draw.
        of_tiers = float(values.mean((0, 1, 2)).var(ddof=1)) - (sizes["architecture x tier"] / shape[0])
        true = {**sizes, "tier": max(0.0, of_tiers)}
        total = math.fsum(true.values())
        told = shares(values, 0.95, RESAMPLES)
        for name, of in held.items():
            of.append((told[name].low <= true[name] / total <= told[name].high, told[name].high - told[name].low))
    for name, of in held.items():
        yield name, float(np.mean([one for one, _ in of])), float(np.median([width for _, width in of]))


def main() -> None:
    if not AREAS.is_file():
        sys.exit(f"{AREAS} is not there: `make report` writes it from the packed rows of the atlas")
    sizes = measured(areas := areas_of_pilot())
    tiers = areas["tier"].nunique()
    rows = []
    for number, (a, m, s) in enumerate(DESIGNS):
        shape, random = (a, m, s, tiers), np.random.default_rng(number)
        about = {"architectures": a, "models": a * m, "seeds": s}
        factors, predictors = of_factors(sizes, shape, random), of_predictors(sizes, shape, random)
        rows += [
            {**about, "planted": f"factor, {100 * effect:g} points", "found": rate}
            for effect, rate in zip(EFFECTS, factors, strict=True)
        ]
        rows += [
            {**about, "planted": f"predictor, {100 * share:g} %", "found": rate}
            for share, rate in zip(EXPLAINS, predictors, strict=True)
        ]
        for name, covered, width in of_shares(sizes, shape, random):
            rows.append({**about, "planted": f"share of {name}", "covered": covered, "width": width})
        print(f"{a} architectures, {m} models of each: done", flush=True)
    table = pd.DataFrame(rows)
    table.to_csv(HERE / "samples.csv", index=False, float_format="%.4g")
    (HERE / "SAMPLES.md").write_text(_text(sizes, table), encoding="utf-8")


def _text(sizes: dict[str, float], table: pd.DataFrame) -> str:
    head = HEAD.format(predictors=PREDICTORS, draws=DRAWS, error=100 * 0.5 / math.sqrt(DRAWS))
    place = ["architectures", "models", "seeds"]
    found = table.dropna(subset=["found"]).pivot_table(index=place, columns="planted", values="found", sort=False)
    rates = [
        [*map(str, where), *(_percent(rate) for rate in row)]
        for where, row in zip(found.index, found.to_numpy(float), strict=True)
    ]
    held = [
        [
            *(str(row[name]) for name in place),
            str(row["planted"]),
            _percent(row["covered"]),
            f"{100 * row['width']:.0f}",
        ]
        for row in table.dropna(subset=["covered"]).to_dict("records")
    ]
    return "\n".join(
        [
            head + _table([*place, *map(str, found.columns)], rates),
            "## Intervals of the shares of variance\n",
            _table([*place, "planted", "95 % interval holds", "median width, points"], held),
            "## The variances\n",
            _table(["component", "standard deviation"], [[name, f"{size**0.5:.3f}"] for name, size in sizes.items()]),
        ]
    )


def _percent(rate: float) -> str:
    return f"{100 * rate:.0f} %"


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "".join("| " + " | ".join(line) + " |\n" for line in (head, ["---"] * len(head), *rows))


if __name__ == "__main__":
    main()
