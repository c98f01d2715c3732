"""Peer: mlx-lm's own LoRA trainer, `mlx_lm.tuner.trainer.train`, as its user runs it with a masked prompt.

Its loss and its batches are taken as they are. That differs from stage 1 of the study: rows are padded to 33 tokens or
more, logits are taken at all positions, one padding token a row counts as a target, gradients are not clipped, and the
examples are sorted by length into batches, which are then shuffled. Classes and layers are not looked at.
"""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from exchange import SPEC, write

# isort: split
import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
from mlx_lm.tuner.callbacks import TrainingCallback
from mlx_lm.tuner.trainer import TrainingArgs, iterate_batches, train
from mlx_lm.tuner.utils import linear_to_lora_layers
from mlx_lm.utils import load_model


class Clock(TrainingCallback):
    """Times whole turns of the trainer's loop: its own rate leaves out the making of a batch and its report."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.losses: list[float] = []
        self.last = time.perf_counter()

    def on_train_loss_report(self, train_info: dict[str, Any]) -> None:
        now = time.perf_counter()
        self.seconds.append(now - self.last)
        self.losses.append(train_info["train_loss"])
        self.last = now


def main() -> None:
    batches = SPEC["batches"]
    # What a CacheDataset gives the trainer: ids, and where the answer begins.
    dataset = [(item["prompt"] + item["answer"], len(item["prompt"])) for batch in batches for item in batch]

    model, _ = load_model(Path(SPEC["model"]))
    model.set_dtype(mx.float32)
    model.freeze()
    lora = {**SPEC["lora"], "keys": set(SPEC["lora"]["keys"]), "dropout": 0.0}
    linear_to_lora_layers(model, len(model.layers), lora)

    lengths: list[mx.array] = []

    def recorded(**options: Any) -> Iterator[tuple[mx.array, mx.array]]:
        for ids, spans in iterate_batches(**options):
            lengths.append(spans)
            yield ids, spans

    np.random.seed(0)  # the trainer shuffles by numpy's global state
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArgs(
            batch_size=len(batches[0]),
            iters=len(batches),
            steps_per_report=1,
            steps_per_save=len(batches) + 1,
            adapter_file=str(Path(folder, "adapters.safetensors")),
        )
        clock = Clock()
        train(
            model,
            optim.AdamW(learning_rate=SPEC["learning_rate"], weight_decay=0.0),
            dataset,
            args=arguments,
            iterate_batches=recorded,
            training_callback=clock,
        )
    tokens = [int((spans[:, 1] - 1).sum().item()) for spans in lengths]
    write(
        "mlx-lm trainer",
        ["mlx-lm", "mlx"],
        seconds=clock.seconds[SPEC["warmup"] :],
        real_tokens=tokens[SPEC["warmup"] : len(clock.seconds)],
        losses=clock.losses,
    )


if __name__ == "__main__":
    main()
