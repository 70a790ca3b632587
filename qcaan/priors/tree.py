"""The Chow-Liu tree: the distribution of the highest likelihood in which each bit has one parent.

Chow and Liu, IEEE Trans. Inf. Theory 14, 462 (1968).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree
from scipy.special import rel_entr
from torch import Tensor

from qcaan.bits import BitsLike, all_bitstrings, as_bits, target_probabilities
from qcaan.priors.base import MAX_HISTOGRAM_BITS, BitPrior
from qcaan.priors.report import FitReport, compare

# what is added to the count of every outcome, so that none that was not seen is impossible
_PSEUDO_COUNT = 0.5


class ChowLiu(BitPrior):
    """Chow-Liu tree: each bit depends on one other, its parent. The fit and the draws are exact.

    The tree is a spanning tree of the largest mutual information. Its probabilities are frequencies
    in which every outcome has half a count more, so that none is 0. Its loss is the negative
    log-likelihood.

    Args:
        n_bits, dither, noise_dims, seed: see `BitPrior`.

    Attributes:
        order: the bits int64 [n_bits], parents before their children.
        parents: the parent of each bit int64 [n_bits]; that of the root is itself.
        ones: P(bit = 1) float64 [n_bits, 2], if the parent is 0 and if it is 1.
    """

    order: Tensor
    parents: Tensor
    ones: Tensor

    def __init__(
        self,
        n_bits: int = 16,
        dither: float = 0.0,
        noise_dims: int = 0,
        *,
        seed: int | None = None,
    ) -> None:
        super().__init__(n_bits, dither, noise_dims, seed=seed)
        self.register_buffer("order", torch.arange(n_bits))
        self.register_buffer("parents", torch.arange(n_bits))
        self.register_buffer("ones", torch.full((n_bits, 2), 0.5, dtype=torch.float64))

    def _fit(self, bits: Tensor) -> FitReport:
        before = self._nll(bits)
        counts = pair_counts(bits)
        order, parents = chow_liu_tree(counts, len(bits))
        self.order.copy_(torch.from_numpy(order))
        self.parents.copy_(torch.from_numpy(parents))
        ones = counts.diagonal()
        both, of_parent = counts[np.arange(self.dim), parents], ones[parents]
        given = np.stack([_share(ones - both, len(bits) - of_parent), _share(both, of_parent)], 1)
        given[order[0]] = _share(ones[order[0]], len(bits))  # whatever it is itself
        self.ones.copy_(torch.from_numpy(given))
        return FitReport(before, self._nll(bits))

    def _nll(self, bits: Tensor) -> float:
        return -float(self.log_prob(bits).mean())

    def log_prob(self, bits: BitsLike) -> Tensor:
        """Return the logarithms float64 [m] of the probabilities of bits [m, n_bits], in nats."""
        bits = as_bits(bits, self.dim, self.device)
        places = torch.arange(self.dim, device=self.device)
        ones = self.ones[places, bits[:, self.parents].long()]  # (m, n_bits)
        return torch.where(bits == 1, ones, 1 - ones).log().sum(1)

    def distances(self, bits: BitsLike) -> dict[str, Any]:
        if self.dim > MAX_HISTOGRAM_BITS:
            return {}
        bits = as_bits(bits, self.dim, self.device)
        model = self.log_prob(all_bitstrings(self.dim, self.device)).exp()
        return compare(target_probabilities(bits, 1), model[None], bits)

    def _draw(self, n: int) -> Tensor:
        with self._random() as (device, generator):
            chances = torch.rand(n, self.dim, generator=generator, device=device)
        chances = chances.to(self.device)
        bits = torch.zeros(n, self.dim, dtype=torch.int64, device=self.device)
        for bit in self.order.tolist():
            ones = self.ones[bit][bits[:, self.parents[bit]]]  # (n,)
            bits[:, bit] = chances[:, bit] < ones
        return bits.float()


def pair_counts(bits: Tensor) -> NDArray[np.float64]:
    """Return in how many rows of bits [m, n] both of two bits are 1, for all pairs [n, n]."""
    ones = bits.float()  # which counts up to 2**24 exactly
    return (ones.T @ ones).double().cpu().numpy()


def chow_liu_tree(
    counts: NDArray[np.float64], m: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the bits [n] in an order in which near ones are close in the tree, and their parents.

    The order is depth first: parents before their children, and smaller branches before larger
    ones. It starts at an end of the longest path. The parent of the root is itself.

    Args:
        counts: the `pair_counts` [n, n] of m rows of bits.
        m: number of rows.
    """
    # information is at most ln 2 nats, so that no weight is 0, which would be no edge
    tree = minimum_spanning_tree(1 - mutual_information(counts, m))
    farthest, _ = breadth_first_order(tree, 0, directed=False)
    downwards, parents = breadth_first_order(tree, farthest[-1], directed=False)
    root, *others = downwards.tolist()
    parents[root] = root
    sizes = np.ones(len(parents), np.int64)
    children: list[list[int]] = [[] for _ in parents]
    for bit in reversed(others):
        sizes[parents[bit]] += sizes[bit]
        children[parents[bit]].append(bit)
    order, left = [], [root]
    while left:
        order.append(left.pop())
        left += sorted(children[order[-1]], key=lambda bit: -sizes[bit])
    return np.array(order, np.int64), parents.astype(np.int64)


def mutual_information(counts: NDArray[np.float64], m: int) -> NDArray[np.float64]:
    """Return the mutual information [n, n] of all pairs of bits, in nats.

    Args:
        counts: the `pair_counts` [n, n] of m rows of bits.
        m: number of rows.
    """
    both, one = counts / m, counts.diagonal() / m
    zero = 1 - one
    return sum(
        rel_entr(np.maximum(joint, 0), np.outer(first, second))
        for joint, first, second in (
            (both, one, one),
            (one[:, None] - both, one, zero),
            (one - both, zero, one),
            (zero[:, None] - one + both, zero, zero),
        )
    )


def _share(ones: Any, seen: Any) -> Any:
    """Return the probability of a 1 after so many ones among so many bits."""
    return (ones + _PSEUDO_COUNT) / (seen + 2 * _PSEUDO_COUNT)
