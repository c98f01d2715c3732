"""What is measured of a model before any class is trained, for the tasks of a study."""

from collections.abc import Sequence

import mlx.nn as nn

from study.config.study import AnyData, Lora
from study.lens.tokens import Encoded, Readouts, encode
from study.measures import predictors
from study.models.limits import CheckedTokenizer
from study.results.schema import Row
from study.tasks import FITTING_PROMPTS, task_of


def measured_before(
    model: nn.Module,
    tokenizer: CheckedTokenizer,
    data: AnyData,
    readouts: Readouts,
    held_out: Sequence[Encoded],
    lora: Lora,
    seed: int,
    batch_size: int,
) -> list[Row]:
    """Return the predictors of every pair of class tokens, layer and tier, a row each, task by task.

    They are measured on the prompts `held_out`; probes are fitted and gradients taken on prompts that trainings may
    see. `lora` is the adapter of stage 2, whose gradients they are.
    """
    rows: list[Row] = []
    for operations in data.by_task:
        own = [one for one in readouts if set(one[1]) <= set(operations)]
        if not own:
            continue
        fitting, remembered = (
            [
                encode(tokenizer, prompt)
                for prompt in task_of(data).fitting_prompts(operations, FITTING_PROMPTS, seed, kept)
            ]
            for kept in (False, True)
        )
        asked = [item for item in held_out if item.prompt.operation in operations]
        rows += predictors.measure(model, own, asked, fitting, remembered, lora, seed, batch_size)
    return rows
