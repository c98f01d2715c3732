"""`study lenses` on tiny models: what it prints and writes, and what it says where it cannot."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from study.commands import lenses
from study.commands.lenses import main
from study.config.lenses import LENSES, LensFitting

TINY = {name: {"source": {"built": "llama"}, "blocks": blocks} for name, blocks in (("tiny", 3), ("single", 1))}
QUICK = LensFitting(texts=8, held_out=2, tokens=12, steps=8, positions=32, jacobian_texts=2, jacobian_tokens=8)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "models.yaml").write_text(yaml.safe_dump(TINY))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(lenses, "LensFitting", lambda **changes: QUICK)
    return tmp_path


@pytest.mark.slow
def test_every_lens_is_read_at_every_block_and_fitted_once(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tiny", "--models", "models.yaml", "--prompts", "8"]) == 0
    printed = capsys.readouterr().out
    assert [line for line in printed.splitlines() if len(line) > 80] == []
    told = pd.read_csv(place / "lenses/tiny/lenses.csv")
    assert set(zip(told["lens"], told["tier"], told["layer"], strict=True)) == {
        (lens, tier, layer)
        for lens in LENSES
        for tier in ("symbolic", "semantic", "construction", "story")
        for layer in range(3)
    }
    # At the last block all lenses are the model itself.
    last = told[told["layer"] == 2].pivot(index="tier", columns="lens", values="choice")
    np.testing.assert_array_equal(last["logit"], last["tuned"])
    np.testing.assert_array_equal(last["logit"], last["jacobian"])
    far = pd.read_csv(place / "lenses/tiny/divergences.csv")
    assert set(far["text"]) == {"held_out", "neutral"}
    assert (far[far["layer"] == 2]["kl"].abs() < 1e-4).all()
    assert (far[far["layer"] < 2]["kl"] > 0).all()
    page = (place / "lenses/tiny/lenses.md").read_text()
    for name in re.findall(r"\]\(([^):]+)\)", page):
        assert (place / "lenses/tiny" / name).is_file()
    kept = {file: file.stat().st_mtime_ns for file in (place / "cache/lenses").iterdir()}
    assert sorted(file.name.partition("_")[0] for file in kept) == ["jacobian", "tuned"]
    assert main(["tiny", "--models", "models.yaml", "--prompts", "8", "--out", "again"]) == 0
    assert {file: file.stat().st_mtime_ns for file in (place / "cache/lenses").iterdir()} == kept
    pd.testing.assert_frame_equal(pd.read_csv(place / "again/lenses.csv"), told)


@pytest.mark.slow
def test_lenses_of_a_text_are_others_than_those_of_what_the_model_writes(place: Path) -> None:
    (place / "text.txt").write_text("the dog and the cat go to the shop and buy some bread\n" * 40)
    assert main(["tiny", "--models", "models.yaml", "--prompts", "4"]) == 0
    assert main(["tiny", "--models", "models.yaml", "--prompts", "4", "--text", "text.txt", "--out", "of_text"]) == 0
    one, other = (pd.read_csv(f"{folder}/divergences.csv") for folder in ("lenses/tiny", "of_text"))
    assert not np.allclose(one["kl"], other["kl"])
    assert "text.txt" in (place / "of_text/lenses.md").read_text()


def test_a_pipe_is_told_what_is_being_done(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tiny", "--models", "models.yaml", "--prompts", "4", "--out", "told"]) == 0
    out, err = capsys.readouterr()
    # What is in the cache of an earlier test is not made again.
    assert set(err.splitlines()) <= {"writing the texts …", "tuned lens …", "Jacobian lens …"}
    assert "…" not in out


@pytest.mark.parametrize("texts", ["1", "65", "few", "2.5", "-3"])
def test_a_number_of_texts_that_is_none_is_refused(texts: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["tiny", "--jacobian-texts", texts])
    assert ended.value.code == 2
    assert "is no whole number from 2 to 64" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["tinny", "--models", "models.yaml"], "no model 'tinny'.*did you mean 'tiny'"),
        (["tiny", "--models", "models.yaml", "--study", "none.yaml"], "none.yaml"),
        (["tiny", "--models", "models.yaml", "--text", "none.txt"], "none.txt"),
        (["single", "--models", "models.yaml"], "fitted to the blocks before the last, and the model has 1"),
        (
            ["tiny", "--models", "models.yaml", "--text", "short.txt"],
            r"short.txt has \d+ tokens: lenses are fitted on 10",
        ),
        (["tiny", "--models", "models.yaml", "--text", "binary.txt"], "binary.txt is no text in UTF-8"),
    ],
)
def test_what_cannot_be_read_is_one_message_and_exit_code_2(
    place: Path, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "short.txt").write_text("the dog\n")
    (place / "binary.txt").write_bytes(b"\xff\xfe\x00")
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert [line for line in err.splitlines() if line.startswith("nothing is read: ")]
    assert re.search(told, err)
    assert not (place / "lenses").exists()


@pytest.mark.slow
def test_a_damaged_lens_in_the_cache_is_fitted_again(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    command = ["tiny", "--models", "models.yaml", "--prompts", "4"]
    assert main(command) == 0
    told = pd.read_csv(place / "lenses/tiny/lenses.csv")
    (file,) = (place / "cache/lenses").glob("tuned_*")
    whole = file.read_bytes()
    file.write_bytes(whole[:300])
    assert main(command) == 0
    assert f"{file} is damaged and fitted again" in caplog.text
    assert file.stat().st_size == len(whole)
    pd.testing.assert_frame_equal(pd.read_csv(place / "lenses/tiny/lenses.csv"), told)


def test_class_names_that_a_study_reads_as_sequences_are_refused(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = {"layers": [0.5], "pairs": [{"multiply": "river bank", "add": "copper"}], "weights": [0.5]}
    study = {"name": "names", "models": ["tiny"], "grid": grid, "class_name": "sequence"}
    (place / "study.yaml").write_text(yaml.safe_dump(study))
    assert main(["tiny", "--models", "models.yaml", "--study", "study.yaml"]) == 2
    assert "study.yaml has class_name: sequence; with `first` in its place" in capsys.readouterr().err
