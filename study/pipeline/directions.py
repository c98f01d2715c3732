"""A trained cell's class directions, for other programs: as safetensors, and as control vectors of llama.cpp.

A control vector is what llama.cpp adds to the output of a block at every position: a GGUF file with the one-dimensional
float32 tensor `direction.L`, L the 0-based index of the block; it has none for block 0.
"""

from collections.abc import Iterable, Sequence
from itertools import permutations
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from gguf import GGUFWriter
from jaxtyping import Float

from study.config.lenses import LENSES
from study.config.units import Cell
from study.lens.hooks import attached
from study.lens.readout import class_direction, last_states
from study.lens.tokens import ClassToken, Readouts, encode
from study.lens.translators import Translators
from study.models.limits import CheckedTokenizer
from study.results.files import write_bytes
from study.tasks import FITTING_PROMPTS, task_of
from study.tasks.prompts import Prompt

TENSORS, PAGE = "directions.safetensors", "README.md"

Directions = dict[str, Float[np.ndarray, " hidden"]]
"""By name: `shift.CLASS`, the mean state of the class minus the mean of those of the other classes; `lens.CLASS/OTHER`,
the unit vector along which the lens' logit of the class minus that of the other rises most."""


def class_directions(
    model: nn.Module, tokenizer: CheckedTokenizer, cell: Cell, readouts: Readouts, translators: Translators | None
) -> tuple[Directions, list[Prompt]]:
    """Return the directions at the cell's layer of the model with its adapter on it, and the prompts.

    They are measured at the last token of training prompts, of the first wording of the task.
    """
    first, tokens, layer = cell.stage_one, readouts[0][1], cell.layer or 0
    prompts = task_of(first.data).fitting_prompts(cell.operations, FITTING_PROMPTS, first.seed)
    encoded = [encode(tokenizer, prompt) for prompt in prompts]
    asked = np.array([prompt.operation for prompt in prompts])
    found: Directions = {}
    with attached(model, translators) as lens:
        states = last_states(lens, encoded, cell.evaluation.batch_size)[:, layer]
        values = np.array(states.astype(mx.float32), np.float64)
        means = {operation: values[asked == operation].mean(axis=0) for operation in tokens}
        for operation, mean in means.items():
            others = [other for name, other in means.items() if name != operation]
            found[f"shift.{operation}"] = mean - np.mean(others, axis=0)
        for one, other in permutations(tokens, 2):
            both = mx.array(np.flatnonzero((asked == one) | (asked == other)))
            found[f"lens.{one}/{other}"] = class_direction(lens, states[both], layer, tokens[one].id, tokens[other].id)
    return found, prompts


def write_directions(
    directions: Directions, prompts: Sequence[Prompt], cell: Cell, readouts: Readouts, architecture: str, folder: Path
) -> None:
    """Write the tensors, a control vector for each class where its block is not the first, and a page on them."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {operation: token.text for operation, token in readouts[0][1].items()}
    about = {
        "cell": cell.label,
        "id": cell.id,
        "layer": str(cell.layer),
        "blocks": str(cell.stage_one.model.blocks),
        "prompts": str(len(prompts)),
        "wording": ", ".join(dict.fromkeys(prompt.tier for prompt in prompts)),
        "class_tokens": ", ".join(f"{operation}: {text!r}" for operation, text in names.items()),
    }
    arrays = {name: mx.array(value.astype(np.float32)) for name, value in directions.items()}
    mx.save_safetensors(str(folder / TENSORS), arrays, about)
    if cell.layer:
        for operation in names:
            _write_control_vector(folder / f"{operation}.gguf", directions[f"shift.{operation}"], cell, architecture)
    write_bytes(folder / PAGE, _page(directions, about, cell, readouts[0][1].values()).encode())


def _write_control_vector(file: Path, direction: Float[np.ndarray, " hidden"], cell: Cell, architecture: str) -> None:
    writer = GGUFWriter(file, "controlvector")
    writer.add_string("controlvector.model_hint", architecture)
    writer.add_uint32("controlvector.layer_count", 1)
    writer.add_description(f"{cell.label} {cell.id}")
    writer.add_tensor(f"direction.{cell.layer}", direction.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _page(directions: Directions, about: dict[str, str], cell: Cell, tokens: Iterable[ClassToken]) -> str:
    layer = cell.layer
    before, model = ("after stage 1", "fused_stage1") if cell.stage_one.data.answered else ("as it came", "model")
    rows = [f"| `{name}` | {np.linalg.norm(value):.4g} |" for name, value in directions.items()]
    kind = cell.stage_one.lens
    lens = f"The lens is the {LENSES[kind]}" + (", `lens.safetensors` in the folder above." if kind != "logit" else ".")
    first = (
        "\n\nThe class names are read as sequences; `lens` directions are of the first token of each."
        if any(token.rest for token in tokens)
        else ""
    )
    control = (
        f"`CLASS.gguf` is `shift.CLASS` for llama.cpp, which adds it to the output of block {layer} at every position: "
        f"`llama-cli -m MODEL.gguf --lora ADAPTERS.gguf --control-vector-scaled CLASS.gguf:1`. Make both files with "
        f"llama.cpp's converters from `{model}` and `adapters`, beside this folder. The files follow the layout "
        "that llama.cpp reads; they were not tried in llama.cpp."
        if layer
        else "llama.cpp has no control vector for block 0, so that there is none here."
    )
    return f"""# Class directions of {cell.label}

Cell {about["id"]}, model {cell.stage_one.model_name}; class tokens {about["class_tokens"]}. All are of the output of
block {layer}, 0-based, of {about["blocks"]}, at the last token of {about["prompts"]} training prompts
({about["wording"]}), with the cell's adapter on the model {before}. `{TENSORS}` has them in float32.

| tensor | length |
|---|---|
{chr(10).join(rows)}

`shift.CLASS` is the mean state of the prompts of a class minus the mean of the other classes' means: added once, it
moves the mean of the others to that of the class, and half of it to the middle. `lens.CLASS/OTHER` is a unit vector,
along which the lens' logit of the class token minus that of the other rises most there. {lens}{first}

{control}

That a class can be read along a direction does not say that the model uses it: the report of the study has the exchange
of states. Whoever passes these files on passes on something made of the model: see its licence.
"""
