"""Configurations made at random: each is refused with exit code 2 and a message, or is right; never a traceback.

tests/test_fuzzing.py tries inputs of other kinds too, and `make soak` some thousands.
"""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from soak.inputs import CONFIGS, command
from study.config.data import Data
from study.config.evaluation import Evaluation
from study.config.grid import Grid
from study.config.stages import Stage1, Stage2
from study.config.study import RaySettings, Study

pytestmark = pytest.mark.slow

KEYS = sorted(
    {name for part in (Study, Grid, Data, Stage1, Stage2, Evaluation, RaySettings) for name in part.model_fields}
)
WORDS = ["multiply", "add", "subtract", "symbolic", "story", "plain", "auto", "all", "tiny-llama", "v_proj", "..", ""]
SCALARS = (
    st.none() | st.booleans() | st.integers(-9, 10**12) | st.floats() | st.sampled_from(WORDS) | st.text(max_size=8)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | SCALARS, inner, max_size=4),
    max_leaves=12,
)
RIGHT = yaml.safe_load((CONFIGS / "smoke.yaml").read_text())
MANY = settings(max_examples=150)


def taken(tmp_path, text):
    """How the command line takes a file of this text."""
    (tmp_path / "models.yaml").write_text((CONFIGS / "models.yaml").read_text())
    file = tmp_path / "study.yaml"
    file.write_text(text, encoding="utf-8")
    return command(["run", str(file), "--dry-run", "--results", str(tmp_path / "results")])[0]


@MANY
@given(changes=st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3))
def test_a_right_configuration_with_other_values_is_refused_or_right(tmp_path, changes):
    assert taken(tmp_path, yaml.safe_dump({**RIGHT, **changes}, allow_unicode=True)) in ("refused", "taken")


@MANY
@given(document=VALUES)
def test_any_document_that_is_no_study_is_refused(tmp_path, document):
    assert taken(tmp_path, yaml.safe_dump(document, allow_unicode=True)) == "refused"


@MANY
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_text_is_refused(tmp_path, text):
    assert taken(tmp_path, text) == "refused"
