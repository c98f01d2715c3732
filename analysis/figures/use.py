"""Whether the network uses its class direction: how exchanges of the hidden state move the answers, by dose."""

import pandas as pd

from analysis.data.numbers import probability, share
from analysis.data.results import Results
from analysis.drawing.description import SERIES, Axis, Chart, Look, Marks
from analysis.drawing.style import COLOURS, NEUTRAL
from analysis.figures.series import Shown, counted, in_panel, paneled_models, sampled, short, spread, stacked

DOSED = ("class", "random")
WITHOUT = ", w = 0"
WORDS = {
    "class": "class direction",
    "random": "random direction",
    "paired_1": "learned direction",
    "paired_4": "learned subspace, rank 4",
    "complement": "all but the class direction",
    "full": "whole state (ceiling)",
    "none": "nothing (floor)",
}
LOOKS = {
    "class": Look(COLOURS[0], "o", "-"),
    "random": Look(COLOURS[1], "s", "--"),
    "paired_1": Look(COLOURS[2], "^"),
    "paired_4": Look(COLOURS[3], "D"),
    "complement": Look(COLOURS[4], "v"),
    "full": Look(COLOURS[5], "", "-."),
    "none": Look(COLOURS[6], "", ":"),
    f"class{WITHOUT}": Look(NEUTRAL, "", "-"),
    f"random{WITHOUT}": Look(NEUTRAL, "", "--"),
}
LEAST = 0.05
"""Of p, that the shortest axis shows."""
COLUMNS = [
    *("model", "pair", "weight", "wordings", "layer", "depth", "tier", "subspace", "strength"),
    *("p", "p_low", "p_high", "followed", "seeds", "samples", "prompts"),
]
MARKS = (
    Marks("level", "levels", width=1.3),
    Marks("w = 0", "line", width=1.1, opacity=0.9),
    Marks("dose", "intervals", width=1.0, opacity=0.5),
    Marks("dose", "line", width=1.6),
    Marks("dose", "points", size=3.8),
    Marks("once", "intervals", width=1.0, opacity=0.5),
    Marks("once", "points", size=5.0),
)


def use(results: Results, doses: pd.DataFrame, shares: pd.DataFrame, shown: Shown) -> list[Chart]:
    """Describe the probability of the source's answer by strength of the exchange; none where none was made.

    A panel is a trained depth: of the first pair of class tokens, on the tier that stage 2 trained on first.
    """
    plain = _of_tier(shown.of(doses[doses["model"].isin(paneled_models(results))]), shown)
    plain = plain[plain["pair"] == next((pair for pair in results.pairs if pair in set(plain["pair"])), "")]
    if plain.empty:
        return []
    kept = {model: spread(rows["depth"]) for model, rows in plain.groupby("model", sort=False)}
    plain = plain[[row["depth"] in kept[row["model"]] for row in plain.to_dict("records")]]
    without = _without(doses, plain)
    parts = {
        "level": plain[plain["subspace"].isin(["full", "none"])],
        "w = 0": without,
        "dose": plain[plain["subspace"].isin(DOSED)],
        "once": plain[plain["subspace"].isin(["paired_1", "paired_4", "complement"])],
    }
    parts = {part: _named(rows, WITHOUT if part == "w = 0" else "") for part, rows in parts.items()}
    data = stacked(parts, COLUMNS)
    names = [f"{WORDS[name.removesuffix(WITHOUT)]}{WITHOUT if name.endswith(WITHOUT) else ''}" for name in LOOKS]
    chart = Chart(
        name="use",
        data=data,
        alt=(
            "Probability of the source's answer against the strength of the exchange of hidden states, by model and "
            f"trained depth. {_ranges(plain)}"
        ),
        caption=_caption(results, plain, without, shown) + _without_ceiling(shares, plain),
        rows=_panels(results, plain),
        x=Axis("strength", "strength of the exchange", "strength", "powers", (0.42, 9.6), (0.5, 1, 2, 4, 8)),
        y=_p_axis(data),
        looks={name: look for name, look in zip(names, LOOKS.values(), strict=True) if name in set(data[SERIES])},
        marks=MARKS,
        tooltip=(SERIES, "model", "layer", "depth", "tier", "strength", "followed", "seeds", "samples"),
        legend="what is exchanged",
        height=1.4,
        page_size=(200, 140),
    )
    return [chart]


def _p_axis(data: pd.DataFrame) -> Axis:
    """An axis of all probabilities, or of the small ones where there are no others."""
    highest = float(data[["p", "p_high"]].max().max())
    top = 1.0 if highest > 0.4 else max(1.1 * highest, LEAST)
    return Axis(
        "p", "p of the source's answer", "p", ends=(-0.03 * top, 1.03 * top), values=(0, 0.5, 1) if top == 1 else ()
    )


def _of_tier(rows: pd.DataFrame, shown: Shown) -> pd.DataFrame:
    """The rows of the tier that was trained on first, or of the first that there is."""
    order = [*shown.wordings.split("+"), *dict.fromkeys(rows["tier"])]
    return rows[rows["tier"] == next((tier for tier in order if tier in set(rows["tier"])), "")]


def _without(doses: pd.DataFrame, plain: pd.DataFrame) -> pd.DataFrame:
    """The doses in the model that was trained without class loss, at the places of the others."""
    keys = ["model", "operations", "wordings", "layer", "tier"]
    own = doses[(doses["weight"] == 0) & doses["subspace"].isin(DOSED)]
    return own.merge(plain[keys].drop_duplicates(), on=keys)


def _named(rows: pd.DataFrame, suffix: str) -> pd.DataFrame:
    titles = [_title(layer, depth) for layer, depth in zip(rows["layer"], rows["depth"], strict=True)]
    named = rows.assign(**{SERIES: [f"{WORDS[name]}{suffix}" for name in rows["subspace"]]})
    return in_panel(named, rows["model"].map(short), titles)


def _title(layer: int, depth: float) -> str:
    return f"L{layer} ({depth:.2f})"


def _panels(results: Results, plain: pd.DataFrame) -> dict[str, list[str]]:
    places = plain.drop_duplicates(["model", "layer"]).sort_values("layer")
    return {
        short(model): [_title(row["layer"], row["depth"]) for row in rows.to_dict("records")]
        for model in results.model_names
        if len(rows := places[places["model"] == model])
    }


def _caption(results: Results, plain: pd.DataFrame, without: pd.DataFrame, shown: Shown) -> str:
    seeds = plain["seeds"]
    prompts = " to ".join(dict.fromkeys(f"{count:.0f}" for count in (plain["prompts"].min(), plain["prompts"].max())))
    grey = "; grey, the same in the model that was trained without class loss" if len(without) else ""
    return (
        f"The state of a prompt at the trained layer (panels: layer, relative depth; w = {shown.weight:g}) is moved "
        f"towards that of its source, the same prompt for another {results.terms.kind}: in the class direction (solid) "
        f"or as far in a random one (dashed), at strengths .5 to 8; at strength 1 also in learned subspaces and in all "
        f"but the class direction{grey}. Levels: exchange of the whole state, the ceiling, and of nothing, the floor. "
        f"On {plain['tier'].iloc[0]} prompts, {prompts} a point, that are answered right with their sources, "
        f"{plain['pair'].iloc[0]}, {counted(seeds, 'seed')}; {share(results.decisions.confidence)} intervals over "
        f"{sampled(seeds)}."
    )


def _without_ceiling(shares: pd.DataFrame, plain: pd.DataFrame) -> str:
    """In how many panels even the exchange of the whole state moves nothing."""
    keys = ["model", "pair", "weight", "wordings", "layer", "tier"]
    panels = plain[keys].drop_duplicates().merge(shares.drop_duplicates(keys), on=keys)
    lacking = int((~panels["ceiling"].astype(bool)).sum())
    if not lacking:
        return ""
    return (
        f" In {lacking} of {len(panels)} panels the ceiling is not shown to lie above the floor: there not even the "
        "whole state is known to move the answer, and nothing can be said of use."
    )


def _ranges(plain: pd.DataFrame) -> str:
    found = []
    for name in ("none", "class", "random", "full"):
        own = plain.loc[plain["subspace"] == name, "p"]
        if len(own):
            found.append(f"{WORDS[name]} {probability(own.min())} to {probability(own.max())}")
    return f"p: {', '.join(found)}."
