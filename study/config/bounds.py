"""The types of numbers in settings, each with bounds: generous, but so that no value fails only while a study runs."""

import math
from typing import Annotated, Any

from pydantic import AfterValidator, Field, JsonValue
from pydantic_core import PydanticCustomError

MOST_CELLS = 100_000
"""Largest number of cells of a study."""
DEEPEST, MOST_VALUES = 10, 10_000
"""Largest depth of the JSON values of a setting, and their largest number."""


def without_sign(number: float) -> float:
    """Return the number, 0.0 for -0.0, so that both are the same in ids."""
    return number + 0.0


Steps = Annotated[int, Field(gt=0, le=10**6)]
StepsOrNone = Annotated[int, Field(ge=0, le=10**6)]
BatchSize = Annotated[int, Field(gt=0, le=4096)]
PromptCount = Annotated[int, Field(gt=0, le=10**5)]
PromptCountOrNone = Annotated[int, Field(ge=0, le=10**5)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Rank = Annotated[int, Field(gt=0, le=4096)]
Blocks = Annotated[int, Field(gt=0, le=1000)]
Width = Annotated[int, Field(gt=0, le=10**6)]
Heads = Annotated[int, Field(gt=0, le=10**4)]
VocabularySize = Annotated[int, Field(gt=0, le=10**7)]
Parameters = Annotated[float, Field(gt=0, le=1e13)]
Bytes = Annotated[float, Field(gt=0, le=1e14)]
LearningRate = Annotated[float, Field(gt=0, le=10)]
WeightDecay = Annotated[float, Field(ge=0, le=100), AfterValidator(without_sign)]
Norm = Annotated[float, Field(gt=0, le=1e6)]
Alpha = Annotated[float, Field(gt=0, le=1e6)]
Resamples = Annotated[int, Field(gt=0, le=20_000)]  # a bootstrap holds a number for each cluster of each resample
Confidence = Annotated[float, Field(gt=0, le=0.9999)]  # at 1 an interval has no end
Minutes = Annotated[float, Field(gt=0, le=10**6)]
Processes = Annotated[int, Field(gt=0, le=10**4)]


def _bounded(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings. Raises PydanticCustomError where they are too deep, too many or too large."""
    level: list[Any] = [settings]
    count = 0
    for _ in range(DEEPEST):
        count += len(level)
        if any(isinstance(value, float) and not math.isfinite(value) for value in level):
            raise PydanticCustomError("settings", "has a number that is not finite")
        if any(isinstance(value, int) and abs(value) > 2**53 for value in level):
            raise PydanticCustomError("settings", "has a whole number beyond 2^53")
        if count > MOST_VALUES:
            raise PydanticCustomError("settings", "has more than {most} values", {"most": MOST_VALUES})
        level = [inner for value in level for inner in _within(value)]
    if level:
        raise PydanticCustomError("settings", "is nested more than {deepest} deep", {"deepest": DEEPEST})
    return settings


def _within(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []


JsonSettings = Annotated[dict[Annotated[str, Field(max_length=100)], JsonValue], AfterValidator(_bounded)]
"""Keys of a `config.json` with their values."""
