"""What a report leaves out, so that one unit or one figure does not take the others with it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LeftOut:
    """A unit that cannot be read, or a figure that cannot be made."""

    what: str
    """The unit's label, or the figure's name."""
    reason: str
    unit: str = ""
    """The unit's id; empty for a figure."""

    @classmethod
    def figure(cls, name: str, error: Exception) -> "LeftOut":
        """Return what is left out of the report with a figure that raised an error."""
        return cls(f"the figure {name}", " ".join(f"{type(error).__name__}: {error}".split()))

    def __str__(self) -> str:
        return f"{self.what}: {self.reason}"
