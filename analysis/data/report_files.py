"""Where a report may be written, and which files beside it are its own."""

import re
from pathlib import Path
from urllib.parse import unquote

from analysis.data.markdown import path
from analysis.data.stored import is_packed
from study.results.description import ResultsError, is_report


def check_report(out: Path, title: str, example: str) -> None:
    """Raises ResultsError where a report of this `title`, its first line, cannot be written to `out`: it is no `.md`,
    or another text."""
    if out.suffix != ".md" or out.is_dir() or not str(out).isprintable():
        said = str(out) if str(out).isprintable() else ascii(str(out))
        raise ResultsError(f"the report cannot be {said}: name a Markdown file, such as reports/{example}.md")
    if out.is_file() and not is_report(out, title):
        raise ResultsError(f"{out} is there, and is no report of a study: name another file")


def files_named_in(report: Path) -> set[str]:
    """Return the tables and figures that a report names as its own, in the folder beside it; none where there is no
    report."""
    if not report.is_file():
        return set()
    text, folder = report.read_text(encoding="utf-8", errors="replace"), path(report.stem)
    names = map(unquote, re.findall(rf"\({re.escape(folder)}/([\w.%-]+\.(?:csv|parquet|svg|png))\)", text))
    return {name for name in names if Path(name).name == name}


def check_beside(results: Path, out: Path) -> None:
    """Raises ResultsError where a report would lie among the files of results, which would then be others."""
    own, place = results.resolve(), out.resolve().parent
    if place.is_relative_to(own) and (place != own or is_packed(results)):
        raise ResultsError(
            f"the report cannot be {out}: it would lie among the results in {results}; name another place"
        )
