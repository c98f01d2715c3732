"""Configurations of tiny models of any mlx-lm architecture, from the fields of its argument class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from study.config.architectures import NOT_TINY
from study.config.mistakes import nearest
from study.models import ModelError
from study.models.arguments import WRAPPED, fields, has_text_config, module_of, read_as, required, text_arguments

POSITIONS = 2048
WINDOW = 8
"""Number of tokens that sliding-window attention sees, fewer than most prompts have."""


@dataclass(frozen=True)
class Sizes:
    """The sizes of a tiny model."""

    hidden: int
    intermediate: int
    heads: int
    blocks: int
    vocabulary: int

    @property
    def head(self) -> int:
        return self.hidden // self.heads

    def cycle(self, pattern: Sequence[Any]) -> list[Any]:
        """Return one element for each block: the pattern, repeated."""
        return [pattern[block % len(pattern)] for block in range(self.blocks)]


def configuration(architecture: str, sizes: Sizes, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a `config.json` without the ids of special tokens, in which `settings` replace values of a tiny model.

    Raises ModelError where mlx-lm has no such architecture, it cannot be made tiny, or it lacks one of the settings.
    """
    name = read_as(architecture)
    if name in NOT_TINY:
        raise ModelError(f"{name} cannot be made tiny: {NOT_TINY[name]}")
    arguments = module_of(name).ModelArgs
    if not has_text_config(arguments):
        _refuse_unknown(architecture, arguments, settings)
        return {"model_type": architecture, **_values(arguments, sizes), **_own(name, sizes), **settings}
    if name in WRAPPED:
        inner = configuration(WRAPPED[name], sizes, settings)
        inner = inner.get("text_config", inner)
    else:
        _, arguments = text_arguments(name)
        _refuse_unknown(architecture, arguments, settings)
        inner = {"model_type": architecture, **_values(arguments, sizes)}
    text = inner | _own(name, sizes) | dict(settings)
    return {"model_type": architecture, "vocab_size": sizes.vocabulary, "text_config": text}


def _refuse_unknown(architecture: str, arguments: type, settings: Mapping[str, Any]) -> None:
    known = fields(arguments)
    for key in settings:
        if key not in known:
            raise ModelError(
                f"{architecture} has no setting {key!r}{nearest(key, known)}; allowed: {', '.join(sorted(known))}"
            )


def _values(arguments: type, sizes: Sizes) -> dict[str, Any]:
    general, without_default = _general(sizes), _required(sizes)
    chosen = {name: without_default[name] for name in required(arguments) if name in without_default}
    return chosen | {name: general[name] for name in fields(arguments) if name in general}


def _general(sizes: Sizes) -> dict[str, Any]:
    """Return values of fields that are set in any architecture that has them: sizes, and whether embeddings are
    tied."""
    named: list[tuple[Any, str]] = [
        (sizes.hidden, "hidden_size hidden_dim d_model model_dim n_embd block_dim"),
        (
            sizes.intermediate,
            "intermediate_size intermediate_size_mlp dense_intermediate_size ffn_hidden_size n_inner "
            "ff_intermediate_size mlp_hidden_size block_ff_dim moe_intermediate_size moe_hidden_size "
            "expert_ffn_hidden_size shared_intermediate_size shared_expert_intermediate_size share_expert_dim "
            "moe_shared_expert_intermediate_size",
        ),
        (sizes.blocks, "num_hidden_layers num_layers n_layer n_layers num_transformer_layers"),
        (
            sizes.heads,
            "num_attention_heads num_heads n_head n_heads num_key_value_heads num_kv_heads n_kv_heads "
            "num_attention_groups swa_num_attention_heads swa_num_key_value_heads linear_num_key_heads "
            "linear_num_value_heads",
        ),
        (2 * sizes.heads, "mamba_n_heads mamba_num_heads"),
        (
            sizes.head,
            "head_dim hidden_size_per_head v_head_dim qk_nope_head_dim qk_rope_head_dim swa_head_dim "
            "swa_v_head_dim index_head_dim kv_channels linear_key_head_dim linear_value_head_dim mamba_d_head "
            "mamba_head_dim query_pre_attn_scalar global_head_dim",
        ),
        (sizes.head // 2, "rotary_dim"),
        (sizes.hidden // 2, "q_lora_rank kv_lora_rank o_lora_rank dim_model_base"),
        (2 * sizes.hidden, "mamba_d_ssm"),
        (sizes.vocabulary, "vocab_size num_vocab embedding_size vocab_size_per_layer_input"),
        (4, "num_experts num_local_experts n_routed_experts moe_num_experts"),
        (2, "num_experts_per_tok num_experts_per_token moe_k moe_topk moe_top_k top_k_experts index_n_heads"),
        (
            1,
            "n_shared_experts num_shared_experts num_shared_expert moe_num_shared_experts n_group topk_group "
            "num_expert_group first_k_dense_replace num_dense_layers",
        ),
        (POSITIONS, "max_position_embeddings n_positions n_ctx block_size model_max_length"),
        (1e-6, "rms_norm_eps"),
        (1e-5, "layer_norm_eps layer_norm_epsilon"),
        (10000.0, "rope_theta"),
        (10000, "rotary_emb_base"),
    ]
    values = {name: value for value, names in named for name in names.split()}
    pattern = min(2, sizes.blocks)
    return {**values, "rotary_pct": 1.0, "sliding_window_pattern": pattern, "tie_word_embeddings": True}


def _required(sizes: Sizes) -> dict[str, Any]:
    """Return values of fields that are set only where the architecture has no default."""
    named: list[tuple[Any, str]] = [
        (
            True,
            "add_full_attention_sink_bias add_swa_attention_sink_bias altup_correct_scale linear_allow_neg_eigval "
            "mla_scale_kv_lora mla_scale_q_lora norm_topk_prob qk_norm use_cla use_conv_bias use_expert_bias "
            "use_mixed_mlp_moe use_qk_norm use_qkv_bias",
        ),
        (False, "attention_bias block_auto_adjust_ff_dim conv_bias mamba_proj_bias mlp_bias post_norm use_bias"),
        (16, "mamba_d_state ssm_state_size state_size"),
        (
            8,
            "a_low_rank_dim block_multiple_of decay_low_rank_dim ffn_dim_divisor gate_low_rank_dim "
            "hidden_size_per_layer_input laurel_rank v_low_rank_dim",
        ),
        (4, "conv1d_width conv_kernel conv_L_cache linear_conv_kernel_dim mamba_d_conv time_step_rank"),
        (
            2,
            "altup_num_inputs attn_layer_period cla_share_factor conv_window dense_attention_every_n_layers "
            "expert_layer_period group_norm_size layer_group_size mamba_expand",
        ),
        (1, "attn_layer_offset decoder_sparse_step moe_layer_freq n_groups num_kv_reuse_layers zero_expert_num"),
        (0, "altup_active_idx expert_layer_offset num_kv_shared_layers"),
        (1.0, "block_ffn_dim_multiplier routed_scaling_factor"),
        # Other than 1, so that a lens or an adapter that leaves them out is detected.
        (2.0, "embedding_multiplier logits_scaling scale_emb"),
        (1.5, "scale_depth"),
        (0.5, "attention_multiplier output_multiplier partial_rotary_factor residual_multiplier"),
        (120.0, "altup_coef_clip"),
        (30.0, "final_logit_softcapping gegelu_limit logits_soft_cap"),
        (1e-5, "layernorm_epsilon norm_eps post_norm_eps"),
        (10000.0, "rope_local_base_freq swa_rope_theta"),
        (POSITIONS, "index_topk"),
        (WINDOW, "attention_chunk_size attention_window_size sliding_window sliding_window_size"),
    ]
    values = {name: value for value, names in named for name in names.split()}
    return {
        **values,
        "attention_method": "MLA",
        "hidden_act": "relu2",
        "layer_types": sizes.cycle(["sliding_attention", "full_attention"]),
        "mlp_only_layers": [],
        "rope_scaling": None,
        "scoring_func": "sigmoid",
        "time_step_limit": [0.0, 100.0],
        "topk_method": "noaux_tc",
        "zero_expert_type": "identity",
    }


def _own(module: str, sizes: Sizes) -> dict[str, Any]:
    """Return further values that one architecture needs; recurrent and attention blocks alternate where it has both."""
    rope = {"rope_type": "default", "rope_theta": 10000.0}
    by_type = {"sliding_attention": rope, "full_attention": rope}
    sliding = sizes.cycle(["sliding_attention", "full_attention"])
    delta = {
        "kda_layers": [block + 1 for block in range(0, sizes.blocks, 2)],
        "full_attn_layers": [block + 1 for block in range(1, sizes.blocks, 2)],
        "num_heads": sizes.heads,
        "head_dim": sizes.head,
        "short_conv_kernel_size": 4,
    }
    scaled = {**rope, "llama_4_scaling_beta": 0.1, "original_max_position_embeddings": POSITIONS}
    yarn = {**rope, "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": POSITIONS}
    long = {name: [1.0] * (sizes.head // 2) for name in ("short_factor", "long_factor")}
    own: dict[str, dict[str, Any]] = {
        "baichuan_m1": {"sliding_window_layers": list(range(0, sizes.blocks, 2)), "tie_word_embeddings": False},
        "bailing_moe_v3": {"layer_group_size": 2},
        "dbrx": {
            "attn_config": {"kv_n_heads": sizes.heads, "clip_qkv": 8.0, "rope_theta": 10000.0},
            "ffn_config": {"ffn_hidden_size": sizes.intermediate, "moe_num_experts": 4, "moe_top_k": 2},
        },
        "deepseek_v2": {"rope_scaling": yarn},
        "exaone4": {"rope_scaling": rope, "sliding_window_pattern": "LG"},
        "exaone_moe": {"is_moe_layer": sizes.cycle([False, True])},
        "gear": {"layer_types": sizes.cycle(["conv_mixer", "full_attention"])},
        "gemma3n": {"activation_sparsity_pattern": [0.0] * sizes.blocks},
        "gemma4_text": {"hidden_size_per_layer_input": 8, "num_kv_shared_layers": sizes.blocks // 2},
        "glm_moe_dsa": {"rope_parameters": rope},
        "gpt_oss": {"layer_types": sliding},
        "granitemoehybrid": {
            "layer_types": sizes.cycle(["mamba", "attention"]),
            "mamba_d_conv": 4,
            "mamba_d_state": 16,
            "mamba_n_groups": 1,
            "mamba_conv_bias": True,
            "mamba_proj_bias": False,
        },
        "hunyuan": {"rope_scaling": {"type": "dynamic", "factor": 1.0, "alpha": 1000.0}},
        "kimi_k3": {"linear_attn_config": delta, "attn_res_block_size": 2},
        "kimi_linear": {"linear_attn_config": delta},
        "lfm2": {"layer_types": sizes.cycle(["conv", "full_attention"])},
        "lfm2_moe": {"layer_types": sizes.cycle(["conv", "full_attention"])},
        "llama4": {"interleave_moe_layer_step": 2, "num_experts_per_tok": 1},
        "llama4_text": {"no_rope_layers": sizes.cycle([1, 0])},
        "mamba2": {"num_heads": 2 * sizes.heads},
        "mellum": {"rope_parameters": by_type},
        "mimo_v2_flash": {"hybrid_layer_pattern": sizes.cycle([1, 0]), "moe_layer_freq": sizes.cycle([0, 1])},
        "minicpm": {"tie_word_embeddings": False},
        "minicpm3": {"rope_scaling": {**rope, **long}},
        "ministral3": {"rope_parameters": scaled},
        "mistral4": {"rope_parameters": scaled},
        "muse_spark": {
            "layer_rope_theta": [10000.0] * sizes.blocks,
            "num_shared_experts": 0,
            "rope_parameters": rope,
        },
        "nemotron-nas": {
            "block_configs": [{"attention": {"n_heads_in_group": 1}, "ffn": {"ffn_mult": 1.0}}] * sizes.blocks
        },
        "nemotron_h": {
            "hybrid_override_pattern": sizes.cycle(["M", "*", "E", "-"]),
            "norm_topk_prob": True,
            "routed_scaling_factor": 1.0,
        },
        "olmo_hybrid": {"layer_types": sizes.cycle(["linear_attention", "full_attention"])},
        "openelm": {
            "num_query_heads": [sizes.heads] * sizes.blocks,
            "num_kv_heads": [sizes.heads] * sizes.blocks,
            "ffn_multipliers": [2.0] * sizes.blocks,
        },
        "phimoe": {"rope_scaling": {"type": "longrope", "short_mscale": 1.0, "long_mscale": 1.0, **long}},
        "plamo": {"n_shared_head": 2},
        "qwen3_5": {"full_attention_interval": 2, "num_experts": 0},
        "qwen3_5_moe": {"num_experts": 4},
        "qwen3_next": {"full_attention_interval": 2},
        "qwen3_vl_moe": {"tie_word_embeddings": False},
        "recurrent_gemma": {"block_types": sizes.cycle(["recurrent", "attention"]), "num_key_value_heads": 1},
        "spark2_5": {"rope_parameters": by_type},
        "step3p5": {"layer_types": sliding},
    }
    return own.get(module, {})
