"""`make bench`: the study beside what a user would run instead, on the same weights, token ids, adapters and threads.

Every part runs in a process of its own, all of them in turn, several rounds; ratios are of medians over all rounds.
Writes benchmarks/RESULTS.md, results.json and the chart. Whole studies, and the report of a large one, come last.
Where MLX computes on a GPU, only parts of the study and of mlx-lm are run, and their times are written beside those of
the CPU, and to gpus.json.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlx.core as mx

from actors.environment import blas_threads
from benchmarks import results
from study.commands.environments import environment
from study.config.data import Data
from study.config.evaluation import Evaluation
from study.config.names import Operation
from study.config.stages import Stage1, Stage2
from study.config.units import Readout
from study.lens.tokens import class_tokens, encode
from study.models import blas
from study.models.activations import on_cpu
from study.models.load import fetch, load_tokenizer
from study.plan.read import read_catalogue
from study.tasks.arithmetic import Arithmetic
from study.training import compilation

HERE = Path(__file__).parent
PROMPTS, DECODED = 128, 16
ON_GPU = not on_cpu()
STEPS, WARMUP = (60, 30) if ON_GPU else (4, 2)
"""On a GPU the first steps of each length are slower, and there is time for more."""
GRID = {"stage1_steps": 8, "stage2_steps": 8, "prompts": 32}
MODEL, OPERATIONS = "smollm2-135m", list[Operation](["multiply", "add"])
ALL = ["mlp.down_proj", "mlp.gate_proj", "mlp.up_proj", *(f"self_attn.{name}_proj" for name in "kqvo")]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="how often every part is run, in turn (default 3)")
    alone = "one of the whole studies alone, beside what was measured before"
    parser.add_argument("--only", choices=list(results.WHOLE), action="append", help=alone)
    options = parser.parse_args()
    if options.only:
        results.write(json.loads((HERE / "results.json").read_text()) | whole_studies(options.only), HERE)
        return
    peers = () if ON_GPU else ("lazarus", "peft_torch")
    pythons = {program: environment(HERE / "peers" / f"{program}.txt") for program in peers}
    with tempfile.TemporaryDirectory() as folder:
        runs = parts()
        measured: dict[str, list[dict[str, Any]]] = {name: [] for name in runs}
        for turn in range(options.rounds):
            for name, (program, spec, once) in runs.items():
                if turn == 0 or not once:
                    began = time.perf_counter()
                    measured[name].append(execute(program, spec, Path(folder), pythons))
                    print(f"round {turn + 1}, {name}: {time.perf_counter() - began:.0f} s", flush=True)
        machine = {
            "platform": f"{platform.system()} {platform.machine()}",
            "processor": mx.device_info()["device_name"],
            "threads": 1,
            "blas": getattr(blas.load(), "name", "MLX's own"),
            "compiled": compilation.pays(),
            "versions": {name: version(name) for name in ("mlx", "mlx-lm", "numpy")},
        }
        content = {"machine": machine, "parts": measured, "grid": GRID}
        if ON_GPU:
            results.write_gpu(content, HERE)
            return
        driver = Path(folder) / "driver.json"
        subprocess.run([sys.executable, "-m", "benchmarks.driver", str(driver)], check=True)
        machine["versions"]["ray"] = version("ray")
        results.write({**content, "driver": json.loads(driver.read_text())} | whole_studies(list(results.WHOLE)), HERE)


def whole_studies(names: Sequence[str]) -> dict[str, Any]:
    """What the programs measure that run whole studies, each by itself on an idle machine, and on which processor."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            out = Path(folder) / f"{name}.json"
            subprocess.run([sys.executable, "-m", f"benchmarks.{name}", str(out)], check=True)
            found[name] = {"processor": mx.device_info()["device_name"], "measured": json.loads(out.read_text())}
    return found


def parts() -> dict[str, tuple[str, dict[str, Any], bool]]:
    """Program, specification and whether one round is enough, by name; pairs that are compared stand together."""
    model = read_catalogue(Path("configs/models.yaml"), [])[MODEL]  # type: ignore[index]
    path = fetch(model)
    tokenizer = load_tokenizer(path)
    pair = Readout(pair={"multiply": "multiply", "add": "add"})
    tokens = {name: token.id for name, token in class_tokens(tokenizer, pair).items()}
    counted = {"steps": STEPS, "warmup": WARMUP, "name": MODEL}

    def peer(settings: Stage1 | Stage2, with_class: bool, keys: list[str]) -> dict[str, Any]:
        batches = [
            [
                {
                    "prompt": list(item.prompt_ids),
                    "answer": list(item.answer_ids),
                    "class": tokens[item.prompt.operation] if with_class else None,
                }
                for item in (encode(tokenizer, prompt) for prompt in prompts)
            ]
            for prompts in (
                Arithmetic(Data()).training_prompts(OPERATIONS, ["symbolic"], 0, step, settings.batch_size)
                for step in range(1, STEPS + WARMUP + 1)
            )
        ]
        lora = {"rank": settings.lora.rank, "scale": settings.lora.scale, "keys": keys}
        rates = {"learning_rate": settings.learning_rate, "layer": model.blocks // 2, "weight": 0.5}
        own = blas.load()
        place = {"model": str(path), "threads": 1, "blas": own.path if own else None}
        return {**counted, **place, "batches": batches, "lora": lora, **rates, "max_tokens": 6, "prompts": []}

    value_output = ["self_attn.o_proj", "self_attn.v_proj"]
    first, second, answers = (
        peer(Stage1(), False, ALL),
        peer(Stage2(), True, value_output),
        peer(Stage2(), False, value_output),
    )
    asked = [
        encode(tokenizer, item)
        for item in Arithmetic(Data()).evaluation_prompts(OPERATIONS, Evaluation(prompts_per_class=PROMPTS // 8), 0)
    ][:: PROMPTS // DECODED]
    decoded = {**second, "prompts": [{"prompt": list(i.prompt_ids), "answer": list(i.answer_ids)} for i in asked]}
    stepped = {**counted, "steps": STEPS + WARMUP}
    stock = {**answers, "blas": None, "warmup": 1, "batches": answers["batches"][:2]}
    runs = {
        "sgemm": ("ours", {**counted, "part": "sgemm"}, False),
        "stage 1": ("ours", {**stepped, "part": "stage1", "cells": 1}, False),
        "stage 1, mlx-lm": ("mlx_lm_trainer", first, False),
        "stage 2 alone": ("ours", {**stepped, "part": "stage2", "cells": 1}, False),
        "stage 2, stack of 8": ("ours", {**stepped, "part": "stage2", "cells": 8}, False),
        "stage 2, PEFT": ("peft_torch", second, False),
        "stage 2, chuk-lazarus": ("lazarus", second, False),
        "stage 2, mlx-lm": ("mlx_lm_trainer", answers, False),
        "stage 2, mlx-lm, stock BLAS": ("mlx_lm_trainer", stock, True),
        "evaluation": ("ours", {**counted, "part": "evaluation", "prompts": PROMPTS}, False),
        "evaluation, greedy decoding": ("decode", decoded, False),
        "grid of 24": ("ours", {**counted, **GRID, "part": "grid"}, True),
    }
    if ON_GPU:
        left_out = {"stage 2, PEFT", "stage 2, chuk-lazarus", "stage 2, mlx-lm, stock BLAS"}
        return {name: run for name, run in runs.items() if name not in left_out}
    return runs


def execute(program: str, spec: dict[str, Any], folder: Path, pythons: dict[str, Path]) -> dict[str, Any]:
    """Run one program with one thread; what it wrote."""
    (folder / "spec.json").write_text(json.dumps(spec))
    python = pythons.get(program, Path(sys.executable))
    command = ["-m", "benchmarks.ours"] if program == "ours" else [str(HERE / "peers" / f"{program}.py")]
    environment = {**os.environ, **blas_threads(1)}
    done = subprocess.run(
        [str(python), *command, str(folder / "spec.json"), str(folder / "out.json")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{program} failed:\n{done.stderr}")
    out: dict[str, Any] = json.loads((folder / "out.json").read_text())
    return out


if __name__ == "__main__":
    main()
