"""`study predict` on a tiny model, and what it says where it cannot foretell."""

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from study.commands.predict import main

TINY = {"tiny": {"source": {"built": "llama"}, "blocks": 4}}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "models.yaml").write_text(yaml.safe_dump(TINY))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_a_model_is_measured_and_foretold_at_every_layer_but_the_last(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tiny", "--models", "models.yaml", "--prompts", "4"]) == 0
    told = capsys.readouterr().out
    layers, depths = (pd.read_csv(place / "predictions/tiny" / f"{name}.csv") for name in ("curves", "depths"))
    assert (place / "predictions/tiny/curves.svg").is_file()
    assert set(layers["tier"]) == set(depths["tier"]) == {"semantic", "construction", "story"}
    assert sorted(set(layers["layer"])) == [0, 1, 2]
    assert layers["foretold"].between(0, 1).all()
    assert ((layers["foretold_low"] <= layers["foretold"]) & (layers["foretold"] <= layers["foretold_high"])).all()
    # Square brackets are no markup to the table.
    assert len(re.findall(r"\[(first|never|\d\.\d\d), (first|never|\d\.\d\d)\]", told)) == len(depths)
    for text in ("nothing was trained", "multiply/add", "story", "architectures that were left out"):
        assert text in " ".join(told.split())


@pytest.mark.slow
def test_a_study_of_the_users_own_says_what_is_asked(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        {
            "prompt": f"{kind} {n} is" if of == "plain" else f"{n} {kind} is",
            "answer": kind,
            "class": kind,
            "split": "train" if n < 8 else "test",
            "wording": of,
        }
        for of in ("plain", "other")
        for kind in ("sun", "rain")
        for n in range(16)
    ]
    (place / "task.jsonl").write_text("\n".join(map(json.dumps, lines)))
    words = {"source": {"built": "llama", "words": ["sun", "rain", "is", "warm", "cold"]}, "blocks": 3}
    (place / "models.yaml").write_text(yaml.safe_dump({"own": words}))
    study: dict[str, Any] = {
        "name": "mine",
        "models": ["own"],
        "grid": {"layers": [1], "pairs": [{"sun": "warm", "rain": "cold"}], "weights": [0.5]},
        "data": {"file": "task.jsonl"},
    }
    (place / "study.yaml").write_text(yaml.safe_dump(study))
    assert main(["own", "--models", "models.yaml", "--study", "study.yaml", "--prompts", "4", "--out", "told"]) == 0
    depths = pd.read_csv(place / "told/depths.csv")
    assert list(depths["arm"]) == ["plain", "lora_at"]
    assert (set(depths["pair"]), set(depths["tier"])) == ({"warm/cold"}, {"other"})
    # Where the first wording of the file is for tests alone, the probe is fitted on the next, and that is left out.
    others = [line for line in lines if line["wording"] == "other"]
    tested = [{**line, "wording": "tested", "split": "test", "prompt": f"is {line['prompt']}"} for line in others]
    (place / "task.jsonl").write_text("\n".join(map(json.dumps, tested + lines)))
    study["grid"]["wordings"] = [["plain"]]
    study["also"] = [{"pairs": [{"sun": "cold", "rain": "warm"}]}]
    (place / "study.yaml").write_text(yaml.safe_dump(study))
    given = ["own", "--models", "models.yaml", "--study", "study.yaml", "--prompts", "4"]
    assert main([*given, "--out", "next"]) == 0, capsys.readouterr().err
    depths = pd.read_csv(place / "next/depths.csv")
    assert (set(depths["pair"]), set(depths["tier"])) == ({"warm/cold", "cold/warm"}, {"tested", "other"})
    study["grid"]["wordings"] = [["other"]]
    (place / "study.yaml").write_text(yaml.safe_dump(study))
    capsys.readouterr()
    assert main([*given, "--out", "none"]) == 2
    assert "the probe is fitted on plain, and study.yaml gives class labels on other" in capsys.readouterr().err
    study["grid"] |= {"wordings": [["plain"]], "prompts": ["chat"]}
    (place / "study.yaml").write_text(yaml.safe_dump(study))
    assert main([*given, "--out", "chat"]) == 2
    assert "asked plainly, and the study asks by its chat template alone" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["tinny", "--models", "models.yaml"], "no model 'tinny'.*did you mean 'tiny'"),
        (["tiny", "--models", "nowhere.yaml"], "nowhere.yaml"),
        (["tiny", "--models", "models.yaml", "--study", "none.yaml"], "none.yaml"),
    ],
)
def test_what_cannot_be_foretold_is_one_message_and_exit_code_2(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("nothing is foretold: ")
    assert re.search(told, err)


@pytest.mark.parametrize("prompts", ["0", "3", "many", "1.5", "-4", "100000"])
def test_a_number_of_prompts_that_is_none_is_refused(prompts: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["tiny", "--prompts", prompts])
    assert ended.value.code == 2
    assert "is no whole number from 4 to 1000" in capsys.readouterr().err


@pytest.mark.slow
def test_a_pair_of_three_operations_is_told_apart_by_a_probe_of_its_two(place: Path) -> None:
    study = {
        "name": "three",
        "models": ["tiny"],
        "grid": {"layers": [1], "pairs": [{"multiply": "multiply", "add": "add"}], "weights": [0.5]},
    }
    told = {}
    for name, operations in (("two", ["multiply", "add"]), ("three", ["multiply", "add", "subtract"])):
        (place / "study.yaml").write_text(yaml.safe_dump({**study, "data": {"operations": operations}}))
        assert main(["tiny", "--models", "models.yaml", "--study", "study.yaml", "--prompts", "8", "--out", name]) == 0
        told[name] = pd.read_csv(place / name / "curves.csv")
    # Of three classes a probe at chance would be at a third, which two class tokens read as worse than chance.
    assert (told["three"]["chance"] == 0.5).all()
    assert told["three"]["probe"].mean() == pytest.approx(told["two"]["probe"].mean(), abs=0.1)


@pytest.mark.slow
def test_a_study_of_one_wording_leaves_nothing_to_foretell(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        {"prompt": f"{kind} {n} is", "answer": kind, "class": kind, "split": "train" if n < 8 else "test"}
        for kind in ("sun", "rain")
        for n in range(16)
    ]
    (place / "task.jsonl").write_text("\n".join(map(json.dumps, lines)))
    words = {"source": {"built": "llama", "words": ["sun", "rain", "is", "warm", "cold"]}, "blocks": 3}
    (place / "models.yaml").write_text(yaml.safe_dump({"own": words}))
    study = {
        "name": "one",
        "models": ["own"],
        "grid": {"layers": [1], "pairs": [{"sun": "warm", "rain": "cold"}], "weights": [0.5]},
        "data": {"file": "task.jsonl"},
    }
    (place / "study.yaml").write_text(yaml.safe_dump(study))
    assert main(["own", "--models", "models.yaml", "--study", "study.yaml", "--prompts", "4"]) == 2
    assert "a wording besides the one that labels are given on" in capsys.readouterr().err
    assert not (place / "predictions").exists()
