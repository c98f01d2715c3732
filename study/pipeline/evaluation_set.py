"""The evaluation that units have in common: held-out prompts, class tokens, and the evaluation of one stage."""

from dataclasses import asdict, replace

from study.config.evaluation import Evaluation
from study.config.names import NOBODY, Operation
from study.config.units import Cell, Pretraining, Readout, StageOne
from study.lens.prompt_checks import answers_named, usable_tokens
from study.lens.tokens import ClassToken, ClassTokenError, Encoded, Readouts, encode
from study.measures.answers import evaluate
from study.pipeline.attempt import Attempt
from study.pipeline.held_model import HeldModel
from study.plan.prompts import seen_templates
from study.results.schema import Row
from study.tasks import task_of
from study.tasks.prompts import Prompt


def probe(unit: Pretraining | StageOne) -> list[Prompt]:
    """Return the prompts on which gates are checked."""
    return task_of(unit.data).probe()


def evaluation_set(
    held: HeldModel, unit: StageOne, operations: list[Operation], evaluation: Evaluation, cell: Cell | None = None
) -> dict[int, Encoded]:
    """Return held-out prompts of some operations by their number among those of all, which is equal in all units, with
    the trainings, up to that of `cell`, that saw their templates."""
    prompts = task_of(unit.data).evaluation_prompts(unit.data.operations, evaluation, unit.seed)
    seen = seen_templates(unit, cell)
    told = [replace(prompt, seen=seen.get(prompt.template, NOBODY)) for prompt in prompts]
    return {i: encode(held.tokenizer, item) for i, item in enumerate(told) if item.operation in operations}


def class_readouts(
    held: HeldModel, unit: StageOne, asked: list[Readout], encoded: dict[int, Encoded], attempt: Attempt, skip: bool
) -> Readouts:
    """Return the class tokens of each read-out, and record them in the attempt.

    Raises ClassTokenError where a read-out has none; with `skip`, it is left out and the reason recorded.
    """
    words, evaluated = task_of(unit.data).words, list(encoded.values())
    readouts: list[tuple[Readout, dict[Operation, ClassToken]]] = []
    for readout in asked:
        try:
            tokens = usable_tokens(held.tokenizer, readout, unit.seed, words, evaluated)
        except ClassTokenError as error:
            if not skip:
                raise
            attempt.tokens[readout.name] = {"skipped": str(error)}
            continue
        readouts.append((readout, tokens))
        attempt.tokens[readout.name] = {operation: asdict(token) for operation, token in tokens.items()}
        attempt.warn(answers_named(tokens, evaluated))
    return readouts


def evaluate_stage(
    held: HeldModel,
    encoded: dict[int, Encoded],
    readouts: Readouts,
    evaluation: Evaluation,
    stage: str,
    attempt: Attempt,
) -> tuple[list[Row], list[Row]]:
    """Return the rows of `answers` and of `lens`, at every layer, of one stage."""
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
            held.translators,
        )
