"""A small GGUF file of a llama model with random weights, written by the gguf library as llama.cpp's converter does."""

from pathlib import Path

import numpy as np
from gguf import GGUFWriter, TokenType

BLOCKS, HIDDEN, INNER, HEADS = 2, 16, 24, 2


def write_gguf(file: Path, without: str = "") -> None:
    """Write the file: two blocks, a byte-level tokenizer, and an unembedding of its own; the vocabulary lacks the
    characters `without`."""
    alphabet = [chr(code) for code in (*range(33, 127), *range(161, 173), *range(174, 256))]
    alphabet += [chr(256 + i) for i in range(256 - len(alphabet))]
    tokens = ["<|start|>", "<|end|>", *(sign for sign in alphabet if sign not in without), "Ġa", "Ġad", "Ġadd"]
    writer = GGUFWriter(file, "llama")
    writer.add_block_count(BLOCKS)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_context_length(128)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_merges(["Ġ a", "Ġa d", "Ġad d"])
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.CONTROL] * 2 + [TokenType.NORMAL] * (len(tokens) - 2))
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    rng = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {"token_embd": (len(tokens), HIDDEN), "output": (len(tokens), HIDDEN)}
    for block in range(BLOCKS):
        shapes |= {f"blk.{block}.attn_{name}": (HIDDEN, HIDDEN) for name in ("q", "k", "v", "output")}
        shapes |= {f"blk.{block}.ffn_{name}": (INNER, HIDDEN) for name in ("gate", "up")}
        shapes |= {f"blk.{block}.ffn_down": (HIDDEN, INNER)}
        shapes |= {f"blk.{block}.{name}": (HIDDEN,) for name in ("attn_norm", "ffn_norm")}
    for name, shape in {**shapes, "output_norm": (HIDDEN,)}.items():
        writer.add_tensor(f"{name}.weight", rng.normal(len(shape) == 1, 0.2, shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
