"""Models: any source of the catalogue is made a folder that mlx-lm loads."""


class ModelError(Exception):
    """A model cannot be fetched, converted or loaded; the message says what was tried and what to do."""
