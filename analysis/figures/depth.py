"""The report's pictures: small multiples on one shared scale, each with its CSV and alt text."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from analysis.data.numbers import probability, share
from analysis.data.results import Results, StudyUnit
from analysis.figures.style import (
    DEPTH_LABEL,
    HEAT,
    LINES,
    MISSING,
    SERIES,
    STAGE_STYLES,
    STATUS,
    Picture,
    choice_axis,
    fill,
    log_odds,
    mark_unfinished,
    odds_axis,
    outer_labels,
    panels,
    save,
    tier_curves,
    tier_handles,
)

PROFILE_COLUMNS = ["layer", "log_p", "model", "pair", "trained_layer", "weight", "seed", "stage", "depth"]


def draw(results: Results, judged: pd.DataFrame, kept: pd.DataFrame, folder: Path) -> list[Picture]:
    """Draw and save every picture of the report; needs at least one judged cell."""
    pictures = [_cover(results, judged, folder)]
    pictures += [_heat_map(results, judged, model, folder) for model in results.model_names]
    pictures.append(transfer(results, judged, folder, "transfer_by_depth"))
    pictures += [_profile(results, model, folder) for model in results.model_names]
    pictures.append(_pareto(results, judged, kept, folder))
    return pictures


def _cover(results: Results, judged: pd.DataFrame, folder: Path) -> Picture:
    """Choice accuracy by depth, one panel a model, all pairs in it."""
    weight, models = results.shown_weight, results.model_names
    data = judged[judged["weight"] == weight]
    columns = min(len(models), 4)
    rows = -(-len(models) // columns)
    figure, axes = panels(rows, columns, width=4.0, height=3.0)
    for ax in axes.flat[len(models) :]:
        ax.set_visible(False)
    for ax, model in zip(axes.flat, models, strict=False):
        for index, pair in enumerate(results.pairs):
            tier_curves(ax, results.tiers, data[(data["model"] == model) & (data["pair"] == pair)], index)
        ax.set_title(model, fontweight="bold")
        choice_axis(ax, results, data)
    outer_labels(axes, DEPTH_LABEL, "choice accuracy")
    figure.suptitle("Does the classifier carry over to wordings it was not trained on?", fontsize=11)
    handles = tier_handles(results)
    for index, pair in enumerate(results.pairs):
        line = LINES[index % len(LINES)]
        handles.append(Line2D([], [], color="#555555", marker="o", ls=line, fillstyle=fill(index), label=pair))
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    caption = (
        f"Choice accuracy at the trained layer on held-out {results.terms.held_out}, w = {weight:g}, by wording and "
        "class tokens; the dotted line is chance."
    )
    alt = f"Choice accuracy against relative depth of the trained layer at w = {weight:g}. {_best_by_tier(data)}"
    return save(figure, folder, "cover", data, alt, caption)


def transfer(results: Results, judged: pd.DataFrame, folder: Path, name: str) -> Picture:
    """Choice accuracy by depth with intervals, rows are models and columns pairs."""
    weight, models, pairs = results.shown_weight, results.model_names, results.pairs
    data = judged[judged["weight"] == weight]
    figure, axes = panels(len(models), len(pairs), width=4.0, height=2.5)
    for row, model in enumerate(models):
        for column, pair in enumerate(pairs):
            ax = axes[row, column]
            tier_curves(ax, results.tiers, data[(data["model"] == model) & (data["pair"] == pair)], 0)
            ax.set_title(f"{model} · {pair}")
            choice_axis(ax, results, data)
            mark_unfinished(ax, results, model, pair, weight)
    outer_labels(axes, DEPTH_LABEL, "choice accuracy")
    figure.legend(handles=tier_handles(results), loc="outside lower center", ncols=4)
    percent = share(results.decisions.confidence)
    caption = (
        f"Cells trained on {' and '.join(results.plain[0].wordings)}, by depth at w = {weight:g}: one curve a tier, "
        f"with {percent} intervals; the dotted line is chance."
    )
    alt = f"Choice accuracy with intervals against relative depth, by model and token pair. {_best_by_tier(data)}"
    return save(figure, folder, name, data, alt, caption)


def _heat_map(results: Results, judged: pd.DataFrame, model: str, folder: Path) -> Picture:
    """Relative depth x weight: p on the trained wording, choice accuracy on the other tiers."""
    data = judged[judged["model"] == model]
    cells = [cell for cell in results.plain if cell.model == model]
    shown = [(tier, "p") for tier in results.tiers if tier in results.plain[0].wordings]
    shown += [(tier, "choice") for tier in results.tiers if tier not in results.plain[0].wordings]
    layers, weights = sorted({c.layer or 0 for c in cells}), sorted({c.weight or 0.0 for c in cells})
    height = 0.55 + 0.36 * len(weights)
    figure, axes = panels(len(shown), len(results.pairs), width=1.4 + 0.62 * len(layers), height=height)
    for row, (tier, value) in enumerate(shown):
        for column, pair in enumerate(results.pairs):
            ax = axes[row, column]
            here = [cell for cell in cells if cell.pair == pair]
            values = data[(data["tier"] == tier) & (data["pair"] == pair)].set_index("unit")[value]
            for x, layer in enumerate(layers):
                for y, weight in enumerate(weights):
                    _heat_cell(ax, x, y, [c for c in here if c.layer == layer and c.weight == weight], values)
            ax.set_title(f"{'mean p' if value == 'p' else 'choice accuracy'}, {tier}")
            ax.set(xlim=(-0.5, len(layers) - 0.5), ylim=(-0.5, len(weights) - 0.5), facecolor=MISSING)
            depths = {cell.layer: cell.depth for cell in cells}
            ax.set_xticks(range(len(layers)), [f"{depths[layer]:.2f}\nL{layer}" for layer in layers])
            ax.set_yticks(range(len(weights)), [f"{weight:g}" for weight in weights])
            ax.grid(False)
            ax.tick_params(length=0)
    for column, pair in enumerate(results.pairs):
        axes[0, column].annotate(
            pair, (0.5, 1), (0, 20), xycoords="axes fraction", textcoords="offset points", ha="center", weight="bold"
        )
    outer_labels(axes, "relative depth, layer", "weight w")
    figure.colorbar(ScalarMappable(Normalize(0, 1), HEAT), ax=axes, aspect=40, label="p or choice accuracy")
    figure.suptitle(model, fontsize=11)
    caption = (
        f"{model}: mean p of the right class token on the trained wording, choice accuracy on the others, at the "
        "trained layer (mean over seeds); hatched grey where no cell has finished."
    )
    alt = f"Heat maps of {model} over relative depth and weight. {_best_by_tier(data)}"
    columns = ["model", "pair", "tier", "layer", "depth", "weight", "seed", "p", "choice", "shown", "value"]
    coloured = data["tier"].map(dict(shown))
    data = data.assign(shown=coloured, value=data["p"].where(coloured == "p", data["choice"]))
    return save(figure, folder, f"where_{model}", data[columns], alt, caption)


def _heat_cell(ax: Axes, x: int, y: int, cells: list[StudyUnit], values: "pd.Series[float]") -> None:
    found = [values[cell.id] for cell in cells if cell.id in values.index]
    if found:
        value = float(np.mean(found))
        ax.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, color=mpl.colormaps[HEAT](value), lw=0))
        ax.text(x, y, probability(value), ha="center", va="center", color="white" if value < 0.6 else "black")
        return
    ax.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, fc=MISSING, ec="white", hatch="////", lw=0))
    text = STATUS.get(cells[0].status, cells[0].status) if cells else "none"
    ax.text(x, y, text, ha="center", va="center", fontsize=7, linespacing=0.9)


def _profile(results: Results, model: str, folder: Path) -> Picture:
    """The lens by layer at each stage, rows are pairs and columns trained layers."""
    weight, tier = results.shown_weight, results.plain[0].wordings[0]
    cells = [cell for cell in results.plain if cell.model == model and cell.weight == weight]
    layers = sorted({cell.layer or 0 for cell in cells})
    frames = []
    figure, axes = panels(len(results.pairs), len(layers), width=2.5, height=2.2)
    for row, pair in enumerate(results.pairs):
        for column, layer in enumerate(layers):
            ax = axes[row, column]
            here = [cell for cell in cells if cell.pair == pair and cell.layer == layer]
            lines = _under_each_other([_profile_rows(results, cell, tier) for cell in here])
            frames.append(lines)
            for stage, (colour, style) in STAGE_STYLES.items():
                if not lines.empty and (lines["stage"] == stage).any():
                    means = lines[lines["stage"] == stage].groupby("depth")["log_p"].mean()
                    ax.plot(means.index, np.exp(means), color=colour, ls=style, lw=2 if stage == "stage 2" else 1.3)
            if here:
                ax.axvline(here[0].depth, color="#009E73", lw=5, alpha=0.25, zorder=0)
                _say_status(ax, here)
            ax.set(yscale="log", xlim=(0, 1.02), xticks=[0, 0.5, 1], title=f"L{layer} · {pair}")
            ax.minorticks_off()
    outer_labels(axes, "relative depth of the read-out", "p (geometric mean)")
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=colour, ls=style, label=stage) for stage, (colour, style) in STAGE_STYLES.items()
    ]
    handles.append(Patch(color="#009E73", alpha=0.25, label="trained layer"))
    figure.legend(handles=handles, loc="outside lower center", ncols=5)
    figure.suptitle(f"{model}: the right class token's p by layer (w = {weight:g}, {tier})", fontsize=11)
    data = _under_each_other(frames)
    caption = (
        f"{model}: geometric mean of the right class token's p by layer and stage, {tier} prompts, w = {weight:g}."
    )
    alt = f"Lens profiles of {model}: probability of the right class token along depth, for each stage. {_peaks(data)}"
    return save(figure, folder, f"lens_profile_{model}", data, alt, caption)


def _profile_rows(results: Results, cell: StudyUnit, tier: str) -> pd.DataFrame:
    """Mean log p by layer for each stage that a finished unit has."""
    reference, zero = results.reference_of(cell), results.zero_of(cell)
    sources: list[tuple[str, StudyUnit | None, str]] = [
        ("baseline", reference, "baseline"),
        ("stage 1", reference, "stage1"),
    ]
    sources += [("w = 0", zero, "stage2"), ("stage 2", cell if cell.finished else None, "stage2")]
    frames = []
    for stage, unit, stored in sources:
        if unit is not None:
            profile = results.profile[unit.id]
            shown = (profile["stage"] == stored) & (profile["pair"] == cell.readout) & (profile["tier"] == tier)
            means = profile.loc[shown, ["layer", "log_p"]]
            about = {"model": cell.model, "pair": cell.pair, "trained_layer": cell.layer, "weight": cell.weight}
            depth = (means["layer"] + 1) / cell.blocks
            frames.append(means.assign(**about, seed=cell.seed, stage=stage, depth=depth))
    return _under_each_other(frames)


def _under_each_other(profiles: list[pd.DataFrame]) -> pd.DataFrame:
    filled = [profile for profile in profiles if not profile.empty]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=PROFILE_COLUMNS)


def _pareto(results: Results, judged: pd.DataFrame, kept: pd.DataFrame, folder: Path) -> Picture:
    """Accuracy kept against class probability; rows are models, columns the judged tiers."""
    trained = judged[judged["tier"] == results.plain[0].wordings[0]].set_index("unit")
    data = kept[(kept["against"] == "stage 1") & kept["unit"].isin(trained.index)].reset_index(drop=True)
    for column in ("p", "p_low", "p_high"):
        data[column] = data["unit"].map(trained[column])
    models, tiers = results.model_names, list(dict.fromkeys(kept["tier"])) or [results.judged_tiers[0]]
    weights = sorted({cell.weight or 0.0 for cell in results.plain})
    figure, axes = panels(len(models), len(tiers), width=4.0, height=2.6)
    margin = 100 * results.decisions.non_inferiority_margin
    for row, model in enumerate(models):
        for ax, tier in zip(axes[row], tiers, strict=True):
            ax.axhline(0, color="#000000", lw=0.8)
            ax.axhline(-margin, color="#000000", lw=0.8, ls=":")
            for point in data[(data["model"] == model) & (data["tier"] == tier)].to_dict("records"):
                _pareto_point(ax, point, SERIES[weights.index(point["weight"]) % len(SERIES)], results.pairs)
            odds_axis(ax, 0.5 if data.empty else data["p_low"].min())
            ax.set_title(f"{model} · {tier}")
    outer_labels(axes, "mean p of the right class token (log odds)", "accuracy minus stage 1, points")
    handles = [
        Line2D([], [], color=SERIES[i % len(SERIES)][0], marker=SERIES[i % len(SERIES)][1], ls="", label=f"w = {w:g}")
        for i, w in enumerate(weights)
    ]
    handles += [
        Line2D([], [], color="#555555", marker="o", ls="", fillstyle=fill(i), label=pair)
        for i, pair in enumerate(results.pairs)
    ]
    handles.append(Line2D([], [], color="#000000", lw=0.8, ls=":", label=f"margin, -{margin:g} points"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    caption = (
        f"Answer accuracy after stage 2 minus after stage 1, against mean p on the trained wording; "
        f"{share(results.decisions.confidence)} intervals."
    )
    worst = "" if data.empty else f" Differences run from {_span(100 * data['difference'])} points."
    return save(figure, folder, "preservation", data, f"Accuracy kept against class probability.{worst}", caption)


def _pareto_point(ax: Axes, point: dict[Any, Any], series: tuple[str, str], pairs: list[str]) -> None:
    colour, marker = series
    # Pairs side by side: points of equal p and difference would hide each other.
    aside = 0.12 * (pairs.index(point["pair"]) - (len(pairs) - 1) / 2)
    x, x_low, x_high = (log_odds(point[name]) + aside for name in ("p", "p_low", "p_high"))
    y, low, high = (100 * point[name] for name in ("difference", "difference_low", "difference_high"))
    ax.plot([x, x], [low, high], color=colour, lw=0.8, alpha=0.5)
    ax.plot([x_low, x_high], [y, y], color=colour, lw=0.8, alpha=0.5)
    ax.plot(x, y, color=colour, marker=marker, fillstyle=fill(pairs.index(point["pair"])), ls="")


def _say_status(ax: Axes, cells: Iterable[StudyUnit]) -> None:
    cells = list(cells)
    if not any(cell.finished for cell in cells):
        ax.set_facecolor(MISSING)
        ax.text(0.5, 0.5, cells[0].status, transform=ax.transAxes, ha="center")


def _best_by_tier(data: pd.DataFrame) -> str:
    """The best cell of every tier in a sentence, for alt text."""
    if data.empty:
        return "No cell has finished."
    best = data.loc[data.groupby("tier", sort=False)["choice"].idxmax()].to_dict("records")
    return (
        "Best choice accuracy: "
        + ", ".join(f"{b['tier']} {share(b['choice'])} at {b['depth']:.2f}" for b in best)
        + "."
    )


def _peaks(data: pd.DataFrame) -> str:
    after = data[data["stage"] == "stage 2"] if not data.empty else data
    if after.empty:
        return "No cell has finished."
    return f"After stage 2 its geometric mean peaks at {probability(float(np.exp(after['log_p'].max())))}."


def _span(values: "pd.Series[float]") -> str:
    return f"{values.min():+.1f} to {values.max():+.1f}"
