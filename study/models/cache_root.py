"""The cache folder, found without loading anything else."""

import os
from pathlib import Path


def cache_root() -> Path:
    """Return the cache folder: $STUDY_CACHE, or ~/.cache/classifier-study."""
    return Path(os.environ.get("STUDY_CACHE") or Path.home() / ".cache" / "classifier-study")
