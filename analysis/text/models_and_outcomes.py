"""The rows of the report's tables: models, outcomes and what was kept."""

from collections import Counter
from typing import Any

import pandas as pd

from analysis.data.markdown import Markdown, code, escape
from analysis.data.numbers import probability, share
from analysis.data.results import Results, StudyUnit
from analysis.outcomes import Decided
from analysis.outcomes.emergence import Outcome
from analysis.statistics.intervals import interval_of
from study.config.catalogue import KEYS
from study.config.study import Decisions
from study.config.units import number_text

Row = list[str]
EMERGENT = (Outcome.EMERGENT, Outcome.UNCONTROLLED)


def name_of(study: Results, cell: StudyUnit) -> str:
    """`multiply/add · L16 (0.57) · w 0.5`, with wordings and seed where there are several."""
    several = len({unit.wordings for unit in study.cells}) > 1
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
    first = ", ".join(filter(None, [first, stage1]))
    source = f"{kind}: {where}".strip(": ")
    return [model, source, blocks, licence, weights, first, reference, f"{finished} of {len(cells)}"]


def _held(study: Results, model: str) -> tuple[str, str]:
    """What the weights of a model were held as after stage 1, and how that was added; empty where nothing has ended."""
    before = {"weights": "float32", "stage1": "fused in float32"}  # the only way, of results that do not tell
    told = [done.get("held", before) for unit, done in study.done.items() if study.everything[unit].model == model]
    found = [held for held in told if held]  # a unit of the nursery holds no model of stage 1
    weights = dict.fromkeys(held["weights"] + (f", {held['gb']:.2g} GB" if "gb" in held else "") for held in found)
    return "; ".join(weights), "; ".join(dict.fromkeys(held["stage1"] for held in found))


def token_rows(study: Results) -> list[Row]:
    """Per model and pair: each operation's token and its id, or why the pair has none."""
    rows = []
    for model in study.model_names:
        found: dict[str, dict[str, Any]] = {}
        for unit_id, done in study.done.items():
            if study.everything[unit_id].model == model:
                found |= done.get("tokens", {})
        for pair, tokens in sorted(found.items()):
            if "skipped" in tokens:
                rows.append([model, pair, f"skipped: {tokens['skipped']}"])
            else:
                texts = [f"{escape(name)} {code(one['text'])} {escape(one['id'])}" for name, one in tokens.items()]
                rows.append([model, pair, Markdown(", ".join(texts))])
    return rows


def gate_rows(study: Results) -> list[Row]:
    """Per model and gate: the largest figure, the limit and how many passed."""
    rows = []
    for model in study.model_names:
        found: dict[str, list[dict[str, Any]]] = {}
        for unit_id, done in study.done.items():
            if study.everything[unit_id].model == model:
                for gate in done.get("gates", []):
                    found.setdefault(gate["gate"], []).append(gate)
        for name, gates in found.items():
            passed = sum(bool(gate["passed"]) for gate in gates)
            largest, limit = (max(float(gate[key]) for gate in gates) for key in ("figure", "limit"))
            rows.append([model, name, f"{largest:.2g}", f"{limit:.2g}", f"{passed} of {len(gates)}"])
    return rows


def decision_rows(decisions: Decisions) -> list[Row]:
    """Every choice that was fixed before the study, with its meaning."""
    rows = []
    for name, field in Decisions.model_fields.items():
        value = getattr(decisions, name)
        told = ", ".join(value) if isinstance(value, list) else str(value)
        rows.append([name, told, Markdown(field.description or "")])
    return rows


def accuracy_rows(study: Results, decided: Decided, model: str) -> list[Row]:
    """Answer accuracy on each tier, leakage and text KL: the stages that all cells share, then every plain cell."""
    rows, levels = [], decided.accuracy
    for unit in study.units.values():
        if unit.model != model or not unit.finished or unit.layer is not None:
            continue
        for stage, name in (("baseline", "baseline"), ("stage1", "after stage 1"), ("stage2", "stage 2, w = 0")):
            at_stage = levels[(levels["unit"] == unit.id) & (levels["stage"] == stage)]
            if not at_stage.empty:
                rows.append([name + _which(study, unit), *_levels(study, at_stage), "", _text_kl(study, unit, stage)])
    trained = decided.plain[~decided.plain["transfer"].astype(bool)]
    leaks = trained.drop_duplicates("unit").set_index("unit")["leakage"]
    for cell in _plain(study, model):
        if cell.finished:
            leak = probability(leaks[cell.id]) if cell.id in leaks.index else ""
            at_cell = _levels(study, levels[levels["unit"] == cell.id])
            rows.append([name_of(study, cell), *at_cell, leak, _text_kl(study, cell, "stage2")])
        else:
            rows.append([name_of(study, cell), cell.status, *[""] * (len(study.tiers) + 1)])
    return rows


def outcome_rows(study: Results, judged: pd.DataFrame, model: str) -> list[Row]:
    """p, choice accuracy and outcome on each tier, one row a plain cell."""
    rows = []
    for cell in _plain(study, model):
        by_tier = {row["tier"]: row for row in judged[judged["unit"] == cell.id].to_dict("records")}
        texts = [_outcome(by_tier[tier]) if tier in by_tier else "" for tier in study.tiers]
        unfinished = [cell.status, *[""] * (len(study.tiers) - 1)]
        rows.append([name_of(study, cell), *(texts if cell.finished else unfinished)])
    return rows


def missed_rows(study: Results, plain: pd.DataFrame, transfer: bool) -> dict[str, list[Row]]:
    """By tier, which criteria each plain cell missed there that trained on it, or did not (`transfer`).

    Emergent cells are left out.
    """
    emergent = plain["outcome"].isin(EMERGENT)
    found = plain[~emergent & (plain["transfer"] == transfer)].to_dict("records")
    names = {cell.id: f"{cell.model} · {name_of(study, cell)}" for cell in study.plain}
    rows = {
        tier: [[names[row["unit"]], row["outcome"], row["missed"]] for row in found if row["tier"] == tier]
        for tier in study.tiers
    }
    return {tier: here for tier, here in rows.items() if here}


def environment_rows(study: Results) -> list[Row]:
    """Machines and versions with the number of units that each ran."""
    counts: Counter[tuple[str, str]] = Counter()
    for done in study.done.values():
        machine = ", ".join(filter(None, [done.get("machine"), done.get("blas")])) or "unknown"
        versions = done.get("versions", {})
        counts[machine, ", ".join(f"{name} {versions[name]}" for name in sorted(versions))] += 1
    return [[machine, versions, str(count)] for (machine, versions), count in sorted(counts.items())]


def _plain(study: Results, model: str) -> list[StudyUnit]:
    return [cell for cell in study.plain if cell.model == model]


def _which(study: Results, unit: StudyUnit) -> str:
    """Wordings and seed of a unit without a layer, where there are several."""
    several = unit.kind == "cell" and len({cell.wordings for cell in study.cells}) > 1
    wordings = f", {'+'.join(unit.wordings)}" if several else ""
    return wordings + (f", seed {unit.seed}" if len(study.seeds) > 1 else "")


def _levels(study: Results, levels: pd.DataFrame) -> Row:
    by_tier = {row["tier"]: row for row in levels.to_dict("records")}
    return [share(interval_of(by_tier[tier], "right")) if tier in by_tier else "" for tier in study.tiers]


def _text_kl(study: Results, unit: StudyUnit, stage: str) -> str:
    value = study.done[unit.id].get("text_kl", {}).get(stage)
    return "" if value is None else f"{value:.3g}"


def _outcome(row: dict[Any, Any]) -> Markdown:
    outcome = f"**{row['outcome']}**" if row["outcome"] in EMERGENT else row["outcome"]
    return Markdown(f"{outcome}: p {probability(row['p'])}, {share(interval_of(row, 'choice'))}")
