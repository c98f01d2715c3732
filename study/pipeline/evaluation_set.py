"""What every unit measures with: the held-out prompts, their class tokens, and one evaluation of a stage."""

from dataclasses import asdict

from study.config.names import Operation
from study.config.study import Evaluation
from study.config.units import Pretraining, Readout, StageOne
from study.lens.tokens import ClassToken, ClassTokenError, Encoded, Readouts, check_templates, class_tokens, encode
from study.measures.answers import evaluate
from study.pipeline.attempt import Attempt
from study.pipeline.held_model import HeldModel
from study.results.schema import Row
from study.tasks import task_of
from study.tasks.prompts import Prompt


def probe(unit: Pretraining | StageOne) -> list[Prompt]:
    """The prompts that gates are checked on."""
    return task_of(unit.data).probe()


def evaluation_set(
    held: HeldModel, unit: StageOne, operations: list[Operation], evaluation: Evaluation
) -> dict[int, Encoded]:
    """Held-out prompts of some operations by their number among those of all operations, the same in every unit."""
    prompts = task_of(unit.data).evaluation_prompts(unit.data.operations, evaluation, unit.seed)
    return {i: encode(held.tokenizer, item) for i, item in enumerate(prompts) if item.operation in operations}


def class_readouts(
    held: HeldModel, unit: StageOne, asked: list[Readout], encoded: dict[int, Encoded], attempt: Attempt, skip: bool
) -> Readouts:
    """Class tokens of each read-out; where several are asked for, one that has none is left out and noted."""
    taken = task_of(unit.data).words
    readouts: list[tuple[Readout, dict[Operation, ClassToken]]] = []
    for readout in asked:
        try:
            tokens = class_tokens(held.tokenizer, readout, unit.seed, taken)
            check_templates(list(encoded.values()), tokens)
        except ClassTokenError as error:
            if not skip:
                raise
            attempt.tokens[readout.name] = {"skipped": str(error)}
            continue
        readouts.append((readout, tokens))
        attempt.tokens[readout.name] = {operation: asdict(token) for operation, token in tokens.items()}
    return readouts


def evaluate_stage(
    held: HeldModel,
    encoded: dict[int, Encoded],
    readouts: Readouts,
    evaluation: Evaluation,
    stage: str,
    attempt: Attempt,
) -> tuple[list[Row], list[Row]]:
    """The rows of `answers` and of `lens`, at every layer, of one stage."""
    with attempt.timed("evaluate"):
        return evaluate(
            held.model,
            held.tokenizer,
            encoded,
            readouts,
            evaluation.batch_size,
            stage,
            None,
            lambda done: attempt.progress("evaluation", done, len(encoded)),
        )
