"""`study predict`: at which depth of a model a class could be read, foretold before any class is trained."""

import argparse
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from study.commands import arguments as given
from study.commands.tables import show_table
from study.config.grid import Grid
from study.config.study import Study
from study.config.units import pair_name
from study.results.files import UnwritableError
from study.results.terminal import own_console

if TYPE_CHECKING:
    from analysis.outcomes.forecast import Forecast

PROMPTS = 64
"""Held-out prompts of each operation in each tier."""
ARITHMETIC = Study(
    name="predict",
    models=["any"],
    grid=Grid(layers=[0.5], pairs=[{"multiply": "multiply", "add": "add"}], weights=[0.5]),
)
"""What is asked where no study is given."""
COLUMNS = ("class tokens", "wording", "trained", "area", "read from depth")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code, 2 where there is nothing to foretell."""
    options = _parser().parse_args(arguments)
    from analysis.data.files import to_csv, write_file
    from analysis.drawing.matplotlib_renderer import save
    from analysis.figures.forecast import forecast_curves
    from analysis.outcomes.forecast import depths_of, read_forecasts
    from study.lens.hooks import LensError
    from study.lens.tokens import ClassTokenError
    from study.models import ModelError
    from study.models.limits import EncodingError
    from study.models.named import load_named
    from study.pipeline.before_training import probed_model
    from study.plan.read import ConfigError, catalogue_of, read_study

    forecasts, began = read_forecasts(), time.perf_counter()
    try:
        study = read_study(options.study).study if options.study else ARITHMETIC
        loaded = load_named(options.model, catalogue_of(options.models), options.weights)
        rows = probed_model(loaded, study, options.prompts)
    except (ConfigError, ModelError, ClassTokenError, EncodingError, LensError) as error:
        print(f"nothing is foretold: {error}", file=sys.stderr)
        return 2
    chance = {pair_name(pair): 1 / len(pair) for pair in study.pairs}
    measured = pd.DataFrame(rows)
    measured = measured.assign(chance=measured["pair"].map(chance))
    fitted = set(measured.loc[measured["fitted"], "tier"])
    if others := study.wordings - fitted:
        of_probe, of_study = (", ".join(sorted(tiers)) for tiers in (fitted, others))
        print(
            f"nothing is foretold: the probe is fitted on {of_probe}, and {options.study} gives class labels on "
            f"{of_study}: a forecast is of labels on the first wording of a task alone",
            file=sys.stderr,
        )
        return 2
    # Tiers that labels are given on are no transfer, and the last block has the answer to tell.
    measured = measured[~measured["fitted"] & (measured["layer"] < loaded.blocks - 1)]
    if measured.empty:
        told_of = f"{loaded.blocks} blocks and {len(study.data.tiers)} wordings"
        print(
            f"nothing is foretold: {told_of} leave nothing to foretell; a forecast needs two blocks, and a wording "
            "besides the one that labels are given on",
            file=sys.stderr,
        )
        return 2
    told = []
    for arm, (forecast, depth_alone) in forecasts.items():
        alone = depth_alone.of(measured)["foretold"].rename("depth_alone")
        told.append(measured.assign(arm=arm).join([forecast.of(measured), alone]))
    layers = pd.concat(told, ignore_index=True)
    depths = depths_of(layers)
    folder = options.out or Path("predictions") / Path(options.model).name
    try:
        write_file(folder, "depths", ".csv", to_csv(depths))
        picture, _ = save(forecast_curves(options.model, layers), folder)
    except (OSError, UnwritableError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    console = own_console()
    spent = f"{time.perf_counter() - began:.0f} s"
    console.print(f"{options.model}, {loaded.blocks} blocks; nothing was trained; {spent}", markup=False)
    show_table(console, COLUMNS, _rows(depths), ("area", "trained"), "depths.csv")
    for arm, (forecast, _) in forecasts.items():
        console.print(_said(arm, forecast), markup=False)
    console.print(f"{folder / 'depths.csv'}, {folder / 'curves.csv'}, {folder / picture}", markup=False)
    return 0


def _said(arm: str, forecast: "Forecast") -> str:
    """How well a forecast held."""
    return (
        f"{arm}: from {forecast.models} models of {forecast.architectures} architectures ({forecast.study}, rows of "
        f"{forecast.rows}). In architectures that were left out: rank correlation {forecast.rank:.2f} over layers and "
        f"wordings ({forecast.baseline_rank:.2f} from depth alone), mean error {100 * forecast.error:.0f} points "
        f"({100 * forecast.baseline_error:.0f} from depth alone)."
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="study predict",
        description="Foretell at which depth of a model a class token could be read, on wordings that its class loss "
        "would not see. The model is measured as it is, and nothing is trained: a minute for a small one.",
    )
    given.add_model_and_study(parser, PROMPTS)
    parser.add_argument(
        "--out", type=given.folder, metavar="DIR", help="where files are written (default: predictions/MODEL)"
    )
    return parser


def _rows(depths: pd.DataFrame) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for row in depths.to_dict("records"):
        area = f"{row['area']:.2f} [{row['area_low']:.2f}, {row['area_high']:.2f}]"
        told = [_depth(row[f"readable_from{end}"]) for end in ("", "_low", "_high")]
        depth = f"{told[0]} [{told[1]}, {told[2]}]"
        rows.append((str(row["pair"]), str(row["tier"]), str(row["arm"]), area, depth))
    return rows


def _depth(value: float) -> str:
    return "first" if value == -math.inf else "never" if value == math.inf else f"{value:.2f}"
