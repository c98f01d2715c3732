"""`study lenses`: at which blocks a class is readable in a model as it is, by three lenses, and where these agree."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table

from study.commands import arguments as given
from study.commands.predict import ARITHMETIC
from study.config.lenses import KINDS, LENSES, LensFitting
from study.config.units import pair_name
from study.results.files import UnwritableError

if TYPE_CHECKING:
    from study.lens.translators import Translators

PROMPTS = 54
"""Held-out prompts of each operation in each tier: one in each template of arithmetic."""
DEFAULTS = LensFitting()
SIGNS = {"read": "#", "not read": ".", "undecided": "?"}
TOGETHER = {"all": "#", "none": ".", "apart": "x", "undecided": "?"}
"""Signs by which a block is told in the terminal."""
WIDEST = 56
"""Blocks that have a sign each within 80 columns; of more, every second one or so has."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code, 2 where the lenses cannot be fitted or read."""
    options = _parser().parse_args(arguments)
    from analysis.data.files import to_csv, write_file
    from analysis.drawing.matplotlib_renderer import save
    from analysis.figures.lenses import lens_curves
    from analysis.outcomes.lenses import agreement, lens_levels
    from analysis.text.lenses_page import lenses_page, verdict_on_tuned
    from study.lens.hooks import LensError
    from study.lens.tokens import ClassTokenError
    from study.models import ModelError
    from study.models.limits import EncodingError
    from study.models.named import load_named
    from study.pipeline.before_training import read_by_lenses
    from study.pipeline.fitted_lenses import FittedLenses
    from study.plan.read import ConfigError, catalogue_of, read_study
    from study.training.loop import TrainingError

    console, began = Console(), time.perf_counter()
    try:
        study = read_study(options.study).study if options.study else ARITHMETIC
        if study.class_name == "sequence":
            raise ClassTokenError(
                f"lenses read one token of a class name, and {options.study} has class_name: sequence; with `first` in "
                "its place they read the first token of each"
            )
        text = options.text.read_text(encoding="utf-8") if options.text else None
        loaded = load_named(options.model, catalogue_of(options.models), options.weights)
        with console.status("") as status:
            name = str(options.text or "")
            settings = study.lens_fitting if options.study else LensFitting()
            if options.jacobian_texts:
                settings = settings.model_copy(update={"jacobian_texts": options.jacobian_texts})
            fitted = FittedLenses(loaded, settings, text, name, _teller(console, status))
            lenses = [fitted.lens(kind) for kind in KINDS]
            status.update("reading the class tokens")
            rows = read_by_lenses(loaded, study, options.prompts, lenses)
    except UnicodeDecodeError:
        print(f"nothing is read: {options.text} is no text in UTF-8", file=sys.stderr)
        return 2
    except (OSError, ConfigError, ModelError, ClassTokenError, EncodingError, LensError, TrainingError) as error:
        print(f"nothing is read: {error}", file=sys.stderr)
        return 2
    chance = {pair_name(pair): 1 / len(pair) for pair in study.pairs}
    choices = pd.DataFrame(rows)
    choices = choices.assign(chance=choices["pair"].map(chance))
    confidence = study.decisions.confidence
    told = lens_levels(choices, confidence)
    agreed, far = agreement(told), _divergences(lenses)
    said = [_fitted(one) for one in lenses if one.kind != "logit"]
    folder = options.out or Path("lenses") / Path(options.model).name
    try:
        picture = lens_curves(options.model, told, confidence)
        image, _ = save(picture, folder)
        write_file(folder, "agreement", ".csv", to_csv(agreed))
        write_file(folder, "divergences", ".csv", to_csv(far))
        write_file(folder, "choices", ".csv", to_csv(choices))
        page = lenses_page(options.model, told, agreed, far, said, (image, picture.caption), confidence)
        write_file(folder, "lenses", ".md", page.encode())
    except (OSError, UnwritableError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    spent = f"{time.perf_counter() - began:.0f} s"
    console.print(f"{options.model}, {loaded.blocks} blocks; no class was trained; {spent}", markup=False)
    console.print(_reads(told))
    console.print(_strips(told, agreed))
    console.print("# read  . not read  ? undecided  x one reads it, another does not", markup=False, highlight=False)
    console.print(_far(far))
    for line in (verdict_on_tuned(far), *said):
        console.print(line, markup=False, highlight=False)
    console.print(f"{folder / 'lenses.md'}, with its picture and CSVs", markup=False)
    return 0


def _teller(console: Console, status: Status) -> Callable[[str], None]:
    """Return what is called with what is being done, and how far it is: a pipe gets a line for each thing, on
    stderr."""
    begun: set[str] = set()

    def tell(doing: str) -> None:
        what = doing.partition(":")[0]
        if console.is_terminal:
            status.update(escape(doing))
        elif what not in begun:
            begun.add(what)
            print(f"{what} …", file=sys.stderr)

    return tell


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="study lenses",
        description="Read class tokens at every block of a model as it is by three lenses, the logit lens, the tuned "
        "lens and the Jacobian lens, and say where they agree. The last two are fitted first, which takes minutes for "
        "a small model, and kept in the cache.",
    )
    given.add_model_and_study(parser, PROMPTS)
    parser.add_argument(
        "--text",
        type=given.path,
        metavar="FILE",
        help="a text to fit the lenses on, UTF-8 (default: texts that the model writes)",
    )
    parser.add_argument(
        "--jacobian-texts",
        type=_texts,
        metavar="N",
        help=f"texts over which Jacobians are averaged, 2 to {DEFAULTS.texts} (default: {DEFAULTS.jacobian_texts}, or "
        "as the study says)",
    )
    parser.add_argument(
        "--out", type=given.folder, metavar="DIR", help="where files are written (default: lenses/MODEL)"
    )
    return parser


def _texts(text: str) -> int:
    if not text.isdecimal() or not 2 <= int(text) <= DEFAULTS.texts:
        raise argparse.ArgumentTypeError(f"{ascii(text)[:40]} is no whole number from 2 to {DEFAULTS.texts}")
    return int(text)


def _divergences(lenses: Sequence["Translators"]) -> pd.DataFrame:
    """A row for each text, lens and block: KL(model || lens), nats, as it was measured when the lenses were fitted."""
    rows = []
    for text, suffix in (("held_out", ""), ("neutral", "_neutral")):
        for lens in lenses:
            about = next(one.about for one in lenses if one.kind != "logit") if lens.kind == "logit" else lens.about
            key = f"kl{suffix}_logit" if lens.kind == "logit" else f"kl{suffix}"
            values = enumerate(json.loads(about.get(key, "[]")))
            rows += [{"text": text, "lens": lens.kind, "layer": layer, "kl": value} for layer, value in values]
    return pd.DataFrame(rows)


def _fitted(lens: "Translators") -> str:
    """How a lens was fitted."""
    about, name = lens.about, LENSES[lens.kind]
    fitted = f"fitted on {about['texts']} texts of {about['tokens']} tokens, {about['text']}"
    told = f"{name[0].upper()}{name[1:]}: {fitted}"
    if lens.kind == "tuned":
        return f"{told}."
    errors = json.loads(about["relative_error"])[:-1]
    return f"{told}; standard error of the mean {100 * min(errors):.0f} to {100 * max(errors):.0f} % of its norm."


def _reads(told: pd.DataFrame) -> Table:
    from analysis.data.numbers import probability
    from analysis.outcomes.depth import READABLE
    from analysis.outcomes.lenses import read_from
    from analysis.statistics.intervals import interval_of
    from analysis.text.lenses_page import from_block

    limit = f">= {READABLE:.2f} from"
    table = Table("wording", "lens", f"choice\n{limit}", "highest", "at", f"order\n{limit}", box=None, pad_edge=False)
    for row in read_from(told).to_dict("records"):
        name = _name(told, row["pair"], row["tier"]) if row["lens"] == KINDS[0] else ""
        highest, at = probability(interval_of(row, "choice")), f"{row['at']:.0f}"
        cells = [name, row["lens"], from_block(row, "choice"), highest, at, from_block(row, "order")]
        table.add_row(*map(escape, cells))
    return table


def _name(rows: pd.DataFrame, pair: object, tier: object) -> str:
    return f"{tier}" if rows["pair"].nunique() == 1 else f"{tier} {pair}"


def _strips(told: pd.DataFrame, agreed: pd.DataFrame) -> Table:
    """A sign for each block, in a row for each lens and one for what they agree on."""
    blocks = int(told["layer"].max()) + 1
    every = -(-blocks // WIDEST)
    heading = f"block 0 to {blocks - 1}" + (f", every {every}" if every > 1 else "")
    table = Table("wording", "lens", heading, box=None, pad_edge=False)
    for (pair, tier), own in agreed.groupby(["pair", "tier"], sort=False):
        own = own.sort_values("layer").iloc[::every]
        name = _name(agreed, pair, tier)
        for lens in LENSES:
            table.add_row(escape(name), lens, _signs(own[lens], SIGNS))
            name = ""
        table.add_row("", "together", _signs(own["together"], TOGETHER))
    return table


def _signs(values: "pd.Series[str]", signs: Mapping[str, str]) -> str:
    return "".join(signs[value] for value in values)


def _far(divergences: pd.DataFrame) -> Table:
    from analysis.text.lenses_page import divergence_rows, shown_blocks

    heads = [f"block {layer}" for layer in shown_blocks(divergences)]
    table = Table("KL from the model", "lens", *heads, box=None, pad_edge=False)
    for row in divergence_rows(divergences):
        table.add_row(row["text"], row["lens"], *row["told"])
    return table
