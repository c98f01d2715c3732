"""What mlx-lm computes otherwise than transformers, and nothing in a config.json or a constant can mend.

Each was measured between tiny models of both, all parameters random, in float32; the size is the largest difference of
logits, as a share of their standard deviation. Small ones are a warning of every unit; large ones stop the model.
"""

from collections.abc import Callable
from dataclasses import dataclass

import mlx.core as mx

from study.models.configuration.part import Part

_TANH_GELU = ("gelu_pytorch_tanh", "gelu_new", "gelu_fast")


@dataclass(frozen=True)
class Disagreement:
    """One thing that mlx-lm and transformers compute differently."""

    architectures: tuple[str, ...]
    computed: str
    """What mlx-lm computes."""
    meant: str
    """What transformers computes."""
    size: str
    applies: Callable[[Part], bool]
    """Whether it has an effect in a configuration."""
    small: bool = False
    """Whether a warning is enough."""

    def __str__(self) -> str:
        return f"mlx-lm computes {self.computed}, transformers {self.meant}: logits differ by {self.size}"


def _rounded_in_bfloat16(part: Part) -> bool:
    factor = float(part.said("hidden_size", 1)) ** 0.5
    return bool(mx.array(factor).astype(mx.bfloat16).item() != factor)


def _has(key: str, *values: object) -> Callable[[Part], bool]:
    return lambda part: part.said(key) in values


def _more_than_one(key: str) -> Callable[[Part], bool]:
    return lambda part: (part.said(key) or 1) > 1


_SPREAD = "times their standard deviation"
DISAGREEMENTS = (
    Disagreement(
        ("gemma3_text",),
        "the embedding's factor rounded to bfloat16, as the model was trained",
        "it in float32",
        "1 % of their standard deviation at every block",
        _rounded_in_bfloat16,
        small=True,
    ),
    Disagreement(
        ("gemma", "starcoder2"),
        "the exact GELU",
        "its approximation by tanh",
        "0.1 % of their standard deviation",
        _has("hidden_act", *_TANH_GELU),
        small=True,
    ),
    Disagreement(
        ("gpt_bigcode",),
        "the exact GELU",
        "its approximation by tanh",
        "0.1 % of their standard deviation",
        _has("activation_function", *_TANH_GELU),
        small=True,
    ),
    Disagreement(
        ("gpt_neox",),
        "GELU's approximation by tanh",
        "the exact one",
        "0.1 % of their standard deviation",
        _has("hidden_act", "gelu"),
        small=True,
    ),
    Disagreement(
        ("deepseek_v3", "deepseek_v32", "glm4_moe_lite", "glm_moe_dsa", "kimi_k25", "kimi_vl"),
        "experts of groups that are not chosen with a score of 0, which counts where all others are negative",
        "none of them",
        f"up to 1.9 {_SPREAD} where that happens",
        _more_than_one("n_group"),
        small=True,
    ),
    Disagreement(
        ("minicpm3",),
        "the logits of a tied head as they are",
        "them divided by hidden_size / dim_model_base",
        f"8.8 {_SPREAD}",
        lambda part: bool(part.said("tie_word_embeddings")) and part.said("dim_model_base") != part.said("hidden_size"),
    ),
    Disagreement(
        ("mamba2",),
        "the norm behind the gate over all groups at once",
        "it group by group",
        f"2.4 {_SPREAD}",
        _more_than_one("n_groups"),
    ),
    Disagreement(
        ("falcon_h1",),
        "the norm behind the gate over all groups at once",
        "it group by group",
        f"2.4 {_SPREAD}",
        lambda part: bool(part.said("mamba_rms_norm")) and _more_than_one("mamba_n_groups")(part),
    ),
    Disagreement(
        ("jamba",),
        "the shares of the chosen experts so that they add up to 1",
        "those among all experts",
        f"0.6 to 1 {_SPREAD}",
        _more_than_one("num_experts"),
    ),
    Disagreement(
        ("ernie4_5_moe",),
        "the choice of experts without e_score_correction_bias",
        "it with that bias",
        f"0.6 to 1.1 {_SPREAD}",
        lambda part: part.said("moe_use_aux_free", True) is not False,
    ),
)


def find(part: Part) -> list[Disagreement]:
    """Return what has an effect in the configuration of a part."""
    return [one for one in DISAGREEMENTS if part.architecture in one.architectures and one.applies(part)]
