"""Export of a cell as checkpoints that mlx-lm loads (both adapters, and the model with stage 1 fused) and its class
directions."""

from pathlib import Path

from mlx_lm.utils import dequantize_model, save

from study.config.units import Cell
from study.lens.tokens import class_tokens
from study.models import ModelError
from study.pipeline.class_rows import class_rows_of_arm
from study.pipeline.directions import class_directions, write_directions
from study.pipeline.held_model import LENS, loaded_model, tokenizer_of, translators_of
from study.results.files import write_bytes
from study.results.store import Store
from study.tasks import task_of
from study.training import adapters

STAGE1, FUSED, STAGE2 = Path("stage1/adapters"), Path("stage2/fused_stage1"), Path("stage2/adapters")
DIRECTIONS = Path("stage2/directions")
"""Folders of the checkpoints, as in the published experiment."""
AS_IT_CAME = Path("stage2/model")
"""In place of FUSED where labels alone are trained, without a stage 1."""
TRANSLATORS = Path("stage2") / LENS
"""Where the lens is written by which the classes are read, if it is not the logit lens."""


def model_place(cell: Cell) -> Path:
    """Return the folder of the model that the cell's adapter belongs on, within that of the export."""
    return FUSED if cell.stage_one.data.answered else AS_IT_CAME


def export(cell: Cell, store: Store, folder: Path) -> None:
    """Write the checkpoints of a finished cell into `folder`, in float32; files that exist are replaced.

    `python -m mlx_lm generate --model FOLDER/stage2/fused_stage1 --adapter-path FOLDER/stage2/adapters` then runs the
    trained model; where labels alone are trained, `FOLDER/stage2/model` takes the place of the first. Raises
    DamagedError where results are damaged, ModelError where the model cannot be loaded, or mlx-lm alone would compute
    another one, and OSError where `folder` cannot be written.
    """
    first = cell.stage_one
    sources = [(store.verified(cell), STAGE2)]
    if first.data.answered:
        sources.append((store.verified(first), STAGE1))
    loaded = loaded_model(first, store)
    if loaded.reading.mends:
        raise ModelError(
            f"the checkpoints of {cell.label} are not written: mlx-lm alone would compute another model from them, "
            f"since the study changes {first.model_name} when it is loaded ({'; '.join(loaded.reading.told)})"
        )
    for source, place in sources:
        for name in (adapters.WEIGHTS, adapters.CONFIG):
            write_bytes(folder / place / name, (source / name).read_bytes())
    lens = None
    if first.data.answered:
        if lens := translators_of(first, store.verified(first)):
            write_bytes(folder / TRANSLATORS, (store.verified(first) / LENS).read_bytes())
        adapters.put(loaded.model, first.stage1.lora, adapters.load(store.verified(first)))
        adapters.fuse(loaded.model)
    dequantize_model(loaded.model)
    config = {key: value for key, value in loaded.config.items() if not key.startswith("quantization")}
    whole = folder / model_place(cell)
    whole.mkdir(parents=True, exist_ok=True)
    tokenizer = tokenizer_of(first, loaded)
    words = task_of(first.data).words
    trained = cell.readouts if cell.pair else []
    readouts = [(one, class_tokens(tokenizer, one, first.seed, words)) for one in trained]
    with class_rows_of_arm(loaded.model, tokenizer, cell, readouts):
        if readouts:
            adapters.put(loaded.model, cell.stage2.lora, adapters.load(store.verified(cell)))
            directions, prompts = class_directions(loaded.model, tokenizer, cell, readouts, lens)
            adapters.take_off(loaded.model)
            architecture = str(config.get("model_type", "unknown"))
            write_directions(directions, prompts, cell, readouts, architecture, folder / DIRECTIONS)
        # Last, since mlx-lm leaves the model without its weights.
        save(whole, loaded.path, loaded.model, loaded.tokenizer.own, config)
