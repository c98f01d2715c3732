"""docs/custom-task.md, followed to the letter."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from mlx_lm.utils import load

from analysis.outcomes.one_unit import figures_of_unit
from analysis.report import write_report
from study.commands.pack import main as pack
from study.config.examples import Examples
from study.config.mistakes import checked
from study.config.units import Cell, kind
from study.pipeline.export import AS_IT_CAME, DIRECTIONS, FUSED, STAGE2, export
from study.pipeline.units import run_unit
from study.plan.expand import expand
from study.plan.read import ConfigError, Plan, read_study
from study.results.description import write_description
from study.results.store import Store

ROOT = Path(__file__).parent.parent
DOC = (ROOT / "docs" / "custom-task.md").read_text()
OF_ARITHMETIC = ("operand", "operation", "symbolic", "semantic", "construction", "arithmetic", "7 * 8", "if the number")


def blocks(language: str) -> list[str]:
    """What stands in the page as code of a language; "" for what a terminal shows."""
    every = re.findall(r"^```(\w*)\n(.*?)^```$", DOC, re.DOTALL | re.MULTILINE)
    return [text for of, text in every if of == language]


LINES, OPPOSITES, REVIEWS, DIVISION = blocks("jsonl")[0], *blocks("yaml")
REFUSED, COMMAND = (text for text in blocks("") if not text.startswith("data: "))
DATA = [line for text in blocks("") if text.startswith("data: ") for line in text.splitlines()]
SAVED, LABELLED, OPERATION = blocks("python")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with the models of the repository, and the files that the page says to save."""
    (tmp_path / "configs").mkdir()
    shutil.copy(ROOT / "configs" / "models.yaml", tmp_path / "configs")
    for study in (OPPOSITES, REVIEWS, DIVISION):
        (tmp_path / "configs" / f"{yaml.safe_load(study)['name']}.yaml").write_text(study)
    (tmp_path / "configs" / yaml.safe_load(OPPOSITES)["data"]["file"]).write_text(LINES)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def carry_out(plan: Plan, results: Path) -> list[Cell]:
    """Every unit, one after another in this process, and the study's description; its cells."""
    units = expand(plan.study, plan.models)
    assert {unit.label: run_unit(unit, results).state for unit in units} == {unit.label: "done" for unit in units}
    models = {name: model.model_dump(mode="json") for name, model in plan.models.items()}
    write_description(results, plan.study.name, plan.study.model_dump(mode="json"), models, units)
    return [unit for unit in units if isinstance(unit, Cell)]


@pytest.mark.ray
def test_the_command_of_the_page_runs_its_study_and_the_report_speaks_of_nothing_else(place: Path) -> None:
    python, *arguments = shlex.split(COMMAND)
    assert python == "python"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False, timeout=500
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 to run, 10 done, 0 skipped, 0 failed" in done.stdout
    report = (place / "reports" / "opposites.md").read_text()
    assert "| Cell | statement | story |" in report
    row = r"^\| statement(, [^|]+)? \((\d+ )?new groups in trained templates\) \| tiny-llama \|"
    assert re.search(row, report, re.MULTILINE)
    assert "Trained on: statement." in report
    assert report.count("pleasant/unpleasant · L") >= 2
    page = re.sub(r"<script>.*?</script>", "", (place / "reports" / "opposites.html").read_text(), flags=re.DOTALL)
    for text in (report, page):
        assert [word for word in OF_ARITHMETIC if word in text] == []
    # The report's own configuration, saved beside the models, is the study again.
    (again,) = re.findall(r"```yaml\n(.*?)```", report, re.DOTALL)
    (place / "configs" / "again.yaml").write_text(again)
    one, other = (read_study(place / "configs" / f"{name}.yaml") for name in ("opposites", "again"))
    assert [unit.id for unit in expand(one.study, one.models)] == [
        unit.id for unit in expand(other.study, other.models)
    ]


@pytest.mark.slow
def test_rows_are_of_test_lines_alone_and_name_their_group(place: Path) -> None:
    lines = pd.read_json(place / "configs" / "opposites.jsonl", lines=True)
    plan = read_study(place / "configs" / "opposites.yaml")
    (cell,) = (unit for unit in expand(plan.study, plan.models) if unit.label.endswith("L1|river-copper|w=0.5|s0"))
    assert isinstance(cell, Cell)
    assert run_unit(cell.stage_one, place / "results").state == "done"
    assert run_unit(cell, place / "results").state == "done"
    folder = Store(place / "results").folder(cell)
    answers = pd.read_parquet(folder / "answers.parquet")
    tested = lines[lines["split"] == "test"]
    assert set(answers["prompt"]) == set(tested["prompt"])
    rows = answers.merge(tested, on="prompt", suffixes=("", "_line"))
    for column, key in (("tier", "wording"), ("operation", "class"), ("operands", "group"), ("answer", "answer_line")):
        assert list(rows[column]) == list(rows[key]), column
    assert set(answers["seen"]) == {"stage1+stage2", "nobody"}
    assert set(answers.loc[answers["tier"] == "story", "seen"]) == {"nobody"}


def test_mistakes_are_reported_as_the_page_shows_them(place: Path) -> None:
    spoilt = LINES.splitlines()
    spoilt[3] = spoilt[3].replace('"class"', '"clas"')
    spoilt[8] = spoilt[8].replace("healthy is", "good is")
    spoilt[11] = spoilt[11].replace("good, bad", "happy, sad")
    (place / "configs" / "opposites.jsonl").write_text("\n".join(spoilt))
    with pytest.raises(ConfigError) as refused:
        read_study(Path("configs/opposites.yaml"))
    assert str(refused.value) == REFUSED.strip()


@pytest.mark.slow
def test_the_snippet_of_the_page_saves_a_dataset_with_the_same_prompts(place: Path) -> None:
    subprocess.run([sys.executable, "-c", SAVED], check=True)
    before = read_study(place / "configs" / "opposites.yaml").study
    (place / "configs" / "opposites.yaml").write_text(OPPOSITES.replace("file: opposites.jsonl", "dataset: opposites"))
    after = read_study(place / "configs" / "opposites.yaml").study
    assert isinstance(before.data, Examples)
    assert isinstance(after.data, Examples)
    assert (after.data.lines, after.data.dataset) == (before.data.lines, "opposites")


@pytest.mark.parametrize("line", DATA)
def test_settings_of_data_on_the_page_are_valid(line: str) -> None:
    mistakes: list[str] = []
    assert isinstance(checked(Examples, yaml.safe_load(line)["data"], mistakes), Examples), mistakes


OF_ANSWERS = (
    "nan",
    "Does it cost",
    "Does the network use",
    "w = 0 ",
    "Not measured",
    "after stage 1",
    "Answer accuracy",
)
"""What a report says of answers, of which labels alone tell nothing."""


@pytest.mark.slow
def test_labels_alone_are_trained_on_the_model_as_it_came_and_the_report_says_nothing_of_answers(place: Path) -> None:
    subprocess.run([sys.executable, "-c", LABELLED], check=True)
    plan = read_study(place / "configs" / "reviews.yaml")
    units = expand(plan.study, plan.models)
    assert [kind(unit) for unit in units] == ["reference", "predictors", "cell", "cell"]
    *_, cell = carry_out(plan, place / "results")
    store = Store(place / "results")
    lens = pd.read_parquet(store.folder(cell) / "lens.parquet")
    reference = pd.read_parquet(store.folder(units[0]) / "lens.parquet")
    assert (set(lens["stage"]), set(reference["stage"])) == ({"stage2"}, {"baseline"})
    assert (
        pd.read_parquet(store.folder(cell) / "answers.parquet")[["right", "number_right", "nll"]].isna().all(axis=None)
    )
    assert pd.read_parquet(store.folder(cell) / "curves.parquet")["answer_loss"].isna().all()
    held = lens[(lens["layer"] == cell.layer) & (lens["seen"] == "nobody")]
    assert len(held) == 40  # sentences of five nouns that no training saw
    assert held["choice"].mean() > 0.9
    # A tracker is told of the class alone: there is no answer, and no stage 1.
    entries = {entry["id"]: entry for entry in store.study()["units"]}
    assert figures_of_unit(entries[units[0].id], store.folder(units[0])) == {}
    figures = figures_of_unit(entries[cell.id], store.folder(cell))
    assert {name.split("/")[0] for name in figures} == {"choice"}
    assert figures["choice/unseen/plain"] == pytest.approx(held.groupby("template")["choice"].mean().mean())
    export(cell, store, place / "out")  # the model as it came, and the cell's adapter for it
    _, tokenizer = load(str(place / "out" / AS_IT_CAME), adapter_path=str(place / "out" / STAGE2))[:2]
    assert tokenizer.encode("river")
    assert "converters from `model` and `adapters`" in (place / "out" / DIRECTIONS / "README.md").read_text()
    assert not (place / "out" / FUSED).exists()
    write_report(place / "results", place / "reviews.md")
    report = (place / "reviews.md").read_text()
    assert "Where files lie is not recorded: give the path of `reviews.csv`." in report
    told = report[: report.index("## How to reproduce")]
    assert "The prompts have labels alone: nothing is said of answers." in told
    assert "Choice accuracy, with the class loss minus the model as it came" in told
    assert "| with the class loss minus the model as it came: tiny-llama |" in told
    assert [words for words in OF_ANSWERS if words in told.replace("and w = 0 would train nothing", "")] == []
    tables = {file.stem for file in (place / "reviews").glob("table_*")}
    assert tables.isdisjoint({"table_accuracy", "table_doses", "table_shares"})
    # Packed, the same rows give the same report.
    assert pack([str(place / "results"), str(place / "packed")]) == 0
    write_report(place / "packed", place / "reviews.md")
    assert (place / "reviews.md").read_text() == report


@pytest.mark.slow
def test_the_snippet_of_the_page_makes_another_operation(place: Path) -> None:
    subprocess.run([sys.executable, "-c", OPERATION], check=True)
    plan = read_study(place / "configs" / "division.yaml")
    assert plan.study.data.operations == ["divide", "multiply"]
    assert plan.study.data.tiers == ("signs", "words")
    # Steps and bounds with which a tiny model is emergent, so that all sections of the report have something to say.
    easy = plan.study.decisions.model_copy(update={"choice_accuracy": 0.5, "probability": 0.01, "resamples": 200})
    large = plan.study.stage2.model_copy(update={"learning_rate": 1e-2, "steps": 60})
    plan = Plan(plan.study.model_copy(update={"decisions": easy, "stage2": large}), plan.models)
    *_, cell = carry_out(plan, place / "results")
    answers = pd.read_parquet(Store(place / "results").folder(cell) / "answers.parquet")
    signs = answers[answers["tier"] == "signs"]
    for row in signs.to_dict("records"):
        a, sign, b, _ = row["prompt"].split()
        assert row["answer"] == str(int(a) // int(b) if sign == "//" else int(a) * int(b))
        assert row["operands"] == f"{a},{b}"
    assert set(signs["operation"]) == {"divide", "multiply"}
    write_report(place / "results", place / "division.md")
    report = (place / "division.md").read_text()
    assert "Not run, or no prompt is answered right together with its source." in report
    assert [word for word in OF_ARITHMETIC if word in report] == []
