"""How a class token becomes readable in training: choice accuracy by step and by layer."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from analysis.data.numbers import share
from analysis.data.units import StudyUnit
from analysis.drawing.axes import panels
from analysis.drawing.description import Drawing
from analysis.drawing.style import DIVERGING, MISSING
from analysis.figures.series import counted

EVALUATIONS = [
    *("model", "pair", "wordings", "trained_layer", "blocks", "chance", "weight", "seed"),
    *("step", "layer", "tier", "prompts", "p", "choice"),
]
NEAR = 0.1
"""Distance from chance within which a row of panels has to stay everywhere to be left out."""


def evaluations(onset: Mapping[str, pd.DataFrame], cells: Iterable[StudyUnit]) -> pd.DataFrame:
    """Return the evaluations in the training of `cells`, under each other."""
    frames = []
    for cell in cells:
        rows = onset.get(cell.id, pd.DataFrame())
        if not rows.empty:
            about: dict[str, Any] = {"model": cell.model, "pair": cell.pair, "wordings": "+".join(cell.wordings)}
            about |= {"trained_layer": cell.layer, "blocks": cell.blocks, "chance": cell.chance}
            frames.append(rows.assign(**about, weight=cell.weight, seed=cell.seed)[EVALUATIONS])
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=EVALUATIONS)


def emergence(watched: pd.DataFrame, tiers: Sequence[str]) -> list[Drawing]:
    """Describe a picture for each model that was watched in training and left chance on one of the `tiers`.

    `watched` is of `evaluations` of cells of one weight and one set of trained wordings.
    """
    watched = watched[watched["tier"].isin(tiers)]
    return [
        drawing for _, rows in watched.groupby("model", sort=False) for drawing in _emergence(rows.reset_index(), tiers)
    ]


def _emergence(watched: pd.DataFrame, tiers: Sequence[str]) -> list[Drawing]:
    watched = watched.drop(columns="index")
    every = [(pair, tier) for pair in watched["pair"].unique() for tier in tiers if tier in set(watched["tier"])]
    rows = [place for place in every if not _stays(_of(watched, place))]
    if not rows:
        return []
    shown = pd.concat([_of(watched, place) for place in rows], ignore_index=True)
    first = shown.iloc[0]
    model, chance = str(first["model"]), float(first["chance"])
    left_out = [
        " on ".join(place) if watched["pair"].nunique() > 1 else place[1] for place in every if place not in rows
    ]
    stays = (
        f" Not shown, since it stays within {100 * NEAR:.0f} points of chance at every trained depth: "
        f"{', '.join(left_out)}."
        if left_out
        else ""
    )
    seeds = shown.groupby(["pair", "trained_layer"])["seed"].nunique()
    drawing = Drawing(
        name=f"emergence_{model}",
        data=shown,
        alt=(
            f"Heat maps of {model} over training step and relative depth of the read-out, by trained layer. "
            f"{_at_the_end(shown)}"
        ),
        caption=(
            f"{model}: choice accuracy at every layer in the course of stage 2, trained on "
            f"{' and '.join(str(first['wordings']).split('+'))} at w = {first['weight']:g}, on "
            f"{counted(shown['prompts'], 'prompt')} a tier (mean of {counted(seeds, 'seed')}); columns are trained "
            f"layers, which triangles mark. White is chance, {share(chance)}; grey was not measured.{stays}"
        ),
        draw=lambda: _draw(shown, rows),
    )
    return [drawing]


def _of(watched: pd.DataFrame, place: tuple[str, str]) -> pd.DataFrame:
    return watched[(watched["pair"] == place[0]) & (watched["tier"] == place[1])]


def _stays(rows: pd.DataFrame) -> bool:
    """Whether the mean over seeds stays near chance at every step and layer, whatever layer was trained."""
    means = rows.groupby(["trained_layer", "step", "layer"])[["choice", "chance"]].mean()
    return bool(((means["choice"] - means["chance"]).abs() <= NEAR).all())


def _draw(watched: pd.DataFrame, rows: Sequence[tuple[str, str]]) -> Figure:
    """Step x relative depth; rows are pairs and tiers, columns trained layers."""
    blocks, chance = int(watched["blocks"].iloc[0]), float(watched["chance"].iloc[0])
    layers, several = sorted(watched["trained_layer"].unique()), watched["pair"].nunique() > 1
    norm = TwoSlopeNorm(chance, 0, 1)
    figure, axes = panels(len(rows), len(layers), height=1.6)
    for line, place in zip(axes, rows, strict=True):
        for ax, layer in zip(line, layers, strict=True):
            here = _of(watched, place)
            _map(ax, here[here["trained_layer"] == layer], blocks, norm)
            _mark(ax, (layer + 0.5) / blocks)
        line[0].set_ylabel(f"{place[0]}\n{place[1]}" if several else place[1])
    for ax, layer in zip(axes[0], layers, strict=True):
        ax.set_title(f"L{layer} ({(layer + 1) / blocks:.2f})")
    figure.supxlabel("step of stage 2", fontsize=8.5)
    figure.supylabel("relative depth of the read-out", fontsize=8.5)
    ticks = sorted({0.0, chance, 1.0, *([0.25, 0.75] if chance == 0.5 else [])})
    bar = figure.colorbar(ScalarMappable(norm, DIVERGING), ax=axes, aspect=30, label="choice accuracy", ticks=ticks)
    bar.ax.set_yscale("linear")
    bar.ax.set_yticks(ticks, [share(tick) for tick in ticks])
    return figure


def _map(ax: Axes, rows: pd.DataFrame, blocks: int, norm: TwoSlopeNorm) -> None:
    ax.set(facecolor=MISSING, ylim=(0, 1), yticks=[0, 0.5, 1])
    ax.grid(False)
    if rows.empty:
        ax.text(0.5, 0.5, "not measured", transform=ax.transAxes, ha="center", va="center", fontsize=7)
        return
    means = rows.pivot_table(index="layer", columns="step", values="choice").reindex(range(blocks))
    steps = _edges(means.columns.to_numpy(float))
    ax.pcolormesh(steps, np.arange(blocks + 1) / blocks, means, cmap=DIVERGING, norm=norm, rasterized=True)
    ax.set_xlim(steps[0], steps[-1])


def _edges(steps: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Borders half way between the steps."""
    half = np.diff(steps) / 2 if len(steps) > 1 else np.array([0.5])
    return np.concatenate([[steps[0] - half[0]], steps[:-1] + half[: len(steps) - 1], [steps[-1] + half[-1]]])


def _mark(ax: Axes, depth: float) -> None:
    """Triangles outside both edges: nothing of the map is hidden."""
    style: dict[str, Any] = {"color": "#000000", "ls": "", "ms": 4.0, "clip_on": False}
    ax.plot(-0.045, depth, marker=">", transform=ax.get_yaxis_transform(), **style)
    ax.plot(1.045, depth, marker="<", transform=ax.get_yaxis_transform(), **style)


def _at_the_end(watched: pd.DataFrame) -> str:
    """What the trained layers have come to at the last step, for alt text."""
    last = watched[(watched["step"] == watched["step"].max()) & (watched["layer"] == watched["trained_layer"])]
    found = [
        f"{tier} {share(float(values.min()))} to {share(float(values.max()))}"
        for tier, values in last.groupby("tier", sort=False)["choice"]
    ]
    return f"At the trained layers, after the last step: {', '.join(found)}." if found else "The end was not measured."
