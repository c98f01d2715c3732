"""What is measured of a model before any class is trained, for the tasks of a study."""

from collections.abc import Sequence

import mlx.nn as nn

from study.config.study import AnyData, Lora, Study
from study.config.units import Readout
from study.lens.prompt_checks import usable_tokens
from study.lens.tokens import Encoded, Readouts, encode
from study.measures import predictors
from study.models.limits import CheckedTokenizer
from study.models.load import Loaded
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


def measured_model(loaded: Loaded, study: Study, prompts: int, seed: int = 0) -> list[Row]:
    """Return the predictors of a model as it is, before stage 1, for the tasks and class tokens of a study.

    `prompts` is the number of held-out prompts of each operation in each tier, or all that a tier has. Raises
    ClassTokenError where a class name is not one token or stands in a prompt, EncodingError where the model cannot take
    a prompt, LensError where the lens cannot read its blocks.
    """
    data, tokenizer = study.data, loaded.tokenizer
    task = task_of(data)
    counts = {tier: min(prompts, task.largest_held_out(tier)) for tier in data.tiers}
    evaluation = study.evaluation.model_copy(update={"prompts_per_class": counts})
    encoded = [encode(tokenizer, one) for one in task.evaluation_prompts(data.operations, evaluation, seed)]
    readouts = [
        (asked, usable_tokens(tokenizer, asked, seed, task.words, encoded))
        for asked in (Readout(pair=pair) for pair in study.grid.pairs)
    ]
    return measured_before(
        loaded.model, tokenizer, data, readouts, encoded, study.stage2.lora, seed, evaluation.batch_size
    )
