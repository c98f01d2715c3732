"""The lenses by which hidden states are read, and how those are fitted that are fitted to a model."""

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from study.config.base import Settings

LensKind = Literal["logit", "tuned", "jacobian"]
KINDS: tuple[LensKind, ...] = get_args(LensKind)
LENSES: dict[str, str] = {
    "logit": "logit lens",
    "tuned": "tuned lens",
    "jacobian": "Jacobian lens",
}
"""Each kind of lens, as reports call it."""

LEAST = 2
"""Tokens that a text has after those that are skipped: the Jacobian lens has no use for the last one."""


class LensFitting(Settings):
    """How the tuned lens and the Jacobian lens of a model are fitted."""

    texts: Annotated[int, Field(ge=4, le=100_000)] = 64
    """Texts that the tuned lens is trained on."""
    held_out: Annotated[int, Field(ge=1, le=1000)] = 12
    """Further texts, on which the divergence of each lens from the model's own prediction is measured."""
    tokens: Annotated[int, Field(ge=3, le=1024)] = 48
    """Tokens of each text."""
    skipped: Annotated[int, Field(ge=0, le=100)] = 1
    """First tokens of a text whose states are not used: models put what they attend to by default there."""
    steps: Annotated[int, Field(ge=1, le=10**6)] = 100
    """Steps of Adam by which the tuned lens is trained, its learning rate falling linearly to zero."""
    positions: Annotated[int, Field(ge=1, le=10**6)] = 128
    """Positions of these texts in the batch of a step."""
    vocabulary: Annotated[int, Field(ge=2, le=10**6)] = 2048
    """Tokens on which the divergence of a step is estimated, drawn anew for each; all where there are fewer."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 2e-3
    jacobian_texts: Annotated[int, Field(ge=2, le=100_000)] = 6
    """Texts over which Jacobians are averaged: so many of those that the tuned lens is trained on."""
    jacobian_tokens: Annotated[int, Field(ge=3, le=1024)] = 16
    """Tokens at the beginning of each of them that are used; as many as `tokens` at most."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of texts that the model writes, and of the batches."""

    @model_validator(mode="before")
    @classmethod
    def _as_many_as_there_are(cls, data: Any) -> Any:
        """Let what is not given of the Jacobian lens follow from what is."""
        if not isinstance(data, dict):
            return data
        fields = cls.model_fields
        given = {name: data.get(name, fields[name].default) for name in ("texts", "tokens", "skipped")}
        if not all(isinstance(value, int) for value in given.values()):
            return data
        longest = max(fields["jacobian_tokens"].default, given["skipped"] + LEAST)
        own = {
            "jacobian_texts": min(fields["jacobian_texts"].default, given["texts"]),
            "jacobian_tokens": min(longest, given["tokens"]),
        }
        return {**own, **data}

    @model_validator(mode="after")
    def _within(self) -> Self:
        for name, most in (("jacobian_texts", "texts"), ("jacobian_tokens", "tokens")):
            if getattr(self, name) > getattr(self, most):
                told = {"name": name, "value": getattr(self, name), "most": most, "limit": getattr(self, most)}
                raise PydanticCustomError("lens", "{name} is {value}, and is at most {most} ({limit})", told)
        if self.skipped + LEAST > self.jacobian_tokens:
            told = {"skipped": self.skipped, "least": LEAST, "tokens": self.jacobian_tokens}
            raise PydanticCustomError(
                "lens",
                "skipped is {skipped}, and has to leave {least} of jacobian_tokens ({tokens}) and of tokens",
                told,
            )
        return self

    def for_lens(self, kind: LensKind) -> dict[str, int | float]:
        """Return the settings on which a lens depends."""
        of_tuned = {"steps", "positions", "vocabulary", "learning_rate"}
        of_jacobian = {"jacobian_texts", "jacobian_tokens"}
        own: dict[str, int | float] = self.model_dump(exclude=of_jacobian if kind == "tuned" else of_tuned)
        return own
