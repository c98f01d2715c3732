"""The report as a whole, on complete, incomplete and empty studies."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from analysis import report
from analysis.data.left_out import LeftOut
from analysis.data.results import Results, read_results
from analysis.drawing.description import Picture
from analysis.figures import describe_pictures
from analysis.outcomes import Decided
from analysis.report import write_report
from study.commands.report import main
from study.config.evaluation import Decisions
from tests.reported import FULL, NOTHING, first_page_of, links_of, report_of, rows_of, sections_of, table_of
from tests.simulated import Plan, Truth, write_study

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


WITHOUT_MLX_AND_RAY = """
import sys
for name in ("mlx", "mlx.core", "mlx_lm", "ray"):
    sys.modules[name] = None
from study.commands.report import main
sys.exit(main(sys.argv[1:]))
"""


def test_sections_stand_in_their_order(full: Path, everything: Path) -> None:
    for out in (full, everything):
        assert re.findall(r"^## (.*)", out.read_text(), flags=re.MULTILINE) == [
            *("How it is decided", "Models and gates", "Every cell", "Where", "Cost", "Controls and manipulations"),
            *("Why there", "Use", "Limits", "How to reproduce"),
        ]


def test_what_was_not_run_is_said_in_its_section(full: Path) -> None:
    sections = sections_of(full)
    assert (
        "Not run, or no cell has finished and fitted beside a plain one that did."
        in sections["Controls and manipulations"]
    )
    assert "Predictors: not run, or" in sections["Why there"]
    assert "Not run, or no prompt is answered right" in sections["Use"]
    assert "| alpha | plain | not followed in training; width 0.25 |" in sections["Where"]
    questions = {asks: answer for asks, answer, _ in rows_of(first_page_of(full), "Question")[2:]}
    assert [asks for asks, answer in questions.items() if answer == "**Not tested**"] == [
        *("Do the words' meanings matter?", "Was it only memory?", "Does the network use it?", "Why there?")
    ]
    for name in ("doses", "shares", "associations", "associations_by_model", "predictors"):
        assert (full.parent / "full" / f"table_{name}.csv").read_text().count("\n") == 1


def test_what_was_run_has_its_table(everything: Path) -> None:
    text, sections = everything.read_text(), sections_of(everything)
    assert "not run" not in text.lower().split("## limits")[0]
    assert "Not tested" not in text
    controls = sections["Controls and manipulations"]
    assert "| alpha | random words | 4 of 4 | 0.073 to 0.073 | 60 |" in controls
    assert re.search(r"\| names minus random words: alpha · symbolic \| \+4\d\.\d \[.*\]: above \|", controls)
    assert re.search(r"\| plain minus adapters at and below .*: alpha · symbolic \| \+0\.0 \[", controls)
    assert re.search(
        r"\| names minus shuffled labels, where .*: alpha · symbolic \| [^|]+: above \|  \|  \|  \|", controls
    )
    assert "| alpha | plain | 4 of 4, step 20; width 0.25 |" in text
    assert "| alpha | shuffled labels | 0 of 4; width 0.25 |" in text
    assert "undecided: too few models |" in text
    assert "| multiply/add · L1 (0.50) · w 0.5 · symbolic | " in text
    assert re.search(r"\| alpha · w 0.5 · symbolic · L1 \(0.50\) \| symbolic \| \d %", sections["Use"])
    for name in ("doses", "shares", "onset", "effects", "differences", "associations", "predictors"):
        assert (everything.parent / "everything" / f"table_{name}.csv").read_text().count("\n") > 1


def test_controls_that_did_not_fit_are_named_under_limits_and_used_nowhere(controlled: Path) -> None:
    levels, units = table_of(controlled, "levels"), table_of(controlled, "units").set_index("id")
    failed = set(levels.loc[~levels["fitted"], "unit"])
    assert {(units.loc[unit, "arm"], units.loc[unit, "layer"]) for unit in failed} == {
        *(("shuffled_labels", 1), ("shuffled_labels", 3), ("random_words", 3))
    }
    (line,) = re.findall(
        r"Cells whose class loss did not fit, and which no mean, difference or depth counts: (.*)\.\n",
        sections_of(controlled)["Limits"],
    )
    assert set(line.replace("\\", "").split(", ")) == set(units.loc[list(failed), "label"])
    differences = table_of(controlled, "differences")
    assert not failed & {*differences["unit"], *differences["beside"]}
    assert set(differences.loc[differences["contrast"] == "names against random_words", "layer"]) == {1}
    assert set(table_of(controlled, "effects")["contrast"]) == {
        *("cost against w = 0", "cost against stage 1", "names against random_words"),
        *("order of names against random_words", "class loss against w = 0", "order with class loss against w = 0"),
    }
    means = table_of(controlled, "means")
    shuffled = means[means["arm"] == "shuffled_labels"]
    assert set(zip(shuffled["seeds"], shuffled["not_fitted"], strict=True)) == {(0, 2)}
    assert shuffled["choice"].isna().all()
    table = sections_of(controlled)["Controls and manipulations"]
    assert "| beta | shuffled labels | 0 of 4 |" in table
    assert "| beta | random words | 2 of 4 |" in table
    assert "shuffled labels, where" not in table
    assert "| Was it only memory? | **Not tested** | 0 of 8 cells with shuffled labels fitted |" in first_page_of(
        controlled
    )
    assert {row[-1] for row in rows_of(first_page_of(controlled), "wording")[2:]} == {"did not fit"}


def test_every_decision_is_printed(full: Path) -> None:
    text = full.read_text()
    for name, field in Decisions.model_fields.items():
        # The first is of samples alone, the second is left to another setting here.
        assert (f"| {name} |" in text) == (name not in ("learned", "predictor_prompts")), name
        assert field.description
    assert "| predictors | log_p, a_lin, selectivity, gradient_cosine |" in text


def test_every_link_leads_to_a_file(full: Path, broken: Path, controlled: Path, everything: Path) -> None:
    for out in (full, broken, controlled, everything):
        links = links_of(out)
        assert len(links) > 10
        assert [link for link in links if not link.is_file()] == []


def test_every_picture_has_alt_text(full: Path, everything: Path) -> None:
    wanted = {
        full: ["depth", "order", "lens", "cost"],
        everything: [
            *("depth", "order", "depth_symbolic_semantic", "lens", "emergence_alpha", "cost", "contrasts", "use"),
        ],
    }
    for out, names in wanted.items():
        pictures = re.findall(rf"!\[(.*)\]\({out.stem}/(\w+)\.svg\)", out.read_text())
        assert [name for _, name in pictures] == names
        assert all(len(alt) > 30 for alt, _ in pictures)
        assert out.read_text().count("![") == len(names)


def test_every_cell_has_its_row_whether_finished_or_not(full: Path, broken: Path) -> None:
    for out in (full, broken):
        table = out.read_text().split("<summary>alpha (4)</summary>\n")[1].split("Answer accuracy")[0]
        for name in ("multiply/add · L1 (0.50)", "multiply/add · L3 (1.00)", "river/copper · L1 (0.50)"):
            assert f"| {name} · w 0.5 |" in table


def test_tables_have_as_many_columns_in_every_row(full: Path, broken: Path, controlled: Path, everything: Path) -> None:
    for out in (full, broken, controlled, everything):
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
    missed = broken.read_text().partition("### What the others missed")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| alpha .*", missed, flags=re.MULTILINE)
    assert len(rows) == 2 * 4
    assert all("gain in p over w = 0 unknown: not finished" in row for row in rows)
    told = "no cell that learned its class has a finished one with w = 0 beside it"
    assert f"| Does it cost answers? | **Not tested** | {told} |" in first_page_of(broken)


def test_a_study_without_a_finished_cell_has_a_report(tmp_path: Path) -> None:
    out = report_of(tmp_path, NOTHING, "nothing")
    text = out.read_text()
    assert "No cell has finished yet, so there is no answer." in text
    assert "![" not in text
    assert "In one sentence" not in text
    assert "| Question |" not in text
    sections = sections_of(out)
    assert "Not measured: no cell that learned its class has" in sections["Cost"]
    for name in ("Where", "Limits"):
        assert "No cell has finished." in sections[name]
    assert text.count("not run yet") == 7
    assert [link for link in links_of(out) if not link.is_file()] == []


def test_a_model_without_a_finished_cell_stands_beside_one_that_has_some(tmp_path: Path) -> None:
    unfinished = {
        label.replace("alpha", "beta"): ("missing", "")
        for label in NOTHING.unfinished
        if label.split("|")[1] not in ("stage1", "reference")
    }
    out = report_of(tmp_path, replace(FULL, models={"alpha": 4, "beta": 4}, unfinished=unfinished), "half")
    assert [link for link in links_of(out) if not link.is_file()] == []
    assert set(pd.read_csv(out.with_suffix("") / "lens.csv")["model"]) == {"alpha"}
    assert {row[1] for row in rows_of(first_page_of(out), "wording")[2:]} == {"alpha"}
    assert "<summary>beta (4)</summary>" in out.read_text()


@pytest.mark.parametrize(
    ("truth", "said"),
    [
        (
            Truth(choice=0.5),
            r"that no training saw: on symbolic by \d\d % in alpha at 0\.50, not shown to be above chance; on .*",
        ),
        (
            Truth(class_loss=5.0),
            r"No class token was trained into a layer: no class loss ended below chance\. More stage2\.steps, or .*",
        ),
    ],
)
def test_a_study_of_one_cell_has_a_report_that_claims_no_more_than_its_level(
    tmp_path: Path, truth: Truth, said: str
) -> None:
    plan = Plan({"alpha": 4}, (0.5,), ("multiply/add",), (0.5,), truth=lambda _: truth, per_class=9)
    out = report_of(tmp_path, plan, "one")
    (sentence,) = re.findall(r"> \*\*In one sentence\.\*\* (.*)", out.read_text())
    assert re.search(said, sentence)
    assert "at 75 % or more" not in sentence
    assert len(rows_of(first_page_of(out), "Question")) == 2 + 5
    told = {row[2] for row in rows_of(first_page_of(out), "wording")[2:]}
    assert ("did not fit" in told) == (truth.class_loss == 5.0)
    assert [link for link in links_of(out) if not link.is_file()] == []


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
