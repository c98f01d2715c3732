"""Keys of config.json that classes of mlx-lm do not read or do not use, with the values that mean what they compute."""

from collections.abc import Callable
from typing import Any, TypeAlias

from study.models.configuration.part import Part

Allowed: TypeAlias = tuple[Any, ...] | Callable[[Part], tuple[Any, ...]]
"""Values that mean what mlx-lm computes; a function where they follow from other keys."""
_SILU, _OFF = ("silu", "swish"), (None, False, 0)
_TANH_GELU = ("gelu_pytorch_tanh", "gelu_new", "gelu_fast")
_GELU = (*_TANH_GELU, "gelu")


def _any(part: Part) -> tuple[Any, ...]:
    """The rule of keys that follow from others which the class reads, or that concern longer texts than a study has."""
    return ()


def _head_width(part: Part) -> tuple[Any, ...]:
    return (None, part.said("hidden_size", 0) // (part.said("num_attention_heads") or 1))


def _four_times(part: Part) -> tuple[Any, ...]:
    return (None, 4 * (part.said("n_embd") or part.said("hidden_size") or 0))


def _all(kind: str, part: Part) -> list[str]:
    return [kind] * (part.said("num_hidden_layers") or 0)


def _dense_first(part: Part) -> tuple[Any, ...]:
    """The kinds of blocks that follow from the number of dense ones, which come first."""
    dense, blocks = part.read("first_k_dense_replace"), part.said("num_hidden_layers") or 0
    return () if dense is None else (["dense"] * dense + ["sparse"] * (blocks - dense),)


USUAL: dict[str, Allowed] = {
    "hidden_act": _SILU,
    "hidden_activation": _SILU,
    "activation_function": _SILU,
    "mamba_hidden_act": _SILU,
    "head_dim": _head_width,
    "clip_qkv": _OFF,
    "attn_logit_softcapping": _OFF,
    "final_logit_softcapping": _OFF,
    "logits_soft_cap": _OFF,
    "logit_scale": (None, 1.0),
    "embedding_multiplier": (None, 1.0),
    "logits_scaling": (None, 1.0),
    "residual_multiplier": (None, 1.0),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": _OFF,
    "use_bidirectional_attention": (None, False, "vision"),
    "is_causal": (True,),
    "alibi": _OFF,
    "use_alibi": _OFF,
    "rope_interleaved": _OFF,
    "use_parallel_residual": _OFF,
    "parallel_attn": _OFF,
    "use_logn_attn": _OFF,
    "use_dynamic_ntk": _OFF,
    "decoder_sparse_step": (None, 1),
    "mlp_only_layers": (None, []),
    "norm_type": ("layer_norm", "rms_norm", "rmsnorm", "hf_rms"),
    "normalization_function": ("rmsnorm",),
    "compression_ratio": (1.0,),
    "multi_gate": _OFF,
    "mlp_type": ("default",),
    "rms_norm": (True,),
    "expand": _any,
    "use_mrope": _OFF,
    "dual_chunk_attention_config": _any,  # for texts beyond its chunks of 262,144 tokens
    "full_attn_mod": (1,),
    "interpolate_factor": (1,),
    "use_sliding_window": _any,
    "max_window_layers": _any,
    "_sliding_window_pattern": _any,
}
"""Keys of which all classes that do not read them compute the same; those of windows are seen to apart."""

_SIGMOID: dict[str, Allowed] = {"scoring_func": ("sigmoid",)}
_LATENT: dict[str, Allowed] = {
    **_SIGMOID,
    "head_dim": _any,
    "qk_head_dim": _any,
    "rope_interleave": (None, True),
}
_INDEXED: dict[str, Allowed] = {
    **_SIGMOID,
    "head_dim": _any,
    "qk_head_dim": _any,
    "layer_types": lambda part: (_all("indexed_attention", part),),
    "indexer_types": lambda part: (_all("full", part),),
    "mlp_layer_types": _dense_first,
}
_SHORT_CONVOLUTION: dict[str, Allowed] = {
    "block_norm_eps": _any,
    "block_use_swiglu": (True,),
    "conv_dim": _any,
    "conv_dim_out": _any,
    "num_heads": _any,
    "use_pos_enc": (True,),
}

OWN: dict[str, dict[str, Allowed]] = {
    "afmoe": {"global_attn_every_n_layers": _any},
    "apertus": {"hidden_act": ("xielu",), "post_norm": _OFF, "qk_norm": (None, True)},
    "bailing_hybrid": {"layer_types": _any},
    "bitnet": {"hidden_act": ("relu2",)},
    "cohere2": {"layer_types": _any, "sliding_window_pattern": _any},
    "deepseek_v2": {"norm_topk_prob": _OFF, "scoring_func": ("softmax",), "head_dim": _any, "qk_head_dim": _any},
    "dbrx": {"num_key_value_heads": _any},
    "deepseek_v3": _LATENT,
    "deepseek_v32": _INDEXED,
    "dots1": {"scoring_func": ("sigmoid", "noaux_tc")},
    "ernie4_5_moe": {"moe_norm_min": (1e-12,)},
    "exaone4": {"layer_types": _any},
    "exaone_moe": {**_SIGMOID, "mlp_layer_types": _any, "first_k_dense_replace": _any, "sliding_window_pattern": _any},
    "falcon_h1": {
        "mamba_use_mlp": (True,),
        "time_step_limit": ([0.0, float("inf")], (0.0, float("inf"))),
        "time_step_rank": _any,
        "attn_layer_indices": (None,),
    },
    "gemma": {"hidden_act": _GELU, "hidden_activation": (None, *_GELU)},
    "gemma2": {"hidden_act": _GELU, "hidden_activation": (None, *_GELU)},
    "gemma3_text": {"hidden_act": _GELU, "hidden_activation": _TANH_GELU, "layer_types": _any},
    "gemma3n": {"hidden_activation": _TANH_GELU},
    "gemma4_text": {"hidden_activation": _TANH_GELU, "per_layer_config": _any},
    "glm4_moe": _SIGMOID,
    "glm4_moe_lite": {**_LATENT, "mlp_layer_types": _dense_first},
    "glm_moe_dsa": _INDEXED,
    "gpt2": {
        "activation_function": _TANH_GELU,
        "n_inner": _four_times,
    },
    "gpt_bigcode": {"activation_function": _GELU},
    "gpt_neox": {"hidden_act": _GELU, "intermediate_size": _four_times},
    "gpt_oss": {
        "swiglu_alpha": (1.702,),
        "swiglu_limit": (7.0,),
        "initial_context_length": _any,
        "experts_per_token": _any,
    },
    "gptj": {"activation_function": _TANH_GELU, "n_inner": _four_times},
    "granitemoehybrid": {"mamba_expand": _any},
    "kimi_k25": _LATENT,
    "kimi_linear": {**_LATENT, "layer_types": _any, "mla_use_nope": (True,)},
    "kimi_vl": _LATENT,
    "laguna": {"moe_apply_router_weight_on_input": _OFF},
    "lfm2": _SHORT_CONVOLUTION,
    "lfm2_moe": _SHORT_CONVOLUTION,
    "llama4": {"no_rope_layers": _any, "no_rope_layer_interval": (4,), "moe_layers": _any, "layer_types": _any},
    "llama4_text": {
        "attn_temperature_tuning": _OFF,
        "attn_scale": _any,
        "floor_scale": _any,
        "interleave_moe_layer_step": _any,
        "moe_layers": (None, []),
        "no_rope_layer_interval": _any,
        "num_experts_per_tok": _any,
        "num_local_experts": _any,
    },
    "longcat_flash": {"head_dim": _any, "qk_head_dim": _any, "num_key_value_heads": _any},
    "mamba": {"layer_norm_epsilon": (1e-5,), "time_step_limit": _any},
    "mamba2": {"norm_before_gate": _any},  # transformers does not read it either
    "mellum": {
        "num_local_experts": _any,
        "mlp_layer_types": lambda part: (["sparse"] * part.said("num_hidden_layers"),),
    },
    "mimo_v2_flash": _SIGMOID,
    "minicpm3": {"head_dim": _any, "v_head_dim": lambda part: _head_width(part), "qk_head_dim": _any},
    "minimax": _SIGMOID,
    "mistral4": {"qk_head_dim": _any},
    "muse_glimmer": {"hidden_activation": _SILU},
    "nanochat": {"hidden_act": ("relu2",), "final_logit_softcapping": (15.0,), "rms_norm_eps": (1e-6,)},
    "nemotron": {"hidden_act": ("relu2",)},
    "nemotron_h": {
        "mlp_hidden_act": ("relu2",),
        "sliding_window": _any,
        "attention_head_dim": _any,
        "norm_eps": lambda part: (part.said("layer_norm_epsilon"),),
    },
    "openelm": {
        "activation_fn_name": _SILU,
        "ffn_with_glu": (True,),
        "normalization_layer_name": ("rms_norm",),
        "max_context_length": _any,
        "num_gqa_groups": _any,
        "qkv_multipliers": _any,
        "rope_max_length": _any,
    },
    "phi": {"hidden_act": _TANH_GELU},
    "qwen2_moe": {"norm_topk_prob": _OFF},
    "qwen3_moe": {"num_local_experts": _any},
    "qwen3_5": {"layer_types": _any},
    "qwen3_next": {"layer_types": _any},
    "qwen": {"use_dynamic_ntk": _any, "use_logn_attn": _any},  # both for texts that are longer than seq_length
    "rwkv7": {
        "hidden_act": ("sqrelu",),
        "hidden_ratio": _any,
        "attn": (None,),
        "norm_bias": _any,
        "norm_first": _any,
        "value_dim": _any,
    },
    "solar_open": _SIGMOID,
    "starcoder2": {"hidden_act": _GELU, "activation_function": _GELU, "layer_norm_epsilon": _any},
}
"""By architecture, keys that its class does not read or does not use, where they differ from the usual."""
