"""Changes of a loaded model of transformers, by name, after which it computes what mlx-lm computes."""

from collections.abc import Callable
from functools import partial
from typing import Any
from unittest.mock import patch

import torch


def _rounded_embedding_scale(causal: Any) -> None:
    scale = causal.model.embed_tokens.embed_scale
    scale.copy_(scale.to(torch.bfloat16))


def _exact_embedding_scale(causal: Any) -> None:
    causal.model.normalizer = torch.nn.Buffer(torch.tensor(causal.config.hidden_size**0.5), persistent=False)


def _no_bias_of_experts(causal: Any) -> None:
    for name, values in [*causal.named_parameters(), *causal.named_buffers()]:
        if name.endswith("e_score_correction_bias"):
            values.zero_()


def _shares_of_chosen_experts(causal: Any) -> None:
    def shared_out(module: Any, inputs: Any, output: Any) -> Any:
        logits, shares, chosen = output
        return logits, shares / shares.sum(dim=-1, keepdim=True), chosen

    for module in causal.modules():
        if type(module).__name__ == "JambaTopKRouter":
            module.register_forward_hook(shared_out)


def _unscaled_values(causal: Any) -> None:
    for name, values in causal.named_parameters():
        if name.endswith("v_proj.weight"):
            values.div_(causal.config.attention_in_multiplier)


def _norm_over_all_groups(causal: Any) -> None:
    for module in causal.modules():
        if type(module).__name__ == "FalconH1RMSNormGated":
            module.n_groups = 1
        elif type(module).__name__ == "MambaRMSNormGated":
            module.group_size = len(module.weight)


def _zero_for_other_groups(causal: Any) -> None:
    for module in causal.modules():
        if hasattr(module, "e_score_correction_bias"):
            module.forward = partial(_filling_with_zeros, module.forward)


def _filling_with_zeros(forward: Callable[..., Any], *inputs: Any) -> Any:
    fill = torch.Tensor.masked_fill
    with patch.object(torch.Tensor, "masked_fill", lambda scores, mask, value: fill(scores, mask, 0.0)):
        return forward(*inputs)


SUBSTITUTIONS: dict[str, Callable[[Any], None]] = {
    "the factor of the embedding rounded to bfloat16": _rounded_embedding_scale,
    "the factor of the embedding not rounded": _exact_embedding_scale,
    "no correction bias of experts": _no_bias_of_experts,
    "shares of the chosen experts that add up to 1": _shares_of_chosen_experts,
    "values without attention's input multiplier": _unscaled_values,
    "the gated norm over all groups": _norm_over_all_groups,
    "groups of experts masked with 0": _zero_for_other_groups,
}
