"""Priors of a generator: what is fitted to the discriminator's latent bits, and what latent vectors are drawn from.

Here are the seam and the priors that need no circuit; the quantum one is in `qcaan.qcbm`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from qcaan import losses
from qcaan.born import Floats, histogram, product_probabilities

INDEPENDENT = 0.05  # nats: a product distribution this near to the target means that its bits are independent
_MAX_HISTOGRAM_BITS = 16


@dataclass(frozen=True)
class FitReport:
    """What a fit did. Losses before and after are those of fresh evaluations, not the optimiser's best draw.

    `kl` is KL(target || prior) in nats and `tvd` the total variation distance, both summed over the measurement bases;
    `kl_product` is the KL of the product of the target's marginals, the fit that needs no circuit. None where the prior
    has no distribution over bitstrings to compare.
    """

    loss_before: float | None = None
    loss_after: float | None = None
    evaluations: int = 0
    shots: int = 0
    seconds: float = 0.0
    kl: float | None = None
    kl_product: float | None = None
    tvd: float | None = None

    def summary(self) -> str:
        """One clause for the console."""
        text = "prior is fixed" if self.loss_before is None else f"loss {self.loss_before:.4f} -> {self.loss_after:.4f}"
        if self.loss_before is not None and self.loss_after is not None and self.loss_after >= self.loss_before:
            text += " (the fit did NOT lower the loss)"
        if self.kl is not None and self.kl_product is not None:
            text += f", KL {self.kl:.3f} (product of marginals {self.kl_product:.3f}"
            text += ": the latent bits are independent)" if self.kl_product < INDEPENDENT else ")"
        return text


class Prior(nn.Module, ABC):
    """A distribution over latent vectors [dim] that can be fitted to bits and drawn from.

    `state_dict()` holds all that a resumed run needs, random state included.
    """

    dim: int
    _anchor: Tensor  # an empty buffer that tells priors without weights which device they are on
    n_bits: int | None  # width of the bitstrings it draws; None for a prior over real numbers

    @abstractmethod
    def fit(self, bits: Tensor) -> FitReport:
        """Fit to bits {0, 1} [m, n_bits]; a fixed prior only reports how far it is from them."""

    @abstractmethod
    def sample(self, n: int) -> Tensor:
        """Samples [n, dim] float32, bits as {0, 1}; from torch's global random state, on the prior's device."""

    @abstractmethod
    def embed(self, samples: Tensor) -> Tensor:
        """Samples [n, dim] to the generator's input [n, dim]."""

    def measure(self, n: int) -> Tensor:
        """As `sample`, but never from a store of earlier draws: what pictures and scores are made from."""
        return self.sample(n)

    def distances(self, bits: Tensor) -> dict[str, Any]:
        """`kl`, `kl_product` and `tvd` to bits [m, dim], see `FitReport`; empty where there is nothing to compare."""
        return {}

    def reseed(self, seed: int) -> None:
        """Start the prior's own random state anew, if it has one besides torch's."""


class Gaussian(Prior):
    """Standard normal latents, as in the DCGAN paper's successors; its fit is a no-op."""

    def __init__(self, dim: int = 64) -> None:
        super().__init__()
        self.dim = positive("dim", dim)
        self.n_bits = None
        self.register_buffer("_anchor", torch.empty(0), persistent=False)

    def fit(self, bits: Tensor) -> FitReport:
        return FitReport()

    def sample(self, n: int) -> Tensor:
        return torch.randn(n, self.dim, device=self._anchor.device)

    def embed(self, samples: Tensor) -> Tensor:
        return samples


class BitPrior(Prior):
    """A prior over bitstrings: {0, 1} become {-1, +1} at the generator's door, plus Gaussian dither if asked for."""

    def __init__(self, n_bits: int, dither: float) -> None:
        super().__init__()
        self.dim = self.n_bits = positive("n_bits", n_bits)
        if dither < 0:
            raise ValueError(f"dither must be at least 0, got {dither}")
        self.dither = dither

    def embed(self, samples: Tensor) -> Tensor:
        """Bits {0, 1} [n, n_bits] to 2 bits - 1 + dither * N(0, 1), so that one bitstring draws more than one picture."""
        signs = 2 * samples - 1
        return signs + self.dither * torch.randn_like(signs) if self.dither else signs


class Bernoulli(BitPrior):
    """Independent fair bits; its fit is a no-op that reports how far the target is from uniform."""

    def __init__(self, n_bits: int = 16, dither: float = 0.0) -> None:
        super().__init__(n_bits, dither)
        self.register_buffer("_anchor", torch.empty(0), persistent=False)

    def fit(self, bits: Tensor) -> FitReport:
        check_bits(bits, self.dim)
        return replace(FitReport(), **self.distances(bits))

    def distances(self, bits: Tensor) -> dict[str, Any]:
        if self.dim > _MAX_HISTOGRAM_BITS:
            return {}
        target = target_probabilities(bits, 1)
        return compare(target, np.full_like(target, 0.5**self.dim), bits)

    def sample(self, n: int) -> Tensor:
        return torch.randint(2, (n, self.dim), device=self._anchor.device).float()


def target_probabilities(bits: Tensor, n_bases: int) -> Floats:
    """Bits {0, 1} [m, n_bases * n] to their observed distribution in each basis [n_bases, 2**n]."""
    return np.stack([histogram(part) for part in np.split(bits.cpu().numpy(), n_bases, axis=1)])


def compare(target: Floats, model: Floats, bits: Tensor) -> dict[str, Any]:
    """KL, TVD and the product's KL, summed over the bases, of [n_bases, 2**n] against the same."""
    marginals = bits.double().mean(0).cpu().numpy().reshape(len(target), -1)
    product = np.stack([product_probabilities(m) for m in marginals])
    t, m, p = (torch.from_numpy(array) for array in (target, model, product))
    return {
        "kl": sum(float(losses.kl(t[b], m[b])) for b in range(len(t))),
        "kl_product": sum(float(losses.kl(t[b], p[b])) for b in range(len(t))),
        "tvd": sum(float(losses.tvd(t[b], m[b])) for b in range(len(t))),
    }


def check_bits(bits: Tensor, dim: int) -> None:
    if bits.ndim != 2 or bits.shape[1] != dim or len(bits) == 0:
        raise ValueError(f"bits must have shape [m, {dim}] with m >= 1, got {list(bits.shape)}")
    if not ((bits == 0) | (bits == 1)).all():
        raise ValueError("bits must be 0 or 1")


def positive(name: str, value: int) -> int:
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
    return value
