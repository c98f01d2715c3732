"""Inputs that nobody should give, mutated at random: each is refused with a message, or works; nothing ends in a
traceback, hangs, or is taken in silence for what it is not.
"""

import contextlib
import io
import json
import multiprocessing
import os
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from soak import mutations

CONFIGS = Path(__file__).parent.parent / "configs"
SECONDS = 60.0
"""An input that takes longer hangs: seconds of the processor, so that other work beside it counts for nothing. The dry
run of the largest study of configs/ takes a third of it where nothing of it was checked before."""
WAITING = 600.0
"""An input that waits for longer hangs too, since it waits for something else than the processor."""
TRIES = {"study": 1700, "models.yaml": 900, "examples": 700, "command line": 600, "results": 700, "weights": 500}
"""Number of inputs of each kind."""
BAD = ("tracebacks", "hangs", "crashes", "silent", "cannot run")
"""Verdicts that must not occur. The others are `refused`, which has a message, and `taken`."""
TASK = """{"prompt": "the sun is", "answer": "warm", "class": "good", "split": "train", "wording": "plain"}
{"prompt": "the rain is", "answer": "wet", "class": "bad", "split": "train", "wording": "plain"}
{"prompt": "the sea is", "answer": "blue", "class": "good", "split": "test", "wording": "plain", "template": "is"}
{"prompt": "the mud is", "answer": "brown", "class": "bad", "split": "test", "wording": "plain", "group": "mud"}
"""
OF_TASK = """name: task
models: [tiny-llama]
data: {file: task.jsonl}
grid:
  layers: [0.5]
  pairs:
    - {good: good, bad: bad}
  weights: [0.5]
"""
Made = Mapping[str, Any]
"""What the inputs of all kinds are made from, by name."""


def refused_inputs(tries: Mapping[str, int] = TRIES, seed: int = 0, at_a_time: int = 2) -> dict[str, Any]:
    """Try inputs of each kind; return how often each verdict came, and what told of those that must not come."""
    inputs = [(kind, f"{seed} {kind} {number}") for kind, count in tries.items() for number in range(count)]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(at_a_time) as pool:
        shares = [(inputs[i::at_a_time], Path(folder) / str(i)) for i in range(at_a_time)]
        told = [one for share in pool.map(lambda share: _tried(*share), shares) for one in share]
    counts = Counter(verdict for _, verdict, _ in told)
    worst = [f"{name}: {verdict}: {why}" for name, verdict, why in told if verdict in BAD]
    return {"faults": len(told), **{name: counts[name] for name in ("refused", "taken", *BAD)}, "worst": worst}


def _tried(inputs: Sequence[tuple[str, str]], folder: Path) -> list[tuple[str, str, str]]:
    """Return the name of each input, the verdict, and what told of it."""
    folder.mkdir()
    with Trial(folder) as trial:
        return [(seed, *trial.of(kind, seed)) for kind, seed in inputs]


class Trial:
    """A process that tries one input after the other; one that takes too long or dies is replaced."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: Any = None
        self._pipe: Connection | None = None

    def __enter__(self) -> "Trial":
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def of(self, kind: str, seed: str) -> tuple[str, str]:
        """Return the verdict on one input, and what tells of it where it is bad."""
        if self._pipe is None:
            self._begin()
        assert self._pipe is not None
        self._pipe.send((kind, seed))
        if not self._answers():
            self._end()
            return "hangs", f"longer than {SECONDS:g} s"
        try:
            verdict: tuple[str, str] = self._pipe.recv()
        except EOFError:
            self._end()
            return "crashes", "its process died"
        return verdict

    def _answers(self) -> bool:
        """Wait for the answer; returns whether it comes in time."""
        began, spent = time.monotonic(), self._spent()
        assert self._pipe is not None
        while not self._pipe.poll(0.2):
            if self._spent() - spent > SECONDS or time.monotonic() - began > WAITING:
                return False
        return True

    def _spent(self) -> float:
        """Return the processor's seconds that the process and those that it started have used."""
        seconds = 0.0
        with contextlib.suppress(psutil.Error):  # it has died, of which the pipe tells
            process = psutil.Process(self._process.pid)
            for one in [process, *process.children(recursive=True)]:
                with contextlib.suppress(psutil.Error):
                    times = one.cpu_times()
                    seconds += times.user + times.system + times.children_user + times.children_system
        return seconds

    def _begin(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._folder), daemon=True)
        self._process.start()
        theirs.close()
        assert self._pipe.recv() == "ready"

    def _end(self) -> None:
        if self._pipe is not None:
            self._process.kill()
            self._process.join()
            self._pipe.close()
            self._pipe = None


def _serve(pipe: Connection, folder: Path) -> None:
    os.environ["STUDY_CACHE"] = str(folder / "cache")  # where there are no real models, whose tokenizers take seconds
    made = make(folder / "made")
    pipe.send("ready")
    with contextlib.suppress(EOFError):
        while True:
            kind, seed = pipe.recv()
            work = folder / "work"
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            pipe.send(judged(kind, random.Random(seed), work, made))


def judged(kind: str, rng: random.Random, work: Path, made: Made) -> tuple[str, str]:
    """Return the verdict on one input that `rng` makes in the folder `work`."""
    try:
        return KINDS[kind](rng, work, made)
    except BaseException as error:  # whatever it is, a user would see it
        return "tracebacks", f"{type(error).__name__}: {error}"


def make(folder: Path) -> Made:
    """Make, or find, what inputs are made from: a finished study, and a model as a folder and as a GGUF file."""
    from soak.small_gguf import write_gguf
    from study.models.load import fetch
    from study.pipeline.units import run_unit
    from study.plan.read import read_study
    from study.results.description import write_description

    plan = read_study(CONFIGS / "smoke.yaml")
    results, model, gguf = folder / "results", folder / "model", folder / "small.gguf"
    if not gguf.exists():
        shutil.rmtree(folder, ignore_errors=True)
        for unit in plan.units:
            assert run_unit(unit, results).state == "done"
        models = {name: entry.model_dump(mode="json") for name, entry in plan.models.items()}
        write_description(results, plan.study.name, plan.study.model_dump(mode="json"), models, plan.units)
        shutil.copytree(fetch(plan.models["tiny-llama"]), model)
        write_gguf(gguf)
    return {"plan": plan, "results": results, "model": model, "gguf": gguf, "rows": _rows(results)}


def command(arguments: list[str]) -> tuple[str, str]:
    """Return how a command of the program takes its arguments."""
    from study.commands import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(arguments)
        except SystemExit as end:  # argparse's, with its message
            code = end.code if isinstance(end.code, int) else 1
    if "Traceback" in err.getvalue() + out.getvalue():
        return "tracebacks", err.getvalue()[-300:]
    if code == 0:
        return "taken", out.getvalue()
    told = (err.getvalue() + out.getvalue()).strip()
    return ("refused", told) if code in (1, 2, 3) and told else ("silent", f"exit code {code}")


def _study(rng: random.Random, work: Path, made: Made) -> tuple[str, str]:
    """A study's YAML, whose accepted forms of the smallest study are also tried to run."""
    names = sorted(file.name for file in CONFIGS.glob("*.yaml") if file.name != "models.yaml")
    name = rng.choice([*names, "smoke.yaml", "smoke.yaml"])
    for beside in (CONFIGS / "models.yaml", *CONFIGS.glob("*.jsonl")):
        (work / beside.name).symlink_to(beside)
    file = work / "study.yaml"
    file.write_text(mutations.of_lines((CONFIGS / name).read_text(), rng), encoding="utf-8")
    found = command(["run", str(file), "--dry-run", "--results", str(work / "results")])
    return can_run(file, work) if name == "smoke.yaml" and found[0] == "taken" else found


def _models(rng: random.Random, work: Path, made: Made) -> tuple[str, str]:
    entries = (CONFIGS / "models.yaml").read_text().split("\n\n")
    local = f"local:\n  source:\n    folder: {made['model']}\n  blocks: 4\n"
    own = f"own:\n  source:\n    gguf: {made['gguf']}\n  blocks: 2\n"
    tiny = "tiny:\n  source:\n    built: llama\n    settings: {num_key_value_heads: 2}\n  blocks: 2\n  chat: false\n"
    text = mutations.of_lines(rng.choice([local, own, tiny, local + own + tiny, rng.choice(entries)]), rng)
    (work / "models.yaml").write_text(text, encoding="utf-8")
    study = (CONFIGS / "smoke.yaml").read_text()
    name = rng.choice(["local", "own", "tiny"])
    (work / "study.yaml").write_text(study.replace("tiny-llama", name), encoding="utf-8")
    return command(["run", str(work / "study.yaml"), "--dry-run", "--results", str(work / "results")])


def _examples(rng: random.Random, work: Path, made: Made) -> tuple[str, str]:
    lines = [
        mutations.of_json(line, rng)
        if rng.random() < 0.3
        else mutations.of_lines(line, rng)
        if rng.random() < 0.2
        else line
        for line in TASK.strip().split("\n")
    ]
    (work / "models.yaml").symlink_to(CONFIGS / "models.yaml")
    (work / "task.jsonl").write_text("\n".join(lines), encoding="utf-8", errors="replace")
    (work / "study.yaml").write_text(OF_TASK)
    found = command(["run", str(work / "study.yaml"), "--dry-run", "--results", str(work / "results")])
    return can_run(work / "study.yaml", work) if found[0] == "taken" else found


def can_run(file: Path, work: Path) -> tuple[str, str]:
    """Whether a study that a dry run takes can be run, tried with few steps and prompts."""
    from study.config.units import Cell
    from study.pipeline.units import run_with_foundations
    from study.plan.read import Plan, read_study

    plan = read_study(file)
    few = {"steps": 2, "batch_size": 2}
    evaluation = plan.study.evaluation
    tiers = {tier: min(2, evaluation.prompts_in(tier)) for tier in plan.study.data.tiers}
    smaller = {
        "stage1": plan.study.stage1.model_copy(update=few),
        "stage2": plan.study.stage2.model_copy(update=few),
        "evaluation": evaluation.model_copy(update={"prompts_per_class": tiers, "batch_size": 8, "causal_prompts": 1}),
    }
    plan = Plan(plan.study.model_copy(update=smaller), plan.models)
    if any(model.blocks > 4 for model in plan.models.values()):
        return "taken", ""
    last = [unit for unit in plan.units if isinstance(unit, Cell)][-1]
    for unit, ending in run_with_foundations(last, work / "ran"):
        if ending.state == "failed" and "lower" not in ending.reason:  # a learning rate that is too high
            return "cannot run", f"{unit.label}: {ending.reason}"
    return "taken", ""


def _command_line(rng: random.Random, work: Path, made: Made) -> tuple[str, str]:
    results = str(made["results"])
    (work / "file").write_text("x")
    arguments = rng.choice(
        [
            ["run", str(CONFIGS / "smoke.yaml"), "--dry-run", "--results", results, "--only", "layer=1"],
            ["status", results],
            ["report", "--results", results, "--out", str(work / "r.md")],
            ["pack", results, str(work / "packed")],
            ["merge", str(work / "into"), results],
            ["doctor", "--help"],
            ["schemas", "--help"],
        ]
    )
    strange = [*mutations.WORDS, str(work / "file"), str(work / "file" / "below"), str(work)]
    for _ in range(rng.randint(1, 2)):
        place = rng.randrange(1, len(arguments) + 1)
        arguments[place : place + rng.randint(0, 1)] = [rng.choice(strange)]
    if arguments[0] == "run" and "--dry-run" not in arguments:
        arguments.append("--dry-run")
    if arguments[0] in ("pack", "report", "merge"):  # so that nothing is written elsewhere
        with contextlib.chdir(work):
            return command(arguments)
    return command(arguments)


def _rows(root: Path) -> Any:
    """Return what a report reads of a study: the rows of each unit, and the reasons of those that have none."""
    from analysis.data.results import read_results

    found = read_results(root)
    frames = {(name, unit): frame.to_csv() for name, frames in found.rows.items() for unit, frame in frames.items()}
    unreadable = {unit.id for unit in found.everything.values() if not unit.finished}
    config = [found.name, found.config, found.models, [unit.label for unit in found.everything.values()], found.done]
    return frames, unreadable, config


def _results(rng: random.Random, work: Path, made: Made) -> tuple[str, str]:
    """A results folder of which something is changed; what is read of it is as it was, or is named as unreadable."""
    from study.results.description import ResultsError

    root = work / "results"
    shutil.copytree(made["results"], root)
    mutations.of_tree(root, rng)
    worst = ("taken", "")
    smoke = str(CONFIGS / "smoke.yaml")
    for arguments in (
        ["status", str(root)],
        ["run", smoke, "--dry-run", "--results", str(root)],
        ["pack", str(root), str(work / "packed")],
        ["merge", str(work / "into"), str(root)],
    ):
        found = command(arguments)
        if found[0] in BAD:
            return found[0], f"{arguments[0]}: {found[1]}"
        worst = found if found[0] == "refused" else worst
    frames, _, config = made["rows"]
    for place in (root, *([work / "packed"] if (work / "packed").is_dir() else [])):
        try:
            now, unreadable, described = _rows(place)
        except ResultsError as error:
            worst = ("refused", str(error))
            continue
        lost = {unit for _, unit in frames} - {unit for _, unit in now}
        changed = [f"{name} of {unit}" for (name, unit), rows in now.items() if frames.get((name, unit)) != rows]
        if changed or lost - unreadable or (not unreadable and described != config):
            return "silent", f"{place.name}: {', '.join(changed) or 'the description'} differs"
        worst = ("refused", "unreadable units") if unreadable else worst
    return worst


def _weights(rng: random.Random, work: Path, made: Made) -> tuple[str, str]:
    """A model's folder or GGUF file of which something is changed: it loads and computes numbers, or is refused; by a
    dry run too, but for what only the weights show."""
    from study.config.catalogue import FolderSource, GgufSource, Model
    from study.lens.hooks import LensError
    from study.lens.trace import trace
    from study.models import ModelError
    from study.models.limits import EncodingError
    from study.models.load import load

    source: Any
    if rng.random() < 0.4:
        file = work / "small.gguf"
        file.write_bytes(mutations.of_bytes(made["gguf"].read_bytes(), rng, within=9000))
        source, blocks = GgufSource(gguf=str(file)), 2
    else:
        folder = work / "model"
        shutil.copytree(made["model"], folder)
        file = rng.choice([*sorted(folder.glob("*.json")), folder / "model.safetensors"])
        if file.suffix == ".json" and rng.random() < 0.7:
            file.write_text(mutations.of_json(file.read_text(), rng))
        else:
            file.write_bytes(mutations.of_bytes(file.read_bytes(), rng, within=4000))
        source, blocks = FolderSource(folder=str(folder)), 4
    (work / "models.yaml").write_text(f"m: {{source: {json.dumps(source.model_dump())}}}\n")
    (work / "study.yaml").write_text((CONFIGS / "smoke.yaml").read_text().replace("tiny-llama", "m"))
    ahead = command(["run", str(work / "study.yaml"), "--dry-run", "--results", str(work / "results")])
    if ahead[0] in BAD:
        return ahead
    try:
        loaded = load(Model(source=source, blocks=blocks))
        states = trace(loaded.model, loaded.tokenizer, "add").states
        return ("taken", "") if bool(np.isfinite(np.array(states)).all()) else ("silent", "values that are not finite")
    except (ModelError, EncodingError, LensError) as error:
        told = str(error)
        seen_in_weights = isinstance(error, LensError) or "not finite" in told or isinstance(source, GgufSource)
        return ("refused", told) if ahead[0] == "refused" or seen_in_weights else ("cannot run", told)


KINDS: dict[str, Callable[[random.Random, Path, Made], tuple[str, str]]] = {
    "study": _study,
    "models.yaml": _models,
    "examples": _examples,
    "command line": _command_line,
    "results": _results,
    "weights": _weights,
}


if __name__ == "__main__":
    began = time.monotonic()
    print(refused_inputs({kind: max(1, count // 20) for kind, count in TRIES.items()}), time.monotonic() - began)
