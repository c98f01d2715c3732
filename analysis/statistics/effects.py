"""The interval of an effect: a mean paired difference over templates, or over templates and seeds."""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import stats

from analysis.statistics.cores import of_parts
from analysis.statistics.intervals import Floats, Interval, levels

Flags = npt.NDArray[np.bool_]
RANGE = 0.5
"""Of differences, in both directions: with 1, intervals are wider than 95 % ask for where arms hardly differ; with the
largest difference that was seen, they cover 70 to 85 % where a few templates differ wholly and others a little."""
_POINTS = 11, 16
"""Quasi-random points are 2^11, with which at 95 % the half-width is off by 3 % at most against 2^16; and more where
fewer than _BEYOND of them would lie beyond the quantile, up to 2^16."""
_BEYOND = 100
_NUMBERS = 2**17
"""Of tables at a time: 64 with 2^11 points each are 1 MB, which a processor keeps at hand."""


def effect(differences: Floats, confidence: float) -> Interval:
    """Return the interval of the mean of one table of `differences` [templates, seeds]; see `effects`."""
    return Interval(*effects(differences[None], confidence)[0].tolist())


def effects(differences: Floats, confidence: float) -> Floats:
    """Return estimate, low and high [cells, 3] of the means of `differences` [cells, templates, seeds] in [-1, 1].

    Templates without any value, seeds without any, and single values may be missing (NaN). Seeds may be models, or
    whatever else is crossed with templates.

    With one seed, the interval is over templates for that seed: `levels`, on the range between plus and minus the
    largest difference there is, and at least RANGE, since a template that differs much may not have been drawn.
    Differences that are all zero get the exact bound for a template that has never been seen to differ,
    1 - (alpha/2)^(1/templates) either way: 14 points for 24 templates.

    With more, it is over templates and seeds, each a sample: a generalised confidence interval (Weerahandi 1993)
    for the two-way layout with random effects. The variance of the mean is (M_t + M_s - M_ts) / (templates x seeds) in
    mean squares; each is drawn from its fiducial distribution, sum of squares over chi-square, and the half-width is
    the quantile of |normal| x standard deviation. Where no template's mean differs from another's, there is no spread
    to go by, and the interval is that over templates of the seeds' mean. Missing values take what template and seed
    give them, at the cost of their degrees of freedom (Yates 1933).

    Two seeds say next to nothing of a population of seeds, and their interval shows it: it is often wider than that of
    either seed. No interval sees what no seed and no template has shown: where one arm is always right and the other is
    so but for a few bad seeds or templates, 95 % intervals cover about 90 %.
    """
    found = np.full((len(differences), 3), np.nan)
    missing = np.isnan(differences)
    templates, seeds = ~missing.all(2), ~missing.all(1)
    for shape, cells in _patterns(np.hstack([templates, seeds])):
        rows, columns = np.split(shape, [templates.shape[1]])
        if rows.any():
            size = max(1, _NUMBERS >> _points(confidence))
            chunks = np.split(cells, range(size, len(cells), size))

            def intervals(chunk: npt.NDArray[np.intp], rows: Flags = rows, columns: Flags = columns) -> Floats:
                return _crossed(differences[np.ix_(chunk, rows, columns)], confidence)

            for chunk, part in zip(chunks, of_parts(intervals, chunks), strict=True):
                found[chunk] = part
    return found


def of_each(tables: Sequence[Floats], confidence: float) -> Floats:
    """Return `effects` [tables, 3] of tables [templates, seeds] that may differ in their shape."""
    found = np.full((len(tables), 3), np.nan)
    for same in by_shape(tables):
        found[same] = effects(np.stack([tables[number] for number in same]), confidence)
    return found


def by_shape(tables: Sequence[Floats]) -> list[list[int]]:
    """Return the numbers of the tables of each shape."""
    shapes: dict[tuple[int, ...], list[int]] = {}
    for number, table in enumerate(tables):
        shapes.setdefault(table.shape, []).append(number)
    return list(shapes.values())


def _crossed(tables: Floats, confidence: float) -> Floats:
    """`effects` of tables [cells, templates, seeds] in which no row and no column is empty."""
    templates, seeds = tables.shape[1:]
    missing = np.isnan(tables)
    tables = _filled(tables)
    by_template = tables.mean(2)
    if seeds == 1 or templates == 1:
        return _over_templates(by_template, confidence)
    mean = by_template.mean(1)
    by_seed = tables.mean(1)
    residuals = tables - by_template[:, :, None] - by_seed[:, None, :] + mean[:, None, None]
    squares = (
        seeds * ((by_template - mean[:, None]) ** 2).sum(1),
        templates * ((by_seed - mean[:, None]) ** 2).sum(1),
        (residuals**2).sum((1, 2)),
    )
    half = np.empty(len(tables))
    lost = missing.sum((1, 2))
    for count in np.unique(lost):
        of = lost == count
        freedom = (templates - 1, seeds - 1, max((templates - 1) * (seeds - 1) - int(count), 1))
        normal, signed_inverses = _fiducial(freedom, _points(confidence))
        variance = np.stack([part[of] for part in squares], axis=1) @ signed_inverses
        np.maximum(variance, 0, out=variance)
        deviations = np.sqrt(variance, out=variance)
        deviations *= normal / np.sqrt(templates * seeds)
        half[of] = np.quantile(deviations, confidence, axis=1, overwrite_input=True)
    found = np.stack([mean, np.maximum(mean - half, -1.0), np.minimum(mean + half, 1.0)], axis=1)
    alike = np.ptp(by_template, axis=1) < 1e-12
    found[alike] = _over_templates(by_template[alike], confidence)
    return found


def _over_templates(values: Floats, confidence: float) -> Floats:
    """`effects` of values [cells, templates] of one seed."""
    largest = np.abs(values).max(1)
    span = np.maximum(largest, RANGE)[:, None]
    found = (2 * levels((values / span + 1) / 2, confidence) - 1) * span
    unseen = 1 - ((1 - confidence) / 2) ** (1 / values.shape[1])
    return np.where(largest[:, None] > 0, found, np.array([0.0, -unseen, unseen]))


def _filled(tables: Floats) -> Floats:
    """Missing values as the sum of their template's and their seed's effect, by least squares; what the values there
    do not decide, as where seeds share no template, stays as near the mean of all as can be."""
    missing = np.isnan(tables)
    filled = np.where(missing, 0.0, tables)
    for pattern, of in _patterns(missing.reshape(len(tables), -1)):
        if pattern.any():
            values = filled[of].reshape(len(of), -1)
            means = values.sum(1, keepdims=True) / np.count_nonzero(~pattern)
            weights = _weights(pattern.tobytes(), tables.shape[1:])
            values[:, pattern] = means + (values[:, ~pattern] - means) @ weights
            filled[of] = values.reshape(-1, *tables.shape[1:])
    return filled


def _patterns(flags: Flags) -> list[tuple[Flags, npt.NDArray[np.intp]]]:
    """Return each row of flags [rows, flags] that there is, and where."""
    found: dict[bytes, list[int]] = {}
    packed = np.packbits(flags, axis=1)
    for row, pattern in enumerate(packed.view(f"V{packed.shape[1]}").ravel().tolist() if packed.shape[1] else []):
        found.setdefault(pattern, []).append(row)
    return [(flags[rows[0]], np.array(rows)) for rows in found.values()]


@lru_cache(maxsize=64)
def _weights(pattern: bytes, shape: tuple[int, int]) -> Floats:
    """By which the values there [there, missing] add up to those that are missing in a table of this shape."""
    missing, (templates, seeds) = np.frombuffer(pattern, bool), shape
    design = np.hstack([np.repeat(np.eye(templates), seeds, axis=0), np.tile(np.eye(seeds), (templates, 1))])
    there = design[~missing]
    # The normal equations have no single solution: a constant may go from templates to seeds.
    inverse: Floats = np.linalg.pinv(there.T @ there, rcond=1e-10, hermitian=True)
    weights: Floats = there @ inverse @ design[missing].T
    return weights


def _points(confidence: float) -> int:
    """The power of two of the number of points that a quantile needs."""
    return int(np.clip(math.ceil(math.log2(_BEYOND / (1 - confidence))), *_POINTS))


@lru_cache(maxsize=64)
def _fiducial(freedom: tuple[int, int, int], points: int) -> tuple[Floats, Floats]:
    """Half-normal variates [2^points], and the inverses of chi-square ones [3, 2^points] of which the last are
    negative, from one Sobol sequence."""
    drawn = stats.qmc.Sobol(4, seed=0).random_base2(points)
    drawn = np.clip(drawn, 1e-12, 1 - 1e-12)
    normal = stats.norm.ppf((1 + drawn[:, 0]) / 2)
    inverses = [
        sign / stats.chi2.ppf(drawn[:, i + 1], df) for i, (df, sign) in enumerate(zip(freedom, (1, 1, -1), strict=True))
    ]
    return normal, np.stack(inverses)
