"""Class names of several tokens, beside the same texts read one by one."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from study.config.wordings import templates
from study.lens.hooks import attached
from study.lens.readout import last_states, read_classes
from study.lens.sequences import rest_of_names
from study.lens.tokens import ClassToken, Encoded
from study.tasks.arithmetic import prompt_of
from tests.architectures import make

TOKENS = {
    "multiply": ClassToken(" a b c", 50, True, (51, 52)),
    "add": ClassToken(" d", 60, True),
    "subtract": ClassToken(" e f", 70, True, (71,)),
}
PROMPTS = [
    Encoded(prompt_of(templates("symbolic")[0], "multiply", 7, 8), tuple(ids), (8, 9))
    for ids in ([5, 6, 7], [15, 16, 17, 18, 19], [20], [30, 31], [40, 41, 42, 43])
]
POINTS = [(0, 1), (0, 0), (1, 2), (3, 0), (4, 1), (4, 2)]
"""Of prompt 2 nothing is read."""


def by_hand(model: nn.Module, prompt: int, layer: int, name: tuple[int, ...]) -> tuple[list[float], list[int]]:
    """The log-probability and the rank of each token of a name, each from a text of its own, in float64."""
    log_p, ranks = [], []
    with attached(model) as lens:
        for k, token in enumerate(name):
            states = lens.hidden(mx.array([[*PROMPTS[prompt].prompt_ids, *name[:k]]]))
            logits = np.array(lens.read_out(states[layer][:, -1]))[0].astype(np.float64)
            log_p.append(logits[token] - np.log(np.exp(logits).sum()))
            ranks.append(int((logits > logits[token]).sum()))
    return log_p, ranks


@pytest.mark.parametrize("architecture", ["llama", "gemma3_text", "mamba2"])
@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_what_further_tokens_add_is_that_of_texts_of_their_own(architecture: str, batch_size: int) -> None:
    model = make(architecture)
    with attached(model) as lens:
        rest = rest_of_names(lens, PROMPTS, POINTS, TOKENS, batch_size)
    assert rest.log_p[:, 1].tolist() == [0.0] * len(POINTS)
    for p, (prompt, layer) in enumerate(POINTS):
        for k, token in enumerate(TOKENS.values()):
            log_p, ranks = by_hand(model, prompt, layer, token.ids)
            assert rest.log_p[p, k] == pytest.approx(sum(log_p[1:]), rel=1e-4, abs=1e-6)
            assert rest.rank[p, k] == max(ranks[1:], default=0)


def test_figures_of_a_name_are_of_all_its_tokens() -> None:
    model = make("llama")
    points, right = [(i, 1) for i in range(len(PROMPTS))], np.array([0, 1, 2, 0, 1])
    with attached(model) as lens:
        rest = rest_of_names(lens, PROMPTS, points, TOKENS, 8)
        states = last_states(lens, PROMPTS, 8)[:, 1]
        ids = [[token.id for token in TOKENS.values()]]
        (figures,) = read_classes(lens, states, ids, [right], {0: rest})
    for i in range(len(PROMPTS)):
        read = [by_hand(model, i, 1, token.ids) for token in TOKENS.values()]
        log_p = np.array([sum(one) for one, _ in read])
        others = np.delete(log_p, right[i])
        assert figures["log_p"][i] == pytest.approx(log_p[right[i]], rel=1e-4)
        assert figures["margin"][i] == pytest.approx(log_p[right[i]] - others.max(), rel=1e-3, abs=1e-4)
        assert figures["log_mass"][i] == pytest.approx(np.logaddexp.reduce(log_p), rel=1e-4)
        assert figures["rank"][i] == max(read[right[i]][1])
        assert figures["choice"][i] == (log_p[right[i]] > others.max())
