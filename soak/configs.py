"""Configurations that nobody should write: mutated YAML, and YAML made at random."""

import contextlib
import io
import random
import tempfile
from pathlib import Path
from typing import Any

from study.commands.run import main

CONFIGS = Path(__file__).parent.parent / "configs"
SPOILS = (
    *("", "-1", "0", "1e999", ".nan", "null", "true", "'x'", "[]", "{}", "[1, [2, {}]]", "2024-01-01", "!!binary aGk="),
    *("!!python/object/apply:os.system ['true']", "&a [*a]", "*b", "\t", "\0", "é" * 300, "9" * 400, "../../etc", "%x"),
)


def refused_configs(tries: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Each is refused with exit code 2 and a message, or, still being right, planned with exit code 0."""
    rng = random.Random(seed)
    texts = [file.read_text() for file in sorted(CONFIGS.glob("*.yaml")) if file.name != "models.yaml"]
    counts = {"faults": 0, "refused": 0, "right": 0, "tracebacks": 0, "silent": 0}
    with tempfile.TemporaryDirectory() as folder:
        for beside in (CONFIGS / "models.yaml", *CONFIGS.glob("*.jsonl")):
            (Path(folder) / beside.name).write_text(beside.read_text())
        file = Path(folder) / "study.yaml"
        while counts["faults"] < tries:
            file.write_text(mutated(rng.choice(texts), rng), encoding="utf-8")
            counts[verdict([str(file), "--dry-run", "--results", f"{folder}/results"])] += 1
            counts["faults"] += 1
    return counts


def verdict(arguments: list[str]) -> str:
    """How the command line takes it."""
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(arguments)
    except BaseException:  # whatever it is, a user would see it
        return "tracebacks"
    if code == 0:
        return "right"
    return "refused" if code == 2 and err.getvalue().strip() else "silent"


def mutated(text: str, rng: random.Random) -> str:
    """One to three lines or characters of a right configuration changed."""
    for _ in range(rng.randint(1, 3)):
        lines = text.split("\n")
        place = rng.randrange(len(lines))
        line, spoil = lines[place], rng.choice(SPOILS)
        key, colon, _ = line.partition(":")
        lines[place] = rng.choice(
            [
                f"{key}{colon} {spoil}",
                line + spoil,
                line.replace(" ", "", 1),
                f"  {line}",
                key[:-1] + colon + line[len(key) + 1 :],
                spoil,
                line + "\n" + line,
                "",
            ]
        )
        text = "\n".join(lines)
    return text
