"""Small models that are built locally: any mlx-lm architecture, with random weights and a word-level tokenizer."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten
from mlx_lm.utils import _get_classes
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from study.config.catalogue import BuiltSource
from study.models import ModelError
from study.models.cache import WORD_TOKENIZER
from study.models.tiny import Sizes, configuration

CONFIG, WEIGHTS = "config.json", "model.safetensors"
BOS, EOS, UNKNOWN = "<bos>", "<eos>", "<unk>"
_CHARACTERS = ("\n", *map(chr, range(32, 127)))


def build(source: BuiltSource, blocks: int, out: Path) -> None:
    """Write the model to the folder `out`, with the words of prompts and those of `source` as whole tokens.

    The same arguments give the same bits on every machine. Raises ModelError where mlx-lm does not have the
    architecture, or it cannot be built with these sizes.
    """
    tokenizer = word_tokenizer([*source.prompt_words, *source.words])
    sizes = Sizes(source.hidden_size, source.intermediate_size, source.attention_heads, blocks, len(tokenizer))
    special = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "tokenizer": WORD_TOKENIZER,
    }
    config = configuration(source.built, sizes, source.settings) | special
    model_class, arguments_class = _get_classes(config)
    initial: dict[str, mx.array] = {}
    try:
        tree_flatten(model_class(arguments_class.from_dict(config)).parameters(), destination=initial)
    except (AssertionError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ModelError(
            f"mlx-lm makes no {source.built} model of {blocks} blocks and these sizes and settings: {reason}"
        ) from error
    out.mkdir(parents=True, exist_ok=True)
    weights = {name: _draw(name, array, source.seed) for name, array in initial.items()}
    mx.save_safetensors(str(out / WEIGHTS), weights, {"format": "mlx"})
    tokenizer.save_pretrained(out)
    (out / CONFIG).write_text(json.dumps(config, indent=2))


def _draw(name: str, array: mx.array, seed: int) -> mx.array:
    """Return initial weights: matrices normal with variance 1 / inputs, biases and logarithms of decay rates zero,
    norms and other vectors as the architecture initialises them."""
    if array.ndim < 2:
        return mx.zeros_like(array) if name.rpartition(".")[2] in ("bias", "A_log") else array
    rng = np.random.default_rng([seed, *name.encode()])
    return mx.array(rng.standard_normal(array.shape, dtype=np.float32) * array.shape[-1] ** -0.5)


def word_tokenizer(words: Sequence[str]) -> PreTrainedTokenizerFast:
    """Return a tokenizer for which each of the words is one token, with and without a leading space.

    All other text is encoded character by character: those of the words, printable ASCII and the newline are known.
    `encode` adds BOS.
    """
    known = [*_CHARACTERS, *sorted(set("".join(words)).difference(_CHARACTERS))]
    whole = sorted({word for word in words if len(word) > 1 or word.isdigit()}, key=lambda word: (-len(word), word))
    tokens = dict.fromkeys([UNKNOWN, BOS, EOS, *known, *whole, *(f" {word}" for word in whole)])
    vocabulary = {token: number for number, token in enumerate(tokens)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    alternatives = "|".join(map(re.escape, whole))
    letter = r"[\p{L}\p{M}]"
    pieces = rf"(?: |(?<!{letter}))(?:{alternatives})(?!{letter})|[\s\S]" if whole else r"[\s\S]"
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(pieces), behavior="isolated")
    backend.decoder = decoders.Fuse()
    backend.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, vocabulary[BOS])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNKNOWN,
        pad_token=EOS,
        clean_up_tokenization_spaces=False,
    )
