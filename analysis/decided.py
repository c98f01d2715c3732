"""Everything that is decided from a study's rows, as the frames that words, tables and pictures are made from."""

from dataclasses import dataclass

import pandas as pd

from analysis.causal import effects
from analysis.changes import changes
from analysis.controls import controls
from analysis.emergence import judge
from analysis.onset import onsets
from analysis.prediction import associations, associations_by_model, predicted_cells, predictors
from analysis.preservation import accuracies, preservation
from analysis.recipes import measured, told
from analysis.tables import Results

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
