"""Where a model comes from: any source of the catalogue becomes a folder that mlx-lm loads."""


class ModelError(Exception):
    """A model that cannot be fetched, converted or loaded: what was tried, and what to do."""
