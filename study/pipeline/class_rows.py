"""The rows of the unembedding that an arm gives its class tokens, while its cells train and are measured."""

from collections.abc import Iterator
from contextlib import contextmanager

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from study.config.arms import ARMS
from study.config.units import Cell
from study.lens.class_rows import class_rows
from study.lens.head import head_of
from study.lens.hooks import attached
from study.lens.readout import last_states
from study.lens.tokens import Readouts, encode
from study.models.limits import CheckedTokenizer
from study.tasks import FITTING_PROMPTS, task_of


@contextmanager
def class_rows_of_arm(model: nn.Module, tokenizer: CheckedTokenizer, cell: Cell, readouts: Readouts) -> Iterator[None]:
    """Within the context, the class tokens that a cell trains have the rows of its arm.

    The class means are those of the training prompts on which probes are fitted, before stage 2. Where the unembedding
    is the input embedding, that changes too: no prompt has a class token. Raises LensError where the architecture has
    no unembedding whose input can be seen, or its rows are quantised.
    """
    kind = ARMS[cell.arm].class_rows
    if kind == "own" or cell.layer is None:
        yield
        return
    first, tokens = cell.stage_one, readouts[0][1]
    prompts = task_of(first.data).fitting_prompts(cell.operations, FITTING_PROMPTS, first.seed)
    with attached(model) as lens:
        encoded = [encode(tokenizer, prompt) for prompt in prompts]
        states = last_states(lens, encoded, cell.evaluation.batch_size)[:, cell.layer]
        head = head_of(model, lens, states)
        inputs = head.inputs(lens, states)
    asked = np.array([prompt.operation for prompt in prompts])
    ids = mx.array([token.id for token in tokens.values()])
    own = np.array(head.rows(ids), np.float64)
    rows = class_rows(kind, [inputs[asked == operation] for operation in tokens], own, first.seed)
    with head.with_rows(ids, mx.array(rows.astype(np.float32))):
        yield
