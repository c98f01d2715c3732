"""Where a model comes from: any source of the catalogue becomes a folder that mlx-lm loads."""

import os

import study.blas  # noqa: F401  # before mlx.core

import mlx.core as mx  # isort: skip

from study.models import activations, products

# On the CPU, compiling calls g++ (seconds each time) and its cache has no lock between processes.
if activations.on_cpu():
    mx.disable_compile()
activations.use()
products.use()

# transformers serves for tokenizers alone, and else says at each import that PyTorch is missing.
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")


class ModelError(Exception):
    """A model that cannot be fetched, converted or loaded: what was tried, and what to do."""
