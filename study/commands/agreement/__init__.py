"""Whether mlx-lm, as the study loads it, computes what transformers computes."""
