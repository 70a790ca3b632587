"""Scores of models of bits: moments, distances of samples, and how far models generalise.

Scores are of a whole distribution float64 [2**n] (order: `qcaan.bits`), or of drawn bits {0, 1}
[m, n]. Divergences of whole distributions are in `qcaan.losses`.
"""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from qcaan.bits import bits_to_index, histogram, orders, walsh_hadamard


def mmd2(draws: Tensor, reference: Tensor, sigma: float) -> float:
    """Return the unbiased estimate of the squared maximum mean discrepancy of two sets of bits.

    The kernel is k(x, y) = exp(-d / (2 sigma^2)), with d the number of bits in which x and y
    differ. The mean of k over pairs of different draws, plus that over pairs of different reference
    strings, minus twice that over the pairs of both, is unbiased (Gretton et al., JMLR 13, 2012,
    eq. 3). So it is at most 2, and may be negative if the two distributions are near. Of known
    distributions, `qcaan.losses.mmd(..., bandwidths=(sigma**2,))` is the exact value.

    Args:
        draws, reference: bits [m, n] and [k, n], at least two each. The kernel of all pairs is held
            in memory.
        sigma: width of the kernel, above 0.
    """
    one, other = 1 - 2 * draws.double(), 1 - 2 * reference.double()
    within = sum(
        (_kernel(x, x, sigma).sum() - len(x)) / (len(x) * (len(x) - 1)) for x in (one, other)
    )
    return float(within - 2 * _kernel(one, other, sigma).mean())


def _kernel(one: Tensor, other: Tensor, sigma: float) -> Tensor:
    """Return the kernel [m, k] of signs [m, n] and [k, n]."""
    distances = (one.shape[1] - one @ other.T) / 2
    return torch.exp(-distances / (2 * sigma**2))


def correlators(bits: Tensor, sets: Tensor) -> Tensor:
    """Return the means float64 [k] of the products of signs of sets of bits.

    The sign of a bit is +1 for 0 and -1 for 1, so these are the expectations <Z_a Z_b ...> of a
    circuit's shots.

    Args:
        bits: bits [m, n].
        sets: columns int64 [k, w] of the w bits of each set.
    """
    signs = 1 - 2 * bits.double()  # (m, n)
    products = signs[:, sets[:, 0]]
    for column in sets[:, 1:].T:
        products = products * signs[:, column]
    return products.mean(0)


def bit_sets(n: int, order: int, most: int = 2000) -> Tensor:
    """Return sets of `order` of n bits, int64 [k, order], in ascending order of their columns.

    They are all sets, or `most` random ones, always the same, if there are more. They are none if
    the order is above n.
    """
    if math.comb(n, order) <= most:
        return torch.tensor(list(combinations(range(n), order))).long().view(-1, order)
    rng = np.random.default_rng(0)
    found: set[tuple[int, ...]] = set()
    while len(found) < most:
        found.add(tuple(sorted(rng.choice(n, order, replace=False).tolist())))
    return torch.tensor(sorted(found))


def correlator_error(draws: Tensor, reference: Tensor, order: int) -> float:
    """Return the mean absolute difference, in [0, 2], of the correlators of `order` bits.

    Its sets are those of `bit_sets`. Even between draws of one distribution it is about
    sqrt(1 / m + 1 / k). It is NaN if the order is above n.

    Args:
        draws, reference: bits [m, n] and [k, n].
        order: number of bits in a set, at least 1.
    """
    sets = bit_sets(draws.shape[1], order)
    return float((correlators(draws, sets) - correlators(reference, sets)).abs().mean())


def pair_expectations(bits: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the expectations <Z_a Z_b> float64 [n, n] of all pairs of bits [m, n].

    Args:
        bits: bits [m, n].
        weights: probabilities [m] of the rows; default equal ones.
    """
    signs = 1 - 2 * bits.double()
    if weights is None:
        weights = signs.new_full((len(signs),), 1 / len(signs))
    return signs.T @ (weights[:, None] * signs)


def pair_errors(model: Tensor, target: Tensor, n_parts: int) -> tuple[float, float]:
    """Return the mean absolute errors of pair expectations, within parts and across them.

    Args:
        model, target: expectations [n, n]; see `pair_expectations`.
        n_parts: number of parts of equal width that stand side by side, as the bits of several
            bases do; at least 2.
    """
    n = len(model)
    one, other = torch.triu_indices(n, n, 1)
    errors = (model - target).abs()[one, other]
    within = one // (n // n_parts) == other // (n // n_parts)
    return float(errors[within].mean()), float(errors[~within].mean())


def exact_correlator_error(model: Tensor, target: Tensor, order: int) -> float:
    """Return the same as `correlator_error` for distributions [2**n], over all sets."""
    chosen = orders(model.shape[0].bit_length() - 1, model.device) == order
    return float((walsh_hadamard(model) - walsh_hadamard(target))[chosen].abs().mean())


def generalization(draws: Tensor, train: Tensor, valid: Tensor) -> dict[str, float]:
    """Return how far draws go beyond the training strings, yet stay valid.

    These are the validity-based metrics of Gili, Mauri and Perdomo-Ortiz (Generalization metrics
    for practical quantum advantage in generative models, arXiv:2201.08770), not normalised. Unseen
    strings are those that are not among the training strings.

    Args:
        draws: bits [q, n] from the model. Coverage grows with q, so compare it at equal q.
        train: training strings [m, n]; repeated ones count once.
        valid: whether a string is valid, bool [2**n] in the order of indices.

    Returns:
        `fidelity`, the share of valid ones among the unseen draws; `rate`, the share of draws that
        are unseen and valid; `coverage`, the share of the unseen valid strings that were drawn. All
        are in [0, 1]. `fidelity` is NaN if no draw is unseen, and `coverage` is NaN if no valid
        string is unseen.
    """
    unseen = histogram(train) == 0  # [2**n]
    drawn = torch.bincount(bits_to_index(draws), minlength=len(valid))
    solved = drawn[unseen & valid]
    n_new, n_left = int(drawn[unseen].sum()), len(solved)
    return {
        "fidelity": int(solved.sum()) / n_new if n_new else math.nan,
        "rate": int(solved.sum()) / len(draws),
        "coverage": int((solved > 0).sum()) / n_left if n_left else math.nan,
    }


def coupon_reads(n_patterns: int) -> int:
    """Return the mean number of reads after which a uniform sampler has shown all patterns.

    It is n (1 + 1/2 + ... + 1/n), rounded up: 15 reads for the 6 bars and stripes of 2x2 pixels.
    """
    return math.ceil(n_patterns * sum(1 / k for k in range(1, n_patterns + 1)))


def qbas(draws: Tensor, patterns: Tensor) -> float:
    """Return the qBAS score in [0, 1] of draws of bars and stripes.

    Benedetti et al., A generative modeling approach for benchmarking and training shallow quantum
    circuits, npj Quantum Information 5, 45 (2019), arXiv:1801.07686. The score of a block of reads
    is F1 = 2 p r / (p + r): p is the share of reads that are patterns, and r is the share of the
    patterns that were read. A block has `coupon_reads` reads. So a uniform sampler scores a little
    less than 1. The result is the mean over all whole blocks of the draws.

    Args:
        draws: bits [q, n].
        patterns: the different patterns [k, n].

    Raises:
        ValueError: the draws do not fill a block.
    """
    n_reads = coupon_reads(len(patterns))
    if len(draws) < n_reads:
        raise ValueError(f"`draws` must be at least {n_reads}, got {len(draws)}")
    index = bits_to_index(draws)
    blocks = index[: len(index) // n_reads * n_reads].view(-1, n_reads, 1)
    hits = blocks == bits_to_index(patterns)  # (blocks, reads, k)
    precision = hits.any(2).double().mean(1)
    recall = hits.any(1).double().mean(1)
    scores = 2 * precision * recall / (precision + recall).clamp_min(torch.finfo().tiny)
    return float(scores.mean())
