"""The loader gives what transformers computes, or refuses; `study agree` wrote the expected values."""

from pathlib import Path

import mlx.core as mx
import pytest

from study.commands.agreement.compare import SAME, of_mlx_lm, of_study
from study.commands.agreement.declared import TEXTS
from study.commands.agreement.expected import read

FILES = sorted((Path(__file__).parent / "agreement").glob("*.json"))
PAGE = (Path(__file__).parents[2] / "docs" / "agreement.md").read_text().splitlines()
REFUSED = {line.split("|")[1].strip().replace(" ", "-") for line in PAGE if line.endswith("| refuses it |")}
"""The models that docs/agreement.md says the study refuses."""


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_study_computes_what_transformers_does_or_what_is_known_of_mlx_lm(file: Path, tmp_path: Path) -> None:
    expected = read(file)
    expected.make(tmp_path)
    with mx.stream(mx.cpu):
        by_mlx_lm, (by_study, warned) = of_mlx_lm(tmp_path, expected.reads, TEXTS), of_study(tmp_path, TEXTS)
    assert not isinstance(by_mlx_lm, str), by_mlx_lm
    for size, known in zip(expected.difference(by_mlx_lm).sizes, expected.sizes, strict=True):
        if known <= SAME:
            assert size <= SAME, "mlx-lm computed what transformers does: run study agree"
        else:
            assert size == pytest.approx(known, rel=0.1), "mlx-lm differed otherwise: run study agree"
    assert isinstance(by_study, str) is (file.stem in REFUSED), by_study
    if not isinstance(by_study, str):
        sizes = expected.difference(by_study).sizes
        of_mlx_lm_alone = expected.sizes[: len(sizes)]  # the study may refuse the longer text
        assert max(sizes) <= SAME or (warned and sizes == pytest.approx(of_mlx_lm_alone, rel=0.1, abs=SAME))


def test_sixty_models_are_held_to_transformers() -> None:
    expected = [read(file) for file in FILES]
    assert sum(max(one.sizes) <= SAME for one in expected) >= 60
    assert sum(file.stat().st_size for file in FILES) < 500_000
