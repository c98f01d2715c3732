"""All pictures of a report, from what was decided."""

from dataclasses import replace
from pathlib import Path

import matplotlib as mpl

from analysis.data.results import Results
from analysis.figures.causal import causal_use
from analysis.figures.changes import one_change
from analysis.figures.controls import controls_by_depth
from analysis.figures.depth import draw, transfer
from analysis.figures.onset import emergence, evaluations
from analysis.figures.predictors import why
from analysis.figures.recipes import by_choice
from analysis.figures.style import STYLE, Picture
from analysis.outcomes import Decided
from analysis.outcomes.prediction import predicted_cells


def draw_pictures(study: Results, decided: Decided, folder: Path) -> list[Picture]:
    """Draw and save every picture that there are rows for; none without a finished plain cell.

    Where cells were trained on several sets of wordings, pictures show those of the first, and one each the others.
    """
    plain = decided.plain
    if plain.empty:
        return []
    first, *others = dict.fromkeys(cell.wordings for cell in study.plain if cell.id in set(plain["unit"]))
    main, tier = trained_on(study, first), study.decisions.primary_tier
    own = set(main.units)
    cells = predicted_cells(study, decided.outcomes)
    choice = plain[plain["tier"] == tier].set_index("unit")["choice"]
    with mpl.rc_context(STYLE):
        pictures = draw(main, plain[plain["unit"].isin(own)], decided.preservation, folder)
        for wordings in others:
            same = trained_on(study, wordings)
            rows, name = plain[plain["unit"].isin(set(same.units))], f"transfer_by_depth_{'_'.join(wordings)}"
            pictures.append(transfer(same, rows, folder, name))
        watched = evaluations(study.onset, [cell for cell in main.plain if cell.weight == study.shown_weight])
        pictures += emergence(watched, {first[0]: "p", tier: "choice"}, folder)
        pictures += controls_by_depth(study, decided.controls, decided.outcomes, folder)
        pictures += one_change(study, decided.changes, folder)
        pictures += why(
            study.model_names,
            cells.assign(choice=cells["unit"].map(choice)),
            decided.associations_by_model,
            decided.associations,
            tier,
            folder,
        )
        pictures += causal_use(study, decided.causal, folder)
        pictures += by_choice(study, decided.recipes_measured, folder)
    return pictures


def trained_on(study: Results, wordings: tuple[str, ...]) -> Results:
    """The study without the cells that were trained on other wordings."""
    units = {key: unit for key, unit in study.units.items() if unit.kind != "cell" or unit.wordings == wordings}
    return replace(study, units=units)
