"""Targets of distribution learning: samples [N, k] of named distributions, or of a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Target(NamedTuple):
    """A named distribution, and the bounds [k, 2] and numbers of qubits that it is learnt within."""

    draw: Callable[[np.random.Generator, int], Floats]
    bounds: tuple[tuple[float, float], ...]
    num_qubits: tuple[int, ...]


def _bimodal(rng: np.random.Generator, n: int) -> Floats:
    return np.where(rng.random(n) < 0.5, rng.normal(0.5, 1, n), rng.normal(3.5, 0.5, n))


def _correlated(rng: np.random.Generator, n: int) -> Floats:
    return rng.multivariate_normal(np.zeros(3), 0.4 * np.eye(3) + 0.6, n)


# the first three are Zoufal, Lucchi and Woerner's, arXiv:1904.00043; binomial is that of Aqua's issue 1452
TARGETS: dict[str, Target] = {
    "lognormal": Target(lambda rng, n: rng.lognormal(1, 1, n), ((0, 7),), (3,)),
    "triangular": Target(lambda rng, n: rng.triangular(0, 2, 7, n), ((0, 7),), (3,)),
    "bimodal": Target(_bimodal, ((0, 7),), (3,)),
    "binomial": Target(lambda rng, n: rng.binomial(3, 0.5, n).astype(np.float64), ((0, 3),), (2,)),
    "gaussian": Target(lambda rng, n: rng.normal(0, 1, n), ((-3, 3),), (3,)),
    "gaussian-2d": Target(lambda rng, n: rng.normal(0, 1, (n, 2)), ((-2, 2),) * 2, (3, 3)),
    "gaussian-3d": Target(_correlated, ((-1.645, 1.645),) * 3, (2, 2, 2)),
}


def load_samples(name_or_path: str | Path, n: int, seed: int) -> Floats:
    """Samples float64 [N, k] of a named distribution, or those of a file.

    Args:
        name_or_path: lognormal (μ = σ = 1), triangular (0 to 7, mode 2), bimodal (N(0.5, 1) and N(3.5, 0.5), half and half),
            binomial (3 fair coins), gaussian (standard), gaussian-2d (independent), gaussian-3d (all correlations 0.6); or
            the path of a `.npy` of numbers [N] or [N, k], or of a `.csv` of a row per sample, with or without a header.
        n: samples to draw of a named distribution; of a file all are taken.
        seed: of the draws.

    Raises:
        ValueError: an unknown name, n below 1, or a file that does not hold a table of numbers.
        OSError: a file that cannot be read.
    """
    name, path = str(name_or_path), Path(name_or_path).expanduser()
    if name in TARGETS:
        if n < 1:
            raise ValueError(f"n must be at least 1, got {n}")
        return TARGETS[name].draw(np.random.default_rng(seed), n).reshape(n, -1)
    if path.suffix not in (".csv", ".npy"):
        raise ValueError(
            f"unknown target {name!r}; choose from {', '.join(TARGETS)}, or name a .csv or .npy file"
        )
    try:
        samples = np.load(path, allow_pickle=False) if path.suffix == ".npy" else _read_csv(path)
        samples = np.asarray(samples).astype(np.float64, casting="same_kind")
    except (ValueError, TypeError, EOFError):
        raise ValueError(f"{path} does not hold numbers, a row per sample") from None
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
