"""Datasets of the package `datasets` as the prompts of a custom task."""

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value, load_from_disk

from study.config.examples import Examples
from study.plan.read import ConfigError, Plan, read_study
from tests.plan.test_read import MODELS
from tests.plan.test_read_examples import LINES, STUDY

NAMES = {"prompt": "text", "class": "label"}
COLUMNS = "columns: {prompt: text, class: label}"
FEATURES = Features(
    {
        "text": Value("string"),
        "answer": Value("string"),
        "label": ClassLabel(names=["fish", "bird"]),
        "wording": Value("string"),
        "group": Value("string"),
        "idx": Value("int32"),
    }
)


def made(split: str, lines: list[dict[str, Any]] = LINES) -> Dataset:
    """The lines of a split, with classes as numbers and a column of no use."""
    rows = [{NAMES.get(key, key): value for key, value in line.items()} for line in lines if line["split"] == split]
    columns = {name: [row.get(name) for row in rows] for name in FEATURES if name != "idx"}
    return Dataset.from_dict({**columns, "idx": list(range(len(rows)))}, FEATURES)


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    (tmp_path / "models.yaml").write_text(MODELS)
    DatasetDict({"train": made("train"), "test": made("test")}).save_to_disk(tmp_path / "animals")
    return tmp_path


def read(configs: Path, data: str = f"dataset: animals, {COLUMNS}") -> Plan:
    (configs / "study.yaml").write_text(STUDY.replace("file: words.jsonl", data))
    return read_study(configs / "study.yaml")


def lines_of(plan: Plan) -> list[dict[str, Any]]:
    assert isinstance(plan.study.data, Examples)
    return [line.model_dump(by_alias=True, exclude_none=True) for line in plan.study.data.lines]


def ordered(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As in a dataset: first what is trained on."""
    return sorted(lines, key=lambda line: line["split"] != "train")


def ids(plan: Plan) -> set[str]:
    return {unit.id for unit in plan.units}


def mistakes(configs: Path, data: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(configs, data)
    return str(caught.value)


def test_rows_are_those_of_the_library_with_the_names_of_classes(configs: Path) -> None:
    lines = lines_of(read(configs))
    assert lines == ordered(LINES)
    theirs = load_from_disk(str(configs / "animals"))
    assert isinstance(theirs, DatasetDict)
    for split in ("train", "test"):
        own = [line for line in lines if line["split"] == split]
        assert [line["prompt"] for line in own] == theirs[split]["text"][:]
        label = theirs[split].features["label"]
        assert [line["class"] for line in own] == [label.int2str(number) for number in theirs[split]["label"]]


def test_a_column_may_say_the_split_and_a_saved_format_or_selection_changes_nothing(configs: Path) -> None:
    shuffled = Dataset.from_list([{NAMES.get(key, key): v for key, v in line.items()} for line in LINES][::-1])
    chosen = shuffled.select(range(len(LINES) - 1, -1, -1)).with_format("numpy")
    chosen.save_to_disk(configs / "one")
    assert lines_of(read(configs, f"dataset: one, {COLUMNS}")) == LINES
    DatasetDict({"train": chosen}).save_to_disk(configs / "only")
    assert lines_of(read(configs, f"dataset: only, {COLUMNS}")) == LINES


def test_other_splits_and_parts_of_one_are_taken_as_the_study_says(configs: Path) -> None:
    others = DatasetDict({"train": made("train"), "validation": made("test"), "unsupervised": made("train")})
    others.save_to_disk(configs / "others")
    named = read(configs, f"dataset: others, splits: {{test: validation}}, {COLUMNS}")
    assert lines_of(named) == ordered(LINES)
    all_in_one = Dataset.from_list([{**line, "split": "x"} for line in ordered(LINES)]).remove_columns("split")
    all_in_one.save_to_disk(configs / "one")
    parts = read(configs, "dataset: one, splits: {train: 'train[:4]', test: 'train[4:]'}")
    assert lines_of(parts) == ordered(LINES)
    overlapping = mistakes(configs, "dataset: one, splits: {train: 'train[:5]', test: 'train[4:]'}")
    assert "train[4] in train[4:]: the prompt 'See the gull, a' is in train[4] in train[:5] too" in overlapping


def test_the_folder_of_a_repository_of_the_hub_is_loaded_as_from_the_hub(configs: Path) -> None:
    for split in ("train", "test"):
        made(split).to_parquet(configs / "repository" / "first" / f"{split}.parquet")
        made(split).to_parquet(configs / "repository" / "second" / f"{split}.parquet")
    card = "".join(f"- config_name: {name}\n  data_dir: {name}\n" for name in ("first", "second"))
    (configs / "repository" / "README.md").write_text(f"---\nconfigs:\n{card}---\n")
    of_one = read(configs, f"dataset: repository, config: second, {COLUMNS}")
    assert lines_of(of_one) == ordered(LINES)
    assert ids(of_one) == ids(read(configs))
    assert "cannot be loaded: Config name is missing" in mistakes(configs, f"dataset: repository, {COLUMNS}")


def test_an_id_follows_from_the_rows_and_not_from_where_and_how_they_are_saved(configs: Path) -> None:
    before = ids(read(configs))
    whole = DatasetDict({"train": made("train"), "test": made("test")})
    whole.save_to_disk(configs / "again", num_shards={"train": 2, "test": 3})
    assert ids(read(configs, f"dataset: again, {COLUMNS}")) == before
    changed = [{**line, "answer": "whale"} if line is LINES[-1] else line for line in LINES]
    DatasetDict({"train": made("train"), "test": made("test", changed)}).save_to_disk(configs / "changed")
    assert ids(read(configs, f"dataset: changed, {COLUMNS}")).isdisjoint(before)
    data = read(configs).study.data
    assert isinstance(data, Examples)
    assert ids(read(configs, f"dataset: animals, {COLUMNS}, sha256: {data.sha256}")) == before
    told = mistakes(configs, f"dataset: changed, {COLUMNS}, sha256: {data.sha256}")
    assert "data.sha256: the SHA-256 of changed is" in told


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (
            "dataset: animals",
            "animals: 1 mistake\n  has no column 'prompt', 'class'; it has text, answer, label, wording, group, idx; "
            "if 'text' is the prompt and 'label' is the class, write `columns: {prompt: text, class: label}` under",
        ),
        (
            f"dataset: animals, {COLUMNS}, splits: {{test: validation}}",
            "Unknown split \"validation\". Should be one of ['train', 'test']: name its splits under data, such as",
        ),
        ("dataset: animals, columns: {prompt: text, class: idx}", "column 'idx' holds Value('int32'), and no texts"),
        (f"dataset: animals, config: plain, {COLUMNS}", "was written by save_to_disk and has no configurations"),
        (
            f"dataset: animal, {COLUMNS}",
            "animal: 1 mistake\n  is no folder, and no name on the hub, which is owner/name",
        ),
        (f"dataset: broken, {COLUMNS}", "broken: 1 mistake\n  cannot be loaded: "),
        (f"dataset: unlabelled, {COLUMNS}", "unlabelled: 1 mistake\n  test[1]: class: is missing"),
        ("dataset: 3", "data.dataset: input should be a valid string (given: 3)"),
    ],
)
def test_what_cannot_be_read_is_one_message(configs: Path, data: str, told: str) -> None:
    shutil.copytree(configs / "animals", configs / "broken")
    (configs / "broken" / "train" / "state.json").write_text("{")
    without = made("test").map(lambda row, i: {"label": -1 if i == 1 else row["label"]}, with_indices=True)
    DatasetDict({"train": made("train"), "test": without}).save_to_disk(configs / "unlabelled")
    assert told in mistakes(configs, data)


def test_a_name_on_the_hub_that_cannot_be_reached_is_one_message(
    configs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    text = mistakes(configs, f"dataset: nobody/animals, {COLUMNS}")
    assert "nobody/animals: 1 mistake\n  cannot be loaded: Couldn't reach 'nobody/animals' on the Hub" in text


def test_without_the_package_the_message_says_how_to_install_it(configs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    told = "1 mistake\n  needs the package datasets: run `pip install datasets` in this environment"
    assert told in mistakes(configs, f"dataset: animals, {COLUMNS}")
