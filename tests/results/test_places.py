"""Where files lie on one machine is no part of what is written about a study."""

import json
from pathlib import Path

from study.commands.merge import main as merge
from study.commands.status import main as status
from study.plan.read import Plan, read_study
from study.results.description import write_description
from study.results.store import Store
from tests.plan.test_read_examples import LINES, STUDY, write


def plan(home: Path) -> Plan:
    """The plan of a study whose model and prompts are named by absolute paths."""
    (home / "mine").mkdir(parents=True)
    (home / "mine" / "config.json").write_text('{"model_type": "llama", "num_hidden_layers": 2}')
    write(home, LINES)
    (home / "study.yaml").write_text(STUDY.replace("words.jsonl", str(home / "words.jsonl")))
    (home / "models.yaml").write_text(f"small: {{source: {{folder: {home / 'mine'}}}, blocks: 2}}")
    return read_study(home / "study.yaml")


def written(home: Path) -> Store:
    found = plan(home)
    store = Store(home / "results")
    models = {name: model.model_dump(mode="json") for name, model in found.models.items()}
    write_description(store.root, found.study.name, found.study.model_dump(mode="json"), models, found.units)
    return store


def test_a_study_names_local_files_without_their_folders(tmp_path: Path) -> None:
    home = tmp_path / "home" / "somebody"
    store = written(home)
    attempt = store.begin(plan(tmp_path / "again").units[0])
    for file in (store.root / "study.json", attempt / "unit.json"):
        assert str(tmp_path) not in file.read_text()
    described = json.loads((store.root / "study.json").read_text())
    assert described["models"]["small"]["source"] == {"folder": "mine"}
    assert described["config"]["data"]["file"] == "words.jsonl"
    assert described["units"][0]["settings"]["data"]["file"] == "words.jsonl"
    assert len(described["units"][0]["model_identity"]["folder"]) == 64


def test_the_same_files_elsewhere_are_the_same_study(tmp_path: Path) -> None:
    one, other = written(tmp_path / "one"), written(tmp_path / "other")
    assert (one.root / "study.json").read_bytes() == (other.root / "study.json").read_bytes()
    assert merge([str(one.root), str(other.root)]) == 0
    assert status([str(one.root)]) == 3
