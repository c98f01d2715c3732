"""The section about what one change of a small model does: its tables, and its sentences made from the decisions."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.data.markdown import Markdown, escape
from analysis.data.numbers import share, signed
from analysis.data.results import Results
from analysis.outcomes import Decided
from analysis.outcomes.changes import MEASURES, overall, verdict
from analysis.statistics.intervals import Interval, interval_of
from analysis.text.rows import Row
from study.config import yaml_core
from study.config.nursery import BASE, Nursery, NurseryModel

NOT_TOLD = ("architecture", "model_type", "tokenizer", "bos_token_id", "eos_token_id")
"""Of two `config.json`, keys that say nothing of how the models compute."""


def model_rows(study: Results, decided: Decided) -> list[Row]:
    """The base and every change: what is written, what else differs, and what the models can do before stage 1."""
    assert study.nursery
    facts = {name: _facts(study, name) for name in study.nursery.models}
    rows = []
    for name in study.nursery.models:
        parameters = f"{facts[name]['parameters'] / 1e6:.2f} M" if facts[name] else "unknown"
        beside = "" if name == BASE else _beside(study.nursery, name, facts)
        levels = [_baseline(study, decided, name, tier) for tier in study.tiers]
        rows.append([name, _written(study.nursery, name), beside, parameters, *levels])
    return rows


def difference_rows(study: Results, decided: Decided, measure: str) -> list[Row]:
    """One row a change and its cells' settings: the difference on each tier, and the number of seeds."""
    rows = []
    here = overall(decided.changes)
    here = here[here["measure"] == measure]
    several = [name for name in ("pair", "weight", "wordings") if here[name].nunique() > 1]
    for key, group in here.groupby(["change", "pair", "weight", "wordings"], sort=False):
        settings = dict(zip(("pair", "weight", "wordings"), key[1:], strict=True))
        by_tier = {row["tier"]: row for _, row in group.iterrows()}
        texts = [_difference(by_tier[tier]) if tier in by_tier else "" for tier in study.tiers]
        what = " · ".join([str(key[0]), *(f"{name} {settings[name]}" for name in several)])
        rows.append([what, *texts, str(group["seeds"].max())])
    return rows


def sentences(study: Results, decided: Decided) -> list[str]:
    """A sentence a change, and one on how many comparisons there were; nothing that no interval shows."""
    assert study.nursery
    rows = overall(decided.changes)
    rows = rows.assign(verdict=[verdict(row) for _, row in rows.iterrows()])
    said: list[str] = []
    for name in study.nursery.changes:
        found = f"({_written(study.nursery, name)}): {_found(study, rows[rows['change'] == name])}"
        said.append(Markdown(f"**{escape(name)}** {escape(found)}"))
    return [*said, _how_many(study, rows)]


def summary(study: Results, decided: Decided) -> str:
    """The changes in a line: those that an interval shows on the primary tier, by measure."""
    rows, tier = overall(decided.changes), study.decisions.primary_tier
    rows = rows[(rows["tier"] == tier) | (rows["measure"] == "answers")]
    rows = rows.assign(verdict=[verdict(row) for _, row in rows.iterrows()])
    if rows.empty:
        return "No cell of a change and of the base has finished with the same seed."
    if (rows["seeds"] < 2).all():
        return "One seed: differences stand below, and nothing can be said of other seeds."
    parts = []
    for name, measure in MEASURES.items():
        here = rows[rows["measure"] == name]
        by_verdict = [
            f"{word} with {', '.join(dict.fromkeys(found['change']))}"
            for word in (measure.more, measure.less)
            if not (found := here[here["verdict"] == word]).empty
        ]
        where = "of all tiers" if name == "answers" else f"on {tier}"
        if not here.empty:
            parts.append(f"{measure.name} {where}: {', '.join(by_verdict) or 'no difference shown'}")
    return f"Beside {BASE}, over {_seeds(rows)}: {'; '.join(parts)}."


def _found(study: Results, rows: pd.DataFrame) -> str:
    if rows.empty:
        return "no cell finished beside the base's of the same seed."
    if (rows["seeds"] < 2).all():
        return "one seed, so that no difference can be told from chance."
    told, silent = [], []
    for name, measure in MEASURES.items():
        here = rows[rows["measure"] == name]
        shown = here[here["verdict"].isin((measure.more, measure.less))]
        told += [
            f"{measure.name} {row['verdict']} on {row['tier']} ({_difference(row)})" for _, row in shown.iterrows()
        ]
        silent += [measure.name] if shown.empty and not here.empty else []
    text = "; ".join(told)
    if silent:
        text += ("; " if text else "") + f"no difference shown in {', '.join(silent)}"
    return f"{text}, over {_seeds(rows)}."


def _how_many(study: Results, rows: pd.DataFrame) -> str:
    decided = rows[rows["difference_low"].notna()]
    found = decided[decided["verdict"] != "no difference shown"]
    chance = (1 - study.decisions.confidence) * len(decided)
    return (
        f"{len(found)} of {len(decided)} intervals exclude zero; with no difference anywhere about {chance:.0f} would "
        "by chance, since they are not corrected for their number. That none is shown does not mean that there is "
        "none: with few seeds intervals are wide."
    )


def _seeds(rows: pd.DataFrame) -> str:
    fewest, most = rows["seeds"].min(), rows["seeds"].max()
    return f"{most} seeds" if fewest == most else f"{fewest} to {most} seeds"


def _difference(row: "pd.Series[Any]") -> str:
    measure = MEASURES[str(row["measure"])]
    interval = Interval(*(measure.scale * end for end in interval_of(row, "difference")))
    return signed(interval, measure.decimals)


def _written(nursery: Nursery, name: str) -> str:
    """The settings of the base, or those that a change writes, as YAML."""
    settings = nursery.base.model_dump() if name == BASE else nursery.changes[name].model_dump(exclude_none=True)
    shown = {key: value for key, value in settings.items() if value != {}}
    return (
        yaml_core.dump(shown, default_flow_style=True, sort_keys=False, width=1000)
        .strip()
        .removeprefix("{")
        .removesuffix("}")
    )


def _facts(study: Results, model: str) -> Mapping[str, Any]:
    """What was noted of the model when it was trained; empty where it was not."""
    done = (study.done[unit.id] for unit in study.units.values() if unit.model == model and unit.id in study.done)
    return next((one["facts"] for one in done if "facts" in one), {})


def _beside(nursery: Nursery, name: str, facts: Mapping[str, Mapping[str, Any]]) -> str:
    """What differs from the base beside what is written: layers of a block, and keys of `config.json`."""
    base, changed = facts[BASE], facts[name]
    if not base or not changed:
        return "unknown"
    parts = []
    if more := sorted(set(changed["block"]) - set(base["block"])):
        parts.append(f"its blocks have {', '.join(more)}")
    if fewer := sorted(set(base["block"]) - set(changed["block"])):
        parts.append(f"they lack {', '.join(fewer)}")
    keys = [key for key in changed["config"] if key not in NOT_TOLD and key not in _of_change(nursery, name)]
    other = [f"{key} {changed['config'][key]}" for key in keys if changed["config"][key] != base["config"].get(key)]
    if other:
        parts.append(f"settings {', '.join(other)}")
    return "; ".join(parts) or "nothing"


def _of_change(nursery: Nursery, name: str) -> set[str]:
    """The keys of `config.json` that what is written is about."""
    named = {"blocks": "num_hidden_layers", "tied": "tie_word_embeddings", "attention_heads": "num_attention_heads"}
    change = nursery.changes[name]
    given = {key for key in NurseryModel.model_fields if getattr(change, key) is not None}
    return {named.get(key, key) for key in given} | set(change.settings or {})


def _baseline(study: Results, decided: Decided, model: str, tier: str) -> str:
    """Answer accuracy after the nursery's training: the mean over seeds, with the lowest and the highest."""
    rows = decided.accuracy
    rows = rows[(rows["model"] == model) & (rows["stage"] == "baseline") & (rows["tier"] == tier)]
    if rows.empty:
        return ""
    text = share(float(rows["right"].mean()))
    if len(rows) > 1:
        text += f" ({100 * rows['right'].min():.0f} to {100 * rows['right'].max():.0f})"
    return text + (", at floor" if rows["right"].mean() < study.decisions.floor else "")
