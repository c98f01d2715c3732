"""Peer: evaluation as an mlx-lm user does it, by one greedy `generate_step` a prompt until the answer's stop token."""

import time
from pathlib import Path

from exchange import SPEC, write

# isort: split
import mlx.core as mx
import mlx.nn as nn
from mlx_lm.generate import generate_step
from mlx_lm.utils import load_model


def main() -> None:
    model, _ = load_model(Path(SPEC["model"]))
    model.set_dtype(mx.float32)
    model.eval()
    answer(model, SPEC["prompts"][0]["prompt"], SPEC["prompts"][0]["answer"][-1])  # not counted

    seconds, tokens = [], []
    for item in SPEC["prompts"]:
        began = time.perf_counter()
        tokens.append(answer(model, item["prompt"], item["answer"][-1]))
        seconds.append(time.perf_counter() - began)
    write(
        "mlx-lm generate_step",
        ["mlx-lm", "mlx"],
        seconds=seconds,
        tokens=tokens,
        real_tokens=[len(item["prompt"]) + len(ids) - 1 for item, ids in zip(SPEC["prompts"], tokens, strict=True)],
        losses=[],
    )


def answer(model: nn.Module, prompt: list[int], stop: int) -> list[int]:
    """The greedy continuation, the stop token included where it comes."""
    ids = []
    for token, _ in generate_step(mx.array(prompt), model, max_tokens=SPEC["max_tokens"]):
        ids.append(int(token))
        if token == stop:
            break
    return ids


if __name__ == "__main__":
    main()
