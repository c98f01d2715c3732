"""The result for one model: what became of it in transformers, in mlx-lm and in the study."""

from dataclasses import dataclass, field

from study.commands.agreement.compare import SAME, Difference, Verdict
from study.commands.agreement.declared import Cause


@dataclass(frozen=True)
class Row:
    """The result for one model."""

    title: str
    failed: str = ""
    """The message of transformers where it does not make the model; then there is nothing else."""
    mlx_lm: Verdict = field(default_factory=Verdict)
    """What mlx-lm computes, given the keys that it reads."""
    study: Verdict = field(default_factory=Verdict)
    """What the study computes from the folder as transformers saved it."""
    cause: Cause | None = None
    changed: Difference | None = None
    """The difference of mlx-lm from transformers with the cause's one thing changed."""

    @property
    def agrees(self) -> bool:
        """Whether mlx-lm computes what transformers does."""
        return self.mlx_lm.difference is not None and self.mlx_lm.difference.agrees

    @property
    def differs(self) -> bool:
        """Whether mlx-lm computes other logits."""
        return self.mlx_lm.difference is not None and not self.mlx_lm.difference.agrees

    @property
    def does(self) -> str:
        """What the study does with the folder, in words."""
        ours, theirs = self.study.difference, self.mlx_lm.difference
        if ours is None:
            return "refuses it"
        if ours.agrees:
            longer = theirs is not None and len(ours.sizes) < len(theirs.sizes)
            return "agrees, and refuses longer texts" if longer else "agrees"
        if not (theirs and _alike(ours, theirs)):
            return "computes something else"
        return f"computes what mlx-lm does, {'with a' if self.study.warned else 'without a'} warning"

    @property
    def mistake(self) -> str:
        """What is wrong with the tables of this command or the study; empty where all is as it should be."""
        if self.failed:
            return ""
        if self.differs and not (self.changed and self.changed.agrees):
            return "differs, unexplained"
        if self.cause and not self.differs:
            return f"does not differ any more: {self.cause.what}"
        if self.does == "computes something else" or self.does.endswith("without a warning"):
            return "the study computes another model, in silence"
        return ""


def _alike(one: Difference, other: Difference) -> bool:
    pairs = zip(one.sizes, other.sizes, strict=False)  # fewer texts where the study refuses longer ones
    return all(abs(ours - theirs) <= SAME + 0.01 * theirs for ours, theirs in pairs)
