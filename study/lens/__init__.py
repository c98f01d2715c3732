"""The logit lens: hidden states through a model's own code, and what the final norm and the head read in them."""

from study.models import backend  # noqa: F401 - sets MLX up
