"""Class names that are read as sequences: what the tokens after the first one add, at layers of the lens."""

from collections.abc import Mapping, Sequence

import mlx.core as mx
import numpy as np

from study.config.names import Operation
from study.lens.hooks import Lens, at
from study.lens.logits import summarise
from study.lens.readout import Rest, portions
from study.lens.tokens import ClassToken, Encoded, padded


def rest_of_names(
    lens: Lens,
    encoded: Sequence[Encoded],
    points: Sequence[tuple[int, int]],
    tokens: Mapping[Operation, ClassToken],
    batch_size: int,
) -> Rest:
    """Return what the further tokens add to each class name, at points of prompt (by its index) and layer.

    Each name is put after each prompt, so that the lens reads a token where those before it were seen.
    """
    log_p = np.zeros((len(points), len(tokens)), np.float32)
    rank = np.zeros((len(points), len(tokens)), int)
    for k, token in enumerate(tokens.values()):
        for start in range(0, len(encoded), batch_size) if token.rest else ():
            here = [p for p, (i, _) in enumerate(points) if start <= i < start + batch_size]
            if here:
                told = [(points[p][0] - start, points[p][1]) for p in here]
                log_p[here, k], rank[here, k] = _of_name(lens, encoded[start : start + batch_size], told, token)
    return Rest(log_p, rank)


def _of_name(
    lens: Lens, encoded: Sequence[Encoded], points: Sequence[tuple[int, int]], token: ClassToken
) -> tuple[np.ndarray, np.ndarray]:
    """Return the log-probability of the further tokens of a name, summed, and their largest rank, at each point."""
    states = lens.hidden(padded([[*item.prompt_ids, *token.ids[:-1]] for item in encoded]))
    count = len(token.rest)
    order = sorted(range(len(points)), key=lambda p: points[p][1])
    parts = []
    for layer in sorted({layer for _, layer in points}):
        spots = [
            (points[p][0], len(encoded[points[p][0]].prompt_ids) + offset)
            for p in order
            if points[p][1] == layer
            for offset in range(count)
        ]
        rows, positions = (mx.array(column) for column in zip(*spots, strict=True))
        parts.append(lens.translated(at(states[layer], rows, positions), layer))
    del states
    read = mx.concatenate(parts)
    mx.eval(read)
    wanted = np.tile(np.array(token.rest), len(points))[:, None]
    log_p, ranks = np.empty(len(wanted), np.float32), np.empty(len(wanted), int)
    for part in portions(lens, read):
        logits = lens.read_out(read[part])
        totals, above = summarise(logits, wanted[part])
        chosen = np.array(mx.take_along_axis(logits, mx.array(wanted[part]), axis=1).astype(mx.float32))[:, 0]
        log_p[part], ranks[part] = chosen - totals, above[:, 0]
    back = np.argsort(order)
    return log_p.reshape(-1, count).sum(axis=1)[back], ranks.reshape(-1, count).max(axis=1)[back]
