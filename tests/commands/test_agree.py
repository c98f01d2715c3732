"""`study agree` says where two programs differ, and ends with 1 where that is not explained."""

from pathlib import Path

import numpy as np
import pytest

from study.commands import main
from study.commands.agreement.compare import SAME, Difference, Verdict, between
from study.commands.agreement.declared import Cause, tiny_models
from study.commands.agreement.rows import Row

ROOT = Path(__file__).parents[2]
GOOD, BAD = Verdict(Difference((SAME / 2, SAME / 2))), Verdict(Difference((SAME / 2, 1.0), 16, 0))
TOLD = Verdict(BAD.difference, warned=True)
CAUSE = Cause("no sliding window", "transformers", {"config": {"sliding_window": None}})


def test_the_first_position_and_block_that_differ_are_found() -> None:
    rng = np.random.default_rng(0)
    theirs = {"logits 5": rng.standard_normal((5, 300)), "lens 5": rng.standard_normal((4, 5, 300))}
    ours = {name: values.copy() for name, values in theirs.items()}
    assert between(ours, theirs) == Difference((0.0,))
    ours["logits 5"][3, 7] += 0.5 * theirs["logits 5"].std()
    ours["lens 5"][2, 3, 7] += 2 * theirs["lens 5"][2].std()
    assert between(ours, theirs) == Difference((pytest.approx(2.0),), 3, 2)


@pytest.mark.parametrize(
    ("row", "does", "mistake"),
    [
        (Row("llama", mlx_lm=GOOD, study=GOOD), "agrees", ""),
        (Row("llama", mlx_lm=GOOD, study=Verdict(refused="not known")), "refuses it", ""),
        (Row("llama", mlx_lm=GOOD, study=BAD), "computes something else", "the study computes another model"),
        (Row("phi3", mlx_lm=BAD, study=TOLD), "computes what mlx-lm does", "differs, unexplained"),
        (Row("phi3", mlx_lm=BAD, study=TOLD, cause=CAUSE, changed=BAD.difference), "computes what", "differs, unexpl"),
        (Row("phi3", mlx_lm=BAD, study=TOLD, cause=CAUSE, changed=GOOD.difference), "computes what mlx-lm does", ""),
        (
            Row("phi3", mlx_lm=BAD, study=BAD, cause=CAUSE, changed=GOOD.difference),
            "computes what",
            "the study computes",
        ),
        (Row("phi3", mlx_lm=GOOD, study=GOOD, cause=CAUSE, changed=GOOD.difference), "agrees", "does not differ any"),
        (
            Row("phi3", mlx_lm=BAD, study=Verdict(Difference((0.0,))), cause=CAUSE, changed=GOOD.difference),
            "agrees, and refuses longer texts",
            "",
        ),
    ],
)
def test_a_difference_without_a_cause_under_which_both_agree_is_a_mistake(row: Row, does: str, mistake: str) -> None:
    assert row.does.startswith(does)
    assert row.mistake.startswith(mistake)
    assert bool(row.mistake) == bool(mistake)


def test_an_architecture_that_is_not_compared_ends_with_2_and_those_that_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["agree", "--only", "lama"]) == 2
    assert "'lama'" in (told := capsys.readouterr().out)
    assert "llama" in told


def test_the_committed_page_tells_of_every_model_and_every_change_is_one_that_transformers_side_knows() -> None:
    page = (ROOT / "docs" / "agreement.md").read_text()
    substitutions = (ROOT / "benchmarks" / "peers" / "substitutions.py").read_text()
    models = tiny_models()
    assert len({model.architecture for model in models}) >= 70
    assert [model.title for model in models if f"| {model.title} |" not in page] == []
    named = {model.cause.changed.get("substitution") for model in models if model.cause} - {None}
    assert [name for name in named if f'"{name}":' not in substitutions] == []
