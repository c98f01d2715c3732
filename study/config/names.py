"""The names that a study may use, and the types of its settings: operations, tiers of wording, arms, layers, …"""

from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple, get_args

from pydantic import AfterValidator, Discriminator, Field, Tag, ValidationInfo
from pydantic_core import PydanticCustomError, PydanticKnownError

from study.config.arms import ARMS
from study.config.base import Settings
from study.config.bounds import PromptCount, Seed, without_sign
from study.config.predictors import TESTABLE
from study.config.recipes import RecipeError, choices_of, recipe_of
from study.config.text import Name, Token


class Names(NamedTuple):
    """The names of a task that a study may use, in the order in which they are reported. Those of arithmetic, unless
    validation is given those of a custom task as its context; an empty sequence allows every name."""

    operations: Sequence[str]
    """Operations of arithmetic, or classes of a custom task."""
    tiers: Sequence[str]
    """Tiers of wording."""


ARITHMETIC = Names(("multiply", "add", "subtract"), ("symbolic", "semantic", "construction", "story"))
OPERATIONS, TIERS = ARITHMETIC


def _names(info: ValidationInfo) -> Names:
    return info.context or ARITHMETIC


def _known(name: str, known: Sequence[str]) -> str:
    """Return the name. Raises the error that pydantic raises for a literal if it is unknown."""
    if known and name not in known:
        *others, last = (f"'{one}'" for one in known)
        raise PydanticKnownError("literal_error", {"expected": " or ".join(filter(None, [", ".join(others), last]))})
    return name


def _operation(name: str, info: ValidationInfo) -> str:
    return _known(name, _names(info).operations)


def _tier(name: str, info: ValidationInfo) -> str:
    return _known(name, _names(info).tiers)


def _arm(name: str) -> str:
    return _known(name, list(ARMS))


def _predictor(name: str) -> str:
    return _known(name, TESTABLE)


Operation = Annotated[str, AfterValidator(_operation), Field(examples=list(OPERATIONS))]
"""What a prompt asks for: an operation of arithmetic, or a class of a custom task."""
Tier = Annotated[str, AfterValidator(_tier), Field(examples=list(TIERS))]
"""The name of a tier of wording."""
Arm = Annotated[str, AfterValidator(_arm), Field(json_schema_extra={"enum": list(ARMS)})]
"""The name of one of ARMS."""
PredictorName = Annotated[str, AfterValidator(_predictor), Field(json_schema_extra={"enum": list(TESTABLE)})]
"""The name of one of PREDICTORS that can be tested."""
LONGEST_MODEL = 200
"""Largest number of characters of what names a model: a short name, a path or an id."""
MANY = 1000
"""Largest length of a list of settings."""
Role = Literal["query", "key", "value", "output", "mlp"]
ROLES: tuple[Role, ...] = get_args(Role)
NOBODY = "nobody"
"""What rows say of templates that no training saw."""
Prompt = Literal["plain", "chat"]
"""How a model is prompted: with the text itself, or with its chat template around it."""
ClassName = Literal["single", "first", "sequence"]
"""How a class name is read: as one token, by its first one, or as the sequence of all of them."""
TrackerName = Literal["tensorboard", "mlflow", "wandb"]
"""Where training curves and outcomes can be logged."""
LAYERS_OF_LLAMA = "q_proj k_proj v_proj o_proj gate_proj up_proj down_proj".split()
"""Names of the linear layers of a block in most architectures, in the order in which they compute."""


def _names_differ(pair: dict[str, str], info: ValidationInfo) -> dict[str, str]:
    """Return the pair in the order of the operations, so that the order in which it is written changes nothing."""
    if len(set(pair.values())) < len(pair):
        raise PydanticCustomError("pair", "every operation of a pair needs its own class token")
    return {operation: pair[operation] for operation in _names(info).operations if operation in pair}


def _tiers_differ(wordings: list[str], info: ValidationInfo) -> list[str]:
    """Return the tiers in the order of the task, since prompts are drawn from them by index."""
    if len(set(wordings)) < len(wordings):
        raise PydanticCustomError("wordings", "names a tier twice")
    return [tier for tier in _names(info).tiers if tier in wordings]


def each_once(names: list[str]) -> list[str]:
    """Return the names. Raises PydanticCustomError where one is given twice."""
    if len(set(names)) < len(names):
        raise PydanticCustomError("twice", "names one of them twice")
    return names


def _projections_differ(projections: list[str]) -> list[str]:
    """Return the roles, then the names, in an order that does not depend on how they were written."""
    known = [*ROLES, *LAYERS_OF_LLAMA]
    return sorted(each_once(projections), key=lambda name: (known.index(name) if name in known else len(known), name))


def _recipe(recipe: str) -> str:
    """Return the canonical name of a recipe, however it was written."""
    try:
        return recipe_of(choices_of(recipe))
    except RecipeError as error:
        raise PydanticCustomError("recipe", "{reason}", {"reason": str(error)}) from None


def _every_tier(prompts: dict[str, int], info: ValidationInfo) -> dict[str, int] | int:
    """Return the numbers in the order of the tiers, or one if all are equal: how they are written changes nothing."""
    tiers = _names(info).tiers
    if missing := [tier for tier in tiers if tier not in prompts]:
        raise PydanticCustomError("prompts", "needs a number for {tiers} too", {"tiers": ", ".join(missing)})
    if len(set(prompts.values())) == 1:
        return next(iter(prompts.values()))
    return {tier: prompts[tier] for tier in tiers}


TokenPair = Annotated[dict[Operation, Token], Field(min_length=2, max_length=MANY), AfterValidator(_names_differ)]
AbsoluteLayer = Annotated[int, Field(ge=0, lt=1000)]
RelativeDepth = Annotated[float, Field(gt=0, le=1)]
Weight = Annotated[float, Field(ge=0, le=1), AfterValidator(without_sign)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Projections = Annotated[list[Name], Field(min_length=1, max_length=MANY), AfterValidator(_projections_differ)]
PromptsByTier = Annotated[dict[Tier, PromptCount], AfterValidator(_every_tier)]
Wordings = Annotated[list[Tier], Field(min_length=1, max_length=MANY), AfterValidator(_tiers_differ)]


class EveryLayer(Settings):
    """Every so manieth block, counted from the last one, which is always among them."""

    every: Annotated[int, Field(ge=1, lt=1000)]


ListedLayers = Annotated[list[AbsoluteLayer | RelativeDepth], Field(min_length=1, max_length=MANY)]
LAYER_KINDS = ("list", "{every}", "all")
"""What tells the forms of layers apart; none is the name of a setting."""


def _kind_of_layers(value: object) -> str:
    return "all" if isinstance(value, str) else "{every}" if isinstance(value, dict | EveryLayer) else "list"


Layers = Annotated[
    Annotated[ListedLayers, Tag("list")]
    | Annotated[EveryLayer, Tag("{every}")]
    | Annotated[Literal["all"], Tag("all")],
    Discriminator(_kind_of_layers),
]
Pairs = Annotated[list[TokenPair], Field(min_length=1, max_length=MANY)]
Weights = Annotated[list[Weight], Field(min_length=1, max_length=MANY)]
Arms = Annotated[list[Arm], Field(min_length=1, max_length=MANY)]
ManyWordings = Annotated[list[Wordings], Field(min_length=1, max_length=MANY)]
Prompting = Annotated[list[Prompt], Field(min_length=1, max_length=2), AfterValidator(each_once)]
Seeds = Annotated[list[Seed], Field(min_length=1, max_length=MANY)]
Recipe = Annotated[str, AfterValidator(_recipe), Field(examples=["corrected", "as-published"])]
Recipes = Annotated[list[Recipe], Field(min_length=1, max_length=MANY)]
