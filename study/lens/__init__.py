"""The logit lens: the hidden states of a model, read with its own final norm and unembedding."""

from study.models import backend  # noqa: F401 - sets MLX up
