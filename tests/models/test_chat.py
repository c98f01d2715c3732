"""Prompts in a model's own chat template: how they are encoded, which models get them, and a run of them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from study.commands.run import main
from study.config.catalogue import FolderSource, Model
from study.config.data import Data
from study.config.evaluation import Evaluation
from study.config.grid import Grid
from study.config.names import TIERS
from study.config.study import Study
from study.config.units import Cell, Reference, describe
from study.config.wordings import templates
from study.lens.tokens import as_prompted, encode
from study.models.limits import EncodingError
from study.models.load import Loaded, fetch, load
from study.pipeline.units import run_unit
from study.plan.expand import expand
from study.results.store import Store
from study.tasks.arithmetic import Arithmetic, prompt_of

TEMPLATE = (
    "{% for message in messages %}[{{ message['role'] }}] {{ message['content'] }} [end]{% endfor %}"
    "{% if add_generation_prompt %}[assistant]\n{% endif %}"
)
PROMPT = prompt_of(templates("symbolic")[0], "multiply", 7, 8)


def folder_of(tiny: Model, folder: Path, template: str | None = TEMPLATE) -> Path:
    """The folder of a tiny model, whose tokenizer has a chat template."""
    shutil.copytree(fetch(tiny), folder)
    file = folder / "tokenizer_config.json"
    config = json.loads(file.read_text())
    if template is not None:
        config["chat_template"] = template
    file.write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def tuned(tiny: Model, tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = folder_of(tiny, tmp_path_factory.mktemp("tuned") / "model")
    return Model(source=FolderSource(folder=str(folder)), blocks=4)


@pytest.fixture(scope="module")
def loaded(tuned: Model) -> Loaded:
    return load(tuned)


def test_a_prompt_has_the_ids_of_the_tokenizers_own_chat_template(loaded: Loaded) -> None:
    chat = loaded.tokenizer.for_chat()
    message = [{"role": "user", "content": "7 * 8 ="}]
    own: Any = loaded.tokenizer.own
    ids = own.apply_chat_template(message, tokenize=True, add_generation_prompt=True, return_dict=False)
    item = encode(chat, PROMPT)
    assert list(item.prompt_ids) == list(ids)
    assert chat.in_chat("7 * 8 =") == "[user] 7 * 8 = [end][assistant]\n"
    assert item.answer_ids[:-1] == tuple(chat.encode("56", add_special_tokens=False))


def test_prompt_and_answer_begin_with_the_ids_of_the_prompt_for_every_template(loaded: Loaded) -> None:
    chat = loaded.tokenizer.for_chat()
    for tier in TIERS:
        for template in templates(tier):
            item = encode(chat, prompt_of(template, "add", 7, 8))
            text, with_answer, special = as_prompted(chat, item.prompt)
            assert not special
            assert with_answer == f"{text}15"
            whole = chat.encode(with_answer, add_special_tokens=False)
            assert tuple(whole) == (*item.prompt_ids, *item.answer_ids[:-1])


def test_a_chat_template_whose_last_part_merges_with_the_answer_is_refused(tiny: Model, tmp_path: Path) -> None:
    folder = folder_of(tiny, tmp_path / "model", TEMPLATE.replace("[assistant]\n", "4"))
    model = load(Model(source=FolderSource(folder=str(folder)), blocks=4))
    chat = model.tokenizer.for_chat()
    real = chat.own.encode

    class Merging:
        def __getattr__(self, name: str) -> Any:
            return getattr(model.tokenizer.own, name)

        def encode(self, text: str, **options: Any) -> list[int]:
            return [len(text)] if text.endswith("456") else real(text, **options)

    chat.own = Merging()  # type: ignore[assignment]
    with pytest.raises(EncodingError, match="not a prefix"):
        encode(chat, PROMPT)


def test_the_plain_tokenizer_stays_as_it_is_and_a_chat_has_a_cache_that_confuses_nothing(loaded: Loaded) -> None:
    before = encode(loaded.tokenizer, PROMPT)
    chat = loaded.tokenizer.for_chat()
    inside = encode(chat, PROMPT)
    assert (loaded.tokenizer.chats, chat.chats) == (False, True)
    assert encode(loaded.tokenizer, PROMPT) == before != inside
    assert encode(chat, PROMPT) == inside
    assert len(inside.prompt_ids) > len(before.prompt_ids)
    assert list(before.prompt_ids) == loaded.tokenizer.encode("7 * 8 =")


def test_a_tokenizer_without_a_template_is_told_what_to_do(tiny: Model) -> None:
    with pytest.raises(EncodingError, match=r"^the tokenizer has no chat template: give `prompts: \[plain\]`$"):
        load(tiny).tokenizer.for_chat()


def study(tiny_study: Callable[..., Study], prompts: list[str], **changes: Any) -> Study:
    pairs = [{"multiply": "multiply", "add": "add"}]
    return tiny_study(grid=Grid(layers=[1], pairs=pairs, weights=[0.0, 0.5], prompts=prompts), **changes)


@pytest.mark.parametrize(("chat", "units"), [(None, 10), (True, 10), (False, 5)])
def test_base_models_get_no_chat(tuned: Model, tiny_study: Callable[..., Study], chat: bool | None, units: int) -> None:
    model = tuned.model_copy(update={"chat": chat})
    made = expand(study(tiny_study, ["plain", "chat"]), {"tiny-llama": model})
    assert len(made) == units
    assert {describe(unit)["prompt"] for unit in made} == ({"plain"} if chat is False else {"plain", "chat"})
    of_plain = expand(study(tiny_study, ["plain"]), {"tiny-llama": model})
    assert [unit.id for unit in made[:5]] == [unit.id for unit in of_plain]
    assert len({unit.id for unit in made}) == units


def test_a_study_of_base_models_alone_in_chat_has_no_units(tuned: Model, tiny_study: Callable[..., Study]) -> None:
    base = tuned.model_copy(update={"chat": False})
    assert expand(study(tiny_study, ["chat"]), {"tiny-llama": base}) == []


def write(tmp_path: Path, folder: Path, prompts: list[str]) -> Path:
    entry = {"source": {"folder": str(folder)}, "blocks": 4}
    (tmp_path / "models.yaml").write_text(yaml.safe_dump({"small": entry}))
    steps = {"steps": 2, "batch_size": 2, "learning_rate": 1e-3}
    pair = {"multiply": "multiply", "add": "add"}
    told = {
        "name": "chat",
        "models": ["small"],
        "grid": {"layers": [1], "pairs": [pair], "weights": [0.5], "prompts": prompts},
        "stage1": steps,
        "stage2": steps,
        "evaluation": {"prompts_per_class": 36, "onset_every": 0, "causal_prompts": 0, "profile_prompts": 2},
    }
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(told))
    return file


@pytest.mark.slow
def test_a_dry_run_fails_the_chat_of_a_tokenizer_without_a_template_in_one_message(
    tiny: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path, folder_of(tiny, tmp_path / "model", template=None), ["chat"])
    assert main([str(file), "--dry-run", "--results", str(tmp_path / "results")]) == 2
    out, err = capsys.readouterr()
    reason = "EncodingError: the tokenizer has no chat template: give `prompts: [plain]`"
    assert err.count(reason) == 1
    assert f"failed   small.chat|stage1|s0  {reason}" in out
    assert "Traceback" not in out + err


@pytest.mark.slow
def test_a_dry_run_of_both_keeps_the_plain_cells(
    tiny: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path, folder_of(tiny, tmp_path / "model", template=None), ["plain", "chat"])
    assert main([str(file), "--dry-run", "--results", str(tmp_path / "results")]) == 0
    out, _ = capsys.readouterr()
    failed = [line for line in out.splitlines() if line.startswith("failed ")]
    assert failed
    assert all(".chat|" in line for line in failed)


@pytest.mark.slow
def test_a_study_in_both_ways_runs_to_its_end_and_its_rows_differ(
    tuned: Model, tiny_study: Callable[..., Study], tmp_path: Path
) -> None:
    units = expand(study(tiny_study, ["plain", "chat"]), {"tiny-llama": tuned})
    assert [run_unit(unit, tmp_path).state for unit in units] == ["done"] * 10
    store = Store(tmp_path)
    for kind in (Reference, Cell):
        plain, chat = ([unit for unit in units if isinstance(unit, kind)][at] for at in (0, -1))
        ours, theirs = (pd.read_parquet(store.folder(unit) / "answers.parquet") for unit in (plain, chat))
        assert list(ours.prompt)[:8] == list(theirs.prompt)[:8]
        assert (ours.nll[:8] - theirs.nll[:8]).abs().min() > 1e-3
        assert (theirs.tokens < ours.tokens.max() + 1).all()


@pytest.mark.slow
def test_a_chat_model_is_read_at_the_last_token_of_its_template(
    tuned: Model, loaded: Loaded, tiny_study: Callable[..., Study], tmp_path: Path
) -> None:
    """The reference's baseline, against the model called on the template's ids by hand."""
    import mlx.core as mx
    import numpy as np

    units = expand(study(tiny_study, ["chat"]), {"tiny-llama": tuned})
    first, reference = units[0], units[1]
    assert [run_unit(unit, tmp_path).state for unit in (first, reference)] == ["done", "done"]
    lens = pd.read_parquet(Store(tmp_path).folder(reference) / "lens.parquet")
    lens = lens[(lens.stage == "baseline") & (lens.layer == 3)].set_index("prompt_id")
    chat = loaded.tokenizer.for_chat()
    data = Data(smallest=2, largest=9)
    asked = Arithmetic(data).evaluation_prompts(list(data.operations), Evaluation(prompts_per_class=4), 0)
    for number, prompt in list(enumerate(asked))[::5]:
        logits = np.array(loaded.model(mx.array([list(encode(chat, prompt).prompt_ids)]))[0, -1], np.float64)
        (token,) = chat.encode(f" {prompt.operation}", add_special_tokens=False)
        expected = logits[token] - np.log(np.exp(logits - logits.max()).sum()) - logits.max()
        assert lens.log_p[number] == pytest.approx(expected, abs=1e-3)
