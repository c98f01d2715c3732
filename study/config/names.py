"""What a study may name, and the types of its settings: operations, tiers of wording, arms, roles, layers, weights."""

from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple, get_args

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationInfo,
)
from pydantic_core import PydanticCustomError, PydanticKnownError

from study.config.arms import ARMS
from study.config.predictors import TESTABLE
from study.config.recipes import RecipeError, choices_of, recipe_of


class Names(NamedTuple):
    """What a study may name, in the order in which it is told. It is arithmetic's unless a task of one's own is given
    as the context of validation; empty, it allows everything."""

    operations: Sequence[str]
    """Or classes."""
    tiers: Sequence[str]
    """Of wording."""


ARITHMETIC = Names(("multiply", "add", "subtract"), ("symbolic", "semantic", "construction", "story"))
OPERATIONS, TIERS = ARITHMETIC


def _names(info: ValidationInfo) -> Names:
    return info.context or ARITHMETIC


def _known(name: str, known: Sequence[str]) -> str:
    """The name. Where it is unknown, it is told as pydantic tells it of a literal."""
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
"""What a prompt asks for: an operation, or a class of a task of one's own."""
Tier = Annotated[str, AfterValidator(_tier), Field(examples=list(TIERS))]
Arm = Annotated[str, AfterValidator(_arm), Field(json_schema_extra={"enum": list(ARMS)})]
"""The name of one of ARMS."""
PredictorName = Annotated[str, AfterValidator(_predictor), Field(json_schema_extra={"enum": list(TESTABLE)})]
"""The name of one of PREDICTORS that can be tested."""
Role = Literal["query", "key", "value", "output", "mlp"]
ROLES: tuple[Role, ...] = get_args(Role)


def _names_differ(pair: dict[str, str], info: ValidationInfo) -> dict[str, str]:
    """The pair in the order of the operations, so that the order in which it is written changes nothing."""
    if len(set(pair.values())) < len(pair):
        raise PydanticCustomError("pair", "every operation of a pair needs a class token of its own")
    return {operation: pair[operation] for operation in _names(info).operations if operation in pair}


def _tiers_differ(wordings: list[str], info: ValidationInfo) -> list[str]:
    """The tiers in their own order: prompts are drawn from them by their place."""
    if len(set(wordings)) < len(wordings):
        raise PydanticCustomError("wordings", "names one tier twice")
    return [tier for tier in _names(info).tiers if tier in wordings]


def _recipe(recipe: str) -> str:
    """The one name of a recipe, however it was written."""
    try:
        return recipe_of(choices_of(recipe))
    except RecipeError as error:
        raise PydanticCustomError("recipe", "{reason}", {"reason": str(error)}) from None


def _every_tier(prompts: dict[str, int], info: ValidationInfo) -> dict[str, int] | int:
    """In the order of the tiers, and one number where all are the same, so that how it is written changes nothing."""
    tiers = _names(info).tiers
    if missing := [tier for tier in tiers if tier not in prompts]:
        raise PydanticCustomError("prompts", "needs a number for {tiers} too", {"tiers": ", ".join(missing)})
    if len(set(prompts.values())) == 1:
        return next(iter(prompts.values()))
    return {tier: prompts[tier] for tier in tiers}


TokenPair = Annotated[
    dict[Operation, Annotated[str, Field(pattern=r"^\S+$")]], Field(min_length=2), AfterValidator(_names_differ)
]
AbsoluteLayer = Annotated[int, Field(ge=0)]
RelativeDepth = Annotated[float, Field(gt=0, le=1)]
Weight = Annotated[float, Field(ge=0, le=1)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
PromptsByTier = Annotated[dict[Tier, PositiveInt], AfterValidator(_every_tier)]
Wordings = Annotated[list[Tier], Field(min_length=1), AfterValidator(_tiers_differ)]
Layers = Annotated[list[AbsoluteLayer | RelativeDepth], Field(min_length=1)]
Pairs = Annotated[list[TokenPair], Field(min_length=1)]
Weights = Annotated[list[Weight], Field(min_length=1)]
Arms = Annotated[list[Arm], Field(min_length=1)]
ManyWordings = Annotated[list[Wordings], Field(min_length=1)]
Seeds = Annotated[list[NonNegativeInt], Field(min_length=1)]
Recipe = Annotated[str, AfterValidator(_recipe), Field(examples=["corrected", "as-published"])]
Recipes = Annotated[list[Recipe], Field(min_length=1)]
