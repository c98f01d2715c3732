"""`study architectures`: whether the study works with each architecture of the installed mlx-lm, as a table.

Each architecture is built tiny, with random weights, and goes through the study's own code in float32 on the CPU.
"""

import argparse
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_unflatten
from mlx_lm.models.cache import ArraysCache, CacheList, make_prompt_cache
from mlx_lm.models.switch_layers import SwitchLinear
from mlx_lm.utils import MODEL_REMAPPING

from study.config.catalogue import BuiltSource, Model
from study.config.data import Data
from study.config.names import ROLES, Operation, Role, Tier
from study.config.stages import Lora, Stage2
from study.config.units import Readout
from study.lens.hooks import attached
from study.lens.tokens import Encoded, class_tokens, encode, padded
from study.models.arguments import architectures
from study.models.load import Loaded, load
from study.models.roles import roles
from study.pipeline.gates import Gate, checked, fused_gate, lens_gate
from study.results.files import write_bytes
from study.tasks import task_of
from study.training import adapters
from study.training.loop import Objective, Trained, TrainingData, train
from study.training.objectives import ClassLoss, dual_reward, make_batch

BLOCKS = 4
STEPS = 6
RATE = 5e-3
SAME = 1e-4
"""Largest difference of numbers that should be equal, as a share of the largest of them."""
DATA = Data(smallest=2, largest=9)
OPERATIONS: tuple[Operation, ...] = ("multiply", "add")
PAIR = Readout(pair={"multiply": "multiply", "add": "add"})
WORDINGS: tuple[Tier, ...] = ("symbolic", "story")
"""A tier with short prompts and one with long ones, so that batches are padded."""
LORA = Lora(rank=4, alpha=8.0, projections="all")

WHY = {
    "bitnet": "its ternary weights are multiplied by a Metal kernel, which has no gradient",
    "deepseek_v41": "its blocks carry several streams of hidden states",
    "gemma3n": "its blocks carry several streams of hidden states",
    "iquestloopcoder": "the model runs the parts of its blocks itself, twice over: there is no output of a block",
    "kimi_k3": "the final norm reads the outputs of several blocks, mixed by their content",
    "muse_spark": "it is computed in bfloat16, by Metal kernels that have no gradient",
    "recurrent_gemma": "its class in mlx-lm leaves out the constructor of `nn.Module` and cannot be frozen",
}
"""The reason behind the error, for architectures that are refused."""
NOTES = {
    "rwkv7": "on Metal, mlx-lm computes it by a kernel that has no gradient: train it on the CPU or with CUDA",
}

PAGE = """# Architectures of mlx-lm {version}

{works} of {all} work. `study architectures` makes this page. Each architecture is built tiny, with random
weights and {blocks} blocks (`source: {{built: NAME}}`), and goes through the study's own code in float32 on the CPU.
It works where

- the lens of the last block gives the model's logits, to 0.01 % of their spread;
- a prompt in a padded batch has the states that it has alone, and cells that share their lower blocks have the states
  of cells that do not;
- two cells side by side, with adapters on all linear layers, lower their losses, and each computes what its adapter
  computes alone;
- the fused model gives the adapted one's logits, to 0.1 % of their spread.

*Blocks*: attention keeps keys and values of every token; recurrent blocks (state space, linear attention, short
convolution) keep a state of one size; a hybrid has both. Where something is *shared*, later blocks take keys and
values of earlier ones beside the hidden state; what is done to the state of a block, in the arm `detached_answer` and
in the exchange of states, leaves these as they are.

*Query* to *mlp* are the roles that `lora.projections` may name, with the linear layers that have them; (2) is a layer
that only two of the {blocks} blocks have. A role can be named where every block has it; elsewhere the study refuses it,
and says what the blocks without it have. *No role* is what `all` adapts beside. Never adapted are what chooses
(routers, indexers), the experts, and what is not a linear layer, such as convolutions and the maps that latent
attention has for each head.

| {heads} |
{line}|
{working}

{notes}

## Refused

| architecture | why |
|---|---|
{refused}
"""


class CheckError(Exception):
    """An architecture does not meet a condition of the study."""


@dataclass(frozen=True)
class Finding:
    """The result for one architecture."""

    architecture: str
    refused: str = ""
    """The reason why it is refused; empty where it works."""
    blocks: str = ""
    """Kind of its blocks: attention, recurrent or hybrid, and `experts` or `shared`."""
    layers: dict[Role | None, dict[str, int]] = field(default_factory=dict)
    """Names of the linear layers that can be adapted, by role or None, each with the number of blocks that have it."""


def examine(architecture: str) -> Finding:
    """Build a tiny model of an architecture in the cache of models, try it, and return the result."""
    try:
        loaded = load(Model(source=BuiltSource(built=architecture), blocks=BLOCKS))
        _try(loaded)
    except Exception as error:  # the table reports whatever mlx-lm raises
        return Finding(architecture, refused=WHY.get(architecture) or " ".join(str(error).split()))
    return Finding(architecture, blocks=_kind(loaded.model), layers=_layers(loaded.model))


def _try(loaded: Loaded) -> None:
    """Train and check a model. Raises an error where something fails."""
    model = loaded.model
    prompts = task_of(DATA).training_prompts(OPERATIONS, WORDINGS, seed=0, step=1, batch_size=4)
    encoded = [encode(loaded.tokenizer, prompt) for prompt in prompts]
    ids = make_batch(encoded).ids
    if model(ids).dtype != mx.float32:
        raise CheckError("it does not compute in float32")
    checked(lens_gate(model, ids))
    _check_padding(model, [item.prompt_ids for item in encoded])
    _check_copies(model, ids)
    cells = _trained(loaded)
    _check_stack(model, cells, ids)
    checked(fused_gate(model, ids))


def _check_padding(model: nn.Module, prompts: Sequence[Sequence[int]]) -> None:
    """Check that a prompt has the same hidden states in a padded batch as alone. Raises GateError."""
    with attached(model) as lens:
        together = lens.hidden(padded(prompts))
        for row, prompt in enumerate(prompts):
            for ours, alone in zip(together, lens.hidden(mx.array([prompt])), strict=True):
                _check_same("states of a padded batch", ours[row, : len(prompt)], alone[0])


def _check_copies(model: nn.Module, ids: mx.array) -> None:
    """Check that cells that share their lower blocks have the same hidden states as without sharing. Raises
    GateError."""
    with attached(model) as lens:
        expected = lens.hidden(mx.tile(ids, (2, 1)))
        for shared in range(BLOCKS):
            for ours, theirs in zip(lens.hidden(ids, copies=2, shared=shared), expected, strict=True):
                _check_same("states of cells that share blocks", ours, theirs[: len(ours)])


def _trained(loaded: Loaded) -> list[Trained]:
    """Train a cell with a class loss and one without, side by side. Raises CheckError where their losses on the first
    batch do not fall."""
    tokens = {operation: token.id for operation, token in class_tokens(loaded.tokenizer, PAIR).items()}
    objectives = [Objective(RATE, ClassLoss(BLOCKS // 2, 0.5, tokens)), Objective(RATE)]
    settings, data = (
        Stage2(steps=STEPS, learning_rate=RATE, warmup_steps=0, lora=LORA),
        TrainingData(DATA, OPERATIONS, 0),
    )
    cells = train(loaded.model, loaded.tokenizer, settings, data, objectives)
    first, _ = data.batch(loaded.tokenizer, 1, settings.batch_size)
    for cell, objective in zip(cells, objectives, strict=True):
        if cell.error:
            raise cell.error
        if not _loss(loaded.model, cell, objective, first) < cell.curve[0]["loss"]:
            raise CheckError("training does not lower the loss")
    return cells


def _loss(model: nn.Module, cell: Trained, objective: Objective, encoded: Sequence[Encoded]) -> float:
    """Return the loss of a trained cell on a batch."""
    adapters.put(model, LORA, cell.weights)
    with attached(model) as lens:
        loss, _ = dual_reward(lens, make_batch(encoded, cells=[objective.target]), [objective.target])
        value = float(np.array(loss))
    adapters.take_off(model)
    return value


def _check_stack(model: nn.Module, cells: Sequence[Trained], ids: mx.array) -> None:
    """Check that each cell of a stack computes the same as its adapter alone, and leave the last one's adapter on.

    Raises GateError.
    """
    adapters.stack(model, LORA, [0] * len(cells))
    stacked = {name: mx.stack([cell.weights[name] for cell in cells]) for name in cells[0].weights}
    model.update(tree_unflatten(list(stacked.items())))
    together = model(mx.tile(ids, (len(cells), 1))).reshape(len(cells), *ids.shape, -1)
    mx.eval(together)
    for ours, cell in zip(together, cells, strict=True):
        adapters.take_off(model)
        adapters.put(model, LORA, cell.weights)
        _check_same("logits of a stacked cell", ours, model(ids))


def _check_same(what: str, ours: mx.array, theirs: mx.array) -> None:
    one, other = np.array(ours), np.array(theirs)
    checked(Gate(f"{what} as alone", float(np.abs(one - other).max() / np.abs(other).max()), SAME))


def _kind(model: nn.Module) -> str:
    """Return the kind of the blocks, by what they cache, what they return, and which layers they contain."""
    kept = make_prompt_cache(model)[-BLOCKS:]
    caches = [one for cache in kept for one in (cache.caches if isinstance(cache, CacheList) else [cache])]
    recurrent = [isinstance(cache, ArraysCache) for cache in caches]
    kinds = ["recurrent" if all(recurrent) else "hybrid" if any(recurrent) else "attention"]
    if any(isinstance(m, SwitchLinear) or "experts" in name for name, m in model.named_modules()):
        kinds.append("experts")
    with attached(model) as lens:
        lens.hidden(mx.zeros((1, 1), dtype=mx.int32))
        if any(lens.beside):
            kinds.append("shared")
    return ", ".join(kinds)


def _layers(model: nn.Module) -> dict[Role | None, dict[str, int]]:
    found: dict[Role | None, dict[str, int]] = {}
    for block in model.layers:
        by_path = {path: those or (None,) for path, those in roles(adapters.linear(block)).items()}
        of_block = {(role, path.rpartition(".")[2]) for path, those in by_path.items() for role in those}
        for role, name in of_block:
            names = found.setdefault(role, {})
            names[name] = names.get(name, 0) + 1
    return found


def document(findings: Sequence[Finding]) -> str:
    """Return the text of docs/architectures.md."""
    working = [finding for finding in findings if not finding.refused]
    refused = [finding for finding in findings if finding.refused]
    return PAGE.format(
        version=version("mlx-lm"),
        works=len(working),
        all=len(findings),
        blocks=BLOCKS,
        heads=" | ".join(["architecture", "blocks", *ROLES, "no role"]),
        line="|---" * (len(ROLES) + 3),
        working="\n".join(map(_row, working)),
        notes="\n".join(f"`{name}`: {note}." for name, note in NOTES.items()),
        refused="\n".join(f"| {_named(finding)} | {finding.refused} |" for finding in refused),
    )


def _row(finding: Finding) -> str:
    cells = [_counted(finding.layers.get(role, {})) for role in (*ROLES, None)]
    return f"| {' | '.join([_named(finding), finding.blocks, *cells])} |"


def _named(finding: Finding) -> str:
    """Return the architecture's name, with the model types that mlx-lm reads as this one."""
    also = sorted(name for name, read_as in MODEL_REMAPPING.items() if read_as == finding.architecture)
    return ", ".join(f"`{name}`" for name in [finding.architecture, *also])


def _counted(names: dict[str, int]) -> str:
    told = (f"`{name}`" + (f" ({count})" if count < BLOCKS else "") for name, count in sorted(names.items()))
    return ", ".join(told) or "-"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="study architectures",
        description="Test every architecture of the installed mlx-lm, built tiny, and write a table of which work.",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("docs/architectures.md"),
        metavar="FILE",
        help="the table (default: docs/architectures.md)",
    )
    out = parser.parse_args(arguments).out
    mx.set_default_device(mx.cpu)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["STUDY_CACHE"] = cache
        findings = [examine(name) for name in architectures()]
    write_bytes(out, document(findings).encode())
    print(f"{sum(not finding.refused for finding in findings)} of {len(findings)} architectures work: {out}")
    return 0
