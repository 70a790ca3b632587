"""Priors without a circuit: Gaussian and Bernoulli latents, product of marginals, histogram."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from qcaan import losses
from qcaan.bits import (
    BitsLike,
    as_bits,
    index_to_bits,
    product_probabilities,
    target_probabilities,
)
from qcaan.checks import whole
from qcaan.priors.base import MAX_HISTOGRAM_BITS, USUAL_DITHER, BitPrior, Prior, TabulatedPrior
from qcaan.priors.labels import LabelCode, equal_shares, shares_of
from qcaan.priors.report import FitReport, compare


class Gaussian(Prior):
    """Standard normal latents, after the bits of a label if there are labels.

    `fit` changes nothing but the shares of the labels, which are those of the bits.

    Args:
        dim: width of the latents, without the bits of a label.
        seed: seed of the prior's own random state; see `Prior`.
        labels: labels that samples can be asked for; default none.

    Attributes:
        shares: probability float64 [labels] of each label.
    """

    shares: Tensor

    def __init__(
        self, dim: int = 64, *, seed: int | None = None, labels: Sequence[int] = ()
    ) -> None:
        super().__init__(seed)
        self.code = LabelCode(labels)
        self.dim = self.latent_dim = self.code.n_bits + whole("dim", dim)
        self.n_bits = None
        self.register_buffer("shares", equal_shares(self.code))

    def fit(self, bits: BitsLike) -> FitReport:
        bits = as_bits(bits, self.dim, self.device)
        if self.code.labels:
            self.shares.copy_(shares_of(bits, self.code))
        return FitReport()

    def label_shares(self) -> dict[int, float]:
        return dict(zip(self.code.labels, self.shares.tolist(), strict=True))

    def _draw(self, n: int) -> Tensor:
        if not self.code.labels:
            return self._latents(n)
        with self._random() as (device, generator):
            places = torch.multinomial(self.shares.to(device), n, True, generator=generator)
        return self._labelled(places.to(self.device))

    def _draw_label(self, n: int, place: int) -> Tensor:
        return self._labelled(torch.full((n,), place, device=self.device))

    def _labelled(self, places: Tensor) -> Tensor:
        """Draw samples [n, dim] whose labels have these numbers [n]."""
        bits = index_to_bits(places, self.code.n_bits).float()
        return torch.cat([bits, self._latents(len(places))], 1)

    def _latents(self, n: int) -> Tensor:
        with self._random() as (device, generator):
            width = self.dim - self.code.n_bits
            drawn = torch.randn(n, width, generator=generator, device=device)
        return drawn.to(self.device)

    def embed(self, samples: Tensor, *, spread: float = 1.0) -> Tensor:
        """Turn the bits of the label into signs {-1, +1}, and widen the latents.

        The latents are multiplied by sqrt((1 + (spread d)^2) / (1 + d^2)) with d = 0.5, by which
        the standard deviation of a sign with dither d grows.
        """
        latents = torch.as_tensor(samples, device=self.device).float()
        label, rest = latents.tensor_split([self.code.n_bits], 1)
        factor = math.hypot(1, spread * USUAL_DITHER) / math.hypot(1, USUAL_DITHER)
        return torch.cat([2 * label - 1, factor * rest], 1)


class Bernoulli(BitPrior):
    """Independent fair bits; `fit` only reports how far the target is from uniform.

    Args:
        n_bits, dither, noise_dims, seed: see `BitPrior`.
    """

    def _fit(self, bits: Tensor) -> FitReport:
        return FitReport()

    def distances(self, bits: BitsLike) -> dict[str, Any]:
        if self.dim > MAX_HISTOGRAM_BITS:
            return {}
        bits = as_bits(bits, self.dim)
        target = target_probabilities(bits, 1)
        return compare(target, torch.full_like(target, 0.5**self.dim), bits)

    def log_prob(self, bits: BitsLike) -> Tensor:
        """Return the log-probabilities float64 [m] of bits [m, n_bits], in nats."""
        bits = as_bits(bits, self.dim, self.device)
        return self._anchor.new_full((len(bits),), -self.dim * math.log(2), dtype=torch.float64)

    def _draw(self, n: int) -> Tensor:
        with self._random() as (device, generator):
            drawn = torch.randint(2, (n, self.dim), generator=generator, device=device)
        return drawn.float().to(self.device)


class Product(BitPrior):
    """Independent bits with the target's marginals: the best fit without correlations.

    Its loss is the negative log-likelihood.

    Args:
        n_bits, dither, noise_dims, seed: see `BitPrior`.
    """

    marginals: Tensor

    def __init__(
        self,
        n_bits: int = 16,
        dither: float = 0.0,
        noise_dims: int = 0,
        *,
        seed: int | None = None,
    ) -> None:
        super().__init__(n_bits, dither, noise_dims, seed=seed)
        self.register_buffer("marginals", torch.full((n_bits,), 0.5, dtype=torch.float64))

    def _fit(self, bits: Tensor) -> FitReport:
        before = self._nll(bits)
        self.marginals.copy_(bits.double().mean(0))
        return FitReport(before, self._nll(bits))

    def _nll(self, bits: Tensor) -> float:
        p = self.marginals.clamp(losses.CLIP, 1 - losses.CLIP)
        means = bits.double().mean(0)
        return float(-(means * p.log() + (1 - means) * (1 - p).log()).sum())

    def distances(self, bits: BitsLike) -> dict[str, Any]:
        if self.dim > MAX_HISTOGRAM_BITS:
            return {}
        bits = as_bits(bits, self.dim, self.device)
        model = product_probabilities(self.marginals)[None]
        return compare(target_probabilities(bits, 1), model, bits)

    def log_prob(self, bits: BitsLike) -> Tensor:
        """Return the log-probabilities float64 [m] of bits [m, n_bits], in nats; -inf for 0."""
        values = as_bits(bits, self.dim, self.device).to(self.marginals)
        return (values * self.marginals + (1 - values) * (1 - self.marginals)).log().sum(1)

    def _draw(self, n: int) -> Tensor:
        with self._random() as (device, generator):
            drawn = torch.rand(n, self.dim, generator=generator, device=device)
        return (drawn.to(self.device) < self.marginals).float()


class Histogram(TabulatedPrior):
    """The observed distribution itself: the exact fit, for comparison with every other prior.

    Its loss is the negative log-likelihood.

    Args:
        n_bits, dither, noise_dims, seed: see `BitPrior`.
    """

    def _fit(self, bits: Tensor) -> FitReport:
        target = target_probabilities(bits, 1)[0]
        before = float(losses.nll(target, self.probs))
        self.probs.copy_(target)
        return FitReport(before, float(losses.nll(target, self.probs)))
