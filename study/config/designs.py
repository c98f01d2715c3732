"""How architectures differ in design, as mlx-lm builds them: what a report tells of each, and compares."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Design:
    """The design of an architecture's blocks."""

    mixer: Literal["attention", "recurrence", "both"] = "attention"
    """What carries information from token to token: attention, a recurrence (state space, linear attention or short
    convolution), or blocks of both kinds."""
    norms: Literal["before", "after", "both"] = "before"
    """Where the norms of the attention and of the MLP stand: before what they do, after it, or both."""
    mlp: Literal["gated", "plain", "experts", "none"] = "gated"
    """Whether the MLP multiplies its activations by a gate; `experts` are several gated ones, of which a router
    chooses."""
    positions: Literal["rotary", "learned", "none"] = "rotary"
    """How attention knows the places of tokens."""
    query_key_norm: bool = False
    """Whether queries and keys are normalised."""
    parallel: bool = False
    """Whether attention and MLP of a block read the same state, side by side."""

    @property
    def words(self) -> str:
        """The design in words."""
        mixers = {"attention": "attention", "recurrence": "recurrence", "both": "attention and recurrence in turn"}
        norms = {"before": "norms before", "after": "norms after", "both": "norms before and after"}
        mlps = {"gated": "gated MLP", "plain": "plain MLP", "experts": "experts", "none": "no MLP"}
        told = [mixers[self.mixer], norms[self.norms], mlps[self.mlp]]
        told.append("no positions" if self.positions == "none" else f"{self.positions} positions")
        told += ["query-key norm"] * self.query_key_norm + ["attention and MLP in parallel"] * self.parallel
        return ", ".join(told)


@dataclass(frozen=True)
class Contrast:
    """A question about designs: architectures that have something against those that have not."""

    words: str
    """What the first have, and the others have not."""
    has: Callable[[Design], bool]


CONTRASTS: dict[str, Contrast] = {
    "recurrence": Contrast("recurrent blocks, or attention alone", lambda design: design.mixer != "attention"),
    "norms": Contrast("norms after attention and MLP, or only before", lambda design: design.norms != "before"),
    "mlp": Contrast("a plain MLP or none, or one with a gate", lambda design: design.mlp in ("plain", "none")),
    "query_key_norm": Contrast("queries and keys normalised, or not", lambda design: design.query_key_norm),
    "parallel": Contrast("attention and MLP side by side, or one after the other", lambda design: design.parallel),
}
"""What a report on a sample compares, decided before any sample was run."""

DESIGNS: dict[str, Design] = {
    "cohere": Design(parallel=True),
    "exaone4": Design(norms="after", query_key_norm=True),
    "gemma2": Design(norms="both"),
    "gemma3_text": Design(norms="both", query_key_norm=True),
    "glm4": Design(norms="both"),
    "gpt2": Design(mlp="plain", positions="learned"),
    "gpt_neox": Design(mlp="plain", parallel=True),
    "gptj": Design(mlp="plain", parallel=True),
    "granite": Design(),
    "helium": Design(),
    "lfm2": Design(mixer="both", query_key_norm=True),
    "llama": Design(),
    "mamba2": Design(mixer="recurrence", mlp="none", positions="none"),
    "minicpm3": Design(),
    "nanochat": Design(mlp="plain", query_key_norm=True),
    "nemotron": Design(mlp="plain"),
    "olmo2": Design(norms="after", query_key_norm=True),
    "olmo_hybrid": Design(mixer="both", norms="both", query_key_norm=True),
    "olmoe": Design(mlp="experts", query_key_norm=True),
    "openelm": Design(query_key_norm=True),
    "plamo2": Design(mixer="both", norms="both", query_key_norm=True),
    "qwen3": Design(query_key_norm=True),
    "stablelm": Design(),
    "starcoder2": Design(mlp="plain"),
}
"""Those of which this is known, each checked against a model that mlx-lm builds."""
