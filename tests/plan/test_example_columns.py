"""What a file of prompts calls its columns, splits and answers: CSV, other names, near misses, labels alone."""

import csv
import io
import json
from pathlib import Path

import pytest

from study.config.examples import Examples
from study.config.units import Cell, foundations, kind
from study.plan.read import read_study
from tests.plan.test_read import MODELS
from tests.plan.test_read_examples import LINES, STUDY, Line, mistakes, of_data, read, with_line, write


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    (tmp_path / "models.yaml").write_text(MODELS)
    write(tmp_path, LINES)
    return tmp_path


def as_csv(lines: list[Line], names: dict[str, str] | None = None) -> str:
    """The lines as CSV, with other names for some of the keys."""
    keys = list(dict.fromkeys(key for line in lines for key in line))
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([(names or {}).get(key, key) for key in keys])
    writer.writerows([line.get(key, "") for key in keys] for line in lines)
    return text.getvalue()


CSV = STUDY.replace("words.jsonl", "words.csv")


def test_a_csv_file_holds_the_prompts_that_json_lines_hold(configs: Path) -> None:
    quoted = [{**line, "prompt": line["prompt"].replace(" a", ' "a"')} for line in LINES]
    write(configs, quoted)
    (configs / "words.csv").write_text(as_csv(quoted) + "\r\n", encoding="utf-8-sig")
    ours, theirs = read(configs, CSV).study.data, read(configs).study.data
    assert isinstance(ours, Examples)
    assert isinstance(theirs, Examples)
    assert ours.lines == theirs.lines
    assert len(ours.lines) == len(LINES)


def test_columns_are_called_as_the_study_says_and_others_are_passed_over(configs: Path) -> None:
    other = [{**line, "id": str(i)} for i, line in enumerate(LINES)]
    (configs / "words.csv").write_text(as_csv(other, {"prompt": "question", "class": "kind of animal"}))
    columns = "{file: words.csv, columns: {prompt: question, class: kind of animal}}"
    plan = read(configs, STUDY.replace("{file: words.jsonl}", columns))
    plain = read(configs)
    assert isinstance(plan.study.data, Examples)
    assert isinstance(plain.study.data, Examples)
    assert plan.study.data.lines == plain.study.data.lines
    # The same bytes mean other prompts where columns are taken for others.
    swapped = columns.replace(
        "prompt: question, class: kind of animal", "prompt: question, class: kind of animal, answer: id"
    )
    again = read(configs, STUDY.replace("{file: words.jsonl}", swapped))
    assert {unit.id for unit in again.units}.isdisjoint({unit.id for unit in plan.units})
    # JSON Lines likewise.
    write(configs, [{"text": line.pop("prompt"), **line, "id": i} for i, line in enumerate(map(dict, LINES))])
    named = read(configs, STUDY.replace("{file: words.jsonl}", "{file: words.jsonl, columns: {prompt: text}}"))
    assert isinstance(named.study.data, Examples)
    assert named.study.data.lines == plain.study.data.lines


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("prompt,answer,class,split,prompt\n", "line 1: names 'prompt' twice"),
        ("prompt,answer,class,split\na,b,c\n", "line 2: has 3 fields, and the first line names 4"),
        ('prompt,answer,class,split\n"a"b,b,c,train\n', "line 2: is not CSV: "),
        ("prompt,answer,class,split\nx,y,bird,validation\n", "line 2: split: input should be 'train' or 'test'"),
        (
            "text,completion,label,split\nx,y,bird,train\n" * 9,
            "1 mistake\n  line 1: has no column 'prompt', 'answer', 'class'; it has text, completion, label, split; if "
            "'text' is the prompt and 'completion' is the answer and 'label' is the class, write `columns: {prompt: "
            "text, answer: completion, class: label}` under data",
        ),
        ("prompt;answer;class;split\nx;y;bird;train\n", "1 mistake\n  line 1: columns are to be separated by commas"),
        (
            "prompt,answer,class,split,id\nx,y,bird,train,1\n",
            "line 1: 'id' is no key of a prompt: prompt, answer, class",
        ),
        ("", "line 1: has no column 'prompt', 'class', 'split'; it has none"),
    ],
)
def test_a_csv_file_with_mistakes_is_refused_with_their_lines(configs: Path, text: str, told: str) -> None:
    (configs / "words.csv").write_text(text)
    assert told in mistakes(configs, CSV)


def test_an_optional_column_may_be_empty_in_some_rows_and_is_named_once_where_no_line_has_it(configs: Path) -> None:
    some = [{**line, "group": "" if line["wording"] == "short" else line["group"]} for line in LINES]
    (configs / "words.csv").write_text(as_csv(some, {"group": "topic"}))
    asked = STUDY.replace("{file: words.jsonl}", "{file: words.csv, columns: {group: topic}}")
    data = read(configs, asked).study.data
    assert isinstance(data, Examples)
    assert {line.group for line in data.lines if line.wording == "short"} == {None}
    assert {line.group for line in data.lines if line.wording == "long"} == {"gull", "kite", "eel", "tuna"}
    told = mistakes(configs, STUDY.replace("{file: words.jsonl}", "{file: words.jsonl, columns: {group: topik}}"))
    assert "1 mistake\n  has no key 'topik'; it has prompt, answer, class, split, wording, group" in told


def test_a_field_that_is_too_long_for_csv_is_one_message(configs: Path) -> None:
    for text in ("x" * 200_000, as_csv(LINES) + "x" * 200_000):
        (configs / "words.csv").write_text(text)
        assert "is not CSV: field larger than field limit" in mistakes(configs, CSV)


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        (
            "{prompt: question}",
            "1 mistake\n  line 1: has no column 'question'; it has prompt, answer, class, split, wording",
        ),
        ("{prompt: prompt, answer: prompt}", "data.columns: 'prompt' is taken for two keys: name another column"),
        ("{answer: prompt}", "data.columns: 'prompt' is taken for two keys"),
        ("{prompts: question}", "data.columns.prompts"),
        ("[prompt]", "data.columns: must be keys with values"),
    ],
)
def test_columns_that_are_not_there_are_named(configs: Path, columns: str, told: str) -> None:
    (configs / "words.csv").write_text(as_csv(LINES))
    assert told in mistakes(configs, STUDY.replace("{file: words.jsonl}", f"{{file: words.csv, columns: {columns}}}"))


def test_case_and_white_space_at_the_ends_of_keys_and_texts_make_no_difference(configs: Path) -> None:
    plain = read(configs)
    keys = {"prompt": "Prompt", "answer": "ANSWER", "class": "Class ", "split": "Split", "wording": "Wording"}
    other = [{keys.get(key, key): value for key, value in line.items()} for line in LINES]
    spaced = [{**line, "Prompt": f"{line['Prompt']} ", "ANSWER": f" {line['ANSWER']}"} for line in other]
    write(configs, [{**line, "Split": line["Split"].upper()} for line in spaced])
    again = read(configs)
    assert isinstance(plain.study.data, Examples)
    assert isinstance(again.study.data, Examples)
    assert again.study.data.lines == plain.study.data.lines


def test_two_spellings_of_a_key_are_taken_for_neither(configs: Path) -> None:
    write(
        configs,
        [{"Prompt" if key == "prompt" else key: v for key, v in {**line, "PROMPT": "x"}.items()} for line in LINES],
    )
    assert "1 mistake\n  has no key 'prompt'; it has Prompt, answer, class" in mistakes(configs)


@pytest.mark.parametrize(
    ("names", "columns", "told"),
    [
        ({"class": "label"}, "", "if 'label' is the class, write `columns: {class: label}` under data"),
        (
            {"class": "Label", "prompt": "q"},
            "prompt: q",
            "if 'Label' is the class, write `columns: {prompt: q, class: Label}`",
        ),
        ({"class": "target"}, "", "if 'target' is the class, write `columns: {class: target}` under data"),
        (
            {"class": "target", "answer": "result"},
            "",
            "the answer may be 'target': name it in `columns` under data; the class may be 'target': name it",
        ),
        ({"prompt": "text", "wording": "input"}, "", "the prompt may be 'text' or 'input': name it in `columns`"),
    ],
)
def test_other_names_of_keys_are_told_with_what_to_write_and_never_guessed(
    configs: Path, names: dict[str, str], columns: str, told: str
) -> None:
    write(configs, [{names.get(key, key): value for key, value in line.items()} for line in LINES])
    text = mistakes(configs, of_data(f"file: words.jsonl, columns: {{{columns}}}"))
    assert "words.jsonl: 1 mistake\n" in text
    assert told in text
    (configs / "words.csv").write_text(as_csv(LINES, names))
    assert told in mistakes(configs, of_data(f"file: words.csv, columns: {{{columns}}}"))


def test_another_split_is_told_once_and_taken_for_test_where_the_study_says_so(configs: Path) -> None:
    test = {"train": "train", "test": "validation"}
    write(configs, [{**line, "split": test[line["split"]]} for line in LINES])
    told = (
        "to take it for test, write `splits: {test: validation}` under data, which passes other splits over (the same"
    )
    assert told in mistakes(configs)
    assert "words.jsonl: 1 mistake\n  line 3: split: input should be 'train' or 'test'" in mistakes(configs)
    named = of_data("file: words.jsonl, splits: {test: validation}")
    data = read(configs, named).study.data
    assert isinstance(data, Examples)
    assert [line.split for line in data.lines] == [line["split"] for line in LINES]
    ids = {unit.id for unit in read(configs, named).units}
    unused = {"prompt": "See the owl, a", "answer": "bird", "class": "bird"}
    write(configs, [{**line, "split": test[line["split"]]} for line in LINES] + [{**unused, "split": "test"}])
    data = read(configs, named).study.data
    assert isinstance(data, Examples)
    assert len(data.lines) == len(LINES)
    assert ids.isdisjoint(unit.id for unit in read(configs, named).units)
    write(configs, [{**line, "split": "training" if line["split"] == "train" else "test"} for line in LINES])
    assert "to take it for train, write `splits: {train: training}` under data" in mistakes(configs)


LABELS = STUDY.replace("weights: [0, 0.5]", "weights: [1]")


def without_answers(configs: Path, **more: str) -> None:
    write(configs, [{**{key: value for key, value in line.items() if key != "answer"}, **more} for line in LINES])


def test_a_file_without_answers_has_labels_alone_and_no_stage_1(configs: Path) -> None:
    without_answers(configs)
    plan = read(configs, LABELS)
    assert isinstance(plan.study.data, Examples)
    assert (plan.study.data.answers, plan.study.data.answered) == (False, False)
    assert plan.study.decisions.predictors == ["log_p", "a_lin", "selectivity"]
    assert [kind(unit) for unit in plan.units] == ["reference", "predictors", "cell"]
    assert [foundations(unit) for unit in plan.units] == [[], [], []]
    assert not any(unit.intervened for unit in plan.units if isinstance(unit, Cell))
    ids = [unit.id for unit in plan.units]
    assert [unit.id for unit in read(configs, LABELS + "stage1: {steps: 7}").units] == ids
    stored = plan.study.model_dump(mode="json")
    (configs / "study.yaml").write_text(json.dumps(stored))
    assert [unit.id for unit in read_study(configs / "study.yaml").units] == ids


def test_answers_that_a_file_has_are_left_out_where_the_study_says_so(configs: Path) -> None:
    with_them = {unit.id for unit in read(configs, LABELS).units}
    data = of_data("file: words.jsonl, answers: false").replace("weights: [0, 0.5]", "weights: [1]")
    plan = read(configs, data)
    assert isinstance(plan.study.data, Examples)
    assert {line.answer for line in plan.study.data.lines} == {None}
    assert with_them.isdisjoint(unit.id for unit in plan.units)


@pytest.mark.parametrize(
    ("study", "told"),
    [
        (
            STUDY,
            "grid.weights: the prompts have no answers, so that there is no answer loss to weigh against the class",
        ),
        (LABELS + "also: [{weights: [0.5]}]", "also.0.weights: the prompts have no answers"),
        (LABELS + "  arms: [plain, detached_answer]", "grid.arms: detached_answer is about the answer loss, and the"),
        (
            LABELS + "decisions: {predictors: [gradient_cosine]}",
            "decisions.predictors: gradient_cosine is of the answer",
        ),
        (
            LABELS.replace("words.jsonl", "words.jsonl, answers: true"),
            "1 mistake\n  has no key 'answer'; it has prompt",
        ),
    ],
)
def test_what_needs_answers_is_refused_without_them(configs: Path, study: str, told: str) -> None:
    without_answers(configs)
    assert told in mistakes(configs, study)


def test_a_column_that_may_be_the_answer_is_told_and_not_left_out_in_silence(configs: Path) -> None:
    without_answers(configs, completion="yes")
    named = LABELS.replace("words.jsonl", "words.jsonl, columns: {prompt: prompt}")
    for study in (LABELS, named):
        text = mistakes(configs, study)
        assert "words.jsonl: 1 mistake\n  has no key 'answer'; it has prompt, class" in text
        assert (
            "answer: completion}` under data; if the prompts have labels alone, write `answers: false` under data"
            in text
        )
    plan = read(configs, named.replace("{file", "{answers: false, file"))
    assert isinstance(plan.study.data, Examples)
    assert not plan.study.data.answered
    with_line(configs, 3, answer=None)
    assert "words.jsonl: 1 mistake\n  line 3: answer: is missing" in mistakes(configs)


@pytest.mark.parametrize("name", ["answers", "Answers", "anwser", "solution"])
def test_a_column_that_may_be_the_answer_makes_no_task_of_labels_alone(configs: Path, name: str) -> None:
    write(configs, [{name if key == "answer" else key: value for key, value in line.items()} for line in LINES])
    assert f"if {name!r} is the answer, write `columns: {{answer: {name}}}` under data" in mistakes(configs)
