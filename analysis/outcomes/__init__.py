"""Everything that is decided from a study's rows, as the frames that words, tables and pictures are made from."""

from dataclasses import dataclass

import pandas as pd

from analysis.data.results import Results
from analysis.outcomes.causal import effects
from analysis.outcomes.changes import changes
from analysis.outcomes.controls import controls
from analysis.outcomes.emergence import judge
from analysis.outcomes.onset import onsets
from analysis.outcomes.prediction import associations, associations_by_model, predicted_cells, predictors
from analysis.outcomes.preservation import accuracies, preservation
from analysis.outcomes.recipes import measured, told

OPTIONAL = ("changes", "recipes_told", "recipes_measured")


@dataclass(frozen=True)
class Decided:
    """The frames of one study; each is written as table_NAME.csv."""

    outcomes: pd.DataFrame
    accuracy: pd.DataFrame
    preservation: pd.DataFrame
    controls: pd.DataFrame
    onset: pd.DataFrame
    causal: pd.DataFrame
    associations: pd.DataFrame
    associations_by_model: pd.DataFrame
    predictors: pd.DataFrame
    changes: pd.DataFrame
    recipes_told: pd.DataFrame
    recipes_measured: pd.DataFrame

    @property
    def plain(self) -> pd.DataFrame:
        """The outcomes of the cells that are no control."""
        return self.outcomes[self.outcomes["arm"] == "plain"]

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """By name; those of changes and recipes where the study has some."""
        return {name: frame for name, frame in vars(self).items() if len(frame) or name not in OPTIONAL}


def decide_study(results: Results) -> Decided:
    """Every decision, in the order in which one needs another."""
    outcomes = judge(results)
    cells = predicted_cells(results, outcomes)
    by_model = associations_by_model(cells, list(results.decisions.predictors))
    kept, onset = preservation(results), onsets(results)
    return Decided(
        outcomes=outcomes,
        accuracy=accuracies(results),
        preservation=kept,
        controls=controls(results),
        onset=onset,
        causal=effects(results, outcomes),
        associations=associations(cells, by_model, results.decisions),
        associations_by_model=by_model,
        predictors=predictors(results),
        changes=changes(results, outcomes, kept, onset),
        recipes_told=told(results),
        recipes_measured=measured(results),
    )
