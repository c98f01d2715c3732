"""Benchmarks: parts of the study beside what a user would run instead."""

import study  # noqa: F401 - its BLAS before anything imports MLX
