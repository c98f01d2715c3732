"""Measurement of the predictors: quantities before stage 2 that may predict where a class can be trained."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, combinations
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from jaxtyping import Float
from mlx.utils import tree_flatten

from study.config.names import Operation
from study.config.predictors import PREDICTORS, Place, cosine
from study.config.stages import Lora
from study.lens.head import head_of
from study.lens.hooks import Lens, attached
from study.lens.readout import class_direction, divergence_from_last, last_states, read_every_layer
from study.lens.tokens import ClassToken, Encoded, Readouts
from study.lens.translators import Translators
from study.results.schema import Row
from study.tasks import GRADIENT_PROMPTS
from study.tasks.prompts import shuffled_label
from study.training import adapters
from study.training.objectives import ClassLoss, dual_reward, make_batch


def measure(
    model: nn.Module,
    readouts: Readouts,
    held_out: Sequence[Encoded],
    training: Sequence[Encoded],
    remembered: Sequence[Encoded],
    lora: Lora,
    seed: int,
    batch_size: int,
    translators: Translators | None = None,
) -> list[Row]:
    """Return one row for each pair of class tokens, layer and tier.

    Everything is measured on `held_out`, except that probes are fitted and gradients taken on `training`, and that the
    selectivity of probes is measured on `remembered`: prompts in training templates with held-out operands. Where a
    pair has more than two classes, a quantity that compares two of them is the mean over all combinations of two.
    """
    with attached(model, translators) as lens:
        states, fitted, again = (last_states(lens, items, batch_size) for items in (held_out, training, remembered))
        translated = lens.translated_all(states)
        divergence = divergence_from_last(lens, translated)
        read = read_every_layer(lens, translated, held_out, [tokens for _, tokens in readouts])
        pointed = [_direction_cosines(lens, states, held_out, tokens) for _, tokens in readouts]
        head = head_of(model, lens, states[0])
    asked = (training, held_out, remembered)
    probed = _probes([np.array(one) for one in (fitted, states, again)], asked, seed)
    values = np.array(states, np.float64)
    operations = np.array([item.prompt.operation for item in held_out])
    rows: list[Row] = []
    for (readout, tokens), figures, cosines in zip(readouts, read, pointed, strict=True):
        unembedding = head.rows(mx.array([token.id for token in tokens.values()]))
        gradients = _gradients(model, tokens, training[:GRADIENT_PROMPTS], lora, seed, translators)
        of_tiers: dict[str, list[Row]] = {tier: [] for tier in _by_tier(held_out)}
        for layer, (of_class, of_answer) in enumerate(gradients):
            for tier, here in _by_tier(held_out).items():
                chosen = here & np.isin(operations, list(tokens))
                place = Place(
                    layer,
                    lens.blocks,
                    states=values[chosen, layer],
                    states_below=values[chosen, layer - 1] if layer else None,
                    **{name: figures[name][chosen, layer] for name in ("log_p", "rank", "choice")},
                    classes=[operations[chosen] == operation for operation in tokens],
                    divergence=divergence[chosen, layer],
                    probe=probed[tier, layer]["probe"],
                    probe_below=float(np.mean([probed[tier, below]["probe"] for below in range(layer + 1)])),
                    probe_seen=probed[tier, layer]["probe_seen"],
                    probe_control=probed[tier, layer]["probe_control"],
                    direction_cosine=cosines[tier][layer],
                    unembedding=np.array(unembedding, np.float64),
                    tied=head.tied,
                    class_gradient=of_class,
                    answer_gradient=of_answer,
                )
                figure = {name: predictor.value(place) for name, predictor in PREDICTORS.items()}
                of_tiers[tier].append({"pair": readout.name, "layer": layer, "tier": tier, **figure})
        rows += chain.from_iterable(of_tiers.values())
    return rows


def _by_tier(encoded: Sequence[Encoded]) -> dict[str, np.ndarray]:
    tiers = np.array([item.prompt.tier for item in encoded])
    return {tier: tiers == tier for tier in dict.fromkeys(tiers.tolist())}


def _direction_cosines(
    lens: Lens, states: mx.array, encoded: Sequence[Encoded], tokens: Mapping[Operation, ClassToken]
) -> dict[str, list[float]]:
    """Return, by tier, the cosine at each layer of the direction that the lens reads and the difference of class
    means."""
    values = np.array(states, np.float64)
    operations = np.array([item.prompt.operation for item in encoded])
    found: dict[str, list[float]] = {}
    for tier, here in _by_tier(encoded).items():
        found[tier] = []
        for layer in range(lens.blocks):
            cosines = []
            for one, other in combinations(tokens, 2):
                own, theirs = here & (operations == one), here & (operations == other)
                rows = mx.array(np.flatnonzero(own | theirs))
                direction = class_direction(lens, states[rows, layer], layer, tokens[one].id, tokens[other].id)
                difference = values[own, layer].mean(axis=0) - values[theirs, layer].mean(axis=0)
                cosines.append(cosine(direction, difference))
            found[tier].append(float(np.mean(cosines)))
    return found


def measure_probes(
    model: nn.Module, held_out: Sequence[Encoded], training: Sequence[Encoded], batch_size: int
) -> list[Row]:
    """Return one row for each layer and tier with the predictors that probes alone give: `probe` and `probe_below`.

    They are what `measure` returns, without what it takes longest for.
    """
    with attached(model) as lens:
        states, fitted = (np.array(last_states(lens, items, batch_size)) for items in (held_out, training))
    labels, asked = ([item.prompt.operation for item in items] for items in (training, held_out))
    names, rows = sorted(set(labels)), []
    sums = dict.fromkeys(_by_tier(held_out), 0.0)
    for layer in range(lens.blocks):
        told = _fitted_probe(fitted[:, layer], labels).predict(states[:, layer])
        for tier, here in _by_tier(held_out).items():
            right = [label for label, is_here in zip(asked, here, strict=True) if is_here]
            accuracy = _balanced(told[here], right, names)
            sums[tier] += accuracy
            place = {"layer": layer, "tier": tier, "depth": (layer + 1) / lens.blocks}
            rows.append({**place, "probe": accuracy, "probe_below": sums[tier] / (layer + 1)})
    return rows


def _probes(
    states: Sequence[Float[np.ndarray, "prompts blocks hidden"]], asked: Sequence[Sequence[Encoded]], seed: int
) -> dict[tuple[str, int], dict[str, float]]:
    """Return, by tier and layer, the balanced accuracy of a linear probe for the operation on held-out prompts
    (`probe`), and that of the same probe and of its control on remembered ones (`probe_seen`, `probe_control`).
    `states` and `asked` are those of training, held-out and remembered prompts.

    The control is fitted and tested on labels that are exchanged at random in every template: it can be passed by
    remembering templates, whose labels it saw (Hewitt & Liang, 2019).
    """
    fitted, held_out, again = states
    names = sorted({item.prompt.operation for item in asked[0]})
    true, drawn = (
        [[label(item.prompt) for item in items] for items in asked]
        for label in (lambda prompt: prompt.operation, lambda prompt: shuffled_label(prompt, names, seed))
    )
    found: dict[tuple[str, int], dict[str, float]] = {}
    for layer in range(fitted.shape[1]):
        probe, control = (_fitted_probe(fitted[:, layer], labels[0]) for labels in (true, drawn))
        seen = {
            "probe_seen": _balanced(probe.predict(again[:, layer]), true[2], names),
            "probe_control": _balanced(control.predict(again[:, layer]), drawn[2], names),
        }
        told = probe.predict(held_out[:, layer])
        for tier, here in _by_tier(asked[1]).items():
            right = [label for label, is_here in zip(true[1], here, strict=True) if is_here]
            found[tier, layer] = {"probe": _balanced(told[here], right, names), **seen}
    return found


def _fitted_probe(states: Float[np.ndarray, "n hidden"], labels: Sequence[Operation]) -> Any:
    # Imported here, since it takes a second that units without probes need not wait.
    from sklearn.dummy import DummyClassifier
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # With few templates, all may have drawn the same class, which leaves nothing to fit.
    fits = LogisticRegression(C=0.01, max_iter=200) if len(set(labels)) > 1 else DummyClassifier()
    probe = make_pipeline(StandardScaler(), fits)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return probe.fit(states, labels)


def _balanced(told: np.ndarray, right: Sequence[Operation], names: Sequence[Operation]) -> float:
    asked = np.array(right)
    return float(np.mean([(told[asked == name] == name).mean() for name in names if (asked == name).any()]))


def _gradients(
    model: nn.Module,
    tokens: Mapping[Operation, ClassToken],
    encoded: Sequence[Encoded],
    lora: Lora,
    seed: int,
    translators: Translators | None,
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Yield, for each layer, the gradients [parameters] of its class loss and of the answer loss by the adapter at and
    below it, as initialised in stage 2; None for that of the answer loss where prompts have no answers."""
    ids = {operation: token.id for operation, token in tokens.items()}
    items = [item for item in encoded if item.prompt.operation in ids]
    answered = all(item.prompt.answer for item in items)
    answer = _adapter_gradient(model, None, items, lora, seed, translators) if answered else None
    for layer in range(len(model.layers)):
        named = _adapter_gradient(model, ClassLoss(layer, 1.0, ids), items, lora, seed, translators)
        yield np.concatenate(named[: layer + 1]), np.concatenate(answer[: layer + 1]) if answer else None


def _adapter_gradient(
    model: nn.Module,
    target: ClassLoss | None,
    encoded: Sequence[Encoded],
    lora: Lora,
    seed: int,
    translators: Translators | None,
) -> list[np.ndarray]:
    """Return the gradient of the class loss `target`, or of the answer loss if None, as one vector for each block."""
    batch = make_batch(encoded, cells=[target])
    adapters.stack(model, lora, [seed])
    with attached(model, translators) as lens:
        _, gradients = nn.value_and_grad(model, lambda: dual_reward(lens, batch, [target]))()
        mx.eval(gradients)
    blocks = adapters.blocks_of(model)
    found: list[list[np.ndarray]] = [[np.empty(0)] for _ in model.layers]
    for path, value in tree_flatten(gradients):
        found[blocks[path.rpartition(".")[0]]].append(np.array(value, np.float64).ravel())
    adapters.take_off(model)
    return [np.concatenate(parts) for parts in found]
