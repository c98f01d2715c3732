"""All pictures of a report, described from what was decided."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd

from analysis.data.left_out import LeftOut
from analysis.data.results import Results
from analysis.drawing.description import Picture
from analysis.figures.causal import causal_use
from analysis.figures.changes import one_change
from analysis.figures.choice_by_depth import cover, transfer
from analysis.figures.controls import controls_by_depth
from analysis.figures.heat_map import where
from analysis.figures.lens_profile import lens_profile
from analysis.figures.onset import emergence, evaluations
from analysis.figures.predictors import predictors, predictors_added
from analysis.figures.preservation import preservation
from analysis.figures.recipes import by_choice
from analysis.outcomes import Decided
from analysis.outcomes.prediction import predicted_cells


def describe_pictures(study: Results, decided: Decided) -> tuple[list[Picture], list[LeftOut]]:
    """Describe every picture that there are rows for; none without a finished plain cell.

    Where cells were trained on several sets of wordings, pictures show those of the first, and one each the others.
    Those whose description raised an error are left out.
    """
    if decided.plain.empty:
        return [], []
    described: list[Picture] = []
    left_out: list[LeftOut] = []
    for name, describe in _pictures(study, decided).items():
        try:
            described += list(describe())
        except Exception as error:
            left_out.append(LeftOut.figure(name, error))
    return described, left_out


def _pictures(study: Results, decided: Decided) -> dict[str, Callable[[], Iterable[Picture]]]:
    """The functions that describe pictures, by the name of their picture or the first part of it."""
    plain = decided.plain
    first, *others = dict.fromkeys(cell.wordings for cell in study.plain if cell.id in set(plain["unit"]))
    main, *further = (trained_on(study, wordings) for wordings in (first, *others))
    judged, tier = _judged(main, plain), study.decisions.primary_tier

    def watched() -> Iterable[Picture]:
        shown = [cell for cell in main.plain if cell.weight == study.shown_weight]
        return emergence(evaluations(study.rows["onset"], shown), {first[0]: "p", tier: "choice"})

    def predicted() -> Iterable[Picture]:
        choice = plain[plain["tier"] == tier].set_index("unit")["choice"]
        cells = predicted_cells(study, decided.outcomes)
        cells = cells.assign(choice=cells["unit"].map(choice))
        return predictors(study.model_names, cells, decided.associations_by_model, decided.associations, tier)

    def of_further(one: Results, name: str) -> list[Picture]:
        return [transfer(one, _judged(one, plain), name)]

    named = {f"transfer_by_depth_{'_'.join(one.plain[0].wordings)}": one for one in further}
    return {
        "cover": lambda: [cover(main, judged)],
        **{f"where_{model}": partial(_one, where, main, judged, model) for model in main.model_names},
        "transfer_by_depth": lambda: [transfer(main, judged, "transfer_by_depth")],
        **{f"lens_profile_{model}": partial(_one, lens_profile, main, model) for model in main.model_names},
        "preservation": lambda: [preservation(main, judged, decided.preservation)],
        **{name: partial(of_further, one, name) for name, one in named.items()},
        "emergence": watched,
        "controls": lambda: controls_by_depth(study, decided.controls, decided.outcomes),
        "changes": lambda: one_change(study, decided.changes),
        "predictors": predicted,
        "predictors_added": lambda: predictors_added(decided.associations),
        "causal": lambda: causal_use(study, decided.causal),
        "recipes": lambda: by_choice(study, decided.recipes_measured),
    }


def _one(describe: Callable[..., Picture], *about: Any) -> list[Picture]:
    return [describe(*about)]


def trained_on(study: Results, wordings: tuple[str, ...]) -> Results:
    """The study without the cells that were trained on other wordings."""
    units = {key: unit for key, unit in study.units.items() if unit.kind != "cell" or unit.wordings == wordings}
    return replace(study, units=units)


def _judged(study: Results, plain: pd.DataFrame) -> pd.DataFrame:
    return plain[plain["unit"].isin(set(study.units))]
