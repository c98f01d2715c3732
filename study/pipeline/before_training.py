"""What is measured of a model before any class is trained, for the tasks of a study."""

from collections.abc import Sequence

import mlx.nn as nn

from study.config.study import AnyData, Lora, Study
from study.config.units import Readout
from study.lens.prompt_checks import usable_tokens
from study.lens.tokens import Encoded, Readouts, encode
from study.measures import predictors
from study.measures.predictors import measure_probes
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


def probed_model(loaded: Loaded, study: Study, prompts: int, seed: int = 0) -> list[Row]:
    """Return what probes tell of a model as it is, before stage 1, for the tasks and class tokens of a study.

    A row is a pair, layer and tier, with `probe`, `probe_below` and the depth. `prompts` is the number of held-out
    prompts of each operation in each tier, or all that a tier has. Raises ClassTokenError where a class name is not one
    token or stands in a prompt, EncodingError where the model cannot take a prompt, LensError where the lens cannot
    read its blocks.
    """
    data, tokenizer = study.data, loaded.tokenizer
    task, batch_size = task_of(data), study.evaluation.batch_size
    counts = {tier: min(prompts, task.largest_held_out(tier)) for tier in data.tiers}
    evaluation = study.evaluation.model_copy(update={"prompts_per_class": counts})
    encoded = [encode(tokenizer, one) for one in task.evaluation_prompts(data.operations, evaluation, seed)]
    rows: list[Row] = []
    found: dict[frozenset[str], list[Row]] = {}
    for pair in (Readout(pair=pair) for pair in study.grid.pairs):
        usable_tokens(tokenizer, pair, seed, task.words, encoded)
        own = frozenset(pair.pair)  # a probe tells apart what the class tokens do, and no other operation
        if own not in found:
            fitting = task.fitting_prompts([one for one in data.operations if one in own], FITTING_PROMPTS, seed)
            asked = [item for item in encoded if item.prompt.operation in own]
            found[own] = measure_probes(loaded.model, asked, [encode(tokenizer, one) for one in fitting], batch_size)
        rows += [{"pair": pair.name, **row} for row in found[own]]
    return rows
