"""The report as a whole, on complete, incomplete and empty studies."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from analysis import report
from analysis.data.left_out import LeftOut
from analysis.data.results import Results, read_results
from analysis.drawing.description import Picture
from analysis.figures import describe_pictures
from analysis.outcomes import Decided
from analysis.report import write_report
from study.commands.report import main
from study.config.arms import ARMS
from study.config.study import Decisions
from tests.simulated import Plan, Point, Truth, write_study

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def _truth(point: Point) -> Truth:
    transfers = point.depth > 0.9 and point.pair == "multiply/add"
    return Truth() if point.tier == "symbolic" or transfers else Truth(choice=0.5)


FULL = Plan(models={"alpha": 4}, depths=(0.5, 1.0), weights=(0.0, 0.5), truth=_truth, per_class=24)
EVERYTHING = replace(
    FULL,
    pairs=("multiply/add",),
    arms=tuple(ARMS),
    wordings=(("symbolic",), ("symbolic", "semantic")),
    truth=lambda point: Truth(choice=0.5 if point.arm in ("shuffled_labels", "random_words") else 1.0),
    predictors=lambda point: {},
    watched=True,
    swapped=True,
)
BROKEN = replace(
    FULL,
    unfinished={
        "alpha|L1|river-copper|w=0.5|s0": ("failed", "RuntimeError: gate <lens> | 0.2"),
        "alpha|L3|river-copper|w=0.5|s0": ("skipped", "token: copper is not a single token"),
        "alpha|multiply-add|w=0|s0": ("missing", ""),
    },
)
NOTHING = replace(
    FULL,
    unfinished={
        f"alpha|{rest}|s0": ("missing", "")
        for rest in (
            "stage1",
            "reference",
            "multiply-add|w=0",
            *(f"L{layer}|{pair}|w=0.5" for layer in (1, 3) for pair in ("multiply-add", "river-copper")),
        )
    },
)

WITHOUT_MLX_AND_RAY = """
import sys
for name in ("mlx", "mlx.core", "mlx_lm", "ray"):
    sys.modules[name] = None
from study.commands.report import main
sys.exit(main(sys.argv[1:]))
"""


def _report(tmp: Path, plan: Plan, name: str) -> Path:
    out = tmp / "reports" / f"{name}.md"
    write_report(write_study(tmp / "results" / name, plan), out)
    return out


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _report(tmp_path_factory.mktemp("full"), FULL, "full")


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _report(tmp_path_factory.mktemp("broken"), BROKEN, "broken")


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _report(tmp_path_factory.mktemp("everything"), EVERYTHING, "everything")


def _links(out: Path) -> list[Path]:
    return [out.parent / link for link in re.findall(r"\]\(([^)]+)\)", out.read_text())]


def test_the_answer_says_what_was_planted(full: Path) -> None:
    text = full.read_text()
    assert "alpha; 4 of 4 cells with a class loss finished; 1 seed." in text
    *answer, _, source = text.split("## The answer")[1].split("![")[0].strip().splitlines()
    assert source == "Every number above: [table_answer.csv](full/table_answer.csv)."
    assert len(answer) == 5
    assert "semantic 1 of 4 (alpha 1 of 4 from relative depth 1.00; best" in answer[0]
    assert "story 1 of 4" in answer[0]
    assert "On the trained wording: 4 of 4." in answer[0]
    assert "multiply/add 2 of 2 on the trained wording and 3 of 6 on the others" in answer[2]
    assert "river/copper 2 of 2 on the trained wording and 0 of 6 on the others" in answer[2]


def test_sections_stand_in_their_order(full: Path, everything: Path) -> None:
    for out in (full, everything):
        assert re.findall(r"^## (.*)", out.read_text(), flags=re.MULTILINE) == [
            *("The answer", "Models and gates", "Outcomes", "Where", "Preservation", "Controls", "Why there"),
            *("Causal use", "Limits", "How to reproduce"),
        ]


def test_what_was_not_run_is_said_in_its_section(full: Path) -> None:
    text = full.read_text()
    sections = {part.split("\n")[0]: part for part in text.split("\n## ")}
    assert "The shuffled-label control was not run" in sections["Controls"]
    assert "Arms with other labels or other tokens: not run." in sections["Controls"]
    assert "Predictors: not run, or" in sections["Why there"]
    assert "Changes in how cells are trained: not run." in sections["Why there"]
    assert "Not run" in sections["Causal use"]
    assert "| alpha | plain | not run; width 0.25 |" in sections["Where"]
    for name in ("controls", "causal", "associations", "associations_by_model", "predictors"):
        assert (full.parent / "full" / f"table_{name}.csv").read_text().count("\n") == 1


def test_what_was_run_has_its_table(everything: Path) -> None:
    text = everything.read_text()
    assert "not run" not in text.lower().split("## limits")[0]
    assert "| alpha | random words | better in 4, worse in 0 of 4: 100 % against 55 % |" in text
    assert (
        "| alpha | adapters at and below the layer only | better in 0, worse in 0 of 4: 100 % against 100 % |" in text
    )
    assert "| alpha | plain | 4 of 4, step 20; width 0.25 |" in text
    assert "| alpha | shuffled labels | 0 of 4; width 0.25 |" in text
    assert "| too few models |" in text
    assert "| multiply/add · L1 (0.50) · w 0.5 · symbolic | symbolic |" in text
    assert "The shuffled-label control was not run" not in text
    names = {file.stem for file in (everything.parent / "everything").glob("table_*.csv")}
    assert {f"table_{name}" for name in ("controls", "onset", "causal", "associations", "predictors")} < names


def test_every_decision_is_printed(full: Path) -> None:
    text = full.read_text()
    for name, field in Decisions.model_fields.items():
        assert f"| {name} |" in text
        assert field.description
    assert "| predictors | log_p, a_lin, selectivity, gradient_cosine |" in text


def test_every_link_leads_to_a_file(full: Path, broken: Path, everything: Path) -> None:
    for out in (full, broken, everything):
        links = _links(out)
        assert len(links) > 10
        assert [link for link in links if not link.is_file()] == []


def test_every_picture_has_alt_text(full: Path) -> None:
    pictures = re.findall(r"!\[([^\]]*)\]", full.read_text())
    assert len(pictures) == 5
    assert all(len(alt) > 30 for alt in pictures)


def test_every_cell_has_its_row_whether_finished_or_not(full: Path, broken: Path) -> None:
    for out in (full, broken):
        table = out.read_text().split("### alpha\n")[1].split("Answer accuracy")[0]
        for name in ("multiply/add · L1 (0.50)", "multiply/add · L3 (1.00)", "river/copper · L1 (0.50)"):
            assert f"| {name} · w 0.5 |" in table


def test_tables_have_as_many_columns_in_every_row(full: Path, broken: Path, everything: Path) -> None:
    for out in (full, broken, everything):
        for table in re.findall(r"(?:^\|.*\n)+", out.read_text(), flags=re.MULTILINE):
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1, table


def test_pictures_at_one_weight_show_that_of_most_cells(tmp_path: Path) -> None:
    plan = replace(FULL, weights=(0.0, 0.2, 0.5, 0.8))
    results = read_results(write_study(tmp_path / "even", plan))
    assert results.shown_weight == 0.8
    units = {key: unit for key, unit in results.units.items() if unit.weight != 0.8 or unit.layer != 3}
    assert replace(results, units=units).shown_weight == 0.5


def test_an_unfinished_cell_is_named_with_its_reason(broken: Path) -> None:
    text = broken.read_text()
    assert "failed | RuntimeError: gate &lt;lens> \\| 0.2 |" in text
    assert "skipped | token: copper is not a single token |" in text
    assert "missing | not run yet |" in text
    assert "2 of 4 cells with a class loss finished (1 failed, 1 skipped)" in text


def test_without_w_zero_the_report_says_which_criterion_was_missed(broken: Path) -> None:
    text = broken.read_text()
    assert "On the trained wording: 0 of 2." in text
    assert "gain in p over w = 0 unknown: not finished" in text


def test_a_study_without_a_finished_cell_has_a_report(tmp_path: Path) -> None:
    out = _report(tmp_path, NOTHING, "nothing")
    text = out.read_text()
    assert "No cell has finished yet, so there is no answer." in text
    assert "![" not in text
    assert text.count("not run yet") == 7
    assert [link for link in _links(out) if not link.is_file()] == []


def test_a_model_without_a_finished_cell_stands_beside_one_that_has_some(tmp_path: Path) -> None:
    unfinished = {
        label.replace("alpha", "beta"): ("missing", "")
        for label in NOTHING.unfinished
        if label.split("|")[1] not in ("stage1", "reference")
    }
    out = _report(tmp_path, replace(FULL, models={"alpha": 4, "beta": 4}, unfinished=unfinished), "half")
    assert [link for link in _links(out) if not link.is_file()] == []
    profile = out.with_suffix("") / "lens_profile_beta.csv"
    assert "stage" in profile.read_text().splitlines()[0]


def test_it_is_the_same_to_the_byte_on_a_machine_without_mlx_and_ray(broken: Path, tmp_path: Path) -> None:
    out = tmp_path / "broken.md"
    results = broken.parent.parent / "results" / "broken"
    command = [sys.executable, "-c", WITHOUT_MLX_AND_RAY, "--results", str(results), "--out", str(out)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    assert out.read_bytes() == broken.read_bytes()
    for file in (broken.parent / "broken").iterdir():
        assert (tmp_path / "broken" / file.name).read_bytes() == file.read_bytes(), file.name


def test_it_says_nothing_of_the_machine_that_wrote_it(full: Path) -> None:
    assert str(full.parent) not in full.read_text()
    assert "```yaml\nname: full\n" in full.read_text()


@pytest.mark.parametrize(
    ("results", "out", "message"),
    [
        ("absent", "report.md", "holds no study.json"),
        ("empty", "report.md", "holds no study.json"),
        ("empty", "report", "name a Markdown file"),
        ("empty", "empty", "name a Markdown file"),
        ("empty", "folder.md", "name a Markdown file"),
        ("empty", "a\0b.md", "name a Markdown file"),
        ("empty", "a\nb.md", "name a Markdown file"),
        ("empty", "\udcff.md", "name a Markdown file"),
    ],
)
def test_a_bad_path_is_one_message_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], results: str, out: str, message: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "folder.md").mkdir()
    assert main(["--results", str(tmp_path / results), "--out", str(tmp_path / out)]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1


@pytest.mark.parametrize("out", ["file/report.md", f"{'a' * 300}.md"])
def test_where_the_report_cannot_be_written_there_is_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], out: str
) -> None:
    (tmp_path / "file").touch()
    folder = write_study(tmp_path / "results", replace(FULL, depths=(0.5,), pairs=("multiply/add",), per_class=8))
    assert main(["--results", str(folder), "--out", str(tmp_path / out)]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert printed.count("\n") == 1


def test_a_figure_that_the_template_does_not_place_is_shown_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def described(study: Results, decided: Decided) -> tuple[list[Picture], list[LeftOut]]:
        (first, *others), left_out = describe_pictures(study, decided)
        return [first, replace(first, name="unheard_of", caption="A new figure."), *others], left_out

    folder = write_study(tmp_path / "results", FULL)
    write_report(folder, tmp_path / "before.md")
    before = (tmp_path / "before.md").read_text()
    assert "## Further figures" not in before
    monkeypatch.setattr(report, "describe_pictures", described)
    write_report(folder, tmp_path / "report.md")
    text = (tmp_path / "report.md").read_text()
    added = text[text.index("## Further figures") : text.index("## Limits")]
    assert added.count("![") == 1
    assert "](report/unheard_of.svg)" in added
    assert "A new figure." in added
    assert (tmp_path / "report" / "unheard_of.svg").is_file()
    assert text.replace(added, "").replace("report/", "before/") == before
