"""Peer: `DualRewardTrainer.train` of chuk-lazarus 0.4.1, on mlx-lm's model of the same weights in float32.

Called: DualRewardTrainerConfig (classifier_layer, classifier_weight, classifier_targets, lora_rank, lora_targets,
learning_rate, one epoch, no logging, no checkpoint but the last) and DualRewardTrainer(...).train(examples), which
attaches its LoRA to all blocks, shuffles the examples, makes the batches and takes every step. A step is one example.
The trainer never evaluates its loss: it is computed here before each step, outside the time that counts.

What its step does otherwise than the experiment: labels are not shifted (position t of the answer is scored against
token t, the stop token is an input), the class is read at the last token of prompt and answer, logits are taken at all
positions for both losses, the update is plain SGD (an Adam object is built and not used), gradients are not clipped,
LoRA's A is normal times 0.01 and its scale always 2.

Its own loader is not taken: it imports `chuk_virtual_expert`, which the package does not require.
"""

import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from exchange import SPEC, write

# isort: split
import mlx.core as mx
from chuk_lazarus.training.trainers.dual_reward_trainer import DualRewardTrainer, DualRewardTrainerConfig
from mlx_lm.utils import load_model


class Ids:
    """A tokenizer for texts that are ids already."""

    def encode(self, text: list[int], add_special_tokens: bool = False) -> list[int]:
        return list(text)


class Timed(DualRewardTrainer):
    """The trainer, with a clock around each turn of its loop."""

    def get_train_batches(self, dataset: Any) -> Iterator[dict[str, Any]]:
        self.seconds: list[float] = []
        self.losses: list[float] = []
        self.tokens: list[int] = []
        batches = super().get_train_batches(dataset)
        while True:
            began = time.perf_counter()
            batch = next(batches, None)
            made = time.perf_counter() - began
            if batch is None:
                return
            self.losses.append(self.compute_loss(batch)[0].item())
            self.tokens.append(batch["input_ids"].size - 1)
            began = time.perf_counter()
            # The trainer takes its step, and evaluates it, before it asks for the next batch.
            yield batch
            self.seconds.append(made + time.perf_counter() - began)


def main() -> None:
    if SPEC["lora"]["scale"] != 2.0:
        raise SystemExit("its LoRA has a fixed scale of 2")
    examples = [item for batch in SPEC["batches"] for item in batch]
    if any(item["class"] is None for item in examples):
        raise SystemExit("it trains on examples with a class only")
    mx.random.seed(0)
    random.seed(0)
    model, _ = load_model(Path(SPEC["model"]))
    model.set_dtype(mx.float32)
    with tempfile.TemporaryDirectory() as folder:
        config = DualRewardTrainerConfig(
            num_epochs=1,
            max_steps=len(examples),
            learning_rate=SPEC["learning_rate"],
            classifier_layer=SPEC["layer"],
            classifier_weight=SPEC["weight"],
            classifier_targets={str(item["class"]): [item["class"]] for item in examples},
            lora_rank=SPEC["lora"]["rank"],
            lora_targets=[key.rsplit(".", 1)[-1] for key in SPEC["lora"]["keys"]],
            log_interval=len(examples) + 1,
            checkpoint_interval=len(examples) + 1,
            checkpoint_dir=folder,
        )
        trainer = Timed(model, Ids(), config)
        trainer.train(
            {"prompt": item["prompt"], "response": item["answer"], "operation": str(item["class"])} for item in examples
        )
    warmup = sum(len(batch) for batch in SPEC["batches"][: SPEC["warmup"]])
    write(
        "chuk-lazarus DualRewardTrainer",
        ["chuk-lazarus", "mlx", "mlx-lm"],
        seconds=trainer.seconds[warmup:],
        real_tokens=trainer.tokens[warmup:],
        losses=trainer.losses,
    )


if __name__ == "__main__":
    main()
