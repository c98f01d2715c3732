"""Peer: the experiment's own step, written for PEFT and transformers on PyTorch, on the CPU in float32.

It has the same savings: padding to the longest of the batch only, no attention mask, logits only where a target is.
The class is read by the model's final norm and head, which is the lens for llama, qwen and gemma 3 models.
"""

import time
from pathlib import Path
from typing import Any

import torch
from exchange import SPEC, real_tokens, write
from peft import LoraConfig, get_peft_model
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_
from transformers import AutoModelForCausalLM

Item = dict[str, Any]


class Peer:
    """The model with its LoRA, and the output of the block where the class is read."""

    def __init__(self) -> None:
        causal = AutoModelForCausalLM.from_pretrained(Path(SPEC["model"]), dtype=torch.float32)
        rank, scale = SPEC["lora"]["rank"], SPEC["lora"]["scale"]
        names = [key.rsplit(".", 1)[-1] for key in SPEC["lora"]["keys"]]
        self.adapted = get_peft_model(causal, LoraConfig(r=rank, lora_alpha=scale * rank, target_modules=names))
        self.adapted.train()
        self.trained = [p for p in self.adapted.parameters() if p.requires_grad]
        self.inner, self.head = causal.model, causal.lm_head
        self.state = torch.empty(0)
        self.inner.layers[SPEC["layer"]].register_forward_hook(self._keep)

    def _keep(self, module: torch.nn.Module, inputs: Any, output: Any) -> None:
        self.state = output[0] if isinstance(output, tuple) else output

    def loss(self, batch: list[Item]) -> torch.Tensor:
        """w * CE(class at the layer) + (1 - w) * CE(answer); the answer alone where no example has a class."""
        sequences = [item["prompt"] + item["answer"][:-1] for item in batch]
        longest = max(len(sequence) for sequence in sequences)
        ids = torch.tensor([sequence + [0] * (longest - len(sequence)) for sequence in sequences])
        spots = [
            (row, len(item["prompt"]) - 1 + offset, target)
            for row, item in enumerate(batch)
            for offset, target in enumerate(item["answer"])
        ]
        rows, positions, targets = torch.tensor(spots).T
        last = self.inner(input_ids=ids, use_cache=False).last_hidden_state[rows, positions]
        read = [
            (row, len(item["prompt"]) - 1, item["class"]) for row, item in enumerate(batch) if item["class"] is not None
        ]
        if not read:
            return cross_entropy(self.head(last), targets)
        class_rows, class_positions, classes = torch.tensor(read).T
        at_class = self.inner.norm(self.state[class_rows, class_positions])
        logits = self.head(torch.cat([at_class, last]))
        class_loss = cross_entropy(logits[: len(read)], classes)
        answer_loss = cross_entropy(logits[len(read) :], targets)
        weight: float = SPEC["weight"]
        return weight * class_loss + (1 - weight) * answer_loss


def main() -> None:
    torch.set_num_threads(SPEC["threads"])
    torch.manual_seed(0)
    peer = Peer()
    optimizer = torch.optim.AdamW(peer.trained, lr=SPEC["learning_rate"], weight_decay=0.0)
    seconds, losses = [], []
    for batch in SPEC["batches"]:
        began = time.perf_counter()
        optimizer.zero_grad()
        loss = peer.loss(batch)
        loss.backward()
        clip_grad_norm_(peer.trained, 1.0)
        optimizer.step()
        losses.append(loss.item())
        seconds.append(time.perf_counter() - began)
    write(
        "PEFT",
        ["peft", "torch", "transformers"],
        seconds=seconds[SPEC["warmup"] :],
        real_tokens=[real_tokens(batch) for batch in SPEC["batches"][SPEC["warmup"] :]],
        losses=losses,
    )


if __name__ == "__main__":
    main()
