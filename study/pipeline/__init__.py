"""A unit from start to published, in one process and without Ray."""

from study.models import backend  # noqa: F401 - sets MLX up
