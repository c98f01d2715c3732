"""Keys of config.json without an effect on what the study computes, whatever their values."""

import re

_FILES = """
model_file _name_or_path _commit_hash _from_model_config architecture architectures auto_map custom_pipelines
model_type model_name name version license tokenizer tokenizer_class transformers_version transformers.js_config
mlx_version is_llama_config torch_dtype dtype fp16 fp32 bf16 onnx_safe
"""
"""What the files are, and what wrote them; mlx-lm itself refuses a `model_file`."""
_STORED = """
quantization quantization_config compression_config quantize_activations ternary
"""
"""How weights are stored: mlx-lm's loader and `study.models.quantised` read it."""
_OTHER_USES = """
use_cache return_dict output_attentions output_hidden_states output_router_logits output_scores problem_type id2label
label2id num_labels chunk_size_feed_forward is_encoder_decoder is_decoder add_cross_attention
cross_attention_hidden_size tie_encoder_decoder pruned_heads torchscript use_bfloat16 tf_legacy_loss finetuning_task
task_specific_params prefix bad_words_ids cache_implementation num_logits_to_keep classifier_bias max_length
min_length do_sample early_stopping num_beams num_beam_groups diversity_penalty temperature top_k top_p typical_p
repetition_penalty length_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size num_return_sequences
return_dict_in_generate remove_invalid_values exponential_decay_length_penalty suppress_tokens begin_suppress_tokens
use_cache_quantization use_cache_kernel summary_activation summary_proj_to_labels summary_type summary_use_proj
"""
"""Other uses of transformers: generation, caches, outputs, encoders, heads of other tasks."""
_TRAINING = """
init_method initializer_range initializer_factor initializer_cutoff_factor rescale_prenorm_residual rescale_layer
embed_init_std emb_initializer_range time_step_init_scheme time_step_scale time_step_floor time_step_min time_step_max
w_init_variance_scale final_w_init_variance_scale router_aux_loss_coef router_z_loss_coef aux_loss_alpha seq_aux
router_jitter_noise input_jitter_noise z_loss_coefficient label_smoothing mup_base_width pad_vocab_size_multiple
vocab_size_multiple ep_size moe_aux_loss_coef mtp_loss_scaling_factor num_nextn_predict_layers mtp_num_layers
mtp_layer_types mtp_mlp_layer_types mtp_layers_block_type linear_a_log_max linear_a_log_min linear_dt_init_floor
linear_dt_max linear_dt_min gradient_checkpointing summary_first_dropout block_mlp_init_scale block_out_init_scale
block_use_xavier_init conv_use_xavier_init
"""
"""How the model was initialised and trained, the layers that predict further tokens included."""
_IMPLEMENTATION = """
pretraining_tp attn_mode fuse_norm fuse_cross_entropy fuse_linear_cross_entropy use_l2warp _attn_implementation
attn_implementation _attn_implementation_autoset _attn_implementation_internal _flash_attn_2_enabled use_flash_attn
use_flash_attention use_fused_rmsnorm use_fused_cross_entropy fused_add_norm fused_mlp fused_bias_fc use_mamba_kernels
use_mambapy use_associative_scan use_triton_kernels mamba_ssm_cache_dtype mamba_ssm_dtype ssm_cfg chunk_size
mamba_chunk_size residual_in_fp32 attention_softmax_in_fp32 softmax_in_fp32 scale_attention_softmax_in_fp32
reorder_and_upcast_attn moe_shared_expert_overlap
"""
"""How it is computed, not what."""
_LENGTHS = """
max_position_embeddings model_max_length max_seq_len max_sequence_length seq_length seq_len n_ctx
"""
"""Lengths by which no class computes anything else; `study.models.limits` reads them."""
_IN_WEIGHTS = """
attention_bias mlp_bias use_bias use_qkv_bias qkv_bias lm_head_bias bias no_bias add_bias_linear add_qkv_bias
qk_layernorm use_qk_norm tie_word_embeddings tie_embeddings vocab_size num_vocab d_inner d_model n_layer
"""
"""What the weights show: mlx-lm refuses weights that its class lacks, and a class that lacks some of its own."""
_OTHER_MODALITIES = """
spatial_merge_size multimodal_projector_bias merged_hidden_size out_hidden_size boi_token_index eoi_token_index
projector_hidden_act projector_hidden_size projection_hidden_size projection_layer_norm_eps
"""
"""The other parts of models of images and sound."""

NAMES = frozenset(
    " ".join(
        [_FILES, _STORED, _OTHER_USES, _TRAINING, _IMPLEMENTATION, _LENGTHS, _IN_WEIGHTS, _OTHER_MODALITIES]
    ).split()
)
_PATTERN = re.compile(
    r".*_token_(id|ids|index|mask)|.*dropout(_prob|_rate|_p)?|.*_pdrop|(vision|image|video|audio|mm|unsloth)_.*"
)


def is_harmless(key: str) -> bool:
    """Whether a key has no effect on what the study computes."""
    return key in NAMES or _PATTERN.fullmatch(key) is not None
