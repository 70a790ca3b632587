"""Samples in k dimensions on a grid of 2**n points, and distances between distributions on it.

Each bitstring of n qubits is a point of the grid: point i belongs to index i of a probability
vector. Dimension 0 is the slowest in the order of the points. So the last dimension has the lowest
qubits, and in each dimension the lowest qubit is the finest step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import ks_2samp

from qcaan.checks import Floats, check_memory, reals

QubitsLike: TypeAlias = Sequence[int] | NDArray[np.generic]

# probability of a cell that no sample fell into, so that the relative entropy stays finite
EMPTY = 1e-10


@dataclass(frozen=True, eq=False)
class Grid:
    """Points at equal distances between inclusive bounds.

    Attributes:
        bounds: minimum and maximum of each dimension, float64 [k, 2].
        n_qubits: number of qubits of each dimension; m qubits make 2**m values.
    """

    bounds: Floats
    n_qubits: tuple[int, ...]

    @property
    def total_qubits(self) -> int:
        """Number of qubits of all dimensions together."""
        return sum(self.n_qubits)

    @cached_property
    def axes(self) -> list[Floats]:
        """Values of each dimension, ascending, [2**m] each."""
        pairs = zip(self.bounds, self.n_qubits, strict=True)
        return [np.linspace(low, high, 2**m) for (low, high), m in pairs]

    @property
    def steps(self) -> Floats:
        """Distance [k] of neighbouring values of each dimension."""
        widths = self.bounds[:, 1] - self.bounds[:, 0]
        return np.asarray(widths / (2.0 ** np.array(self.n_qubits) - 1))

    @cached_property
    def points(self) -> Floats:
        """All points, float64 [2**n, k], dimension 0 the slowest."""
        return np.stack(np.meshgrid(*self.axes, indexing="ij"), -1).reshape(-1, len(self.axes))

    def contains(self, samples: Floats) -> NDArray[np.bool_]:
        """Return for each sample [m, k] whether it lies within the bounds, [m]."""
        inside = (samples >= self.bounds[:, 0]) & (samples <= self.bounds[:, 1])
        return np.asarray(inside.all(1))

    def index(self, samples: Floats) -> NDArray[np.int64]:
        """Return the index [m] of the point that is nearest to each sample [m, k].

        Half way between two points it is the lower one.
        """
        index = np.zeros(len(samples), np.int64)
        for values, (low, high), m in zip(samples.T, self.bounds, self.n_qubits, strict=True):
            steps = (values - low) / (high - low) * (2**m - 1)
            index = (index << m) + np.ceil(steps - 0.5).astype(np.int64)
        return index

    def marginals(self, probs: Floats) -> list[Floats]:
        """Return the distribution along each dimension, [2**m] each, of probabilities [2**n]."""
        table = probs.reshape([2**m for m in self.n_qubits])
        every = range(table.ndim)
        return [table.sum(tuple(other for other in every if other != axis)) for axis in every]

    def product_of_marginals(self, probs: Floats) -> Floats:
        """Return the product [2**n] of the marginals of `probs` [2**n]."""
        product = np.ones(1)
        for marginal in self.marginals(probs):
            product = np.outer(product, marginal).ravel()
        return product

    def relative_entropy(self, model: Floats, data: Floats) -> float:
        """Return KL(model || data) in nats of distributions [2**n].

        Empty cells of the data count as 1e-10.
        """
        filled = np.where(data == 0, EMPTY, data)
        likely = model > 0
        ratio = model[likely] / (filled / filled.sum())[likely]
        return float((model[likely] * np.log(ratio)).sum())

    def distances(self, model: Floats, data: Floats) -> dict[str, float]:
        """Return three distances between a model [2**n] and data [2**n].

        `rel_entr` is the relative entropy in nats. The other two compare the marginals, and are
        the largest over the dimensions: `ks` is the Kolmogorov-Smirnov statistic, the largest
        difference of the cumulative distributions; `wasserstein` is the Wasserstein-1 distance in
        units of the data.
        """
        pairs = zip(self.marginals(model), self.marginals(data), strict=True)
        gaps = [abs((m - d).cumsum()[:-1]) for m, d in pairs]
        areas = [(gap * np.diff(axis)).sum() for gap, axis in zip(gaps, self.axes, strict=True)]
        return {
            "rel_entr": self.relative_entropy(model, data),
            "ks": float(max(gap.max() for gap in gaps)),
            "wasserstein": float(max(areas)),
        }


def ks_test(generated: Floats, data: Floats) -> tuple[float, float]:
    """Return statistic and p-value of a two-sample Kolmogorov-Smirnov test of each dimension.

    They are those of the dimension with the smallest p-value.

    Args:
        generated: samples [n, k].
        data: samples [m, k].
    """
    columns = zip(generated.T, data.T, strict=True)
    results = [ks_2samp(model, real, method="asymp") for model, real in columns]
    pairs = [(float(result.statistic), float(result.pvalue)) for result in results]
    return min(pairs, key=lambda pair: pair[1])


def as_samples(data: ArrayLike) -> Floats:
    """Return a copy of samples [N] or [N, k] as float64 [N, k].

    Raises:
        ValueError: there are no samples, they have another shape, or a value is not finite.
    """
    try:
        samples = reals(data)
    except (TypeError, ValueError):
        raise ValueError("`data` must be an array of numbers [N] or [N, k]") from None
    if samples.ndim not in (1, 2) or not samples.size:
        raise ValueError(f"`data` must hold samples [N] or [N, k], got shape {list(samples.shape)}")
    samples = samples.reshape(len(samples), -1)
    if not (finite := np.isfinite(samples).all(1)).all():
        raise ValueError(
            f"`data` must be finite, got {samples[~finite][0].tolist()} as sample {finite.argmin()}"
        )
    return samples


def make_grid(bounds: ArrayLike, n_qubits: QubitsLike) -> Grid:
    """Return the grid of k dimensions.

    Args:
        bounds: [min, max], or one such pair for each dimension.
        n_qubits: number of qubits of each dimension.

    Raises:
        ValueError: the bounds have another shape, are not finite, not ascending or too close; or
            the numbers of qubits do not match them, are below 1, or need more memory than there is.
    """
    try:
        pairs = reals(bounds)
    except (TypeError, ValueError):
        raise ValueError(
            f"`bounds` must be [min, max] for each dimension, got {bounds!r}"
        ) from None
    pairs = pairs[None] if pairs.ndim == 1 else pairs
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not len(pairs):
        raise ValueError(
            f"`bounds` must be [min, max] for each dimension, got shape {list(pairs.shape)}"
        )
    for dimension, (low, high) in enumerate(pairs.tolist()):
        if not (np.isfinite([low, high]).all() and low < high):
            raise ValueError(
                f"`bounds` must be finite with min < max, got [{low}, {high}] for dimension "
                f"{dimension}"
            )
    grid = Grid(pairs, qubits_of_dimensions("n_qubits", n_qubits, len(pairs)))
    check_memory(grid.total_qubits)
    with np.errstate(over="ignore", invalid="ignore"):
        axes = grid.axes
    for dimension, axis in enumerate(axes):
        # float64 cannot tell the values apart, or they overflow
        if not (np.isfinite(axis).all() and (np.diff(axis) > 0).all()):
            raise ValueError(
                f"`bounds` must be wide enough for {len(axis)} different values in float64, "
                f"got {pairs[dimension].tolist()} for dimension {dimension}"
            )
    return grid


def qubits_of_dimensions(name: str, values: QubitsLike, k: int) -> tuple[int, ...]:
    """Return the numbers of qubits of k dimensions.

    Args:
        name: name of the argument that they were given as.
        values: one whole number for each dimension.
        k: number of dimensions.

    Raises:
        ValueError: there are not k of them, or one is not a whole number of at least 1.
    """
    counts = np.atleast_1d(np.asarray(values))
    whole = counts.dtype.kind in "iu" or (
        counts.dtype.kind == "f" and (counts == counts.round()).all()
    )
    if counts.shape != (k,) or not whole or (counts < 1).any():
        raise ValueError(
            f"`{name}` must be a whole number of at least 1 for each of the {k} dimensions, "
            f"got {counts.tolist()}"
        )
    return tuple(int(m) for m in counts)


def fit_grid(data: Floats, bounds: ArrayLike | None, n_qubits: QubitsLike | None) -> Grid:
    """Return the grid for samples [N, k].

    Args:
        data: the samples.
        bounds: as of `make_grid`; default the 5th and 95th percentiles of the samples.
        n_qubits: number of qubits of each dimension; default 3.

    Raises:
        ValueError: as `make_grid`; the bounds have another number of dimensions than the data; or
            the data are so alike in a dimension that they give no bounds.
    """
    k = data.shape[1]
    if bounds is None:
        bounds = np.percentile(data, (5, 95), axis=0).T
        for dimension, (low, high) in enumerate(bounds.tolist()):
            if low == high:
                raise ValueError(
                    f"at least 90 % of the samples are {low} in dimension {dimension}; "
                    "give `bounds` that are wider"
                )
    grid = make_grid(bounds, (3,) * k if n_qubits is None else n_qubits)
    if len(grid.n_qubits) != k:
        raise ValueError(
            f"`bounds` must be one pair for each of the {k} dimensions of the data, "
            f"got {len(grid.bounds)}"
        )
    return grid


def place_samples(
    samples: Floats, bounds: ArrayLike | None, n_qubits: QubitsLike | None
) -> tuple[Grid, NDArray[np.int64]]:
    """Return the grid for samples [N, k], and the indices [N'] of the points of those within it.

    Args:
        samples: the samples.
        bounds, n_qubits: as of `fit_grid`.

    Raises:
        ValueError: as `fit_grid`, or no sample lies within the bounds.
    """
    grid = fit_grid(samples, bounds, n_qubits)
    inside = samples[grid.contains(samples)]
    if not len(inside):
        raise ValueError(
            f"none of the {len(samples)} samples lies within the bounds {grid.bounds.tolist()}"
        )
    return grid, grid.index(inside)
