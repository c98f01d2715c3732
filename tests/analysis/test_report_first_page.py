"""The first page as it stands in a report: its order, and where each of its numbers comes from."""

import math
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from study.config.arms import ARMS, arms_that_are
from tests.reported import first_page_of, rows_of, table_of

pytestmark = pytest.mark.slow


def test_the_first_page_is_a_sentence_a_table_and_questions_before_any_section(
    full: Path, broken: Path, controlled: Path, everything: Path
) -> None:
    for out in (full, broken, controlled, everything):
        text = out.read_text()
        parts = (
            "> **In one sentence.** ",
            "\n| wording | model | 0.5 | 1 |",
            "\n| Question | Answer | How sure |",
            "\n## ",
        )
        places = [text.index(part) for part in parts]
        assert places == sorted(places)
        head = text[: places[0]]
        assert head.startswith("# Where can a classifier be trained into a language model, and what does it cost?\n")
        assert head.count("\n") == 4
    assert "alpha; 4 of 4 cells with a class loss finished; 1 seed." in full.read_text()


def test_the_sentence_says_what_was_planted(full: Path, everything: Path) -> None:
    reach = "at 75 % or more (in brackets 95 % intervals of the depth): on symbolic"
    assert f"{reach} from the first trained depth on (0.5); on semantic from" in first_page_of(full)
    assert f"{reach}, semantic, construction and story from the first trained depth on (0.5)." in first_page_of(
        everything
    )
    for out in (full, everything):
        assert "1 model: why there is not answered here." in first_page_of(out)


def test_every_number_of_the_first_table_is_in_the_table_of_means(
    full: Path, controlled: Path, everything: Path
) -> None:
    for out in (full, controlled, everything):
        means = table_of(out, "means")
        main = (means["pair"] == "multiply/add") & (means["wordings"] == "symbolic") & (means["weight"] == 0.5)
        means = means[main & (means["templates"] == "unseen")]
        head, _, *rows = rows_of(first_page_of(out), "wording")
        tier, told = "", 0
        for row in rows:
            tier = re.split(r"[, ]", row[0])[0] or tier
            for column, text in zip(head[2:], row[2:], strict=True):
                control = column == "unrelated words, deepest"
                arm, depth = ("random_words", 1.0) if control else ("plain", float(column))
                place = {"arm": arm, "model": row[1], "tier": tier, "depth": depth}
                (own,) = means[(means[list(place)] == list(place.values())).all(axis=1)].to_dict("records")
                assert text == _as_told(own, of=int(means["seeds"].max())), place
                told += 1
        assert told == 4 * means["model"].nunique() * (len(head) - 2)


def _as_told(own: dict[Hashable, Any], of: int) -> str:
    """A row of the table of means as the first page tells it, in a study of so many seeds."""
    if not own["seeds"]:
        return "did not fit"
    value, low, high = (f"{100 * own[name]:.0f}" for name in ("choice", "lowest_seed", "highest_seed"))
    text = f"{value}\\*" if own["seeds"] == 1 else f"{value} [{low}-{high}]" if low != high else value
    zero = "" if math.isnan(own["zero_choice"]) else f" ({100 * own['zero_choice']:.0f})"
    return (f"**{text}**" if own["choice_low"] > 0.75 and own["seeds"] >= min(of, 2) else text) + zero


ASKS: dict[str, tuple[str, ...]] = {
    "What does the class loss bring, in accuracy and in order?": (
        *("class loss against w = 0", "order with class loss against w = 0"),
    ),
    "Does it cost answers?": ("cost against w = 0",),
    "Do the words' meanings matter?": tuple(
        f"{names} against {arm}" for names in ("names", "order of names") for arm in ("random_words", "swapped_tokens")
    ),
    **{
        f"Does it matter {arm.asks}?": (f"plain against {name}",)
        for name, arm in ARMS.items()
        if name in arms_that_are("manipulation")
    },
}


def test_every_difference_of_the_questions_is_in_the_table_of_effects(
    full: Path, controlled: Path, everything: Path
) -> None:
    asked = set()
    for out in (full, controlled, everything):
        effects = table_of(out, "effects")
        effects = effects[effects["pair"] == "multiply/add"]
        costs = effects[effects["contrast"] == "cost against w = 0"]
        worst = costs[costs["depth"].notna() & ~costs["verdict"].str.startswith("at floor")]["difference"].min()
        effects = effects[effects["depth"].isna()]
        for question, answer, sure in rows_of(first_page_of(out), "Question")[2:]:
            if question in ASKS and answer != "**Not tested**":
                own = effects[effects["contrast"].isin(ASKS[question]) & (effects["wordings"] == "symbolic")]
                points = [f"{100 * value:+.1f}" for value in own["difference"]]
                told = re.findall(r"[+-]\d+\.\d", answer)
                assert told
                assert set(told) <= set(points)
                asked.add(question)
            if question == "Does it cost answers?":
                ends = costs[["difference", "difference_low", "difference_high"]].to_numpy().ravel()
                assert set(re.findall(r"[+-]\d+\.\d", sure)) <= {f"{100 * value:+.1f}" for value in ends}
                assert f"the largest at one depth is {100 * worst:+.1f} " in sure
        _differences_are_those_of(effects, first_page_of(out))
    assert asked == set(ASKS)


def _differences_are_those_of(effects: pd.DataFrame, page: str) -> None:
    """Every row of the table of differences is one contrast and tier of the table of effects, to each end."""
    effects = effects.assign(of_seeds=effects["seeds"].max())
    head, _, *rows = rows_of(page, "difference")
    told = 0
    for row in rows:
        for model, text in zip(head[2:], row[2:], strict=True):
            if text:
                own = effects[(effects["model"] == model) & (effects["tier"] == row[1])]
                assert text in set(map(_as_difference, own.to_dict("records")))
                told += 1
    assert told >= 4


def _as_difference(own: dict[Hashable, Any]) -> str:
    columns = ("difference", "difference_low", "difference_high", "lowest_seed", "highest_seed")
    value, low, high, least, most = (f"{100 * own[name]:+.1f}".replace("-0.0", "+0.0") for name in columns)
    text = f"{value} [{low}, {high}]"
    if own["seeds"] == 1 and own["of_seeds"] > 1:
        return f"{text}, one seed"
    decided = not re.match("undecided|at ceiling|at floor", own["verdict"])
    text = f"**{text}**" if decided else text
    return f"{text}, seeds {least} to {most}" if own["seeds"] > 1 else text


def test_no_verdicts_over_cells_are_counted_on_the_first_page(controlled: Path, everything: Path) -> None:
    """What is counted there: cells that finished, and layers and tiers where states were exchanged."""
    for out in (controlled, everything):
        page = re.sub(r"^No cell can be emergent on .*", "", first_page_of(out), flags=re.MULTILINE)
        assert not re.search(r"emergent|discriminating|mass only|partial|optimisation failure", page)
        counted = re.findall(r"\d+ of \d+ (\w+ \w+)", page)
        assert set(counted) <= {"cells with", "layers and"}
