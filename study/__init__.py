"""The experiment: can a classifier be trained into a layer of a language model, where, and at what cost?"""

import os

from study.models import blas
from study.version import __version__

# MLX reads both when it is loaded or computes for the first time, so they come before any of its imports.
blas.load()
blas.problem()
# Else GPUs with matrix units, Apple's from M5 on and NVIDIA's, round the factors of float32 products to 10 bits.
os.environ["MLX_ENABLE_TF32"] = "0"

__all__ = ["__version__"]
