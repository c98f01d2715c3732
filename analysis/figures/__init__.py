"""All pictures of a report, described from what was decided."""

from collections.abc import Callable, Iterable

from analysis.data.left_out import LeftOut
from analysis.data.results import Results
from analysis.drawing.description import Picture
from analysis.figures.changes import one_change
from analysis.figures.contrasts import contrasts
from analysis.figures.cost import cost
from analysis.figures.depth import depth
from analysis.figures.emergence import emergence, evaluations
from analysis.figures.lens import lens
from analysis.figures.predictors import predictors, predictors_added
from analysis.figures.recipes import by_choice
from analysis.figures.sample import model_map, points, probed
from analysis.figures.series import MOST_MAPPED, paneled_models, shown, spread
from analysis.figures.use import use
from analysis.outcomes import Decided


def describe_pictures(study: Results, decided: Decided) -> tuple[list[Picture], list[LeftOut]]:
    """Describe every picture that there are rows for; none without a finished plain cell.

    Where cells were trained on several sets of wordings, pictures show those of the first, and `depth` the others too.
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
    if decided.of_sample:  # of a sample with many models, what holds over its architectures
        return {
            "areas": lambda: points(study, decided.areas),
            "sample": lambda: model_map(study, decided.areas),
            "foretold": lambda: probed(decided.foretold),
        }
    finished = set(decided.plain["unit"])
    first, *others = dict.fromkeys(cell.wordings for cell in study.plain if cell.id in finished)
    main, primary = shown(study, first), study.decisions.primary_tier

    def of_further(wordings: tuple[str, ...]) -> Callable[[], Iterable[Picture]]:
        name = f"depth_{'_'.join(wordings)}"
        return lambda: depth(study, decided.levels, decided.means, shown(study, wordings), name)

    def watched() -> Iterable[Picture]:
        models, pairs = paneled_models(study), main.pairs[:MOST_MAPPED]
        cells = [cell for cell in study.plain if main.has(cell) and cell.model in models and cell.pair in pairs]
        kept = {model: spread(c.depth for c in cells if c.model == model) for model in models}
        cells = [cell for cell in cells if cell.depth in kept[cell.model]]
        return emergence(evaluations(study.rows["onset"], cells), list(dict.fromkeys([first[0], primary])))

    return {
        "depth": lambda: depth(study, decided.levels, decided.means, main, "depth"),
        "order": lambda: depth(study, decided.levels, decided.means, main, "order", "order"),
        **{f"depth_{'_'.join(wordings)}": of_further(wordings) for wordings in others},
        "contrasts": lambda: contrasts(study, decided.effects, decided.differences, decided.means, main),
        "cost": lambda: cost(study, decided.effects, decided.differences, main),
        "use": lambda: use(study, decided.doses, decided.shares, main),
        "lens": lambda: lens(study, main),
        "emergence": watched,
        "changes": lambda: one_change(study, decided.changes),
        "predictors": lambda: predictors(study.model_names, decided.associations_by_model, primary),
        "predictors_added": lambda: predictors_added(decided.associations),
        "recipes": lambda: by_choice(study, decided.recipes_measured),
    }
