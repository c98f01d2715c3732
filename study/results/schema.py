"""The rows of a study: its tables, which units have them, and what each column holds.

A table is declared only here. Units write it, and reports and packed studies read it, by this declaration.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from study.config.predictors import PREDICTORS
from study.config.units import Kind

Row = dict[str, Any]
"""One row of a table, by column."""


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    meaning: str
    """Its meaning, with its unit."""
    text: bool = False
    """Whether its values are text; otherwise they are numbers or booleans."""
    reported: bool = True
    """Whether reports read it, so that packed studies contain it; otherwise only the folders of units do."""
    missing: bool = False
    """Whether a row may lack it. All other values are there, and all numbers are finite."""
    missing_with: str = ""
    """The column that it may be missing with, in the same rows; empty where there is none."""


@dataclass(frozen=True)
class Table:
    """One Parquet file of a unit."""

    row: str
    """What one row describes."""
    columns: Mapping[str, Column]
    """Columns by name, in the order in which reports read them."""
    always: tuple[Kind, ...] = ()
    """Kinds of units that always have it."""
    sometimes: tuple[Kind, ...] = ()
    """Kinds of units that have it where the study requests it."""
    measure: str = ""
    """The module of study.measures whose `MEASURE` takes it of trained cells; empty where it is taken otherwise."""

    @property
    def reported(self) -> list[str]:
        """The names of the columns that reports read."""
        return [name for name, column in self.columns.items() if column.reported]


def _text(meaning: str, reported: bool = True) -> Column:
    return Column(meaning, True, reported)


STAGE = {"stage": _text("`baseline` (the model as it came), `stage1` or `stage2`")}
LAYER = {"layer": Column("block, 0-based")}
PROMPT = {
    "prompt_id": Column("number of the prompt among the held-out ones of the seed, the same in all units"),
    "tier": _text("tier of wording"),
    "template": _text("name of the template, the same for all operations"),
    "operation": _text("operation, or class of a custom task"),
    "operands": _text("the unordered operands, or the group of a custom task"),
    "seen": _text("trainings that saw the template, such as `stage1+stage2`, or `nobody`"),
}
NO_TEMPLATE = {name: column for name, column in PROMPT.items() if name not in ("template", "seen")}
PAIR = {"pair": _text("class tokens that are read, in the order of the operations; `random:` before drawn words")}
LOG_P = {"log_p": Column("log-probability of the right class token, nats")}
MARGIN = Column("logit of the right class token minus the largest of the other classes', nats")
RIGHT = {"right": Column("whether greedy decoding gives the answer and then stops; none of labels alone", missing=True)}
NLL = {"nll": Column("negative log-likelihood of the answer and its stop, nats", missing_with="right")}

TABLES: dict[str, Table] = {
    "answers": Table(
        "prompt and stage",
        {
            **STAGE,
            **PROMPT,
            **RIGHT,
            "number_right": Column(
                "whether the answer is right and no digit or letter follows; no stop is needed", missing_with="right"
            ),
            **NLL,
            "a": Column("first operand", reported=False),
            "b": Column("second operand", reported=False),
            "prompt": _text("the prompt", reported=False),
            "answer": _text("the right answer", reported=False),
            "tokens": Column("tokens of the answer with its stop", reported=False),
        },
        always=("reference", "cell"),
        measure="answers",
    ),
    "lens": Table(
        "prompt, stage, layer and pair",
        {
            **STAGE,
            **PROMPT,
            **PAIR,
            **LAYER,
            **LOG_P,
            "log_mass": Column("log-probability of all class tokens together, nats"),
            "choice": Column(
                "whether the right class token outranks the other classes'; of shuffled labels, the drawn one"
            ),
            "margin": MARGIN,
            "rank": Column("tokens of the vocabulary that outrank the right class token", reported=False),
        },
        always=("reference", "cell"),
        measure="answers",
    ),
    "curves": Table(
        "training step",
        {
            "step": Column("from 1"),
            "loss": Column("what is minimised, nats"),
            "class_loss": Column("cross-entropy of the class token at the layer, nats", missing=True),
            "answer_loss": Column("cross-entropy of the answer tokens, nats", missing=True),
            "seconds": Column("time of the step, divided among the cells of a stack"),
            "text_loss": Column("of a nursery's training: cross-entropy of its sentences, nats", reported=False),
            "learning_rate": Column("of a nursery's training", reported=False),
            "held_out": Column("of a nursery's training: held-out operand pairs in the batch", reported=False),
            "grad_norm": Column("global norm of the gradient before clipping", reported=False),
            "tokens": Column("real tokens of the batch", reported=False),
            "stacked": Column("cells that trained side by side", reported=False),
        },
        always=("nursery", "stage1", "cell"),
    ),
    "predictors": Table(
        "pair, layer and tier, before stage 2",
        {
            **PAIR,
            **LAYER,
            "tier": PROMPT["tier"],
            **{
                name: Column(predictor.words, missing=predictor.missing or predictor.of_answers)
                for name, predictor in PREDICTORS.items()
            },
        },
        always=("predictors",),
    ),
    "onset": Table(
        "light evaluation during training, layer and tier",
        {
            "step": Column("of stage 2"),
            **LAYER,
            "tier": PROMPT["tier"],
            "prompts": Column("prompts that were evaluated"),
            "choice": Column("share of prompts whose class token outranks the others, mean over the classes"),
            "p": Column("mean probability of the right class token"),
            "margin": MARGIN,
        },
        sometimes=("cell",),
    ),
    "interchange": Table(
        "prompt, layer, subspace and strength of an exchange of hidden states with the source prompt, of prompts that "
        "are answered right, and whose sources are",
        {
            **PROMPT,
            **LAYER,
            "subspace": _text(
                "`none`, `full`, `class` (direction of the class tokens), `complement` (all but that), `paired_1` and "
                "`paired_4` (learned from training pairs), `random` and `random_4` (moved as far as `class` and "
                "`paired_4`)"
            ),
            "strength": Column("factor of the move"),
            "source_nll": Column("negative log-likelihood of the source's answer and its stop, nats"),
            "source_right": Column("whether greedy decoding gives the source's answer and then stops"),
            "moved": Column("length of the move of the state", reported=False),
        },
        sometimes=("cell",),
        measure="interchange",
    ),
    "score": Table(
        "prompt, mask, head and layer or maximum, only with recipes",
        {
            **STAGE,
            "asked": _text("`held-out`, or `eight` for the prompts of the published experiment"),
            **NO_TEMPLATE,
            **PAIR,
            "masked": Column("whether blocks have their causal mask"),
            "head": _text("`model`, or `input embedding`"),
            "score": _text("`layer`, or `maximum` over layers and tokens that hold the word, as published"),
            **LAYER,
            "p": Column("probability of the token"),
            "token": _text("the token of a maximum; empty where none counts"),
        },
        sometimes=("reference", "cell"),
        measure="published_score",
    ),
    "eight": Table(
        "decoded answer to one of the published experiment's eight prompts, only with recipes",
        {
            **STAGE,
            "prompt_id": Column("number of the prompt among the eight"),
            "tier": PROMPT["tier"],
            "operation": PROMPT["operation"],
            "prompt": _text("the prompt"),
            "answer": _text("the right answer"),
            "given": _text("what greedy decoding gives"),
            "right": Column("whether that is the answer"),
        },
        sometimes=("reference", "cell"),
        measure="published_score",
    ),
}

LOSSES = tuple(name for name in TABLES["curves"].columns if name.endswith("loss"))
"""The columns of training curves that are losses, nats."""

PROFILE = ["stage", "pair", "layer", "tier"]
SUMMARIES: dict[str, Table] = {
    "profile": Table(
        "a stage, pair, layer and tier: means of `lens` over the prompts that are read at every layer",
        {
            **STAGE,
            **PAIR,
            **LAYER,
            "tier": PROMPT["tier"],
            "prompts": Column("prompts in the mean"),
            "p": Column("mean probability of the right class token"),
            "choice": Column("share of prompts whose right class token outranks the other classes'"),
            **LOG_P,
        },
    )
}
"""Tables that are made from others when a study is read."""

ADAPTER = ("adapters.safetensors", "adapter_config.json")
WEIGHTS: Mapping[Kind, Sequence[str]] = {
    "nursery": ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"),
    "stage1": ADAPTER,
    "cell": ADAPTER,
}
"""Files of what a unit trained, by kind."""

COLUMNS = {name: table.reported for name, table in (TABLES | SUMMARIES).items()}
TEXT = frozenset(name for table in TABLES.values() for name, column in table.columns.items() if column.text)


def measures_of_cells() -> list[str]:
    """Return the modules of study.measures that measure trained cells, in the order of their tables."""
    return list(dict.fromkeys(table.measure for table in TABLES.values() if table.measure))


def files_of(kind: Kind) -> list[str]:
    """Return the names of the files that the folder of every finished unit of a kind has, besides `done.json`."""
    return ["unit.json", *(f"{name}.parquet" for name in tables_of(kind)[0]), *WEIGHTS.get(kind, ())]


def check_rows(name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Raises ValueError where rows of a table do not all have the same columns, lack a column that reports read, or
    have one that is not declared, since Parquet would silently leave it out."""
    if name not in TABLES:
        raise ValueError(f"no table of rows is called {name}: study.results.schema declares {', '.join(TABLES)}")
    if not rows:
        return
    declared, first = TABLES[name].columns, rows[0].keys()
    wrong = {*(first - declared.keys()), *(set(TABLES[name].reported) - first)}
    wrong |= {column for row in rows if row.keys() != first for column in row.keys() ^ first}
    if wrong:
        raise ValueError(f"rows of {name} are not as study.results.schema declares them: {', '.join(sorted(wrong))}")


def tables_of(kind: str) -> tuple[list[str], list[str]]:
    """Return the tables that units of a kind always have, and those that they have where the study requests them."""
    always = [name for name, table in TABLES.items() if kind in table.always]
    return always, [name for name, table in TABLES.items() if kind in table.sometimes]
