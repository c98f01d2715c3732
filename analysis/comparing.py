"""Two studies, or two models of one study, side by side: what differs, and how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pandas as pd

from analysis.data import markdown
from analysis.data.differing import differing
from analysis.data.equal_rows import Compared, compare_rows
from analysis.data.files import table_file, write_file
from analysis.data.left_out import LeftOut
from analysis.data.matching import Matched, Side, match
from analysis.data.report_files import check_beside, check_report, files_named_in
from analysis.data.results import Results, read_results
from analysis.drawing.matplotlib_renderer import save
from analysis.figures.comparison import comparison
from analysis.outcomes.comparison import MAIN, Comparison, compare
from analysis.page import write_page
from analysis.text import comparison as text
from analysis.text.rendering import rendered
from analysis.text.rows import first_rows
from study.config.mistakes import nearest
from study.results.description import COMPARISON_TITLE, ResultsError
from study.results.files import write_bytes


@dataclass(frozen=True)
class Found:
    """All that a comparison tells of."""

    matched: Matched
    differs: pd.DataFrame
    """In what the two differ: DIFFERING of analysis.data.differing."""
    rows: Compared
    comparison: Comparison
    sentence: str

    @property
    def main(self) -> pd.DataFrame:
        """The differences that the first table has."""
        frame = self.comparison.differences
        return frame[frame["family"] == MAIN]

    @property
    def left_out(self) -> pd.DataFrame:
        """The units and pairs that are compared with none, with the reason."""
        return pd.concat([self.matched.left_out, self.comparison.not_fitted], ignore_index=True)

    @property
    def unreadable(self) -> list[LeftOut]:
        """The units whose files cannot be read."""
        sides = {side.folder: side for side in (self.matched.a, self.matched.b)}.values()
        return [
            LeftOut(f"{side.folder}: {unit.label}", unit.reason, unit.id)
            for side in sides
            for unit in side.results.everything.values()
            if unit.status == "unreadable"
        ]


def compare_studies(first: Path, second: Path | None, models: Sequence[str]) -> Found:
    """Compare two studies, or with no `second` two `models` of one; one name is that of both, two are A's and B's.

    Raises ResultsError where there is nothing to compare: a folder is no study's, both are the same, a model is not in
    its study, or nothing is shared.
    """
    if second is None and len(models) < 2:
        known = ", ".join(read_results(first).model_names)
        raise ResultsError(
            f"there is nothing beside {first}: name a second study, or two of its models with --models; it has {known}"
        )
    if second is not None and second.resolve() == first.resolve():
        if len(models) < 2:
            raise ResultsError(
                f"{first} and {second} are the same folder: name two studies, or two models of one with --models"
            )
        second = None
    if second is None and models[0] == models[-1]:
        raise ResultsError(f"{models[0]} is given twice: name two models of {first}")
    own = read_results(first)
    other = read_results(second) if second else own
    a = Side("A", str(first), own, _chosen(first, own, models[:1]))
    b = Side("B", str(second or first), other, _chosen(second or first, other, models[-1:]))
    for side in (a, b):
        if not any(unit.kind == "cell" and unit.finished for unit in side.units):
            raise ResultsError(f"{side.folder} has no finished cell: `study status` says what is left of it")
    matched = match(a, b)
    both = [unit for unit in own.done if unit in other.done and own.everything[unit].model in a.models]
    rows = compare_rows(own, other, both if second else [])
    found, differs = compare(matched, rows), differing(matched)
    return Found(matched, differs, rows, found, text.sentence(matched, differs, rows, found))


def _chosen(folder: Path, results: Results, models: Sequence[str]) -> tuple[str, ...]:
    """The models of a side: those that are named, or all. Raises ResultsError where one is not in the study."""
    known = results.model_names
    for model in models:
        if model not in known:
            raise ResultsError(f"{model} is no model of {folder}{nearest(model, known)}; it has {', '.join(known)}")
    return tuple(models or known)


def write_comparison(found: Found, out: Path) -> None:
    """Write `out` (Markdown), the same as one HTML page and, in a folder named after it, the figure and tables as CSV.

    The same rows give the same bytes. Raises ResultsError where `out` cannot be a report.
    """
    check_report(out, COMPARISON_TITLE, "comparison")
    matched = found.matched
    for side in (matched.a, matched.b):
        check_beside(Path(side.folder), out)
    folder, before = out.with_suffix(""), files_named_in(out)
    tables = {
        "differences": found.comparison.differences,
        "single": found.comparison.single,
        "differs": found.differs,
        "rows": found.rows.columns,
        "left_out": found.left_out,
    }
    suffixes = {}
    for name, table in tables.items():
        suffixes[name], content = table_file(table)
        write_file(folder, f"table_{name}", suffixes[name], content)
    pictures = comparison(matched, found.comparison)
    files = {picture.name: save(picture, folder) for picture in pictures}
    shown, of_further = text.further(found.comparison)
    further_head, further_rows = text.difference_table(shown)
    confidence = matched.a.results.decisions.confidence
    page = rendered(
        "comparison.md.j2",
        title=markdown.Markdown(COMPARISON_TITLE),
        sides=[(side, text.finished(side)) for side in (matched.a, matched.b)],
        sentence=found.sentence,
        main=text.difference_table(found.main),
        by_depth=text.depth_table(found.comparison),
        reading=text.reading(found.comparison, confidence) if len(found.main) else "",
        differs=first_rows(found.differs.to_dict("records"), lambda row: [row[name] for name in row]),
        shared=text.shared(matched, found.rows, found.comparison),
        left_out=text.left_out_rows(found.left_out),
        rows=found.rows,
        differing_rows=text.row_rows(found.rows),
        further_head=further_head,
        further=first_rows(further_rows, list),
        of_further=of_further,
        margin=100 * matched.a.results.decisions.non_inferiority_margin,
        confidence=100 * confidence,
        pictures=[(picture, files[picture.name]) for picture in pictures],
        suffixes=suffixes,
        folder=folder.name,
        unreadable=list(map(str, found.unreadable)),
    )
    write_bytes(out, page.encode(errors="replace"))
    made = {f"table_{name}{suffix}" for name, suffix in suffixes.items()} | set(chain(*files.values()))
    for name in before - made:  # which tells of other rows
        (folder / name).unlink(missing_ok=True)
    write_page(out, matched.a.results.tiers, pictures, [drawing for drawing, _ in files.values()], tables)
