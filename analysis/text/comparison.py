"""What a comparison of two sides says: its sentence, the table of differences, and what is shared and left out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.data.equal_rows import Compared
from analysis.data.markdown import Markdown
from analysis.data.matching import AXES, Matched, Pair, Side
from analysis.data.numbers import signed, signed_points
from analysis.data.packing import SHORT
from analysis.outcomes.comparison import (
    ALONE,
    AT_DEPTHS,
    DECIDED,
    EVERY,
    FURTHER,
    HIGHER,
    LOWER,
    MAIN,
    SERIES,
    Comparison,
    P,
)
from analysis.outcomes.effects import CEILING, UNDECIDED
from analysis.statistics.intervals import interval_of
from analysis.text.rows import Row
from analysis.text.telling import AT_CEILING, listed, number

NAMED = 3
"""Places that the sentence names; of more it gives the range."""
FEW = 2
"""Settings that the sentence names."""
WORDS = {**AT_CEILING, UNDECIDED: "not shown"}
"""What verdicts are called, where that is not their name."""
HEADS = {"pair": "class tokens", "weight": "w", "wordings": "trained on", "changed": "stage 2"}
"""Heads of columns that are not called by their names."""
MOST_DEPTHS = 8
"""Columns of the table by depth."""
HOW_DECIDED = "decisions."
"""Beginning of the settings that say how outcomes are decided, of which those of A are used."""


def sentence(matched: Matched, differs: pd.DataFrame, rows: Compared, found: Comparison) -> str:
    """Return the answer in one sentence."""
    main = found.differences[found.differences["family"] == MAIN]
    parts = [_again(rows)] if rows.units and (len(rows.equal) < len(rows.units) or main.empty) else []
    if len(main):
        parts.append(_cause(matched, differs) + _shown(found))
    elif not any(pair.a.layer is not None for pair in matched.pairs):
        parts.append("no cell with a class loss is shared")
    elif len(found.not_fitted):
        parts.append("no cell with a class loss has fitted in both")
    elif not parts:
        parts.append("no template is shared on which cells could be compared")
    said = "; ".join(parts)
    return f"{said[0].upper()}{said[1:]}."


def finished(side: Side) -> str:
    """`3 of 4 cells with a class loss finished`, of the models of a side."""
    states = [unit.status for unit in side.units if unit.kind == "cell" and unit.layer is not None]
    return f"{states.count('finished')} of {len(states)} cells with a class loss finished"


def _again(rows: Compared) -> str:
    """Whether units that both have are the same again."""
    count = f"{len(rows.units)} units of the same settings, {rows.rows:,} rows"
    if not len(rows.columns):
        return f"{count}, all equal"
    (largest,) = rows.columns.sort_values("largest", ascending=False).head(1).to_dict("records")
    most = f", by at most {largest['largest']:.2g} ({largest['table']} {largest['column']})"
    return f"of {count}, {rows.different:,} rows differ" + (most if largest["largest"] > 0 else "")


def _cause(matched: Matched, differs: pd.DataFrame) -> str:
    """`with stage2.steps 200 (A: 100) `: in what B is another."""
    if "model" in matched.free and len(matched.axes["model"]) == 1:
        ((a, b),) = matched.axes["model"].items()
        return f"from {a} (A) to {b} (B) "
    settings = differs[(differs["kind"] == "setting") & ~differs["name"].str.startswith(HOW_DECIDED)]
    free = differs[(differs["kind"] == "units") & differs["name"].isin([AXES[axis] for axis in matched.free])]
    causes = {"settings": pd.concat([settings, free]), "versions and machines": differs[differs["kind"] == "made by"]}
    for name, own in causes.items():
        if 0 < len(own) <= FEW:
            told = listed([f"{row['name']} {row['b']} (A: {row['a']})" for row in own.to_dict("records")])
            return f"with {told}, "
        if len(own):
            return f"with {len(own)} {name} that differ, "
    return ""


def _shown(found: Comparison) -> str:
    """`choice accuracy is lower on 2 (…) of 4 wordings, and answers are higher on 1 (…) of 4, corrected for …`."""
    main, at_depths = (found.differences[found.differences["family"] == family] for family in (MAIN, AT_DEPTHS))
    clauses = list[str]()
    for measure in DECIDED:
        own = main[main["measure"] == measure]
        several = own["model"].nunique() > 1
        told = [
            f"{word} on {len(there)} ({_places(there, several)})"
            for word in (HIGHER, LOWER)
            if len(there := own[own["verdict"] == word])
        ]
        among = "" if clauses else " pairs of model and wording" if several else " wordings"
        if told:
            verb = "are" if measure == "answers" else "is"
            clauses.append(f"{measure} {verb} {listed(told)} of {len(own)}{among}")
    what = " or ".join(dict.fromkeys(main["measure"]))
    said = ", and ".join(clauses) if clauses else f"no difference in {what} is shown"
    said += f", corrected for all {len(main)} that are looked at"
    if at_depths["depth"].nunique() > 1:
        said += f" (at single depths {int(at_depths['verdict'].isin((HIGHER, LOWER)).sum())} of {len(at_depths)})"
    alone = int(main["verdict"].str.endswith(ALONE).sum())
    if alone and not clauses:
        said += f", though {alone} would be by {'itself' if alone == 1 else 'themselves'}"
    return said + ("; all of one seed, which says nothing of others" if main["seeds"].max() == 1 else "")


def _places(there: pd.DataFrame, several: bool) -> str:
    if len(there) > NAMED:
        low, high = sorted((there["difference"].min(), there["difference"].max()), key=abs)
        return f"{number(100 * low)} to {number(100 * high)} points"
    told = [(number(100 * row["difference"]), row["tier"], row["model"]) for row in there.to_dict("records")]
    return ", ".join(f"{value} on {tier}{f' in {model}' if several else ''}" for value, tier, model in told)


def difference_table(frame: pd.DataFrame) -> tuple[list[str], list[Row]]:
    """Return head and rows of a table of differences: what each is of, both values, the difference with its own
    interval, seeds and the verdict."""
    names = [name for name in SERIES if len({_about(value) for value in frame[name]} - {""}) > 1]
    head = ["measure", *(HEADS.get(name, name) for name in names), *("wording", "A", "B", "B - A", "seeds", "verdict")]
    rows = [
        [
            *(
                row["measure"],
                *(_about(row[name]) for name in names),
                row["tier"],
                *(_value(row, side) for side in "ab"),
            ),
            *(difference(row), "" if row["model"] == EVERY else str(row["seeds"]), verdict(row)),
        ]
        for row in frame.to_dict("records")
    ]
    return head, rows


def _about(value: Any) -> str:
    """What tells a series apart; empty where it does not have it."""
    return "" if pd.isna(value) else f"{value:g}" if isinstance(value, float) else str(value).replace("_", " ")


def depth_table(found: Comparison) -> tuple[list[str], list[Row]]:
    """Return head and rows of the table of the main differences by depth, bold where all of them together exclude zero;
    none where there are more depths than a table can have."""
    frame = found.differences[found.differences["family"] == AT_DEPTHS]
    depths = sorted(set(frame["depth"]))
    if not 1 < len(depths) <= MOST_DEPTHS:
        return [], []
    names = ["measure", *(["model"] if frame["model"].nunique() > 1 else []), "tier"]
    rows = []
    for about, own in frame.groupby(names, sort=False):
        by_depth = {row["depth"]: row for row in own.to_dict("records")}
        rows.append([*map(str, about), *(_at_depth(by_depth.get(depth)) for depth in depths)])
    return [*names[:-1], "wording", *(f"{depth:.2g}" for depth in depths)], rows


def _at_depth(row: Mapping[Any, Any] | None) -> str:
    if row is None:
        return ""
    return Markdown(f"**{difference(row)}**") if row["verdict"] in (HIGHER, LOWER) else difference(row)


def difference(row: Mapping[Any, Any]) -> str:
    """Return a difference with its own interval: in points, or as a probability."""
    found = interval_of(row, "difference")
    return signed(found, 3) if row["measure"] == P else signed_points(found)


def _value(row: Mapping[Any, Any], side: str) -> str:
    return f"{row[side]:.3f}" if row["measure"] == P else f"{100 * row[side]:.1f}"


def verdict(row: Mapping[Any, Any]) -> str:
    """Return what a difference shows, in a word or two."""
    return WORDS.get(str(row["verdict"]), str(row["verdict"]))


def further(found: Comparison) -> tuple[pd.DataFrame, int]:
    """Return the differences over depths beside the main ones of which something is shown, and of how many."""
    own = found.differences[found.differences["family"] == FURTHER]
    return own[~own["verdict"].isin((UNDECIDED, CEILING))], len(own)


def shared(matched: Matched, rows: Compared, found: Comparison) -> list[str]:
    """Return what both have, a line each."""
    pairs = matched.pairs
    cells = [pair for pair in pairs if pair.a.layer is not None]
    references = sum(pair.a.kind == "reference" for pair in pairs)
    counts = {"with a class loss": len(cells), "with w = 0": len(pairs) - len(cells) - references}
    told = [f"{count} cells {what}" for what, count in counts.items() if count]
    told += [f"{references} evaluations before stage 2"] if references else []
    said = [f"pairs of units: {', '.join(told)}"]
    if again := [pair for pair in pairs if pair.a.id == pair.b.id]:
        equal = sum(pair.a.id in rows.equal for pair in again)
        said.append(f"the same settings: {len(again)} pairs; {equal} have equal rows, and are compared no further")
    if matched.a.has_short_numbers != matched.b.has_short_numbers:
        short = matched.a if matched.a.has_short_numbers else matched.b
        said.append(
            f"{short.letter} is a packed sample, whose numbers keep {SHORT} bits, and the other is not: rows "
            "differ by up to 3 % from rounding alone; compare packed with packed"
        )
    if cells:
        said.append(f"depths: {_depths(matched, cells)}")
    said.append(f"seeds: {_seeds(matched)}")
    frame = found.differences
    for measure, kind in zip(DECIDED, ("new templates", "all templates"), strict=True):
        own = frame[frame["measure"] == measure]
        if len(own):
            counted = own.groupby("tier", sort=False)[["samples", "templates"]].max().to_dict("index")
            each = [_templates(tier, of, measure) for tier, of in counted.items()]
            said.append(f"{kind}, or groups of operands where there are few, for {measure}: {', '.join(each)}")
    return said


def _templates(tier: Any, of: Mapping[Any, Any], measure: str) -> str:
    known = " (trained ones among them)" if of["templates"] == "all" and measure == DECIDED[0] else ""
    return f"{tier} {of['samples']}{known}"


def _depths(matched: Matched, cells: Sequence[Pair]) -> str:
    """How layers stand beside each other."""
    places = dict.fromkeys((pair.depth, pair.a.layer, pair.b.layer) for pair in cells)
    told = [f"{depth:.2g} (L{a} with L{b})" for depth, a, b in sorted(places)]
    if "model" in matched.free:
        return f"matched by relative depth as the grid gives it, {', '.join(told)}"
    if any(a != b for _, a, b in places):
        return f"each layer of A with one of B, {', '.join(told)}"
    depths = sorted({depth for depth, *_ in places})
    return f"the same layers, at relative depths {', '.join(f'{depth:.2g}' for depth in depths)}"


def _seeds(matched: Matched) -> str:
    seeds = matched.axes["seed"]
    if "seed" in matched.free:
        return "none is shared, so that they stand beside each other in their order: " + ", ".join(
            f"{a} with {b}" for a, b in seeds.items()
        )
    return ", ".join(map(str, seeds))


def left_out_rows(left_out: pd.DataFrame) -> list[Row]:
    """Return a row for each side and reason: the side, how many units or pairs are left out, the reason."""
    groups = Counter(zip(left_out["side"], left_out["reason"], strict=True))
    return [[str(side), str(count), str(reason)] for (side, reason), count in groups.items()]


def reading(found: Comparison, confidence: float) -> str:
    """Return how the table of differences is read."""
    main = found.differences[found.differences["family"] == MAIN]
    seeds = main["seeds"].max()
    models = (main["model"] == EVERY).any()
    over = "templates and models" if models else "templates and seeds" if seeds > 1 else "templates"
    single = "" if models or seeds > 1 else ", which say nothing of other seeds"
    return (
        f"B minus A in points, means over depths, with {100 * confidence:g} % intervals over {over}{single}. "
        f"higher, lower: the interval still excludes zero where all {len(main)} are to hold together; alone: only by "
        "itself; none: within the margin both ways; else not shown."
    )


def row_rows(rows: Compared) -> list[Row]:
    """Return a row for each table and column in which units of the same id differ."""
    return [
        [
            *(row["table"], row["column"], str(row["units"]), f"{row['different']:,} of {row['rows']:,}"),
            *("" if pd.isna(row["largest"]) else f"{row['largest']:.2g}", row["unit"]),
        ]
        for row in rows.columns.to_dict("records")
    ]
