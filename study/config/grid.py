"""Settings of the grid: its axes, and its further parts."""

from typing import Annotated

from pydantic import Field

from study.config.arms import ARMS_IN_WORDS, PLAIN
from study.config.base import Settings
from study.config.names import Arms, Layers, ManyWordings, Pairs, Prompting, Recipes, Seeds, Weights
from study.config.stages import Stage2Change


class Grid(Settings):
    """The axes of the study; a cell is one point of their product with the models."""

    layers: Layers
    """Classifier layers: an integer is the 0-based index of a block, a fraction in (0, 1] a relative depth (L+1)/N;
    `all` of them, or `{every: 2}`, which counts from the last block."""
    pairs: Pairs
    """Class tokens by operation, e.g. `{multiply: multiply, add: add}`; more than two operations are allowed."""
    weights: Weights
    """Weight w of the class loss; the answer loss has 1 - w. w = 0 is one cell for each model, seed, set of operations
    and wordings: it has no layer, pair or arm."""
    arms: Annotated[Arms, Field(description=ARMS_IN_WORDS)] = [PLAIN]
    wordings: ManyWordings = [["symbolic"]]
    """Lists of tiers of wording that stage 2 trains on; the other tiers measure transfer."""
    seeds: Seeds = [0]
    """Seeds of both stages: of the batches, of the initial adapters and of the choice of evaluated prompts."""
    prompts: Prompting = ["plain"]
    """How models are prompted: `plain` is the text as it is, `chat` the same as a user's message in the model's own
    chat template, for models that were tuned on instructions; base models, with `chat: false` in `models.yaml`, have no
    cells there."""
    recipes: Recipes = ["corrected"]
    """`corrected` is the experiment as described; `as-published` makes the choices of the published experiment, which
    docs/as-published.md lists. `corrected with CHOICE, …` and `as-published without CHOICE, …` switch some of them."""


class Part(Settings):
    """A further product of axes, added to the grid; an axis that is not given is the grid's."""

    layers: Layers | None = None
    pairs: Pairs | None = None
    weights: Weights | None = None
    arms: Arms | None = None
    wordings: ManyWordings | None = None
    seeds: Seeds | None = None
    prompts: Prompting | None = None
    recipes: Recipes | None = None
    stage2: Stage2Change = Stage2Change()
    """Changes of stage 2 in these cells, which the report lists in the table of recipes, not among the outcomes."""

    def over(self, grid: Grid) -> Grid:
        """Return the grid with the axes that this part gives."""
        axes = {name: value for name, value in self if value is not None and name in Grid.model_fields}
        return grid.model_copy(update=axes)
