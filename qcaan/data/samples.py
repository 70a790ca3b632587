"""Samples [N, k] of distributions over real numbers: named ones, or those of a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qcaan.checks import Floats, random_generator, whole
from qcaan.data.arrays import open_npz, read_npy
from qcaan.data.opening import DataError, expanded, fingerprint
from qcaan.data.tables import SUFFIXES, read_table

# number of columns whose ranges are told
_TOLD = 6


class Samples(NamedTuple):
    """Samples of a distribution.

    Attributes:
        values: float64 [N, k], finite.
        origin: phrase that names the source, and for a file its columns and their ranges.
    """

    values: Floats
    origin: str

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the values."""
        return fingerprint(self.values)


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
            of numbers [N] or [N, k], or of an `.npz` file of one such array; or the path of a text
            (`.csv`, `.tsv`, `.txt`, `.dat`) with a line for each sample, as
            `qcaan.data.tables.read_table` reads it.
        n: number of samples of a named distribution, at least 1; all samples of a file are taken.
        seed: seed of the draws.

    Raises:
        ValueError: the name is unknown, n is below 1, or the file is not a table of finite numbers.
        OSError: the file cannot be read.
    """
    return read_samples(name_or_path, n, seed).values


def read_samples(name_or_path: str | Path, n: int, seed: int) -> Samples:
    """Return samples and where they are from; see `load_samples`."""
    name, path = str(name_or_path), expanded(name_or_path)
    if name in NAMED_DISTRIBUTIONS:
        draw = NAMED_DISTRIBUTIONS[name].draw
        values = draw(random_generator(seed), whole("n", n)).reshape(n, -1)
        return Samples(values, f"the distribution {name}")
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        table = read_table(path)
        return Samples(table.values, _told(path, *table))
    if suffix not in (".npy", ".npz"):
        *others, last = (*SUFFIXES, ".npy", ".npz")
        raise DataError(
            f"unknown `data` {name!r}; choose from {', '.join(NAMED_DISTRIBUTIONS)}, or name a "
            f"{', '.join(others)} or {last} file"
        )
    array = read_npy(path) if suffix == ".npy" else _only_array(path)
    if array.ndim not in (1, 2) or not array.size:
        raise DataError(f"{path} must hold samples [N] or [N, k], got {list(array.shape)}")
    values = array.astype(np.float64).reshape(len(array), -1)
    if not np.isfinite(values).all():
        row, column = map(int, np.argwhere(~np.isfinite(values))[0])
        raise DataError(
            f"{path} must hold finite numbers, got {values[row, column]} in row {row + 1}, column "
            f"{column + 1}"
        )
    names = [str(column) for column in range(1, values.shape[1] + 1)]
    return Samples(values, _told(path, values, names, []))


def _only_array(path: Path) -> NDArray[Any]:
    """Return the only array of an `.npz` file.

    Raises:
        DataError: it holds none or more, or the array is not one of numbers.
        OSError: the file cannot be read.
    """
    with open_npz(path) as arrays:
        if len(arrays) != 1:
            names = ", ".join(arrays) or "none"
            raise DataError(f"{path} must hold one array of samples, but its arrays are: {names}")
        return next(iter(arrays.values()))()


def _told(path: Path, values: Floats, names: list[str], notes: list[str]) -> str:
    """Return what was read from a file: its rows, its columns and their ranges."""
    n_rows, n_columns = values.shape
    ranges = [
        f"{name} from {low:.6g} to {high:.6g}"
        for name, low, high in zip(names, values.min(0), values.max(0), strict=True)
    ]
    columns = ", ".join([*ranges[:_TOLD], *(["..."] if n_columns > _TOLD else [])])
    counted = f"{n_rows:,} {'row' if n_rows == 1 else 'rows'} and "
    counted += "1 column" if n_columns == 1 else f"{n_columns:,} columns"
    return f"{path} ({'; '.join([', '.join([counted, *notes]), columns])})"
