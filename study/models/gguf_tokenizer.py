"""The tokenizer of a GGUF file, which splits text and adds special tokens as llama.cpp does."""

from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast
from transformers.integrations.gguf.gguf_tokenizer_mapping import convert_gguf_tokenizer

from study.models import ModelError
from study.models.gguf_header import Metadata, shown

SPLITS = ("gpt-2", "llama-bpe", "qwen2", "smollm")
"""Supported ways in which byte-level tokenizers split text before merging (`tokenizer.ggml.pre`)."""


def tokenizer_of(metadata: Metadata, rows: int) -> PreTrainedTokenizerFast:
    """Return the file's tokenizer for an embedding of so many rows; `encode` adds BOS where llama.cpp would.

    Raises ModelError on other kinds, and on a file whose tokens do not fit the embedding or one another.
    """
    kind, split = metadata("tokenizer.ggml.model"), metadata("tokenizer.ggml.pre", "gpt-2")
    if kind not in ("gpt2", "llama") or (kind == "gpt2" and split not in SPLITS):
        raise ModelError(
            f"GGUF files with the tokenizer {shown(kind)} ({shown(split)}) cannot be converted: "
            f"allowed are 'llama', and 'gpt2' with one of {', '.join(SPLITS)}"
        )
    metadata.refuse("tokenizer.ggml.add_eos_token", False)
    backend = _backend(metadata, kind, rows)
    if split == "smollm":
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    if kind == "llama":
        _prefix(backend, metadata.flag("tokenizer.ggml.add_space_prefix", True))
    special = _special_tokens(metadata)
    adds_bos = metadata.flag("tokenizer.ggml.add_bos_token", kind == "llama" or split == "llama-bpe")
    if adds_bos and "bos_token" not in special:
        raise ModelError("the GGUF file's tokenizer adds a token at the beginning, and the file does not say which")
    backend.post_processor = _bos_processor(backend, special["bos_token"] if adds_bos else None)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        chat_template=metadata("tokenizer.chat_template"),
        clean_up_tokenization_spaces=False,
        **special,
    )


def _backend(metadata: Metadata, kind: str, rows: int) -> Tokenizer:
    """Return the tokenizer that transformers makes of the file's tokens."""
    lists = {"tokens": str, "merges": str, "scores": float, "token_type": int}
    found = {name: metadata(f"tokenizer.ggml.{name}") for name in lists}
    for name, values in found.items():
        if values is not None and not (isinstance(values, list) and all(type(one) is lists[name] for one in values)):
            raise ModelError(f"the GGUF file has tokenizer.ggml.{name} of another kind than {lists[name].__name__}s")
    tokens = metadata.required("tokenizer.ggml.tokens")
    if not 0 < len(tokens) <= rows or len(set(tokens)) < len(tokens):
        raise ModelError(
            f"the GGUF file has {len(tokens)} tokens, {len(set(tokens))} of them different, for {rows} rows"
        )
    if any(found[name] is not None and len(found[name]) != len(tokens) for name in ("scores", "token_type")):
        raise ModelError("the GGUF file has not as many tokenizer.ggml.scores or token_type as tokens")
    wanted = "scores" if kind == "llama" else "merges"
    if found[wanted] is None:
        raise ModelError(f"the GGUF file lacks tokenizer.ggml.{wanted}: it is incomplete; use another file")
    given = {name: values for name, values in found.items() if values is not None}
    try:
        backend, _ = convert_gguf_tokenizer(
            metadata.architecture, {"tokenizer_type": kind, **_split_of(metadata), **given}
        )
    except Exception as error:  # tokenizers raises bare exceptions
        raise ModelError(f"the GGUF file's tokenizer cannot be built: {shown(str(error))}") from error
    return backend


def _split_of(metadata: Metadata) -> dict[str, str]:
    split = metadata("tokenizer.ggml.pre")
    return {} if split is None else {"pre_tokenizer_type": split}


def _prefix(backend: Tokenizer, prefix: bool) -> None:
    """Let a SentencePiece tokenizer put a space before every text, also before one that begins with a space, or before
    none, as llama.cpp does; transformers puts one only where there is none."""
    spaces = [normalizers.Replace(" ", "▁")]
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), *spaces] if prefix else spaces)
    backend.pre_tokenizer = None
    read_back = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    backend.decoder = decoders.Sequence([*read_back, decoders.Strip(" ", 1, 0)] if prefix else read_back)


def _special_tokens(metadata: Metadata) -> dict[str, str]:
    keys = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
    ids = {name: metadata(f"tokenizer.ggml.{key}_token_id") for name, key in keys.items()}
    tokens = metadata("tokenizer.ggml.tokens")
    for name, number in ids.items():
        if number is not None and (type(number) is not int or not 0 <= number < len(tokens)):
            raise ModelError(f"the GGUF file has {shown(number)} as its {name}, and {len(tokens)} tokens")
    return {name: tokens[number] for name, number in ids.items() if number is not None}


def _bos_processor(backend: Tokenizer, bos: str | None) -> processors.PostProcessor:
    if bos is None:
        return processors.ByteLevel(trim_offsets=False)
    return processors.TemplateProcessing(
        single=[bos, "$A"], pair=[bos, "$A", "$B"], special_tokens=[(bos, backend.token_to_id(bos))]
    )
