"""`python -m analysis.report`: the report of one study, made from its rows alone."""

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import jinja2
import matplotlib as mpl
import pandas as pd
import yaml

from analysis.drawing import STYLE
from analysis.emergence import Outcome, judge
from analysis.figures import draw
from analysis.findings import answer, limits
from analysis.preservation import FLOOR, TIERS_JUDGED, accuracies, preservation
from analysis.statistics import Interval
from analysis.tables import Results, ResultsError, Unit, read_results
from analysis.wording import probability, share, signed_points
from study.catalogue import KEYS
from study.config import TIERS
from study.store import write_bytes

Row = list[str]


def main(arguments: list[str] | None = None) -> int:
    """The command line. Returns the exit code: 0, or 2 where the report cannot be made."""
    parser = argparse.ArgumentParser(prog="python -m analysis.report", description="Write the report of one study.")
    parser.add_argument("--results", type=Path, required=True, help="folder of the study, such as results/grid")
    parser.add_argument("--out", type=Path, required=True, help="Markdown file; its figures lie in a folder beside it")
    options = parser.parse_args(arguments)
    try:
        write_report(options.results, options.out)
    except (ResultsError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(options.out)
    return 0


def write_report(results: Path, out: Path) -> None:
    """Write `out` (Markdown) and, in a folder named after its stem, the figures and the tables as CSV.

    The same rows give the same bytes. Raises ResultsError where `results` is not a study's folder or `out` no `.md`.
    """
    if out.suffix != ".md":
        raise ResultsError(f"the report cannot be {out}: name a Markdown file, such as reports/{results.name}.md")
    study = read_results(results)
    judged, levels, kept = judge(study), accuracies(study), preservation(study)
    folder = out.with_suffix("")
    tables = {"outcomes": judged, "accuracy": levels, "preservation": kept, "units": _units(study)}
    for name, table in tables.items():
        write_bytes(folder / f"table_{name}.csv", table.to_csv(index=False, float_format="%.6g").encode())
    pictures = []
    if not judged.empty:
        with mpl.rc_context(STYLE):
            pictures = draw(study, judged, kept, folder)
    text = _render(
        study=study,
        folder=folder.name,
        answer=answer(study, judged, kept) if pictures else [],
        pictures={picture.name: picture for picture in pictures},
        finished=[cell for cell in study.cells if cell.finished],
        models=[_model_row(study, model) for model in study.model_names],
        tokens=_token_rows(study),
        gates=_gate_rows(study),
        accuracy={model: _accuracy_rows(study, levels, judged, model) for model in study.model_names},
        outcomes={model: _outcome_rows(study, judged, model) for model in study.model_names},
        missed=_missed_rows(study, judged),
        kept={model: _kept_rows(study, kept, model) for model in study.model_names},
        pairs=_pair_rows(study, judged),
        limits=limits(study, judged) if pictures else [],
        unfinished=[[u.label, u.id, u.status, u.reason] for u in study.units.values() if not u.finished],
        config=yaml.safe_dump(study.config, sort_keys=False, allow_unicode=True),
        environments=_environments(study),
        seconds=sum(sum(done.get("seconds", {}).values()) for done in study.done.values()),
        memory=max((done.get("peak_memory_gb") or 0 for done in study.done.values()), default=0),
        outcome=Outcome,
        floor=share(FLOOR),
    )
    write_bytes(out, text.encode())


def _render(**values: Any) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown, not HTML
    )
    environment.filters["cell"] = _table_text
    return environment.get_template("report.md.j2").render(values, tiers=TIERS, judged_tiers=TIERS_JUDGED)


def _table_text(text: str) -> str:
    """Text that cannot break a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _units(study: Results) -> pd.DataFrame:
    columns = ["kind", "id", "folder", "label", "model", "seed", "layer", "depth", "pair", "weight", "status", "reason"]
    rows = [[getattr(unit, column) for column in columns] for unit in study.units.values()]
    return pd.DataFrame(rows, columns=columns)


def _name(study: Results, cell: Unit) -> str:
    """`multiply/add · L16 (0.57) · w 0.5`, with the seed where there are several."""
    seed = f" · seed {cell.seed}" if len(study.seeds) > 1 else ""
    return f"{cell.pair} · L{cell.layer} ({cell.depth:.2f}) · w {cell.weight:g}{seed}"


def _cells(study: Results, model: str) -> list[Unit]:
    return [cell for cell in study.cells if cell.model == model]


def _model_row(study: Results, model: str) -> Row:
    entry, cells = study.models.get(model, {}), _cells(study, model)
    source: dict[str, Any] = entry.get("source", {})
    kind = next((key for key in KEYS if key in source), "")
    value = source.get(kind, "unknown")
    where = ", ".join(value) if isinstance(value, list) else str(value)
    units = [unit for unit in study.units.values() if unit.model == model and unit.kind != "cell"]
    states = {kind: Counter(u.status for u in units if u.kind == kind) for kind in ("stage1", "reference")}
    first, reference = (", ".join(states[kind]) or "none" for kind in ("stage1", "reference"))
    finished = sum(cell.finished for cell in cells)
    blocks = str(next(unit.blocks for unit in study.units.values() if unit.model == model))
    licence = str(entry.get("licence", "unknown"))
    return [model, f"{kind}: {where}".strip(": "), blocks, licence, first, reference, f"{finished} of {len(cells)}"]


def _token_rows(study: Results) -> list[Row]:
    """Per model and pair: each operation's token and its id, or why the pair has none."""
    rows = []
    for model in study.model_names:
        found: dict[str, dict[str, Any]] = {}
        for unit_id, done in study.done.items():
            if study.units[unit_id].model == model:
                found |= done.get("tokens", {})
        for pair, tokens in sorted(found.items()):
            if "skipped" in tokens:
                rows.append([model, pair, f"skipped: {tokens['skipped']}"])
            else:
                texts = [f"{operation} `{token['text']}` {token['id']}" for operation, token in tokens.items()]
                rows.append([model, pair, ", ".join(texts)])
    return rows


def _gate_rows(study: Results) -> list[Row]:
    """Per model and gate: the largest figure, the limit and how many passed."""
    rows = []
    for model in study.model_names:
        found: dict[str, list[dict[str, Any]]] = {}
        for unit_id, done in study.done.items():
            if study.units[unit_id].model == model:
                for gate in done.get("gates", []):
                    found.setdefault(gate["gate"], []).append(gate)
        for name, gates in found.items():
            passed = sum(bool(gate["passed"]) for gate in gates)
            largest, limit = (max(float(gate[key]) for gate in gates) for key in ("figure", "limit"))
            rows.append([model, name, f"{largest:.2g}", f"{limit:.2g}", f"{passed} of {len(gates)}"])
    return rows


def _accuracy_rows(study: Results, levels: pd.DataFrame, judged: pd.DataFrame, model: str) -> list[Row]:
    """Answer accuracy on each tier: the stages that all cells share, then every cell."""
    rows = []
    several = len(study.seeds) > 1
    for unit in study.units.values():
        if unit.model != model or not unit.finished or unit.kind == "stage1" or unit.layer is not None:
            continue
        for stage, name in (("baseline", "baseline"), ("stage1", "after stage 1"), ("stage2", "stage 2, w = 0")):
            at_stage = levels[(levels["unit"] == unit.id) & (levels["stage"] == stage)]
            if not at_stage.empty:
                rows.append([name + (f", seed {unit.seed}" if several else ""), *_levels(at_stage), ""])
    leaks = judged[judged["tier"] == study.trained[0]].set_index("unit")["leakage"]
    for cell in _cells(study, model):
        if cell.finished:
            leak = probability(leaks[cell.id]) if cell.id in leaks.index else ""
            rows.append([_name(study, cell), *_levels(levels[levels["unit"] == cell.id]), leak])
        else:
            rows.append([_name(study, cell), cell.status, *[""] * len(TIERS)])
    return rows


def _levels(levels: pd.DataFrame) -> Row:
    by_tier = {row["tier"]: row for row in levels.to_dict("records")}
    return [share(_interval(by_tier[tier], "right")) if tier in by_tier else "" for tier in TIERS]


def _outcome_rows(study: Results, judged: pd.DataFrame, model: str) -> list[Row]:
    """p, choice accuracy and outcome on each tier, one row a cell."""
    rows = []
    for cell in _cells(study, model):
        by_tier = {row["tier"]: row for row in judged[judged["unit"] == cell.id].to_dict("records")}
        texts = [_outcome(by_tier[tier]) if tier in by_tier else "" for tier in TIERS]
        rows.append([_name(study, cell), *(texts if cell.finished else [cell.status, "", "", ""])])
    return rows


def _outcome(row: dict[Any, Any]) -> str:
    outcome = f"**{row['outcome']}**" if row["outcome"] == Outcome.EMERGENT else row["outcome"]
    return f"{outcome}: p {probability(row['p'])}, {share(_interval(row, 'choice'))}"


def _missed_rows(study: Results, judged: pd.DataFrame) -> dict[str, list[Row]]:
    """Which criteria each cell missed, by tier; emergent cells are left out."""
    found = judged[judged["outcome"] != Outcome.EMERGENT].to_dict("records")
    names = {cell.id: f"{cell.model} · {_name(study, cell)}" for cell in study.cells}
    return {
        tier: [[names[row["unit"]], row["outcome"], row["missed"]] for row in found if row["tier"] == tier]
        for tier in TIERS
    }


def _kept_rows(study: Results, kept: pd.DataFrame, model: str) -> list[Row]:
    rows = []
    for cell in _cells(study, model):
        here = {(row["tier"], row["against"]): row for row in kept[kept["unit"] == cell.id].to_dict("records")}
        if here:
            keys = [(tier, against) for tier in TIERS_JUDGED for against in ("stage 1", "w = 0")]
            texts = [
                f"{here[key]['verdict']} ({signed_points(_interval(here[key], 'difference'))})" if key in here else ""
                for key in keys
            ]
            rows.append([_name(study, cell), *texts])
    return rows


def _pair_rows(study: Results, judged: pd.DataFrame) -> list[Row]:
    """Token pairs side by side: emergent cells, and mean choice accuracy, on each tier."""
    rows = []
    for pair in study.pairs:
        here = judged[judged["pair"] == pair]
        row = [pair]
        for tier in TIERS:
            at_tier = here[here["tier"] == tier]
            emergent = (at_tier["outcome"] == Outcome.EMERGENT).sum()
            mean = share(float(at_tier["choice"].mean())) if len(at_tier) else "none"
            row.append(f"{emergent} of {len(at_tier)}, mean choice accuracy {mean}")
        rows.append(row)
    return rows


def _environments(study: Results) -> list[Row]:
    """Machines and versions with the number of units that each ran."""
    counts: Counter[tuple[str, str]] = Counter()
    for done in study.done.values():
        machine = ", ".join(filter(None, [done.get("machine"), done.get("blas")])) or "unknown"
        versions = done.get("versions", {})
        counts[machine, ", ".join(f"{name} {versions[name]}" for name in sorted(versions))] += 1
    return [[machine, versions, str(count)] for (machine, versions), count in sorted(counts.items())]


def _interval(row: dict[Any, Any], name: str) -> Interval:
    return Interval(row[name], row[f"{name}_low"], row[f"{name}_high"])


if __name__ == "__main__":
    sys.exit(main())
