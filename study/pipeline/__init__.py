"""Running units, from start to published results, in one process and without Ray."""

from study.models import backend  # noqa: F401 - sets MLX up
