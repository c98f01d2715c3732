"""All pictures of a report, described from what was decided."""

from dataclasses import replace

import pandas as pd

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


def describe_pictures(study: Results, decided: Decided) -> list[Picture]:
    """Describe every picture that there are rows for; none without a finished plain cell.

    Where cells were trained on several sets of wordings, pictures show those of the first, and one each the others.
    """
    plain = decided.plain
    if plain.empty:
        return []
    first, *others = dict.fromkeys(cell.wordings for cell in study.plain if cell.id in set(plain["unit"]))
    main, *further = (trained_on(study, wordings) for wordings in (first, *others))
    judged, tier = _judged(main, plain), study.decisions.primary_tier
    watched = evaluations(study.rows["onset"], [cell for cell in main.plain if cell.weight == study.shown_weight])
    choice = plain[plain["tier"] == tier].set_index("unit")["choice"]
    cells = predicted_cells(study, decided.outcomes)
    cells = cells.assign(choice=cells["unit"].map(choice))
    return [
        cover(main, judged),
        *(where(main, judged, model) for model in main.model_names),
        transfer(main, judged, "transfer_by_depth"),
        *(lens_profile(main, model) for model in main.model_names),
        preservation(main, judged, decided.preservation),
        *(
            transfer(one, _judged(one, plain), f"transfer_by_depth_{'_'.join(one.plain[0].wordings)}")
            for one in further
        ),
        *emergence(watched, {first[0]: "p", tier: "choice"}),
        *controls_by_depth(study, decided.controls, decided.outcomes),
        *one_change(study, decided.changes),
        *predictors(study.model_names, cells, decided.associations_by_model, decided.associations, tier),
        *predictors_added(decided.associations),
        *causal_use(study, decided.causal),
        *by_choice(study, decided.recipes_measured),
    ]


def trained_on(study: Results, wordings: tuple[str, ...]) -> Results:
    """The study without the cells that were trained on other wordings."""
    units = {key: unit for key, unit in study.units.items() if unit.kind != "cell" or unit.wordings == wordings}
    return replace(study, units=units)


def _judged(study: Results, plain: pd.DataFrame) -> pd.DataFrame:
    return plain[plain["unit"].isin(set(study.units))]
