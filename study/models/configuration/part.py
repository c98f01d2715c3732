"""One part of a config.json, its outer keys or its `text_config`, beside the argument class that mlx-lm makes of it."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from study.models.arguments import fields, types
from study.models.configuration.mended import Mend


@dataclass
class Part:
    """Keys that one argument class of mlx-lm reads, and what becomes of them."""

    architecture: str
    """The module of mlx-lm that has the class."""
    arguments: type
    written: Mapping[str, Any]
    """The keys as they are in config.json."""
    meant: Mapping[str, Any]
    """The keys as transformers reads them, with its defaults; empty where it does not know the architecture."""
    replaced: dict[str, Any] = field(default_factory=dict)
    """Keys that the class reads, with values that say in them what config.json says in others."""
    told: list[str] = field(default_factory=list)
    """What was replaced and assumed, a line each."""
    problems: list[str] = field(default_factory=list)
    """What config.json says that the class cannot be told, and that is not what it computes."""
    mends: list[Mend] = field(default_factory=list)
    """What is to be changed in the loaded model."""
    longest: int | None = None
    """Number of tokens of the longest text that is computed as meant; None for any."""
    longest_words: str = ""
    """What that number is, as messages say it."""

    def __post_init__(self) -> None:
        self.fields = fields(self.arguments)
        self.types = types(self.arguments)

    def said(self, key: str, default: Any = None) -> Any:
        """Return a value as transformers reads it, else as it is written."""
        return self.meant.get(key, self.written.get(key, default))

    def states(self, key: str) -> bool:
        """Whether config.json has the key, or transformers a value for it."""
        return key in self.written or key in self.meant

    def read(self, key: str) -> Any:
        """Return the value that the class would take now: replaced, written, or its default."""
        default = self.fields.get(key, inspect.Parameter.empty)
        value = self.replaced.get(key, self.written.get(key, default))
        return None if value is inspect.Parameter.empty else value

    def replace(self, key: str, value: Any, source: str) -> None:
        """Give the class a value for one of its keys, unless it takes the same one already."""
        if self._changes(key, value):
            self.replaced[key] = value
            self.told.append(f"{source} {shown(value)} → {key}")

    def assume(self, key: str, value: Any, reason: str) -> None:
        """Give the class a value that config.json does not have, unless it is the class's default."""
        if self._changes(key, value):
            self.replaced[key] = value
            self.told.append(f"{key} {shown(value)} ({reason})")

    def needs(self, key: str) -> bool:
        """Whether the class has no default for the key."""
        return self.fields.get(key) is inspect.Parameter.empty

    def _changes(self, key: str, value: Any) -> bool:
        stands = key in self.replaced or key in self.written or not self.needs(key)
        return not stands or self.read(key) != value

    def mend(self, change: Mend, told: str) -> None:
        """Take note of a change of the loaded model."""
        self.mends.append(change)
        self.told.append(told)

    def limit(self, tokens: int, words: str) -> None:
        """Take note that longer texts are not computed as meant."""
        if self.longest is None or tokens < self.longest:
            self.longest, self.longest_words = tokens, words


def shown(value: Any) -> str:
    """Return a value as messages show it."""
    text = f"{value:g}" if isinstance(value, float) else repr(value)
    return text if len(text) <= 80 else text[:79] + "…"
