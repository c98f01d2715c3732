"""Training: LoRA adapters alone or in stacks, the dual reward, the training loop, and checkpoints."""

from study.models import backend  # noqa: F401 - sets MLX up
