"""Training: LoRA adapters alone or in stacks, the dual reward, the one loop, and where an interrupted one stands."""

from study.models import backend  # noqa: F401 - sets MLX up
