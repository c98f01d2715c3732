"""The file of a custom task: every mistake is reported with its line before anything runs."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from study.commands.run import main
from study.config.catalogue import BuiltSource
from study.config.examples import Examples
from study.config.units import Cell, Unit, foundations, kind
from study.plan.example_files import LARGEST
from study.plan.expand import expand
from study.plan.read import ConfigError, Plan, read_study
from tests.plan.test_read import MODELS

STUDY = """
name: example
models: [small]
data: {file: words.jsonl}
grid:
  layers: [0.5]
  pairs: [{bird: bird, fish: fish}]
  weights: [0, 0.5]
"""
Line = dict[str, Any]
ANIMALS = {
    "bird": {"train": ["robin", "wren"], "test": ["gull", "kite"]},
    "fish": {"train": ["carp", "pike"], "test": ["eel", "tuna"]},
}
WORDINGS = {"short": ("See the", ["train", "test"]), "long": ("There goes a", ["test"])}
LINES: list[Line] = [
    {"prompt": f"{start} {name}, a", "answer": kind, "class": kind, "split": split, "wording": wording, "group": name}
    for wording, (start, splits) in WORDINGS.items()
    for kind, animals in ANIMALS.items()
    for split in splits
    for name in animals[split]
]
"""Lines 1 and 2 are of training birds, 3 and 4 of test birds, then fish likewise, then the other wording."""


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    (tmp_path / "models.yaml").write_text(MODELS)
    (tmp_path / "study.yaml").write_text(STUDY)
    write(tmp_path, LINES)
    return tmp_path


def write(configs: Path, lines: list[Line]) -> None:
    (configs / "words.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def read(configs: Path, study: str = STUDY) -> Plan:
    (configs / "study.yaml").write_text(study)
    return read_study(configs / "study.yaml")


def mistakes(configs: Path, study: str = STUDY) -> str:
    with pytest.raises(ConfigError) as caught:
        read(configs, study)
    return str(caught.value)


def of_data(text: str) -> str:
    """The study with other keys under `data`."""
    return STUDY.replace("file: words.jsonl", text)


def units(plan: Plan) -> list[Unit]:
    return expand(plan.study, plan.models)


def with_line(configs: Path, number: int, **changes: Any) -> None:
    """The file with some keys of one line replaced; None takes a key away."""
    line = {key: value for key, value in {**LINES[number - 1], **changes}.items() if value is not None}
    write(configs, [*LINES[: number - 1], line, *LINES[number:]])


def test_a_right_file_is_read_and_what_is_not_given_follows_from_it(configs: Path) -> None:
    study = read(configs).study
    assert study.data.operations == ["bird", "fish"]
    assert study.data.tiers == ("short", "long")
    assert study.data.trained == ("short",)
    assert (study.grid.wordings, study.stage1.wordings) == ([["short"]], ["short"])
    assert study.decisions.primary_tier == "long"
    assert study.evaluation.prompts_per_class == 2


def test_what_is_given_stays(configs: Path) -> None:
    write(configs, [*LINES, *({**line, "prompt": f"A {line['prompt']}", "wording": "long"} for line in LINES[:8])])
    given = "stage1: {wordings: [long, short]}\nevaluation: {prompts_per_class: 1}\ndecisions: {primary_tier: short}"
    study = read(configs, f"{STUDY}  wordings: [[long], [long, short]]\n{given}").study
    assert study.stage1.wordings == ["short", "long"]
    assert study.grid.wordings == [["long"], ["short", "long"]]
    assert (study.evaluation.prompts_per_class, study.decisions.primary_tier) == (1, "short")


def test_a_file_without_wordings_has_one_and_groups_are_the_prompts(configs: Path) -> None:
    write(configs, [{key: line[key] for key in ("prompt", "answer", "class", "split")} for line in LINES])
    data = read(configs).study.data
    assert data.tiers == data.trained == ("plain",)
    assert [line.about for line in data.lines] == [line["prompt"] for line in LINES]


@pytest.mark.parametrize(
    ("number", "changes", "told"),
    [
        (3, {"class": None}, "line 3: class: is missing"),
        (3, {"clas": "bird"}, "line 3: clas: unknown key; did you mean 'class'?; allowed: prompt, answer, class"),
        (3, {"operation": "bird"}, "line 3: operation: unknown key"),
        (3, {"answer": 7}, "line 3: answer: input should be a valid string (given: 7)"),
        (3, {"prompt": "See\0the gull, a"}, "line 3: prompt: has the control character U+0000"),
        (3, {"prompt": "See \u202ethe gull, a"}, "line 3: prompt: has the control character U+202E"),
        (3, {"prompt": ""}, "line 3: prompt: string should have at least 1 character (given: '')"),
        (3, {"prompt": " \n"}, "line 3: prompt: string should have at least 1 character (given: ' \\n')"),
        (3, {"answer": "a\nbird"}, "line 3: answer: has more than one line: a new line ends an answer"),
        (3, {"prompt": "\ud800"}, "line 3: prompt: input should be a valid string"),
        (3, {"split": "tests"}, "line 3: split: input should be 'train' or 'test'; did you mean 'test'?"),
        (3, {"class": "a bird"}, "line 3: class: a name has 1 to 40 letters"),
        (3, {"wording": "../short"}, "line 3: wording: a name has 1 to 40 letters"),
        (3, {"group": ""}, "line 3: group: string should have at least 1 character"),
        (3, {"prompt": "See the robin, a"}, "line 3: the prompt 'See the robin, a' is in line 1 too"),
        (3, {"group": "wren"}, "line 3: group 'wren' is in test here and in train in line 2"),
        (9, {"split": "train"}, "line 9: group 'gull' is in train here and in test in line 3"),
        (
            3,
            {"prompt": "see  THE\u00a0robin\u200b, a."},
            "line 3: the prompt 'see  THE\\xa0robin\\u200b, a.' is in line 1",
        ),
        (
            3,
            {"prompt": "See the ﬁnch, a", "group": "Wren"},
            "line 3: group 'Wren' is in test here and in train in line 2",
        ),
        (4, {"group": "GULL"}, "line 4: group 'GULL' is spelt 'gull' in line 3; spell it the same"),
        (2, {"class": "Bird"}, "line 2: class 'Bird' is spelt 'bird' in line 1; spell it the same"),
        (2, {"wording": "Short"}, "line 2: wording 'Short' is spelt 'short' in line 1; spell it the same"),
        (3, {"answer": [[[]]]}, "line 3: answer: input should be a valid string (given: [[[]]])"),
        (3, {"prompt": "x" * 200, "answer": ""}, "line 3: answer: string should have"),
    ],
)
def test_a_mistake_is_told_with_its_line_what_was_given_and_what_is_allowed(
    configs: Path, number: int, changes: Line, told: str
) -> None:
    with_line(configs, number, **changes)
    text = mistakes(configs)
    assert f"{configs / 'words.jsonl'}: " in text
    assert f"\n  {told}" in text


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{'prompt': 1}", "line 3: is not JSON: Expecting property name enclosed in double quotes (column 2)"),
        ('{"prompt": "a", "prompt": "b"}', "line 3: the key 'prompt' is given twice"),
        ("[" * 10000, "line 3: it is nested too deeply"),
        ('{"prompt": ' + "[" * 900 + "]" * 900 + "}", "line 3: "),
        ('{"prompt": ' + "9" * 5000 + "}", "line 3: it holds a number of 5000 digits"),
        ("[1]", "line 3: must be keys with values (given: [1])"),
        ("3", "line 3: must be keys with values (given: 3)"),
        ('{"prompt": "See the \xff"}', "line 3: is not UTF-8"),
    ],
)
def test_a_line_that_is_no_object_is_told_and_the_others_are_checked(configs: Path, line: str, told: str) -> None:
    lines = [json.dumps(one) for one in [*LINES, {**LINES[0], "prompt": "See", "class": "two words"}]]
    (configs / "words.jsonl").write_bytes("\n".join([*lines[:2], line, *lines[2:]]).encode("latin-1"))
    text = mistakes(configs)
    assert told in text
    assert "UTF-8" in told or f"line {len(lines) + 1}: class: a name has" in text
    assert "UTF-8" in told or "call the class two_words here, and give its words in `pairs`" in text


@pytest.mark.parametrize(
    ("kept", "told"),
    [
        (lambda line: line["class"] == "bird", "has 1 class: at least two are needed"),
        (lambda line: False, "has 0 classes: at least two are needed"),
        (lambda line: line["split"] == "test", "class 'bird' has no prompt whose split is train"),
        (lambda line: line["split"] == "train", "class 'fish' has no prompt whose split is test in wording 'short'"),
        (
            lambda line: (line["wording"], line["class"]) != ("long", "fish"),
            "class 'fish' has no prompt whose split is test in wording 'long'",
        ),
    ],
)
def test_what_a_whole_file_lacks_is_told(configs: Path, kept: Callable[[Line], bool], told: str) -> None:
    write(configs, [line for line in LINES if kept(line)])
    assert told in mistakes(configs)


def test_classes_that_are_trained_in_different_wordings_leave_none_to_train_on(configs: Path) -> None:
    elsewhere = [
        {**line, "wording": "long"} if line["class"] == "fish" and line["split"] == "train" else line for line in LINES
    ]
    write(configs, elsewhere)
    assert "no wording has prompts of every class with the split train; one must, to be trained on" in mistakes(configs)


def test_mistakes_of_both_files_are_told_together_and_the_first_of_very_many(configs: Path) -> None:
    write(configs, [{**line, "class": f"no {number}"} for number, line in enumerate(LINES * 3)])
    text = mistakes(configs, STUDY + "stage1: {stepps: 3}")
    assert "stage1.stepps: unknown key; did you mean 'steps'?" in text
    assert f"words.jsonl: {3 * len(LINES)} mistakes" in text
    assert text.count(": class: a name has") == 20
    assert text.endswith(f"… and {3 * len(LINES) - 20} more")


def test_the_same_mistake_of_many_lines_is_told_once(configs: Path) -> None:
    write(configs, [{**line, "answer": ""} for line in LINES])
    text = mistakes(configs)
    assert "words.jsonl: 1 mistake\n  line 1: answer: string should have at least 1 character" in text
    assert text.endswith(f"(the same in {len(LINES) - 1} more)")


@pytest.mark.parametrize("name", ["answers", "Answers", "anwser", "solution"])
def test_a_column_that_may_be_the_answer_makes_no_task_of_labels_alone(configs: Path, name: str) -> None:
    write(configs, [{name if key == "answer" else key: value for key, value in line.items()} for line in LINES])
    assert f"if {name!r} is the answer, write `columns: {{answer: {name}}}` under data" in mistakes(configs)


@pytest.mark.parametrize(
    ("study", "told"),
    [
        (STUDY.replace("bird: bird", "birds: bird"), "grid.pairs.0.birds: input should be 'bird' or 'fish'; did you"),
        (STUDY.replace("bird: bird", "bird: robin"), "grid.pairs.0.bird: 'robin' occurs in a prompt; choose a word"),
        (STUDY + "stage1: {wordings: [symbolic]}", "stage1.wordings.0: input should be 'short' or 'long'"),
        (STUDY + "stage1: {wordings: [long]}", "stage1.wordings: not every class has training prompts in 'long'"),
        (
            STUDY + "  wordings: [[short], [short, long]]",
            "grid.wordings.1: not every class has training prompts in 'long'",
        ),
        (
            STUDY + "also: [{wordings: [[long]]}]",
            "also.0.wordings.0: not every class has training prompts in 'long'; allowed",
        ),
        (STUDY + "evaluation: {prompts_per_class: 3}", "3 is more than the 2 held-out prompts that short has"),
        (STUDY + "evaluation: {prompts_per_class: {short: 1}}", "needs a number for long too"),
        (STUDY + "decisions: {primary_tier: story}", "decisions.primary_tier: input should be 'short' or 'long'"),
        (of_data("file: wrds.jsonl"), "wrds.jsonl: 1 mistake\n  does not exist or is not a file"),
        (
            of_data("file: ."),
            "is a folder; for one that the package datasets saved, write `dataset` in place of `file`",
        ),
        (of_data("file: words.jsonl, dataset: words"), "data: name either a file or a dataset"),
        (of_data("file: words.jsonl, config: plain"), "data: config is of a dataset, and a file has none"),
        (of_data("file: words.jsonl, splits: {test: Train}"), "data.splits: the same is taken for train and for test"),
        (of_data("file: words.jsonl, splits: {tests: dev}"), "data.splits.tests: input should be 'train' or 'test'"),
        (
            of_data("file: words.jsonl, splits: {test: dev}"),
            "1 mistake\n  no line has the split 'dev', which data.splits takes for test; there are train, test",
        ),
        (of_data('file: ""'), "data.file: string should have at least 1 character"),
        (of_data('file: "a\\0b"'), "a text with the character U+0000 is not allowed"),
        (of_data(f"file: {'a' * 300}"), "data.file: has a part of more than 255 bytes"),
        (of_data("file: ~nosuchuser/a.jsonl"), "data.file: begins with ~ and the name of no user"),
        (of_data("file: 3"), "data.file: input should be a valid string (given: 3)"),
        (
            of_data("file: words.jsonl, largest: 9"),
            "data.largest: unknown key; allowed: file, dataset, config, splits, columns",
        ),
        (of_data(f"file: words.jsonl, sha256: '{'0' * 64}'"), ", not the one given"),
    ],
)
def test_a_study_may_name_what_its_file_has_and_nothing_else(configs: Path, study: str, told: str) -> None:
    assert told in mistakes(configs, study)


def test_a_prompt_in_two_normal_forms_of_unicode_on_both_sides_of_the_split_is_told_with_both(configs: Path) -> None:
    composed, decomposed = "See the Caf\u00e9", "See the Cafe\u0301"
    changed = [{**LINES[0], "prompt": composed}, *LINES[1:2], {**LINES[2], "prompt": decomposed}, *LINES[3:]]
    write(configs, changed)
    assert f"line 3: the prompt {decomposed!r} is in line 1 too as {composed!r}" in mistakes(configs)


def test_a_model_that_is_built_has_the_class_tokens_of_the_grid_and_the_words_of_prompts_and_answers(
    configs: Path,
) -> None:
    source = read(configs, STUDY.replace("bird: bird", "bird: Vögel")).models["small"].source
    assert isinstance(source, BuiltSource)
    assert {"Vögel", "fish", "robin", "See", "bird"} <= set(source.words)


def test_a_path_of_prompts_may_begin_at_home(configs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(configs / "home"))
    (configs / "home").mkdir()
    (configs / "words.jsonl").rename(configs / "home" / "words.jsonl")
    assert read(configs, of_data("file: ~/words.jsonl")).study.data.operations == ["bird", "fish"]


def test_a_file_of_any_size_is_not_read(configs: Path) -> None:
    with (configs / "words.jsonl").open("ab") as file:
        file.truncate(LARGEST + 1)
    assert "is larger than 16 MiB" in mistakes(configs)


def test_the_command_ends_with_code_2_and_the_line(configs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with_line(configs, 4, split="dev")
    assert main([str(configs / "study.yaml"), "--dry-run"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "line 4: split: input should be 'train' or 'test' (given: 'dev')" in printed.err


def test_an_id_follows_from_the_content_of_the_file_and_not_from_its_name(configs: Path) -> None:
    before = {unit.label: unit.id for unit in units(read(configs))}
    (configs / "words.jsonl").rename(configs / "other.jsonl")
    renamed = STUDY.replace("words.jsonl", "other.jsonl")
    assert {unit.label: unit.id for unit in units(read(configs, renamed))} == before
    write(configs, [*LINES[:-1], {**LINES[-1], "answer": "whale"}])
    assert set(before.values()).isdisjoint(unit.id for unit in units(read(configs)))


def test_the_sum_that_a_study_is_stored_with_is_accepted_when_it_is_read_again(configs: Path) -> None:
    stored = read(configs).study.model_dump(mode="json")
    assert stored["data"].keys() == {"file", "dataset", "config", "splits", "columns", "answers", "sha256"}
    (configs / "study.yaml").write_text(json.dumps(stored))
    assert read_study(configs / "study.yaml").study.model_dump(mode="json") == stored


def test_arithmetic_is_as_it_was_beside_a_custom_task(configs: Path) -> None:
    assert "grid.pairs.0.bird: input should be 'multiply', 'add' or 'subtract'" in mistakes(
        configs, STUDY.replace("data: {file: words.jsonl}\n", "")
    )


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
