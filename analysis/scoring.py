"""`python -m analysis.scoring PREDICTIONS OUT.md REPORT…`: forecasts of models outside the sample, against studies.

PREDICTIONS has a folder of `study predict` for each model, which were written before; each REPORT is the folder of a
report's tables. Writes OUT.md, and beside it a folder with every place that is compared, scores and a picture.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from scipy.stats import spearmanr

from analysis.data.files import to_csv, write_file
from analysis.drawing.axes import panels
from analysis.drawing.description import Drawing
from analysis.drawing.matplotlib_renderer import save
from analysis.drawing.style import DEPTH_LABEL, NEUTRAL, colour
from analysis.outcomes.depth import READABLE
from analysis.outcomes.forecast import SHARE
from study.results.description import ResultsError
from study.results.files import write_bytes

GOAL = 0.8
"""The rank correlation that was aimed at."""
FORETOLD = ("foretold", "depth_alone")


def compared(predictions: Path, report: Path) -> pd.DataFrame:
    """Return a row for each arm, layer and tier that was foretold and trained: of cells on their first wordings, at the
    weight that most have, mean over seeds on templates that no training saw.

    Raises ResultsError where a folder is not what it should be.
    """
    try:
        table = report / "table_means.csv"
        means = pd.read_csv(table) if table.is_file() else pd.read_parquet(table.with_suffix(".parquet"))
        files = sorted(predictions.glob("*/curves.csv"))
        foretold = [pd.read_csv(file).assign(model=file.parent.name) for file in files]
    except (OSError, ValueError) as error:
        raise ResultsError(
            f"{report} is no folder of a report's tables, or {predictions} none of forecasts: {error}"
        ) from error
    if not foretold:
        raise ResultsError(f"{predictions} has no folder of `study predict`")
    own = means[(means["templates"] == "unseen") & (means["seeds"] > 0)]
    own = own[own["weight"] == own["weight"].mode().max()]
    own = own[own["wordings"] == own["wordings"].iloc[0]]
    keys = ["model", "arm", "pair", "tier", "layer"]
    measured = own[[*keys, "choice", "choice_low", "choice_high", "seeds"]]
    found = pd.concat(foretold).merge(measured, on=keys, how="inner").reset_index(drop=True)
    if found.empty:
        raise ResultsError(f"no layer and wording of {predictions} was trained in {report}")
    return found.assign(study=report.name)


def scores(places: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each study, model and arm: the rank correlation over layers and tiers, the mean error of choice
    accuracy and of the depth at which it reaches READABLE, each beside that of a forecast from depth alone, and the
    share of places in the band."""
    rows = []
    for (study, arm, model), own in places.groupby(["study", "arm", "model"], sort=False):
        inside = (own["foretold_low"] <= own["choice"]) & (own["choice"] <= own["foretold_high"])
        row: dict[str, object] = {
            "study": study,
            "arm": arm,
            "model": model,
            "places": len(own),
            "in_band": float(inside.mean()),
        }
        for name in FORETOLD:
            row[f"rank_{name}"] = float(spearmanr(own[name], own["choice"]).statistic)
            row[f"error_{name}"] = float((own[name] - own["choice"]).abs().mean())
            missed = [abs(_reached(part, name) - _reached(part, "choice")) for _, part in own.groupby(["pair", "tier"])]
            row[f"depth_error_{name}"] = float(np.mean(missed))
        rows.append(row)
    return pd.DataFrame(rows)


def _reached(part: pd.DataFrame, column: str) -> float:
    """The first trained depth, between two of them by interpolation, at which a curve reaches READABLE; the first one
    where it is above from the start, and 1 where it never is."""
    ordered = part.sort_values("depth")
    at, curve = ordered["depth"].to_numpy(float), ordered[column].to_numpy(float)
    reached = np.flatnonzero(curve >= READABLE)
    if not len(reached):
        return 1.0
    first = int(reached[0])
    return (
        float(at[0])
        if first == 0
        else float(np.interp(READABLE, curve[first - 1 : first + 1], at[first - 1 : first + 1]))
    )


def picture(predictions: Path, places: pd.DataFrame) -> Drawing:
    """Describe the forecasts of all models, with what was measured: a row a study, arm and model, a panel a tier."""
    rows, tiers = list(places.groupby(["study", "arm", "model"], sort=False)), list(dict.fromkeys(places["tier"]))
    told = {model: pd.read_csv(predictions / model / "curves.csv") for model in places["model"].unique()}
    return Drawing(
        name="foretold",
        data=places,
        alt=f"Forecast and measured choice accuracy by depth, of {len(told)} models in {len(tiers)} tiers.",
        caption="Line and band: foretold before any class was trained. Points: measured, with their intervals.",
        draw=lambda: _draw(told, rows, tiers),
    )


def _draw(told: dict[str, pd.DataFrame], rows: Sequence[tuple[Any, pd.DataFrame]], tiers: list[str]) -> Figure:
    figure, axes = panels(len(rows), len(tiers), height=1.9)
    for number, (((study, arm, model), places), row) in enumerate(zip(rows, axes, strict=True)):
        for tier, ax in zip(tiers, row, strict=True):
            own = told[model][(told[model]["tier"] == tier) & (told[model]["arm"] == arm)].sort_values("depth")
            seen = places[places["tier"] == tier]
            ink = colour(number)
            ax.fill_between(own["depth"], own["foretold_low"], own["foretold_high"], color=ink, alpha=0.15, linewidth=0)
            ax.plot(own["depth"], own["foretold"], color=ink, linewidth=1.8)
            ends = (seen["choice"] - seen["choice_low"], seen["choice_high"] - seen["choice"])
            ax.errorbar(seen["depth"], seen["choice"], yerr=ends, color="#222222", fmt="o", markersize=4, linewidth=0.8)
            ax.axhline(READABLE, color=NEUTRAL, linestyle=":", linewidth=0.8)
            ax.set_title(tier if number == 0 else "")
        row[0].set_ylabel(f"{study}\n{model}, {arm}")
    axes[0][0].set_ylim(0, 1.03)
    axes[0][0].set_xlim(0, 1)
    axes[0][0].yaxis.set_major_formatter(PercentFormatter(1.0))
    figure.supxlabel(DEPTH_LABEL, fontsize=8)
    return figure


def page(found: pd.DataFrame, image: str, folder: str) -> str:
    """Return the page as Markdown."""
    template = (Path(__file__).parent / "templates" / "scores.md.j2").read_text(encoding="utf-8")
    made = jinja2.Template(template, undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    rendered: str = made.render(
        said=_said(found), scores=found.to_dict("records"), image=image, folder=folder, band=SHARE, readable=READABLE
    )
    return rendered


def _said(found: pd.DataFrame) -> str:
    told = ", ".join(
        f"{row['model']} ({row['study']}, {row['arm']}) {row['rank_foretold']:.2f}" for row in found.to_dict("records")
    )
    reached = (found["rank_foretold"] >= GOAL).all() and (found["rank_foretold"] > found["rank_depth_alone"]).all()
    verdict = "The order of layers and wordings was foretold" if reached else "The goal was missed"
    return (
        f"**{verdict}**: rank correlation {told}; the goal is {GOAL}, and more than from depth alone, in every model."
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page; returns the exit code, 2 where there is nothing to score."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if len(given) < 3:
        print("usage: python -m analysis.scoring PREDICTIONS OUT.md REPORT_FOLDER…", file=sys.stderr)
        return 2
    predictions, out, *reports = map(Path, given)
    try:
        places = pd.concat([compared(predictions, report) for report in reports], ignore_index=True)
    except ResultsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    found, folder = scores(places), out.with_suffix("")
    for name, table in (("places", places), ("scores", found)):
        write_file(folder, name, ".csv", to_csv(table))
    image, _ = save(picture(predictions, places), folder)
    write_bytes(out, page(found, image, folder.name).encode())
    print(out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
