"""The outcomes as RESULTS.md and results.csv."""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean

import pandas as pd

from simulations.outcome import Outcome

HERE = Path(__file__).parent
BAND = (0.93, 0.97)
"""Where the coverage of a 95 % interval has to be, averaged over the truths of a procedure."""
LEAST = 0.92
MOST = 1.2
"""How many times its nominal rate a test's false positives may be, averaged over truths: 6 for 5 %."""
HEAD = """# How often the statistics are wrong

`make simulate`. Each row averages a procedure of `analysis.statistics` over the truths of `simulations/truth.py` that
it was tried on; results.csv has them one by one, with numbers of draws and Monte Carlo errors. Log odds of prompts are
normal over templates, seeds and operands; "all or nothing" are templates that are right or wrong as a whole.

"""
COVERAGE = """## Coverage of 95 % intervals

It has to be 93 to 97 % on average. At a truth of exactly 100 % every interval that ends there covers.

"""
FALSE = """## False positives

At most 1.2 times what is nominal on average. Verdicts at a margin are tried with a truth at the margin itself, where
they are wrong most often, and on the far side of it.

"""
POWER = """## Power

Averaged over the truths with that effect, in points.

"""
LOW = """## Truths with coverage below 92 %

"""


def write(outcomes: list[Outcome], keep: bool) -> None:
    """Write the results, or print them where they are not to be kept."""
    of_kind: dict[str, list[Outcome]] = {"coverage": [], "false positives": [], "power": []}
    for outcome in outcomes:
        of_kind[outcome.kind].append(outcome)
    parts = (
        HEAD + COVERAGE + _coverage(of_kind["coverage"]),
        FALSE + _false(of_kind["false positives"]),
        POWER + _power(of_kind["power"]),
        LOW + _low(of_kind["coverage"]),
    )
    if keep:
        rows = [asdict(of.truth) | asdict(of) | {"error": of.error} for of in outcomes]
        table = pd.DataFrame(rows).drop(columns="truth")
        first = ["procedure", "kind"]
        table[[*first, *table.columns.drop(first)]].to_csv(HERE / "results.csv", index=False, float_format="%.4g")
        (HERE / "RESULTS.md").write_text("\n".join(parts), encoding="utf-8")
    else:
        print("\n".join(parts))


def _grouped(outcomes: list[Outcome], key: Callable[[Outcome], Hashable]) -> list[list[Outcome]]:
    groups: dict[Hashable, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(key(outcome), []).append(outcome)
    return list(groups.values())


def _coverage(outcomes: list[Outcome]) -> str:
    lines = []
    for group in _grouped(outcomes, lambda of: of.procedure):
        average, least, most = fmean(of.rate for of in group), min(group, key=_rate), max(group, key=_rate)
        holds = "holds" if BAND[0] <= average <= BAND[1] else "too low" if average < BAND[0] else "wider than needed"
        below, above = fmean(of.truth_below for of in group), fmean(of.truth_above for of in group)
        missed = "" if math.isnan(below) else f"{_percent(below)} / {_percent(above)}"
        lines.append(
            (
                group[0].procedure,
                len(group),
                _percent(average),
                holds,
                missed,
                _rated(least),
                _where(least),
                _rated(most),
            )
        )
    return _table(("procedure", "truths", "coverage", "", "truth below / above", "least", "at", "most"), lines)


def _false(outcomes: list[Outcome]) -> str:
    lines = []
    for group in _grouped(outcomes, lambda of: (of.procedure, of.nominal)):
        average, most, nominal = fmean(of.rate for of in group), max(group, key=_rate), group[0].nominal
        holds = "holds" if average <= MOST * nominal else "too many"
        lines.append(
            (group[0].procedure, len(group), _percent(nominal), _percent(average), holds, _rated(most), _where(most))
        )
    return _table(("test", "truths", "nominal", "rate", "", "most", "at"), lines)


def _power(outcomes: list[Outcome]) -> str:
    lines = []
    for group in _grouped(outcomes, lambda of: (of.procedure, of.truth.effect, of.truth.templates)):
        rates, truth = [of.rate for of in group], group[0].truth
        span = f"{_percent(fmean(rates))} ({_percent(min(rates))} to {_percent(max(rates))})"
        lines.append((group[0].procedure, f"{100 * truth.effect:+g}", truth.templates, len(group), span))
    return _table(("test", "effect", "templates", "truths", "power (least to most)"), lines)


def _low(outcomes: list[Outcome]) -> str:
    low = sorted((of for of in outcomes if of.rate < LEAST), key=_rate)
    return _table(("procedure", "coverage", "at"), [(of.procedure, _rated(of), _where(of)) for of in low])


def _rate(outcome: Outcome) -> float:
    return outcome.rate


def _rated(outcome: Outcome) -> str:
    return f"{_percent(outcome.rate)} ± {_percent(outcome.error)}"


def _where(outcome: Outcome) -> str:
    truth = outcome.truth
    effect = f", effect {100 * truth.effect:+g}" if truth.effect else ""
    note = f", {outcome.note}" if outcome.note else ""
    return (
        f"share {truth.share:g}{effect}, sd of templates {truth.template_sd:g} and seeds {truth.seed_sd:g}, "
        f"{truth.templates} templates of {truth.prompts}, seeds {truth.seeds}{note}"
    )


def _percent(rate: float) -> str:
    return f"{100 * rate:.1f} %"


def _table(head: Sequence[object], lines: Sequence[Sequence[object]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "".join("| " + " | ".join(map(str, row)) + " |\n" for row in rows)
