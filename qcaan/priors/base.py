"""Priors of a generator: what is fitted to the discriminator's latent bits, and what latent vectors are drawn from.

Here are the seam and the priors that need no circuit; the quantum one is in `qcaan.priors.qcbm`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from qcaan import losses
from qcaan.bits import index_to_bits, product_probabilities, target_probabilities
from qcaan.checks import positive

INDEPENDENT = (
    0.05  # nats: a product distribution this near to the target means that its bits are independent
)
MAX_HISTOGRAM_BITS = 16  # 65,536 cells; more are emptier than any number of images could fill


@dataclass(frozen=True)
class FitReport:
    """What a fit did. Losses before and after are those of fresh evaluations, not the optimiser's best draw.

    `evaluations` counts parameter sets, `executions` circuits run for them and for the bank: one per basis and set.

    `kl` is KL(target || prior) in nats and `tvd` the total variation distance, both summed over the measurement bases;
    `kl_product` is the KL of the product of the target's marginals, the fit that needs no circuit. None where the prior
    has no distribution over bitstrings to compare.
    """

    loss_before: float | None = None
    loss_after: float | None = None
    evaluations: int = 0
    executions: int = 0
    shots: int = 0
    seconds: float = 0.0
    kl: float | None = None
    kl_product: float | None = None
    tvd: float | None = None

    def summary(self) -> str:
        """One clause for the console."""
        text = (
            "prior is fixed"
            if self.loss_before is None
            else f"loss {self.loss_before:.4f} -> {self.loss_after:.4f}"
        )
        if (
            self.loss_before is not None
            and self.loss_after is not None
            and self.loss_after >= self.loss_before
        ):
            text += " (the fit did NOT lower the loss)"
        if self.kl is not None and self.kl_product is not None:
            text += f", KL {self.kl:.3f} (product of marginals {self.kl_product:.3f}"
            text += ": the latent bits are independent)" if self.kl_product < INDEPENDENT else ")"
        return text


class Prior(nn.Module, ABC):
    """A distribution over samples [dim] that can be fitted to bits, drawn from and made into the generator's input.

    `state_dict()` holds all that a resumed run needs, random state included.
    """

    dim: int  # width of a sample
    latent_dim: int  # width of the generator's input made from it
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
        """Samples [n, dim] to the generator's input [n, latent_dim]."""

    def measure(self, n: int) -> Tensor:
        """As `sample`, but never from a store of earlier draws: what pictures and scores are made from."""
        return self.sample(n)

    def distances(self, bits: Tensor) -> dict[str, Any]:
        """`kl`, `kl_product` and `tvd` to bits [m, dim], see `FitReport`; empty where there is nothing to compare."""
        return {}

    def reseed(self, seed: int) -> None:
        """Start the prior's own random state anew, if it has one besides torch's."""


class BitPrior(Prior):
    """A prior over bitstrings: {0, 1} become {-1, +1} at the generator's door, with noise on and beside them if asked for.

    Args:
        n_bits: width of the bitstrings.
        dither: standard deviation of the Gaussian noise on every sign.
        noise_dims: standard normal coordinates appended to the signs.
    """

    def __init__(self, n_bits: int, dither: float, noise_dims: int) -> None:
        super().__init__()
        self.dim = self.n_bits = positive("n_bits", n_bits)
        if dither < 0:
            raise ValueError(f"dither must be at least 0, got {dither}")
        if noise_dims < 0:
            raise ValueError(f"noise_dims must be at least 0, got {noise_dims}")
        self.dither, self.noise_dims = dither, noise_dims
        self.latent_dim = n_bits + noise_dims

    def embed(self, samples: Tensor) -> Tensor:
        """Bits {0, 1} [n, n_bits] to 2 bits - 1 + dither * N(0, 1), then N(0, 1) in noise_dims more columns.

        Without either, one bitstring draws one picture.
        """
        signs = 2 * samples - 1
        if self.dither:
            signs = signs + self.dither * torch.randn_like(signs)
        if self.noise_dims:
            signs = torch.cat([signs, signs.new_empty(len(signs), self.noise_dims).normal_()], 1)
        return signs


class TabulatedPrior(BitPrior):
    """A prior over few bits whose probabilities `probs` [2**n_bits] are all known, and drawn from exactly."""

    probs: Tensor

    def __init__(self, n_bits: int, dither: float, noise_dims: int) -> None:
        super().__init__(n_bits, dither, noise_dims)
        if n_bits > MAX_HISTOGRAM_BITS:
            raise ValueError(
                f"n_bits must be at most {MAX_HISTOGRAM_BITS} for this prior, got {n_bits}"
            )
        self.register_buffer("probs", torch.full((2**n_bits,), 0.5**n_bits, dtype=torch.float64))

    def distances(self, bits: Tensor) -> dict[str, Any]:
        return compare(
            target_probabilities(bits.to(self.probs.device), 1),
            self.probs[None],
            bits.to(self.probs.device),
        )

    def sample(self, n: int) -> Tensor:
        return index_to_bits(torch.multinomial(self.probs, n, replacement=True), self.dim).float()


def compare(target: Tensor, model: Tensor, bits: Tensor) -> dict[str, Any]:
    """KL, TVD and the product's KL, summed over the bases, of [n_bases, 2**n] against the same."""
    marginals = bits.double().mean(0).view(len(target), -1)
    product = torch.stack([product_probabilities(m) for m in marginals])
    return {
        "kl": sum(float(losses.kl(t, m)) for t, m in zip(target, model, strict=True)),
        "kl_product": sum(float(losses.kl(t, p)) for t, p in zip(target, product, strict=True)),
        "tvd": sum(float(losses.tvd(t, m)) for t, m in zip(target, model, strict=True)),
    }


def check_bits(bits: Tensor, dim: int) -> None:
    if bits.ndim != 2 or bits.shape[1] != dim or len(bits) == 0:
        raise ValueError(f"bits must have shape [m, {dim}] with m >= 1, got {list(bits.shape)}")
    if not ((bits == 0) | (bits == 1)).all():
        raise ValueError("bits must be 0 or 1")
