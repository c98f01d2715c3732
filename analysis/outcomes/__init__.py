"""Everything that is decided from a study's rows, as the frames that words, tables and pictures are made from."""

from dataclasses import dataclass

import pandas as pd
from threadpoolctl import threadpool_limits

from analysis.data.results import Results
from analysis.outcomes.answers import accuracies
from analysis.outcomes.changes import changes
from analysis.outcomes.cues import cues
from analysis.outcomes.depth import depths
from analysis.outcomes.effects import differences, effects, pooled
from analysis.outcomes.emergence import judge
from analysis.outcomes.explanation import explanations, sample_cells
from analysis.outcomes.factors import factors
from analysis.outcomes.forecast import FEATURES, foretold_places, held_out
from analysis.outcomes.levels import levels, means
from analysis.outcomes.manipulations import manipulations
from analysis.outcomes.onset import onsets
from analysis.outcomes.prediction import associations, associations_by_model, predicted_cells, predictors
from analysis.outcomes.recipes import measured, told
from analysis.outcomes.sample import areas, learned, variance
from analysis.outcomes.use import doses, exchanges, shares
from study.config.arms import PLAIN

OPTIONAL = (
    *("cues", "pooled", "changes", "areas", "variance", "factors", "manipulations", "explained", "forecast"),
    "foretold",
    *("recipes_told", "recipes_measured"),
)


@dataclass(frozen=True)
class Decided:
    """The frames of one study; each is written as table_NAME.csv."""

    outcomes: pd.DataFrame
    levels: pd.DataFrame
    means: pd.DataFrame
    cues: pd.DataFrame
    depths: pd.DataFrame
    accuracy: pd.DataFrame
    differences: pd.DataFrame
    effects: pd.DataFrame
    pooled: pd.DataFrame
    doses: pd.DataFrame
    shares: pd.DataFrame
    onset: pd.DataFrame
    associations: pd.DataFrame
    associations_by_model: pd.DataFrame
    predictors: pd.DataFrame
    changes: pd.DataFrame
    areas: pd.DataFrame
    variance: pd.DataFrame
    factors: pd.DataFrame
    manipulations: pd.DataFrame
    explained: pd.DataFrame
    forecast: pd.DataFrame
    foretold: pd.DataFrame
    recipes_told: pd.DataFrame
    recipes_measured: pd.DataFrame

    @property
    def of_sample(self) -> bool:
        """Whether this is a designed sample of small models, of which at least one has learned its task."""
        return len(learned(self.areas)) > 0

    @property
    def plain(self) -> pd.DataFrame:
        """The outcomes of the cells that are no control."""
        return self.outcomes[self.outcomes["arm"] == "plain"]

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The frames by name; those of changes and recipes where the study has some."""
        return {name: frame for name, frame in vars(self).items() if len(frame) or name not in OPTIONAL}


def decide_study(results: Results) -> Decided:
    """Return every decision, in the order in which one needs another.

    Products of arrays take one thread: those here are small, and beside a study that runs two threads wait for one
    another twenty times as long as they compute.
    """
    with threadpool_limits(limits=1, user_api="blas"):
        return _decided(results)


def _decided(results: Results) -> Decided:
    onset, found = onsets(results), levels(results)
    outcomes = judge(results, found)
    exchanged = exchanges(results)
    cells = predicted_cells(results, outcomes)
    accuracy, measured_before = accuracies(results), predictors(results)
    drawn, contrasted = areas(results, accuracy), effects(results)
    places = {arm: sample_cells(results, drawn, found, measured_before, arm) for arm in FEATURES}
    by_model = associations_by_model(cells, list(results.decisions.predictors))
    return Decided(
        outcomes=outcomes,
        levels=found,
        means=means(results, found),
        cues=cues(results),
        depths=depths(results),
        accuracy=accuracy,
        differences=differences(results),
        effects=contrasted,
        pooled=pooled(results),
        doses=doses(results, exchanged),
        shares=shares(results, exchanged),
        onset=onset,
        associations=associations(cells, by_model, results.decisions),
        associations_by_model=by_model,
        predictors=measured_before,
        changes=changes(results, onset),
        areas=drawn,
        variance=variance(results, drawn),
        factors=factors(results, drawn),
        manipulations=manipulations(results, contrasted, drawn),
        explained=explanations(results, places[PLAIN]),
        forecast=held_out(places),
        foretold=foretold_places(places),
        recipes_told=told(results),
        recipes_measured=measured(results),
    )
