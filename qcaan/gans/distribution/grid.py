"""Samples in k dimensions on a grid of 2**n points, one for each bitstring of n qubits, and distances between distributions.

Dimension 0 is the slowest in the order of the grid's points: point k of the grid belongs to index k of a probability vector,
so the last dimension has the lowest qubits, and in each dimension the lowest qubit is the finest step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcaan.checks import check_memory, reals

Floats = NDArray[np.float64]
EMPTY = 1e-10  # probability of a cell that no sample fell into, so that the relative entropy stays finite


@dataclass(frozen=True, eq=False)
class Grid:
    """Points at equal distances between inclusive bounds.

    Attributes:
        bounds: least and greatest value of each dimension, float64 [k, 2].
        num_qubits: qubits of each dimension; m of them tell 2**m values apart.
    """

    bounds: Floats
    num_qubits: tuple[int, ...]

    @property
    def n_qubits(self) -> int:
        return sum(self.num_qubits)

    @cached_property
    def axes(self) -> list[Floats]:
        """Values of each dimension, ascending, [2**m] each."""
        pairs = zip(self.bounds, self.num_qubits, strict=True)
        return [np.linspace(low, high, 2**m) for (low, high), m in pairs]

    @cached_property
    def points(self) -> Floats:
        """All points, float64 [2**n, k], dimension 0 the slowest."""
        return np.stack(np.meshgrid(*self.axes, indexing="ij"), -1).reshape(-1, len(self.axes))

    def contains(self, samples: Floats) -> NDArray[np.bool_]:
        """Which of the samples [m, k] lie within the bounds."""
        return np.all((samples >= self.bounds[:, 0]) & (samples <= self.bounds[:, 1]), axis=1)

    def index(self, samples: Floats) -> NDArray[np.int64]:
        """Index [m] of the point nearest to each of the samples [m, k]; half way between two it is the lower one."""
        index = np.zeros(len(samples), np.int64)
        for values, (low, high), m in zip(samples.T, self.bounds, self.num_qubits, strict=True):
            steps = (values - low) / (high - low) * (2**m - 1)
            index = (index << m) + np.ceil(steps - 0.5).astype(np.int64)
        return index

    def marginals(self, probs: Floats) -> list[Floats]:
        """Distribution along each dimension, [2**m] each, of probabilities [2**n]."""
        table = probs.reshape([2**m for m in self.num_qubits])
        every = range(table.ndim)
        return [table.sum(tuple(other for other in every if other != axis)) for axis in every]

    def product_of_marginals(self, probs: Floats) -> Floats:
        """The distribution [2**n] of independent dimensions with the marginals of `probs` [2**n]."""
        product = np.ones(1)
        for marginal in self.marginals(probs):
            product = np.outer(product, marginal).ravel()
        return product

    def relative_entropy(self, model: Floats, data: Floats) -> float:
        """KL(model || data) in nats of [2**n] against [2**n], whose empty cells count as 1e-10."""
        filled = np.where(data == 0, EMPTY, data)
        likely = model > 0
        return float(
            (model[likely] * np.log(model[likely] / (filled / filled.sum())[likely])).sum()
        )

    def distances(self, model: Floats, data: Floats) -> dict[str, float]:
        """How far a model [2**n] is from data [2**n].

        `rel_entr` is the relative entropy; `ks` the Kolmogorov-Smirnov statistic, the greatest difference of the cumulative
        distributions, and `wasserstein` the Wasserstein-1 distance in units of the data, both of the marginals and the
        largest over the dimensions.
        """
        gaps = [
            abs((m - d).cumsum()[:-1])
            for m, d in zip(self.marginals(model), self.marginals(data), strict=True)
        ]
        return {
            "rel_entr": self.relative_entropy(model, data),
            "ks": float(max(gap.max() for gap in gaps)),
            "wasserstein": float(
                max((gap * np.diff(axis)).sum() for gap, axis in zip(gaps, self.axes, strict=True))
            ),
        }


def read_data(data: ArrayLike) -> Floats:
    """A copy of samples [N] or [N, k] as float64 [N, k].

    Raises:
        ValueError: no samples, another shape, or values that are not finite numbers.
    """
    try:
        samples = reals(data)
    except (TypeError, ValueError):
        raise ValueError("data must be an array of numbers [N] or [N, k]") from None
    if samples.ndim not in (1, 2) or not samples.size:
        raise ValueError(f"data must hold samples [N] or [N, k], got shape {list(samples.shape)}")
    samples = samples.reshape(len(samples), -1)
    if not (finite := np.isfinite(samples).all(1)).all():
        raise ValueError(
            f"data must be finite, got {samples[~finite][0].tolist()} as sample {finite.argmin()}"
        )
    return samples


def make_grid(bounds: ArrayLike, num_qubits: Sequence[int] | NDArray[Any]) -> Grid:
    """The grid of k dimensions.

    Args:
        bounds: [min, max], or one such pair for each dimension.
        num_qubits: qubits of each dimension.

    Raises:
        ValueError: bounds of another shape, not finite or not ascending; numbers of qubits that do not match them, are below
            1, or more than memory holds.
    """
    try:
        pairs = reals(bounds)
    except (TypeError, ValueError):
        raise ValueError(f"bounds must be [min, max] for each dimension, got {bounds!r}") from None
    pairs = pairs[None] if pairs.ndim == 1 else pairs
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not len(pairs):
        raise ValueError(
            f"bounds must be [min, max] for each dimension, got shape {list(pairs.shape)}"
        )
    for dimension, (low, high) in enumerate(pairs.tolist()):
        if not (np.isfinite([low, high]).all() and low < high):
            raise ValueError(
                f"bounds must be finite with min < max, got [{low}, {high}] for dimension {dimension}"
            )
    counts = np.atleast_1d(np.asarray(num_qubits))
    integers = counts.dtype.kind in "iu" or (
        counts.dtype.kind == "f" and (counts == counts.round()).all()
    )
    if counts.shape != (len(pairs),) or not integers or (counts < 1).any():
        raise ValueError(
            f"num_qubits must be a whole number of at least 1 for each of the {len(pairs)} dimensions, got {counts.tolist()}"
        )
    grid = Grid(pairs, tuple(int(m) for m in counts))
    check_memory(grid.n_qubits)
    return grid


def fit_grid(
    data: Floats, bounds: ArrayLike | None, num_qubits: Sequence[int] | NDArray[Any] | None
) -> Grid:
    """The grid for samples [N, k]; by default between their 5th and 95th percentiles, with 3 qubits per dimension.

    Raises:
        ValueError: as `make_grid`, or bounds of another number of dimensions than the data.
    """
    k = data.shape[1]
    if bounds is None:
        bounds = np.percentile(data, (5, 95), axis=0).T
    grid = make_grid(bounds, (3,) * k if num_qubits is None else num_qubits)
    if len(grid.num_qubits) != k:
        raise ValueError(
            f"bounds must be one pair for each of the {k} dimensions of the data, got {len(grid.bounds)}"
        )
    return grid
