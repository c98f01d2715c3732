"""The page about what several lenses read of one model, and its lines that a terminal shows too."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd

from analysis.data.markdown import cell, escape
from analysis.data.numbers import share
from analysis.outcomes.depth import READABLE
from analysis.outcomes.lenses import ALL, APART, NONE, UNDECIDED, in_spans, read_from
from analysis.statistics.intervals import interval_of
from study.config.lenses import LENSES

TEXTS = {"held_out": "held out", "neutral": "neutral text"}
"""What divergences are measured on."""
SHOWN = 5
"""Blocks whose divergences the text has, spread over all but the last, where every lens is the model itself."""


def block(value: float) -> str:
    """Return the number of a block; `never` for none."""
    return "never" if math.isinf(value) else f"{value:.0f}"


def from_block(row: Mapping[Any, Any], name: str) -> str:
    """Return from which block on a lens has `choice` or `order` high, with its interval."""
    ends = [row[f"{name}_from{end}"] for end in ("", "_low", "_high")]
    if math.isinf(ends[1]):
        return "never"
    return f"{block(ends[0])} [{block(ends[1])}, {block(ends[2])}]"


def shown_blocks(divergences: pd.DataFrame) -> list[int]:
    """Return the blocks whose divergences a table shows."""
    last = int(divergences["layer"].max())
    return sorted({round(one) for one in np.linspace(0, max(last - 1, 0), SHOWN)})


def divergence_rows(divergences: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a row for each text and lens: its divergences at the blocks that are shown, as text."""
    shown = shown_blocks(divergences)
    rows = []
    for (text, lens), own in divergences.groupby(["text", "lens"], sort=False):
        at = own.set_index("layer")["kl"]
        told = [f"{at[layer]:.2f}" for layer in shown]
        rows.append({"text": TEXTS[str(text)], "lens": LENSES[str(lens)], "told": told})
    return rows


def verdict_on_tuned(divergences: pd.DataFrame) -> str:
    """Return whether the tuned lens is worth anything: at how many blocks it is nearer to the model than the logit
    lens."""
    held_out = divergences[divergences["text"] == "held_out"].pivot(index="layer", columns="lens", values="kl")
    inner = held_out.iloc[:-1]
    worse = inner.index[inner["tuned"] >= inner["logit"]].to_series()
    if worse.empty:
        return "On held-out text the tuned lens is nearer to the model than the logit lens at every block but the last."
    return (
        f"On held-out text the tuned lens is no nearer to the model than the logit lens at {len(worse)} of "
        f"{len(inner)} blocks, and is worth nothing there: {in_spans(worse)}."
    )


def lenses_page(
    model: str,
    told: pd.DataFrame,
    agreed: pd.DataFrame,
    divergences: pd.DataFrame,
    said: Sequence[str],
    picture: tuple[str, str],
    confidence: float,
) -> str:
    """Return the page as Markdown. `picture` is the name of its file and its caption; `said` are lines about how the
    lenses were fitted."""
    reads = [
        {
            **{name: cell(row[name]) for name in ("pair", "tier")},
            "lens": LENSES[row["lens"]],
            "chosen": from_block(row, "choice"),
            "highest": share(interval_of(row, "choice")),
            "at": f"{row['at']:.0f}",
            "ordered": from_block(row, "order"),
        }
        for row in read_from(told).to_dict("records")
    ]
    template = (Path(__file__).parents[1] / "templates" / "lenses.md.j2").read_text(encoding="utf-8")
    made = jinja2.Template(template, undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    rendered: str = made.render(
        model=escape(model),
        blocks=int(told["layer"].max()) + 1,
        confidence=f"{100 * confidence:.0f}",
        readable=f"{100 * READABLE:.0f}",
        image=picture[0],
        caption=escape(picture[1]),
        reads=reads,
        agreed=[{**row, "pair": cell(row["pair"]), "tier": cell(row["tier"])} for row in agreed_spans(agreed)],
        shown=shown_blocks(divergences),
        divergences=divergence_rows(divergences),
        said=[verdict_on_tuned(divergences), *map(escape, said)],
    )
    return rendered


def agreed_spans(agreed: pd.DataFrame) -> list[dict[str, str]]:
    """Return, for each pair and tier, the blocks at which lenses agree in each way."""
    return [
        {
            "pair": str(pair),
            "tier": str(tier),
            **{way: in_spans(own.loc[own["together"] == way, "layer"]) for way in (ALL, NONE, APART, UNDECIDED)},
        }
        for (pair, tier), own in agreed.groupby(["pair", "tier"], sort=False)
    ]
