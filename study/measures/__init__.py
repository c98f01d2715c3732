"""What is measured of a model, one file a measure, as rows."""

from study.models import backend  # noqa: F401 - sets MLX up
