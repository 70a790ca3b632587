"""Estimates of distributions of bits from shots, as Walsh-Hadamard spectra.

Element s of the spectrum of a distribution is the expectation of the product of the signs of the
bits in s. From N shots each has a variance of at most 1 / N, whatever the number of bits. Those of
many bits are mostly noise, so estimates are shrunk order by order: the order of an element is its
number of bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from qcaan.bits import orders, walsh_hadamard

# the two turns of an angle, beside none, at which a distribution is measured, in radians
THIRD = 2 * math.pi / 3
# an estimate counts as no more than so many measurements: circuits drift, and so do estimates
_MOST_MEASUREMENTS = 20


@dataclass(frozen=True)
class Spectrum:
    """An estimate of the spectra of distributions.

    Attributes:
        values: spectra float64 [n_bases, 2**n].
        shots: number of shots per basis that the estimate is worth.
    """

    values: Tensor
    shots: float

    @classmethod
    def of(cls, frequencies: Tensor, shots: float) -> Spectrum:
        """Return the estimate by frequencies [n_bases, 2**n] of so many shots."""
        return cls(walsh_hadamard(frequencies), shots)

    def pooled(self, other: Spectrum) -> Spectrum:
        """Return the mean of two estimates, weighted by their shots.

        It counts as no more than 20 times the shots of the other, the newer one.
        """
        shots = self.shots + other.shots
        values = (self.shots * self.values + other.shots * other.values) / shots
        return Spectrum(values, min(shots, _MOST_MEASUREMENTS * other.shots))

    def faded(self, share: float) -> Spectrum:
        """Return the estimate, worth a share of its shots."""
        return Spectrum(self.values, share * self.shots)

    def shrunk(self) -> Tensor:
        """Return the spectra [n_bases, 2**n], shrunk towards zero by their noise."""
        return shrunk(self.values, 1 / self.shots)


@dataclass(frozen=True)
class Sinusoid:
    """The distributions of a circuit as a function of one of its angles, by measurements at three.

    If the angle turns one Pauli rotation, every probability is a + b cos t + c sin t in the turn t
    of the angle (Nakanishi, Fujii and Todo, arXiv:1903.12166, for an expectation), and so is every
    element of the spectra.

    Attributes:
        still: estimate at t = 0.
        up, down: estimates at t = 2 pi / 3 and t = -2 pi / 3, of equal shots.
    """

    still: Spectrum
    up: Spectrum
    down: Spectrum

    def distributions(self, turns: Tensor) -> Tensor:
        """Return the distributions [T, n_bases, 2**n] at turns [T] in radians, shrunk.

        The coefficients are shrunk apart, so that an angle without effect seems to have none.
        """
        still, shots = self.still, self.up.shots
        cosine = shrunk(
            (2 * still.values - self.up.values - self.down.values) / 3,
            4 / 9 / still.shots + 2 / 9 / shots,
        )
        sine = shrunk((self.up.values - self.down.values) / math.sqrt(3), 2 / 3 / shots)
        turns = turns[:, None, None]
        return distributions(still.shrunk() + cosine * (turns.cos() - 1) + sine * turns.sin())

    def at(self, turn: float) -> Spectrum:
        """Return the estimate at a turn, in radians, without shrinking."""
        parts = (self.still, 0.0), (self.up, THIRD), (self.down, -THIRD)
        weights = [(1 + 2 * math.cos(turn - place)) / 3 for _, place in parts]
        values = sum(w * part.values for w, (part, _) in zip(weights, parts, strict=True))
        variance = sum(w**2 / part.shots for w, (part, _) in zip(weights, parts, strict=True))
        shots = min(1 / variance, _MOST_MEASUREMENTS * self.up.shots)
        return Spectrum(torch.as_tensor(values), shots)


def distributions(spectra: Tensor) -> Tensor:
    """Return the distributions [..., 2**n] of spectra of that shape; negative elements become 0."""
    values = walsh_hadamard(spectra).clamp_min(0)
    return values / values.sum(-1, keepdim=True)


def shrunk(spectra: Tensor, variance: float) -> Tensor:
    """Shrink spectra [..., 2**n], whose noise has a variance, towards zero.

    Elements of one order are taken for draws of one normal distribution, whose variance is
    estimated from them (empirical Bayes: Efron and Morris, JASA 68, 117, 1973). The element of
    order 0 is not shrunk.
    """
    order = orders(spectra.shape[-1].bit_length() - 1, spectra.device)
    squares = spectra.new_zeros(*spectra.shape[:-1], int(order[-1]) + 1)
    squares = squares.index_add(-1, order, spectra.square())
    excess = (squares / order.bincount() - variance).clamp_min(0)
    shares = excess / (excess + variance).clamp_min(torch.finfo(spectra.dtype).tiny)
    shares[..., 0] = 1
    return spectra * shares[..., order]
