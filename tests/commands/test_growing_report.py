"""The report of a study that is still running."""

import shutil
import time
from pathlib import Path

import pytest

from study.commands import growing_report
from study.commands.growing_report import GrowingReport
from study.config.units import Cell, Unit
from study.plan.expand import expand
from study.plan.order import first_answers, ranks
from study.plan.read import read_study

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing_report, "FIRST_SECONDS", 0.0)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing_report, "EVERY_SECONDS", 0.0)
    monkeypatch.setattr(growing_report, "SHARE", 1e9)


@pytest.fixture
def results(uninterrupted: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(uninterrupted, tmp_path / "results"))


@pytest.fixture(scope="module")
def units() -> list[Unit]:
    plan = read_study(Path("configs/smoke.yaml"))
    return expand(plan.study, plan.models)


def said(report: GrowingReport) -> str:
    """What is said of the report that is being written, once it is."""
    for _ in range(1200):
        if found := report.look(None):
            return found
        time.sleep(0.1)
    raise AssertionError("nothing is said")


def begun(report: GrowingReport) -> bool:
    return report._process is not None


def test_the_first_report_is_written_when_a_model_has_its_first_depth_profile(
    results: Path, tmp_path: Path, units: list[Unit]
) -> None:
    out = tmp_path / "growing" / "report.md"
    report = GrowingReport(results, out, first_answers(units, ranks(units)))
    wanted = [unit for unit in units if ranks(units)[unit.id] == 0]
    for unit in units:
        last = unit is wanted[-1]
        report.look(unit)
        assert begun(report) is last, unit.label
        if last:
            break
    assert isinstance(unit, Cell)
    assert said(report) == f"the report so far: {out}"
    assert out.read_text().startswith("# ")
    report.look(units[0])
    assert not begun(report), "another one not before a minute has passed"
    report.end()


def test_a_study_of_seconds_has_its_report_at_its_end_alone(
    results: Path, tmp_path: Path, units: list[Unit], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growing_report, "FIRST_SECONDS", 30.0)
    report = GrowingReport(results, tmp_path / "report.md", [])
    report.look(units[-1])
    assert not begun(report)


def test_it_is_written_again_only_when_something_has_ended_and_told_once(
    results: Path, tmp_path: Path, units: list[Unit], soon: None
) -> None:
    out = tmp_path / "report.md"
    report = GrowingReport(results, out, [])
    assert not report.look(units[0])
    assert not begun(report), "a report without a cell would say nothing"
    report.look(units[-1])
    assert said(report)
    report.look(None)
    assert not begun(report)
    out.unlink()
    report.look(units[0])
    assert begun(report)
    while begun(report):
        assert not report.look(None), "the place of the report is told once"
        time.sleep(0.1)
    assert out.is_file()


def test_a_report_that_is_interrupted_leaves_the_one_before_it_and_nothing_half_written(
    results: Path, tmp_path: Path, units: list[Unit]
) -> None:
    out = tmp_path / "report.md"
    out.write_text("the one before")
    report = GrowingReport(results, out, [])
    report.look(units[-1])
    time.sleep(1.0)
    report.end()
    assert not begun(report)
    assert out.read_text() == "the one before"
    assert not list(tmp_path.rglob(".*"))


def test_why_there_is_no_report_is_told_once(tmp_path: Path, units: list[Unit], soon: None) -> None:
    report = GrowingReport(tmp_path / "none", tmp_path / "report.md", [])
    report.look(units[-1])
    assert said(report).startswith("no report yet: error: ")
    report.look(units[-1])
    while begun(report):
        assert not report.look(None)
        time.sleep(0.1)
