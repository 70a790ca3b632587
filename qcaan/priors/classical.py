"""Priors without a circuit: Gaussian and Bernoulli latents, the product of marginals and the histogram of the target."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from qcaan import losses
from qcaan.bits import product_probabilities, target_probabilities
from qcaan.checks import positive
from qcaan.priors.base import (
    MAX_HISTOGRAM_BITS,
    BitPrior,
    FitReport,
    Prior,
    TabulatedPrior,
    check_bits,
    compare,
)


class Gaussian(Prior):
    """Standard normal latents, as in the DCGAN paper's successors; its fit is a no-op."""

    def __init__(self, dim: int = 64) -> None:
        super().__init__()
        self.dim = self.latent_dim = positive("dim", dim)
        self.n_bits = None
        self.register_buffer("_anchor", torch.empty(0), persistent=False)

    def fit(self, bits: Tensor) -> FitReport:
        return FitReport()

    def sample(self, n: int) -> Tensor:
        return torch.randn(n, self.dim, device=self._anchor.device)

    def embed(self, samples: Tensor) -> Tensor:
        return samples


class Bernoulli(BitPrior):
    """Independent fair bits; its fit is a no-op that reports how far the target is from uniform."""

    def __init__(self, n_bits: int = 16, dither: float = 0.0, noise_dims: int = 0) -> None:
        super().__init__(n_bits, dither, noise_dims)
        self.register_buffer("_anchor", torch.empty(0), persistent=False)

    def fit(self, bits: Tensor) -> FitReport:
        check_bits(bits, self.dim)
        return replace(FitReport(), **self.distances(bits))

    def distances(self, bits: Tensor) -> dict[str, Any]:
        if self.dim > MAX_HISTOGRAM_BITS:
            return {}
        target = target_probabilities(bits, 1)
        return compare(target, torch.full_like(target, 0.5**self.dim), bits)

    def sample(self, n: int) -> Tensor:
        return torch.randint(2, (n, self.dim), device=self._anchor.device).float()


class Product(BitPrior):
    """Independent bits with the target's marginals: what a fit without correlations can reach. Its loss is the NLL."""

    marginals: Tensor

    def __init__(self, n_bits: int = 16, dither: float = 0.0, noise_dims: int = 0) -> None:
        super().__init__(n_bits, dither, noise_dims)
        self.register_buffer("marginals", torch.full((n_bits,), 0.5, dtype=torch.float64))

    def fit(self, bits: Tensor) -> FitReport:
        check_bits(bits, self.dim)
        start = time.perf_counter()
        bits = bits.to(self.marginals.device)
        before = self._nll(bits)
        self.marginals.copy_(bits.double().mean(0))
        report = FitReport(before, self._nll(bits), seconds=time.perf_counter() - start)
        return replace(report, **self.distances(bits))

    def _nll(self, bits: Tensor) -> float:
        p = self.marginals.clamp(losses.CLIP, 1 - losses.CLIP)
        means = bits.double().mean(0)
        return float(-(means * p.log() + (1 - means) * (1 - p).log()).sum())

    def distances(self, bits: Tensor) -> dict[str, Any]:
        if self.dim > MAX_HISTOGRAM_BITS:
            return {}
        return compare(
            target_probabilities(bits, 1), product_probabilities(self.marginals)[None], bits
        )

    def sample(self, n: int) -> Tensor:
        return (torch.rand(n, self.dim, device=self.marginals.device) < self.marginals).float()


class Histogram(TabulatedPrior):
    """The observed distribution itself: the exact fit, with which any other is to be compared. Its loss is the NLL."""

    def __init__(self, n_bits: int = 16, dither: float = 0.0, noise_dims: int = 0) -> None:
        super().__init__(n_bits, dither, noise_dims)

    def fit(self, bits: Tensor) -> FitReport:
        check_bits(bits, self.dim)
        start = time.perf_counter()
        target = target_probabilities(bits.to(self.probs.device), 1)[0]
        before = float(losses.nll(target, self.probs))
        self.probs.copy_(target)
        after = float(losses.nll(target, self.probs))
        report = FitReport(before, after, seconds=time.perf_counter() - start)
        return replace(report, **self.distances(bits))
