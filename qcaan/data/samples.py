"""Samples [N, k] of distributions over real numbers: named ones, or those of a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qcaan.checks import random_generator, whole

Floats = NDArray[np.float64]


class NamedDistribution(NamedTuple):
    """A distribution over k real numbers, with the grid on which a QGAN learns it.

    Attributes:
        draw: draws n samples, [n] or [n, k], from a generator.
        bounds: least and greatest value on the grid, for each of the k dimensions.
        n_qubits: number of qubits of each dimension.
    """

    draw: Callable[[np.random.Generator, int], Floats]
    bounds: tuple[tuple[float, float], ...]
    n_qubits: tuple[int, ...]


def _bimodal(rng: np.random.Generator, n: int) -> Floats:
    return np.where(rng.random(n) < 0.5, rng.normal(0.5, 1, n), rng.normal(3.5, 0.5, n))


def _correlated(rng: np.random.Generator, n: int) -> Floats:
    return rng.multivariate_normal(np.zeros(3), 0.4 * np.eye(3) + 0.6, n)


# the first three are those of Zoufal, Lucchi and Woerner, arXiv:1904.00043; binomial is from
# Qiskit Aqua's issue 1452
NAMED_DISTRIBUTIONS = {
    "lognormal": NamedDistribution(lambda rng, n: rng.lognormal(1, 1, n), ((0, 7),), (3,)),
    "triangular": NamedDistribution(lambda rng, n: rng.triangular(0, 2, 7, n), ((0, 7),), (3,)),
    "bimodal": NamedDistribution(_bimodal, ((0, 7),), (3,)),
    "binomial": NamedDistribution(
        lambda rng, n: rng.binomial(3, 0.5, n).astype(np.float64), ((0, 3),), (2,)
    ),
    "gaussian": NamedDistribution(lambda rng, n: rng.normal(0, 1, n), ((-3, 3),), (3,)),
    "gaussian-2d": NamedDistribution(
        lambda rng, n: rng.normal(0, 1, (n, 2)), ((-2, 2),) * 2, (3, 3)
    ),
    "gaussian-3d": NamedDistribution(_correlated, ((-1.645, 1.645),) * 3, (2, 2, 2)),
}


def load_samples(name_or_path: str | Path, n: int, seed: int) -> Floats:
    """Return samples float64 [N, k] of a named distribution, or those of a file.

    Args:
        name_or_path: lognormal (μ = σ = 1), triangular (0 to 7, mode 2), bimodal (an equal mixture
            of N(0.5, 1) and N(3.5, 0.5)), binomial (3 fair coins), gaussian (standard),
            gaussian-2d (independent), gaussian-3d (all correlations 0.6); the path of a `.npy` file
            of numbers [N] or [N, k]; or the path of a `.csv` file of one row per sample, with or
            without a header.
        n: number of samples of a named distribution, at least 1; all samples of a file are taken.
        seed: seed of the draws.

    Raises:
        ValueError: the name is unknown, n is below 1, or the file is not a table of numbers.
        OSError: the file cannot be read.
    """
    name, path = str(name_or_path), Path(name_or_path).expanduser()
    if name in NAMED_DISTRIBUTIONS:
        draw = NAMED_DISTRIBUTIONS[name].draw
        return draw(random_generator(seed), whole("n", n)).reshape(n, -1)
    if path.suffix not in (".csv", ".npy"):
        raise ValueError(
            f"unknown `data` {name!r}; choose from {', '.join(NAMED_DISTRIBUTIONS)}, or name a "
            ".csv or .npy file"
        )
    try:
        samples = np.load(path, allow_pickle=False) if path.suffix == ".npy" else _read_csv(path)
        samples = np.asarray(samples).astype(np.float64, casting="same_kind")
    except (ValueError, TypeError, EOFError):
        raise ValueError(f"{path} does not hold numbers, one row per sample") from None
    if samples.ndim not in (1, 2) or not samples.size:
        raise ValueError(f"{path} must hold samples [N] or [N, k], got {list(samples.shape)}")
    return samples.reshape(len(samples), -1)


def _read_csv(path: Path) -> Floats:
    lines = [line for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
    rows = [[cell.strip() for cell in line.split(",")] for line in lines]
    if rows and not any(map(_is_number, rows[0])):  # a header
        rows = rows[1:]
    return np.array([[float(cell) for cell in row] for row in rows])


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
