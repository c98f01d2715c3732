"""The report of one study, made from its rows alone."""

import json
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.data import markdown
from analysis.data.files import table_file, write_file
from analysis.data.left_out import LeftOut
from analysis.data.report_files import check_beside, check_report, files_named_in
from analysis.data.results import Results, read_results
from analysis.drawing.description import Chart, Picture
from analysis.drawing.matplotlib_renderer import save
from analysis.drawing.vega_lite_renderer import specification
from analysis.figures import describe_pictures
from analysis.figures.series import paneled_models, shown_pairs
from analysis.outcomes import Decided, decide_study
from analysis.outcomes.changes import MEASURES
from analysis.outcomes.depth import READABLE
from analysis.outcomes.explanation import PERMUTATIONS
from analysis.outcomes.fitted_lens import lens_fits
from analysis.outcomes.prediction import NEGLIGIBLE
from analysis.page import write_page
from analysis.text import changes, effects_and_use, models_and_outcomes, onset_and_predictors, sample_tables
from analysis.text.first_page import FirstPage, first_page
from analysis.text.fitted_lens import lens_rows
from analysis.text.limits import limits, named, progress
from analysis.text.published import recipe_tables
from analysis.text.rendering import rendered
from analysis.text.rows import first_rows
from analysis.text.sample_page import sample_page
from analysis.text.warnings import out_of_reach, warning_rows
from study.config import yaml_core
from study.config.stages import RUNNING_STEPS, Stage2
from study.results.description import REPORT_TITLE
from study.results.files import UnwritableError, write_bytes

OF_ANSWERS = ("accuracy", "doses", "shares")
"""Tables of which a study of labels alone has none."""


def write_report(results: Path, out: Path) -> list[LeftOut]:
    """Write `out` (Markdown), the same as one HTML page and, in a folder named after it, figures and tables as CSV.

    The same rows give the same bytes. Returns what the report leaves out: units whose files cannot be read, and figures
    that cannot be made. Raises ResultsError where `results` is not a study's folder or `out` no `.md`.
    """
    check_report(out, REPORT_TITLE, results.name)
    study = read_results(results)
    check_beside(results, out)
    decided = decide_study(study)
    folder = out.with_suffix("")
    before = files_named_in(out)
    fits = lens_fits(study)
    tables = decided.tables | {"units": _units(study)} | ({} if fits.empty else {"lens_fits": fits})
    for name in () if study.has_answers else OF_ANSWERS:
        del tables[name]
    suffixes = {}
    for name, table in tables.items():
        suffixes[name], content = table_file(table)
        write_file(folder, f"table_{name}", suffixes[name], content)
    pictures, files, left_out = _figures(study, decided, folder)
    any_finished = not decided.plain.empty
    text = rendered(
        "sample.md.j2" if decided.of_sample else "report.md.j2",
        title=markdown.Markdown(REPORT_TITLE + (", and what does it cost?" if study.has_answers else "?")),
        study=study,
        tiers=list(study.tiers),
        folder=folder.name,
        suffixes=suffixes,
        named=named(study),
        progress=progress(study),
        out_of_reach=out_of_reach(study),
        warnings=warning_rows(study),
        fitted_lens=lens_rows(fits),
        left_out=list(map(str, left_out)),
        first=_first_page(study, decided) if any_finished else None,
        limits=limits(study, decided) if any_finished else [],
        pictures={picture.name: picture for picture in pictures},
        drawn_pairs=shown_pairs(study),
        drawn_models=paneled_models(study),
        files=files,
        **_outcomes(study, decided),
        **_reasons(study, decided),
        changed=_changed(study, decided) if study.nursery and study.nursery.changes else None,
        recipes=recipe_tables(study, decided.recipes_told, decided.recipes_measured),
        unfinished=first_rows(
            [unit for unit in study.everything.values() if not unit.finished],
            lambda unit: [unit.label, unit.id, unit.status, unit.reason],
        ),
        config=markdown.code_block(yaml_core.dump(study.config, sort_keys=False, allow_unicode=True), "yaml"),
        environments=models_and_outcomes.environment_rows(study),
        seconds=sum(sum(done.get("seconds", {}).values()) for done in study.done.values()),
        memory=max((done.get("peak_memory_gb") or 0 for done in study.done.values()), default=0),
    )
    write_bytes(out, text.encode(errors="replace"))
    made = {f"table_{name}{suffix}" for name, suffix in suffixes.items()}
    made |= set(chain(*files.values()))
    for name in before - made:  # which tells of other rows, and is not to get into the page
        (folder / name).unlink(missing_ok=True)
    write_page(out, study.tiers, pictures, [drawing for drawing, _ in files.values()], tables)
    return left_out


def _first_page(study: Results, decided: Decided) -> FirstPage:
    """A sample of small models has a page of its own, once one of them has learned its task."""
    return (sample_page if decided.of_sample else first_page)(study, decided)


def _figures(
    study: Results, decided: Decided, folder: Path
) -> tuple[list[Picture], dict[str, tuple[str, str]], list[LeftOut]]:
    """Save the figures; return them, the names of their files (drawing and data) by their own, and what the report
    leaves out."""
    unreadable = [unit for unit in study.everything.values() if unit.status == "unreadable"]
    described, failed = describe_pictures(study, decided)
    saved, files = [], {}
    for picture in described:
        try:
            written = save(picture, folder)
            if isinstance(picture, Chart):
                json.dumps(specification(picture), allow_nan=False)
            saved.append(picture)
            files[picture.name] = written
        except UnwritableError:
            raise
        except Exception as error:
            failed.append(LeftOut.figure(picture.name, error))
    return saved, files, [*(LeftOut(unit.label, unit.reason, unit.id) for unit in unreadable), *failed]


def _outcomes(study: Results, decided: Decided) -> dict[str, Any]:
    """Tables of models, outcomes and answers."""
    models, plain = study.model_names, decided.plain
    settings = Stage2.model_validate(study.config.get("stage2", {}))
    return {
        "models": [models_and_outcomes.model_row(study, model) for model in models],
        "terms": models_and_outcomes.term_rows(study),
        "tokens": models_and_outcomes.token_rows(study),
        "gates": models_and_outcomes.gate_rows(study),
        "decisions": models_and_outcomes.decision_rows(study),
        "outcomes": {model: models_and_outcomes.outcome_rows(study, plain, model) for model in models},
        "accuracy": {model: models_and_outcomes.accuracy_rows(study, decided, model) for model in models},
        "missed": models_and_outcomes.missed_rows(study, plain, transfer=False),
        "missed_transfer": models_and_outcomes.missed_rows(study, plain, transfer=True),
        "finished": not plain.empty,
        "trained": list(dict.fromkeys(" and ".join(cell.wordings) for cell in study.cells)),
        "fitted_loss": settings.fitted_loss,
        "running_steps": RUNNING_STEPS,
        "control_times": settings.control_times,
    }


def _reasons(study: Results, decided: Decided) -> dict[str, Any]:
    """Tables of depths, training, contrasts, predictors and the exchange of states."""
    return {
        "depths": effects_and_use.depth_rows(study, decided.depths),
        "sources": sample_tables.variance_rows(decided.variance),
        "factors": sample_tables.factor_rows(decided.factors),
        "cards": sample_tables.card_rows(study, decided.areas),
        "manipulations": sample_tables.manipulation_table(decided.manipulations),
        "forecast": sample_tables.forecast_rows(decided.forecast),
        "gains": effects_and_use.contrast_rows(study, decided.effects, "gain"),
        "cues": effects_and_use.cue_rows(study, decided.cues),
        "readable": f"{100 * READABLE:.0f}",
        "onset": onset_and_predictors.onset_rows(study, decided.onset),
        "costs": effects_and_use.contrast_rows(study, decided.effects, "cost"),
        "contrasts": effects_and_use.contrast_rows(study, decided.effects, "control"),
        "pooled": effects_and_use.pooled_rows(study, decided.pooled),
        "fits": effects_and_use.fit_rows(study, decided),
        "facts": onset_and_predictors.fact_rows(study, decided),
        "explained": onset_and_predictors.explained_rows(decided.explained),
        "permutations": PERMUTATIONS,
        "associations": onset_and_predictors.association_rows(decided.associations),
        "correlations": onset_and_predictors.correlation_rows(study, decided.associations_by_model),
        "negligible": NEGLIGIBLE,
        "shares": effects_and_use.share_rows(study, decided.shares),
        "share_head": effects_and_use.share_head(decided.shares),
    }


def _changed(study: Results, decided: Decided) -> dict[str, Any]:
    """What one change of a small model does."""
    return {
        "models": changes.model_rows(study, decided),
        "said": changes.sentences(study, decided),
        "differences": {
            measure: rows
            for name, measure in MEASURES.items()
            if (rows := changes.difference_rows(study, decided, name))
        },
        "steps": study.nursery.training.steps if study.nursery else 0,
    }


def _units(study: Results) -> pd.DataFrame:
    columns = [
        *("kind", "id", "folder", "label", "model", "seed", "layer", "depth", "pair", "readout", "arm", "wordings"),
        *("weight", "status", "reason"),
    ]
    rows = [[getattr(unit, column) for column in columns] for unit in study.everything.values()]
    return pd.DataFrame(rows, columns=columns).assign(wordings=lambda frame: frame["wordings"].str.join("+"))
