"""The rows of the report's tables: models, outcomes and what was kept."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.data.markdown import Markdown, code, escape
from analysis.data.numbers import probability, share
from analysis.data.results import Results
from analysis.data.units import StudyUnit
from analysis.outcomes import Decided
from analysis.outcomes.emergence import Outcome
from analysis.statistics.intervals import interval_of
from analysis.text.rows import MOST_ROWS, Row, Rows, first_rows
from study.config.catalogue import KEYS
from study.config.evaluation import Decisions
from study.config.licences import terms_of
from study.config.units import number_text

MANY_MODELS = 8
"""Models of which more are told of together, where they are alike."""
EMERGENT = (Outcome.EMERGENT, Outcome.UNCONTROLLED)


def name_of(study: Results, cell: StudyUnit) -> str:
    """`multiply/add · L16 (0.57) · w 0.5`, with wordings and seed where there are several."""
    several = study.has_several_wordings
    wordings = f" · {'+'.join(cell.wordings)}" if several else ""
    seed = f" · seed {cell.seed}" if len(study.seeds) > 1 else ""
    return f"{cell.pair} · L{cell.layer} ({cell.depth:.2f}) · w {number_text(cell.weight or 0.0)}{wordings}{seed}"


def model_row(study: Results, model: str) -> Row:
    entry, cells = study.models.get(model, {}), [cell for cell in study.cells if cell.model == model]
    origin: dict[str, Any] = entry.get("source", {})
    kind = next((key for key in KEYS if key in origin), "")
    value = origin.get(kind, "unknown")
    if study.nursery and model in study.nursery.models:
        kind = "nursery"
    where = ", ".join(value) if isinstance(value, list | dict) else str(value)  # of wheels without their hashes
    units = [unit for unit in study.units.values() if unit.model == model and unit.kind != "cell"]
    states = {kind: Counter(u.status for u in units if u.kind == kind) for kind in ("stage1", "reference")}
    first, reference = (", ".join(states[kind]) or "none" for kind in ("stage1", "reference"))
    finished = sum(cell.finished for cell in cells)
    blocks = str(next(unit.blocks for unit in study.units.values() if unit.model == model))
    licence = str(entry.get("licence", "unknown"))
    weights, stage1 = _held(study, model)
    first = ", ".join(filter(None, [first, stage1])) if study.has_answers else "none"
    source = f"{kind}: {where}".strip(": ")
    if note := entry.get("note"):
        source += f" ({note})"
    return [model, source, blocks, licence, weights, first, reference, f"{finished} of {len(cells)}"]


def term_rows(study: Results) -> list[Row]:
    """Per licence whose terms ask for something: its models, and what it asks."""
    models: dict[str, list[str]] = {}
    for model in study.model_names:
        models.setdefault(str(study.models.get(model, {}).get("licence", "")), []).append(model)
    return [[licence, ", ".join(own), asked] for licence, own in models.items() if (asked := terms_of(licence))]


def _held(study: Results, model: str) -> tuple[str, str]:
    """What the weights of a model were held as after stage 1, and how that was added; empty where nothing has ended."""
    before = {"weights": "float32", "stage1": "fused in float32"}  # the only way, of results that do not tell
    told = [done.get("held", before) for unit, done in study.done.items() if study.everything[unit].model == model]
    found = [held for held in told if held]  # a unit of the nursery holds no model of stage 1
    weights = dict.fromkeys(held["weights"] + (f", {held['gb']:.2g} GB" if "gb" in held else "") for held in found)
    return "; ".join(weights), "; ".join(dict.fromkeys(held["stage1"] for held in found))


def token_rows(study: Results) -> list[Row]:
    """Per model and pair: each operation's token and its id, or why the pair has none; random words by seed."""
    rows = []
    for model in study.model_names:
        found: dict[tuple[str, str], list[int]] = {}
        for unit_id, done in study.done.items():
            if study.everything[unit_id].model == model:
                for pair, tokens in done.get("tokens", {}).items():
                    found.setdefault((pair, _tokens_told(tokens)), []).append(study.everything[unit_id].seed)
        several = {pair for pair, _ in found if sum(pair == other for other, _ in found) > 1}
        for (pair, told), seeds in sorted(found.items(), key=lambda one: (one[0][0], sorted(one[1]), one[0][1])):
            of = f"{pair}, seed {', '.join(map(str, sorted(set(seeds))))}" if pair in several else pair
            rows.append([model, of, Markdown(told)])
    return _of_all(rows)


def _of_all(rows: list[Row]) -> list[Row]:
    """Rows that all of many models have alike become one."""
    models = len({model for model, *_ in rows})
    alike = Counter(tuple(rest) for _, *rest in rows)
    once = dict.fromkeys(rest for rest, count in alike.items() if models > MANY_MODELS and count == models)
    others = [row for row in rows if tuple(row[1:]) not in once]
    return [*([f"all {models}", *rest] for rest in once), *others]


def _tokens_told(tokens: dict[str, Any]) -> str:
    if "skipped" in tokens:
        return escape(f"skipped: {tokens['skipped']}")
    ids = {name: " ".join(map(str, [one["id"], *one.get("rest", [])])) for name, one in tokens.items()}
    return ", ".join(f"{escape(name)} {code(one['text'])} {escape(ids[name])}" for name, one in tokens.items())


def gate_rows(study: Results) -> list[Row]:
    """Per model and gate, or of many models together: the largest figure, the limit and how many passed."""
    rows = []
    gated = {study.everything[unit].model for unit, done in study.done.items() if done.get("gates")}
    names = [name for name in study.model_names if name in gated]
    groups = {f"all {len(names)}": names} if len(names) > MANY_MODELS else {name: [name] for name in names}
    for model, together in groups.items():
        found: dict[str, list[dict[str, Any]]] = {}
        for unit_id, done in study.done.items():
            if study.everything[unit_id].model in together:
                for gate in done.get("gates", []):
                    found.setdefault(gate["gate"], []).append(gate)
        for name, gates in found.items():
            passed = sum(bool(gate["passed"]) for gate in gates)
            largest, limit = (max(float(gate[key]) for gate in gates) for key in ("figure", "limit"))
            rows.append([model, name, f"{largest:.2g}", f"{limit:.2g}", f"{passed} of {len(gates)}"])
    return rows


def decision_rows(study: Results) -> list[Row]:
    """Every choice that was fixed before the study, with its meaning; one on samples where the study has one."""
    rows, has_sample = [], bool(study.nursery and study.nursery.sample)
    for name, field in Decisions.model_fields.items():
        if (name == "learned" and not has_sample) or (name == "floor" and not study.has_answers):
            continue
        value = getattr(study.decisions, name)
        if value is None:  # left to another setting
            continue
        told = ", ".join(value) or "none" if isinstance(value, list) else str(value)
        meaning = " ".join((field.description or "").split())
        if name == "non_inferiority_margin" and not study.has_answers:
            meaning = "Difference within which two choice accuracies count as equal."
        rows.append([name, told, Markdown(meaning)])
    return rows


def accuracy_rows(study: Results, decided: Decided, model: str) -> Rows:
    """Answer accuracy on each tier, leakage and text KL: the stages that all cells share, then every plain cell."""
    levels = dict(list(decided.accuracy[decided.accuracy["model"] == model].groupby(["unit", "stage"], sort=False)))
    trained = decided.plain[~decided.plain["transfer"].astype(bool)]
    leaks = trained.drop_duplicates("unit").set_index("unit")["leakage"].to_dict()
    stages = {"baseline": "baseline", "stage1": "after stage 1", "stage2": "stage 2, w = 0"}
    shared = [unit for unit in study.units.values() if unit.model == model and unit.finished and unit.layer is None]
    shared_stages = [(unit, stage) for unit in shared for stage in stages if (unit.id, stage) in levels]

    def row(told: tuple[StudyUnit, str]) -> Row:
        unit, stage = told
        if not unit.finished:
            return [name_of(study, unit), unit.status, *[""] * (len(study.tiers) * study.has_answers + 1)]
        leak = probability(leaks[unit.id]) if unit.id in leaks else ""
        name = stages[stage] + _which(study, unit) if unit.layer is None else name_of(study, unit)
        right = _levels(study, levels.get((unit.id, stage))) if study.has_answers else []
        return [name, *right, leak, _text_kl(study, unit, stage)]

    return first_rows([*shared_stages, *((cell, "stage2") for cell in _plain(study, model))], row)


def outcome_rows(study: Results, judged: pd.DataFrame, model: str) -> Rows:
    """p, choice accuracy and outcome on each tier, one row a plain cell."""
    cells = _plain(study, model)
    own = judged[judged["unit"].isin([cell.id for cell in cells[:MOST_ROWS]])]
    told = {(row["unit"], row["tier"]): row for row in own.to_dict("records")}

    def row(cell: StudyUnit) -> Row:
        if not cell.finished:
            return [name_of(study, cell), cell.status, *[""] * (len(study.tiers) - 1)]
        texts = [_outcome(told[cell.id, tier]) if (cell.id, tier) in told else "" for tier in study.tiers]
        return [name_of(study, cell), *texts]

    return first_rows(cells, row)


def missed_rows(study: Results, plain: pd.DataFrame, transfer: bool) -> dict[str, Rows]:
    """By tier, which criteria each plain cell missed there that trained on it, or did not (`transfer`).

    Emergent cells are left out.
    """
    found = plain[~plain["outcome"].isin(EMERGENT) & (plain["transfer"] == transfer)]

    def row(told: Mapping[Any, Any]) -> Row:
        cell = study.units[told["unit"]]
        return [f"{cell.model} · {name_of(study, cell)}", told["outcome"], told["missed"]]

    rows = {tier: first_rows(found[found["tier"] == tier].to_dict("records"), row) for tier in study.tiers}
    return {tier: here for tier, here in rows.items() if here}


def environment_rows(study: Results) -> list[Row]:
    """Machines and versions with the number of units that each ran."""
    counts: Counter[tuple[str, str]] = Counter()
    for done in study.done.values():
        certificate = f"certificate {done['certificate']}" if "certificate" in done else ""
        machine = ", ".join(filter(None, [done.get("machine"), done.get("blas"), certificate])) or "unknown"
        versions = done.get("versions", {})
        counts[machine, ", ".join(f"{name} {versions[name]}" for name in sorted(versions))] += 1
    return [[machine, versions, str(count)] for (machine, versions), count in sorted(counts.items())]


def _plain(study: Results, model: str) -> list[StudyUnit]:
    return [cell for cell in study.plain if cell.model == model]


def _which(study: Results, unit: StudyUnit) -> str:
    """Wordings and seed of a unit without a layer, where there are several."""
    several = unit.kind == "cell" and study.has_several_wordings
    wordings = f", {'+'.join(unit.wordings)}" if several else ""
    return wordings + (f", seed {unit.seed}" if len(study.seeds) > 1 else "")


def _levels(study: Results, levels: pd.DataFrame | None) -> Row:
    by_tier = {row["tier"]: row for row in levels.to_dict("records")} if levels is not None else {}
    return [share(interval_of(by_tier[tier], "right")) if tier in by_tier else "" for tier in study.tiers]


def _text_kl(study: Results, unit: StudyUnit, stage: str) -> str:
    value = study.done[unit.id].get("text_kl", {}).get(stage)
    return "" if value is None else f"{value:.3g}"


def _outcome(row: dict[Any, Any]) -> Markdown:
    outcome = f"**{row['outcome']}**" if row["outcome"] in EMERGENT else row["outcome"]
    return Markdown(f"{outcome}: p {probability(row['p'])}, {share(interval_of(row, 'choice'))}")
