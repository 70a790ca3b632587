"""The interface of priors, and what their implementations share.

A prior is fitted to the discriminator's latent bits, and the generator's inputs are drawn from it.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from qcaan.bits import (
    BitsLike,
    as_bits,
    bits_to_index,
    index_to_bits,
    target_probabilities,
)
from qcaan.checks import check_seed, memory_of, number, whole
from qcaan.priors.labels import LabelCode
from qcaan.priors.report import FitReport, compare
from qcaan.priors.schedule import Schedule

# 65,536 cells; more are emptier than any number of images could fill
MAX_HISTOGRAM_BITS = 16
# standard deviation of the noise on the signs of bits, as a run has it by default
USUAL_DITHER = 0.5


class Prior(nn.Module, ABC):
    """A distribution over samples [dim] that is fitted to bits and drawn from.

    `state_dict()` holds all that a resumed run needs, random state included.

    Args:
        seed: seed of the prior's own random state, which its fits and draws then use; default
            torch's global random state.

    Attributes:
        dim: width of a sample.
        latent_dim: width of the generator's input.
        n_bits: width of the bitstrings; None for a prior over real numbers.
        code: code of the labels that samples can be asked for, in the first bits of a sample.
        n_bases: number of measurement bases, whose bits stand side by side in a sample.
        schedule: for a quantum prior, which engine fits and which draws in each epoch.
        fit_summaries: clauses for the console that say how a quantum prior is fitted, and why so:
            before a change of engine, and after it.
        kept: share of the shots of the last bank that could be used.
    """

    dim: int
    latent_dim: int
    n_bits: int | None
    code: LabelCode = LabelCode()
    n_bases: int = 1
    schedule: Schedule[Any] | None = None
    fit_summaries: tuple[str, ...] = ()
    kept: float = 1.0
    # an empty buffer that tells which device the prior is on
    _anchor: Tensor

    # state of the prior's own generator; None if it draws from torch's global one
    _random_state: Tensor | None

    def __init__(self, seed: int | None = None) -> None:
        super().__init__()
        self.register_buffer("_anchor", torch.empty(0), persistent=False)
        self.register_buffer("_random_state", None if seed is None else _state_of(seed))

    @property
    def device(self) -> torch.device:
        """Device of the prior's draws."""
        return self._anchor.device

    @abstractmethod
    def fit(self, bits: BitsLike) -> FitReport:
        """Fit to bits {0, 1} [m, n_bits]. A fixed prior only reports its distance to them.

        A quantum prior on a device submits jobs that may be paid for.
        """

    def rehearse_fit(self, bits: BitsLike) -> None:
        """Ask the samplers for what `fit` asks of them, for the plan of a run."""
        self.fit(bits)

    def sample(self, n: int, label: int | None = None) -> Tensor:
        """Draw samples [n, dim] float32 on the prior's device, bits as {0, 1}; n may be 0.

        Draws come from torch's global random state, or from the prior's own if it has a seed. A
        prior with a bank of shots draws from it, and measures one first if there is none, which
        may submit jobs that are paid for.

        Args:
            n: number of samples.
            label: label of all samples, for a prior with labels. Default: as they come.

        Raises:
            ValueError: n is no whole number, is negative, or needs more memory than there is; or
                the prior has no such label.
        """
        place = None if label is None else self.code.place(label)
        if not self._count(n):
            return self._nothing()
        return self._draw(n) if place is None else self._draw_label(n, place)

    @abstractmethod
    def _draw(self, n: int) -> Tensor:
        """Draw samples [n, dim] float32 for `sample`, which checks that n is at least 1."""

    def _draw_label(self, n: int, place: int) -> Tensor:
        """Draw n samples [n, dim] whose label is the one of a number, for a prior with labels."""
        raise NotImplementedError

    @abstractmethod
    def embed(self, samples: Tensor, *, spread: float = 1.0) -> Tensor:
        """Turn samples [n, dim] into the generator's input [n, latent_dim].

        Args:
            samples: samples of the prior.
            spread: how much wider to draw than in training: a factor on the dither. See `Gaussian`
                for latents that are no bits; noise dimensions stay as they are.
        """

    def draw_bank(self) -> int:
        """Measure the bank of shots that `sample` draws from, if the prior has one.

        On a device this submits jobs that may be paid for. Returns the number of shots.
        """
        return 0

    def measure(self, n: int) -> Tensor:
        """Draw as `sample` does, but never from a bank: for pictures and scores.

        On a device this submits jobs that may be paid for. Raises as `sample` does.
        """
        return self._measure(n) if self._count(n) else self._nothing()

    def _measure(self, n: int) -> Tensor:
        """Draw samples [n, dim] for `measure`, which checks that n is at least 1."""
        return self._draw(n)

    def _count(self, n: int) -> int:
        return check_draws("n", n, self.dim, self.device)

    def _nothing(self) -> Tensor:
        return torch.empty(0, self.dim, device=self.device)

    @contextmanager
    def _random(self) -> Iterator[tuple[torch.device, torch.Generator | None]]:
        """Give the device on which to draw random numbers, and the generator, None for torch's.

        A prior with a seed draws on the CPU, so that its draws do not depend on its device.
        """
        if self._random_state is None:
            yield self.device, None
            return
        generator = torch.Generator()
        generator.set_state(self._random_state.cpu())
        yield generator.device, generator
        self._random_state.copy_(generator.get_state())

    @property
    def n_undrawn(self) -> int:
        """Number of shots of a device in the bank that `draw` has not returned yet."""
        return 0

    def draw(self, n: int, label: int | None = None) -> Tensor:
        """Draw n samples, for pictures and scores: no shot of a device is drawn twice.

        Shots of a device that the bank holds are drawn first, in random order, since they are paid
        for. The rest is measured, by jobs that may be paid for. Samples of one label need no job.
        """
        return self.measure(n) if label is None else self.sample(n, label)

    def label_shares(self) -> dict[int, float]:
        """Return the probability of each label; empty for a prior without labels."""
        return {}

    def distances(self, bits: BitsLike) -> dict[str, Any]:
        """Return `kl`, `kl_product` and `tvd` to bits [m, dim], see `FitReport`.

        Empty if the prior has no distribution over bitstrings. A quantum prior on a device may
        measure a bank of shots first, by jobs that are paid for.
        """
        return {}

    def distributions(self, bits: BitsLike) -> dict[str, np.ndarray]:
        """Return `bases`, `target` and `model`, distributions [n_bases, 2**n] of bits [m, dim].

        Empty for priors without a circuit. A quantum prior on a device may measure a bank of shots
        first, by jobs that are paid for.
        """
        return {}

    def resume_at(self, n_fits: int) -> None:
        """Continue as after `n_fits` fits, for priors that change their engine during a run."""

    def reseed(self, seed: int) -> None:
        """Reseed the prior's own random state, if it has one besides torch's."""
        if self._random_state is not None:
            self._random_state.copy_(_state_of(seed))


def _state_of(seed: int) -> Tensor:
    """Return the state of a new generator of torch on the CPU."""
    return torch.Generator().manual_seed(check_seed(seed)).get_state()


def check_draws(name: str, n: int, dim: int, device: torch.device | str = "cpu") -> int:
    """Return a number n of samples [n, dim], which may be 0.

    Raises:
        ValueError: it is no whole number, is negative, or needs more memory than there is.
    """
    # int64 while they are drawn, float32, and copies of both
    return whole(name, n, 0, memory_of(device) // (2 * 24 * dim) + 1)


class BitPrior(Prior):
    """A prior over bitstrings: {0, 1} become {-1, +1}, with noise, at the generator's input.

    Args:
        n_bits: width of the bitstrings.
        dither: standard deviation of Gaussian noise on every sign, at least 0.
        noise_dims: number of standard normal coordinates appended to the signs.
        seed: seed of the prior's own random state; see `Prior`.
        labels: labels whose bits stand first in a bitstring; see `qcaan.priors.labels`.

    Raises:
        ValueError: one of these is out of range.
    """

    def __init__(
        self,
        n_bits: int = 16,
        dither: float = 0.0,
        noise_dims: int = 0,
        *,
        seed: int | None = None,
        labels: Sequence[int] = (),
    ) -> None:
        super().__init__(seed)
        self.code = LabelCode(labels)
        self.dim = self.n_bits = whole("n_bits", n_bits, self.code.n_bits + 1)
        self.dither = number("dither", dither, least=0)
        self.noise_dims = whole("noise_dims", noise_dims, 0)
        self.latent_dim = n_bits + noise_dims

    def fit(self, bits: BitsLike) -> FitReport:
        start = time.perf_counter()
        bits = as_bits(bits, self.dim, self.device)
        report = replace(self._fit(bits), seconds=time.perf_counter() - start)
        return replace(report, **self._distances_after_fit(bits))

    @abstractmethod
    def _fit(self, bits: Tensor) -> FitReport:
        """Fit to bits uint8 [m, n_bits] on the prior's device; `fit` adds seconds and distances."""

    def _distances_after_fit(self, bits: Tensor) -> dict[str, Any]:
        return self.distances(bits)

    def log_prob(self, bits: BitsLike) -> Tensor:
        """Return the log-probabilities float64 [m] of bits [m, n_bits], in nats; -inf for 0.

        Raises:
            NotImplementedError: the prior cannot tell them.
        """
        raise NotImplementedError(f"{type(self).__name__} has no probabilities of bitstrings")

    def embed(self, samples: Tensor, *, spread: float = 1.0) -> Tensor:
        """Turn bits {0, 1} [n, n_bits] into 2 bits - 1 + dither * N(0, 1), and append N(0, 1).

        Without dither and noise dimensions one bitstring draws one picture. The bits of a label
        have no dither, so that the generator always sees which label it is.

        Args:
            samples: bits of the prior.
            spread: factor on the dither.
        """
        signs = 2 * torch.as_tensor(samples, device=self.device).float() - 1
        with self._random() as (device, generator):
            if self.dither:
                noise = torch.empty_like(signs, device=device).normal_(generator=generator)
                noise[:, : self.code.n_bits] = 0
                signs = signs + spread * self.dither * noise.to(signs)
            if self.noise_dims:
                noise = torch.empty(len(signs), self.noise_dims, device=device)
                signs = torch.cat([signs, noise.normal_(generator=generator).to(signs)], 1)
        return signs


class TabulatedPrior(BitPrior):
    """A prior over few bits whose probabilities `probs` [2**n_bits] are all known.

    Raises:
        ValueError: more than 16 bits, or another option is out of range.
    """

    probs: Tensor

    def __init__(
        self,
        n_bits: int = 16,
        dither: float = 0.0,
        noise_dims: int = 0,
        *,
        seed: int | None = None,
    ) -> None:
        super().__init__(n_bits, dither, noise_dims, seed=seed)
        if n_bits > MAX_HISTOGRAM_BITS:
            raise ValueError(
                f"`n_bits` must be at most {MAX_HISTOGRAM_BITS} for this prior, got {n_bits}"
            )
        uniform = torch.full((2**n_bits,), 0.5**n_bits, dtype=torch.float64)
        self.register_buffer("probs", uniform)

    def distances(self, bits: BitsLike) -> dict[str, Any]:
        bits = as_bits(bits, self.dim, self.device)
        return compare(target_probabilities(bits, 1), self.probs[None], bits)

    def log_prob(self, bits: BitsLike) -> Tensor:
        """Return the log-probabilities float64 [m] of bits [m, n_bits], in nats; -inf for 0."""
        return self.probs[bits_to_index(as_bits(bits, self.dim, self.device))].log()

    def _draw(self, n: int) -> Tensor:
        with self._random() as (device, generator):
            index = torch.multinomial(self.probs.to(device), n, True, generator=generator)
        return index_to_bits(index, self.dim).float().to(self.device)
