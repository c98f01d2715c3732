"""How a classifier emerges in training: p and choice accuracy by step and by layer."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from analysis.data.numbers import probability
from analysis.data.results import StudyUnit
from analysis.drawing.axes import panels
from analysis.drawing.description import Drawing
from analysis.drawing.style import HEAT, MISSING

EVALUATIONS = ["model", "pair", "trained_layer", "blocks", "weight", "seed", "step", "layer", "tier", "p", "choice"]
VALUES = {"p": "mean p", "choice": "choice accuracy"}


def evaluations(onset: Mapping[str, pd.DataFrame], cells: Iterable[StudyUnit]) -> pd.DataFrame:
    """The evaluations in the training of `cells`, under each other."""
    frames = []
    for cell in cells:
        rows = onset.get(cell.id, pd.DataFrame())
        if not rows.empty:
            rows = rows.assign(model=cell.model, pair=cell.pair, blocks=cell.blocks, trained_layer=cell.layer)
            frames.append(rows.assign(weight=cell.weight, seed=cell.seed)[EVALUATIONS])
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=EVALUATIONS)


def emergence(watched: pd.DataFrame, values: Mapping[str, str]) -> list[Drawing]:
    """A picture for each model that was watched in training.

    `watched` is of `evaluations` of cells of one weight; `values` are the tiers to show, each with what its colour is:
    `p` or `choice`.
    """
    return [_emergence(rows, values) for _, rows in watched.groupby("model", sort=False)]


def _emergence(watched: pd.DataFrame, values: Mapping[str, str]) -> Drawing:
    model, weight = watched["model"].iloc[0], watched["weight"].iloc[0]
    return Drawing(
        name=f"emergence_{model}",
        data=watched,
        alt=(
            f"Heat maps of {model} over training step and relative depth, by trained layer. "
            f"{_at_the_end(watched, values)}"
        ),
        caption=(
            f"{model}: {_in_words(values)} in the course of stage 2 at every layer, on a small held-out set (mean over "
            f"seeds), w = {weight:g}; arrows mark the trained layer, grey was not measured."
        ),
        draw=lambda: _draw(watched, values),
    )


def _draw(watched: pd.DataFrame, values: Mapping[str, str]) -> Figure:
    """Step x relative depth; rows are pairs and tiers, columns trained layers."""
    model, blocks = watched["model"].iloc[0], int(watched["blocks"].iloc[0])
    layers, pairs = sorted(watched["trained_layer"].unique()), list(watched["pair"].unique())
    rows = [(pair, tier, value) for pair in pairs for tier, value in values.items()]
    figure, axes = panels(len(rows), len(layers), width=min(2.3, 17 / len(layers)), height=1.75)
    for row, (pair, tier, value) in enumerate(rows):
        for ax, layer in zip(axes[row], layers, strict=True):
            here = watched[(watched["pair"] == pair) & (watched["tier"] == tier) & (watched["trained_layer"] == layer)]
            _map(ax, here, value, blocks)
            _mark(ax, (layer + 0.5) / blocks)
            if row == 0:
                ax.set_title(f"L{layer} ({(layer + 1) / blocks:.2f})")
        axes[row, 0].set_ylabel(f"{pair}\n{tier}\n{VALUES[value]}")
    figure.supxlabel("step of stage 2", fontsize=9)
    figure.supylabel("relative depth of the read-out", fontsize=9)
    figure.colorbar(ScalarMappable(Normalize(0, 1), HEAT), ax=axes, aspect=40, label="p or choice accuracy")
    figure.suptitle(f"{model}: how the classifier emerges, by trained layer (arrows)", fontsize=11)
    return figure


def _map(ax: Axes, rows: pd.DataFrame, value: str, blocks: int) -> None:
    ax.set(facecolor=MISSING, ylim=(0, 1), yticks=[0, 0.5, 1])
    ax.grid(False)
    if rows.empty:
        ax.text(0.5, 0.5, "not measured", transform=ax.transAxes, ha="center", va="center", fontsize=7)
        return
    means = rows.pivot_table(index="layer", columns="step", values=value).reindex(range(blocks))
    steps = _edges(means.columns.to_numpy(float))
    ax.pcolormesh(steps, np.arange(blocks + 1) / blocks, means, cmap=HEAT, vmin=0, vmax=1, rasterized=True)
    ax.set_xlim(steps[0], steps[-1])


def _edges(steps: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Borders half way between the steps."""
    half = np.diff(steps) / 2 if len(steps) > 1 else np.array([0.5])
    return np.concatenate([[steps[0] - half[0]], steps[:-1] + half[: len(steps) - 1], [steps[-1] + half[-1]]])


def _mark(ax: Axes, depth: float) -> None:
    """Arrows outside both edges: nothing of the map is hidden."""
    style: dict[str, Any] = {"color": "#000000", "ls": "", "ms": 4.5, "clip_on": False, "transform": _beside(ax)}
    ax.plot(-0.035, depth, marker=">", **style)
    ax.plot(1.035, depth, marker="<", **style)


def _beside(ax: Axes) -> Any:
    return ax.get_yaxis_transform()


def _in_words(values: Mapping[str, str]) -> str:
    return ", ".join(f"{VALUES[value]} on {tier} prompts" for tier, value in values.items())


def _at_the_end(watched: pd.DataFrame, values: Mapping[str, str]) -> str:
    """What the trained layers have come to at the last step, for alt text."""
    last = watched[(watched["step"] == watched["step"].max()) & (watched["layer"] == watched["trained_layer"])]
    parts = [
        f"{tier} {VALUES[value]} {probability(low)} to {probability(high)}"
        for tier, value in values.items()
        for low, high in [last.loc[last["tier"] == tier, value].agg(["min", "max"])]
        if low == low
    ]
    return f"At the trained layers, after the last step: {', '.join(parts)}." if parts else "Nothing was measured."
