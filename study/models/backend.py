"""Setup of MLX: faster activations and products on a CPU, and no compilation there.

Packages that compute import this module first. The BLAS is loaded before it, by `import study`.
"""

import os
import warnings

import mlx.core as mx

from study.models import activations, blas, quantized_matmul

if blas.problem():
    warnings.warn(blas.problem(), RuntimeWarning, stacklevel=2)
# On the CPU, compiling calls g++ (seconds each time) and its cache has no lock between processes.
if activations.on_cpu():
    mx.disable_compile()
activations.use()
quantized_matmul.use()

# transformers is used for tokenizers only; without this, it warns at each import that PyTorch is missing.
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
