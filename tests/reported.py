"""Reports of simulated studies, complete and not, and how their Markdown is read."""

import re
from dataclasses import replace
from pathlib import Path

import pandas as pd

from analysis.report import write_report
from study.config.arms import ARMS
from tests.simulated import Plan, Point, Truth, write_study


def _truth(point: Point) -> Truth:
    transfers = point.depth > 0.9 and point.pair == "multiply/add"
    return Truth() if point.tier == "symbolic" or transfers else Truth(choice=0.5)


def _never_fits(point: Point) -> bool:
    return point.arm == "shuffled_labels" or (point.arm == "random_words" and point.layer == 3)


FULL = Plan(models={"alpha": 4}, depths=(0.5, 1.0), weights=(0.0, 0.5), truth=_truth, per_class=24)
CONTROLLED = replace(
    FULL,
    models={"alpha": 4, "beta": 4},
    pairs=("multiply/add",),
    seeds=(0, 1),
    arms=("plain", "random_words", "shuffled_labels"),
    truth=lambda point: replace(_truth(point), class_loss=2.0 if _never_fits(point) else 0.02),
    per_class=16,
)
EVERYTHING = replace(
    FULL,
    pairs=("multiply/add",),
    arms=tuple(ARMS),
    wordings=(("symbolic",), ("symbolic", "semantic")),
    truth=lambda point: Truth(choice=0.5 if point.arm in ("shuffled_labels", "random_words") else 1.0),
    predictors=lambda point: {},
    watched=True,
    swapped=True,
)
BROKEN = replace(
    FULL,
    unfinished={
        "alpha|L1|river-copper|w=0.5|s0": ("failed", "RuntimeError: gate <lens> | 0.2"),
        "alpha|L3|river-copper|w=0.5|s0": ("skipped", "token: copper is not a single token"),
        "alpha|multiply-add|w=0|s0": ("missing", ""),
    },
)
NOTHING = replace(
    FULL,
    unfinished={
        f"alpha|{rest}|s0": ("missing", "")
        for rest in (
            "stage1",
            "reference",
            "multiply-add|w=0",
            *(f"L{layer}|{pair}|w=0.5" for layer in (1, 3) for pair in ("multiply-add", "river-copper")),
        )
    },
)


def report_of(tmp: Path, plan: Plan, name: str) -> Path:
    out = tmp / "reports" / f"{name}.md"
    assert write_report(write_study(tmp / "results" / name, plan), out) == []  # nothing is left out
    return out


def links_of(out: Path) -> list[Path]:
    return [out.parent / link for link in re.findall(r"\]\(([^)#]+)\)", out.read_text())]


def sections_of(out: Path) -> dict[str, str]:
    return {part.split("\n")[0]: part for part in out.read_text().split("\n## ")}


def first_page_of(out: Path) -> str:
    return out.read_text().partition("\n## ")[0]


def rows_of(text: str, head: str) -> list[list[str]]:
    """The cells of the table that begins with `head`, without its two first lines."""
    lines = text[text.index(f"| {head} |") :].partition("\n\n")[0].splitlines()
    return [[part.strip() for part in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def table_of(out: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(out.with_suffix("") / f"table_{name}.csv", keep_default_na=False, na_values=[""])
