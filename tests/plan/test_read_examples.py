"""The file of a custom task: every mistake is reported with its line before anything runs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from study.commands.run import main
from study.config.catalogue import BuiltSource
from study.config.units import Unit
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


def test_lines_without_an_answer_are_told_and_nothing_wrong_of_the_pairs_whose_classes_they_have(configs: Path) -> None:
    write(configs, [line if line["class"] == "fish" else {**line, "answer": None} for line in LINES])
    told = mistakes(configs)
    assert "line 1: answer: is missing (the same in 5 more)" in told
    assert "pairs" not in told
