"""Measurements of a model, as rows: one module for each."""

from study.models import backend  # noqa: F401 - sets MLX up
