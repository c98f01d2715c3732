"""What is measured of a model before any class is trained, for the tasks of a study."""

from collections.abc import Sequence

import mlx.nn as nn

from study.config.data import AnyData
from study.config.stages import Lora
from study.config.study import Study
from study.config.units import Readout
from study.lens.prompt_checks import usable_tokens
from study.lens.tokens import Encoded, Readouts, encode
from study.lens.translators import Translators
from study.measures import predictors
from study.measures.lenses import lens_choices
from study.measures.predictors import measure_probes
from study.models.limits import CheckedTokenizer, EncodingError
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
    translators: Translators | None,
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
        rows += predictors.measure(model, own, asked, fitting, remembered, lora, seed, batch_size, translators)
    return rows


def probed_model(loaded: Loaded, study: Study, prompts: int, seed: int = 0) -> list[Row]:
    """Return what probes tell of a model as it is, before stage 1, for the tasks and class tokens of a study.

    A row is a pair, layer and tier, with `probe`, `probe_below`, the depth, and whether the probe was fitted on other
    prompts of the tier (`fitted`). Prompts and errors are those of `asked`; raises LensError where the lens cannot read
    the blocks.
    """
    data, tokenizer = study.data, loaded.tokenizer
    task, batch_size = task_of(data), study.evaluation.batch_size
    encoded, readouts = asked(loaded, study, prompts, seed)
    rows: list[Row] = []
    found: dict[frozenset[str], list[Row]] = {}
    tiers: set[str] = set()
    for pair, _ in readouts:
        own = frozenset(pair.pair)  # a probe tells apart what the class tokens do, and no other operation
        if own not in found:
            fitting = task.fitting_prompts([one for one in data.operations if one in own], FITTING_PROMPTS, seed)
            tiers |= {prompt.tier for prompt in fitting}
            held_out = [item for item in encoded if item.prompt.operation in own]
            found[own] = measure_probes(loaded.model, held_out, [encode(tokenizer, one) for one in fitting], batch_size)
        rows += [{"pair": pair.name, **row} for row in found[own]]
    return [{**row, "fitted": row["tier"] in tiers} for row in rows]


def read_by_lenses(
    loaded: Loaded, study: Study, prompts: int, lenses: Sequence[Translators], seed: int = 0
) -> list[Row]:
    """Return what lenses read of a model as it is, for the class tokens of a study: the rows of `lens_choices`.

    Prompts and errors are those of `asked`; raises LensError where a lens cannot read the blocks.
    """
    encoded, readouts = asked(loaded, study, prompts, seed)
    return lens_choices(loaded.model, lenses, readouts, encoded, study.evaluation.batch_size)


def asked(loaded: Loaded, study: Study, prompts: int, seed: int) -> tuple[list[Encoded], Readouts]:
    """Return the held-out prompts of a study, `prompts` of each operation in each tier or all that a tier has, and its
    class tokens.

    Raises ClassTokenError where a class name is not one token or stands in a prompt, EncodingError where the model
    cannot take a prompt.
    """
    if not any("plain" in grid.prompts for grid, _ in study.grids):
        raise EncodingError("a model as it is is asked plainly, and the study asks by its chat template alone")
    data, task = study.data, task_of(study.data)
    counts = {tier: min(prompts, task.largest_held_out(tier)) for tier in data.tiers}
    evaluation = study.evaluation.model_copy(update={"prompts_per_class": counts})
    encoded = [encode(loaded.tokenizer, one) for one in task.evaluation_prompts(data.operations, evaluation, seed)]
    pairs = [Readout(pair=pair, class_name=study.class_name) for pair in study.pairs]
    return encoded, [(pair, usable_tokens(loaded.tokenizer, pair, seed, task.words, encoded)) for pair in pairs]
