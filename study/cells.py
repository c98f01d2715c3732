"""The grid as units of work: stage 1, its reference read-outs, and cells, each named by a hash of what changes it."""

from functools import cached_property
from typing import Any, Literal

from study.catalogue import Model
from study.config import Data, Evaluation, Operation, Stage1, Stage2, Study, TokenPair
from study.settings import Settings, content_hash

RESULTS_VERSION = 1
"""Raised when a change of the code changes results, so that older results are not taken for new ones."""

Kind = Literal["stage1", "reference", "cell"]
KINDS: tuple[Kind, ...] = ("stage1", "reference", "cell")


def pair_name(pair: TokenPair) -> str:
    """`multiply/add`: the class tokens in the order of the pair."""
    return "/".join(pair.values())


class StageOne(Settings):
    """The LoRA fine-tuning that all cells of one model, seed and stage-1 settings share."""

    model_name: str
    model: Model
    identity: dict[str, Any]
    seed: int
    data: Data
    stage1: Stage1

    @cached_property
    def id(self) -> str:
        return content_hash(
            ["stage1", RESULTS_VERSION, self.identity, self.model.blocks, self.seed, self.data, self.stage1]
        )

    @property
    def label(self) -> str:
        return f"{self.model_name}|stage1|s{self.seed}"


class Reference(Settings):
    """The read-outs of a model before and after stage 1, for every token pair of the study."""

    stage_one: StageOne
    pairs: list[TokenPair]
    evaluation: Evaluation

    @cached_property
    def id(self) -> str:
        return content_hash(["reference", self.stage_one.id, _ordered(self.pairs), self.evaluation.prompts_per_class])

    @property
    def label(self) -> str:
        return f"{self.stage_one.model_name}|reference|s{self.stage_one.seed}"


class Cell(Settings):
    """One dual-reward training on the fused model, and its read-outs."""

    stage_one: StageOne
    reference_id: str
    layer: int | None
    """Classifier layer, 0-based; None where w = 0."""
    pairs: list[TokenPair]
    """The pair that is trained; where w = 0, every pair that is read out."""
    weight: float
    stage2: Stage2
    evaluation: Evaluation

    @cached_property
    def id(self) -> str:
        point = [self.layer, _ordered(self.pairs), self.weight]
        return content_hash(["cell", self.stage_one.id, point, self.stage2, self.evaluation.prompts_per_class])

    @property
    def pair(self) -> TokenPair | None:
        return self.pairs[0] if self.weight > 0 else None

    @property
    def operations(self) -> list[Operation]:
        """In the order of the data, so that the order within a pair changes nothing."""
        return [operation for operation in self.stage_one.data.operations if operation in self.pairs[0]]

    @property
    def label(self) -> str:
        where = [] if self.pair is None else [f"L{self.layer}", pair_name(self.pair).replace("/", "-")]
        if self.pair is None:
            where = ["-".join(self.operations)]
        return "|".join([self.stage_one.model_name, *where, f"w={self.weight:g}", f"s{self.stage_one.seed}"])


Unit = StageOne | Reference | Cell


def kind(unit: Unit) -> Kind:
    return "stage1" if isinstance(unit, StageOne) else "reference" if isinstance(unit, Reference) else "cell"


def stage_one_of(unit: Unit) -> StageOne:
    return unit if isinstance(unit, StageOne) else unit.stage_one


def folder_name(unit: Unit) -> str:
    """`smollm2-135m_L16_multiply-add_w0.5_s0_1a2b3c4d`: readable, and unique by its hash."""
    return "".join(c if c.isalnum() or c in "._-" else "_" for c in unit.label.replace("=", "")) + f"_{unit.id}"


def describe(unit: Unit) -> dict[str, Any]:
    """The unit as one flat JSON object: what it is, then all settings that made it."""
    first = stage_one_of(unit)
    cell = unit if isinstance(unit, Cell) else None
    settings: dict[str, Settings] = {"data": first.data, "stage1": first.stage1}
    if not isinstance(unit, StageOne):
        settings["evaluation"] = unit.evaluation
    if cell:
        settings["stage2"] = cell.stage2
    return {
        "kind": kind(unit),
        "id": unit.id,
        "folder": folder_name(unit),
        "label": unit.label,
        "model": first.model_name,
        "blocks": first.model.blocks,
        "seed": first.seed,
        "operations": cell.operations if cell else list(first.data.operations),
        "layer": cell.layer if cell else None,
        "pair": dict(cell.pair) if cell and cell.pair else None,
        "weight": cell.weight if cell else None,
        "stage1": first.id,
        "reference": cell.reference_id if cell else None,
        "results_version": RESULTS_VERSION,
        "model_identity": first.identity,
        "settings": {name: value.model_dump(mode="json") for name, value in settings.items()},
    }


def expand(study: Study, models: dict[str, Model]) -> list[Unit]:
    """Every unit of the study once, model by model: stage 1, reference, w = 0, then the other cells."""
    units: dict[str, Unit] = {}
    for name in study.models:
        model, identity = models[name], models[name].identity()
        for seed in study.seeds:
            first = StageOne(
                model_name=name, model=model, identity=identity, seed=seed, data=study.data, stage1=study.stage1
            )
            reference = Reference(stage_one=first, pairs=study.grid.pairs, evaluation=study.evaluation)
            group: list[Unit] = [first, reference, *_cells(study, first, reference)]
            for unit in group:
                units.setdefault(unit.id, unit)
    return list(units.values())


def _cells(study: Study, first: StageOne, reference: Reference) -> list[Cell]:
    def cell(layer: int | None, pairs: list[TokenPair], weight: float) -> Cell:
        return Cell(
            stage_one=first,
            reference_id=reference.id,
            layer=layer,
            pairs=pairs,
            weight=weight,
            stage2=study.stage2,
            evaluation=study.evaluation,
        )

    cells = []
    if 0 in study.grid.weights:
        groups: dict[frozenset[str], list[TokenPair]] = {}
        for pair in study.grid.pairs:
            groups.setdefault(frozenset(pair), []).append(pair)
        cells += [cell(None, pairs, 0.0) for pairs in groups.values()]
    layers = [absolute_layer(layer, first.model.blocks) for layer in study.grid.layers]
    cells += [
        cell(layer, [pair], float(weight))
        for pair in study.grid.pairs
        for layer in sorted(set(layers))
        for weight in study.grid.weights
        if weight > 0
    ]
    return cells


def absolute_layer(layer: int | float, blocks: int) -> int:
    """A block's index as it is; for a relative depth, the L whose (L+1)/N is nearest, half rounded up."""
    if isinstance(layer, int):
        return layer
    return max(0, min(blocks, int(layer * blocks + 0.5 + 1e-9)) - 1)


def _ordered(pairs: list[TokenPair]) -> list[list[list[str]]]:
    """Pairs in an order that does not depend on how they were written."""
    return sorted(sorted([operation, token] for operation, token in pair.items()) for pair in pairs)
