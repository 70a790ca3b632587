"""A control with labels: a prior of its own for each label."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from qcaan.bits import BitsLike, as_bits
from qcaan.priors.base import BitPrior
from qcaan.priors.labels import LabelCode, equal_shares, shares_of
from qcaan.priors.report import FitReport


class PerLabel(BitPrior):
    """A prior of its own for each label, drawn as often as the label occurs.

    The losses and distances of a report are means of those of the priors, over the labels of the
    bits. So they are those of the bits given the label.

    Args:
        make: maker of a prior over the bits without the label; its noise is not used.
        labels: different integers, at least one.
        dither, noise_dims, seed: see `BitPrior`.

    Attributes:
        shares: probability float64 [labels] of each label.
    """

    shares: Tensor

    def __init__(
        self,
        make: Callable[[], BitPrior],
        labels: Sequence[int],
        dither: float = 0.0,
        noise_dims: int = 0,
        *,
        seed: int | None = None,
    ) -> None:
        priors = [make() for _ in labels]
        width = LabelCode(labels).n_bits + priors[0].dim
        super().__init__(width, dither, noise_dims, seed=seed, labels=labels)
        self._priors = priors
        self.priors = nn.ModuleList(priors)
        self.register_buffer("shares", equal_shares(self.code))

    def _fit(self, bits: Tensor) -> FitReport:
        parts, shares = self._parts(bits)
        reports = [prior.fit(part) for prior, part in zip(self._priors, parts, strict=True)]
        self.shares.copy_(shares)
        if reports[0].loss_before is None:
            return FitReport()
        losses = [(report.loss_before, report.loss_after) for report in reports]
        before, after = shares @ torch.tensor(losses).to(shares)
        return FitReport(float(before), float(after))

    def distances(self, bits: BitsLike) -> dict[str, Any]:
        parts, shares = self._parts(as_bits(bits, self.dim, self.device))
        found = [prior.distances(part) for prior, part in zip(self._priors, parts, strict=True)]
        return {
            key: sum(float(share) * each[key] for share, each in zip(shares, found, strict=True))
            for key in found[0]
        }

    def log_prob(self, bits: BitsLike) -> Tensor:
        """Return the log-probabilities float64 [m] of bits [m, n_bits], in nats; -inf for 0."""
        bits = as_bits(bits, self.dim, self.device)
        places, rest = self.code.places_of(bits), bits[:, self.code.n_bits :]
        found = self.shares.new_full((len(bits),), -torch.inf)
        for place, prior in enumerate(self._priors):
            if (chosen := places == place).any():
                found[chosen] = self.shares[place].log() + prior.log_prob(rest[chosen])
        return found

    def label_shares(self) -> dict[int, float]:
        return dict(zip(self.code.labels, self.shares.tolist(), strict=True))

    def reseed(self, seed: int) -> None:
        super().reseed(seed)
        for place, prior in enumerate(self._priors):
            prior.reseed(seed + place + 1)

    def _draw(self, n: int) -> Tensor:
        with self._random() as (device, generator):
            places = torch.multinomial(self.shares.to(device), n, True, generator=generator)
        drawn = torch.empty(n, self.dim, device=self.device)
        for place, count in enumerate(places.bincount(minlength=len(self._priors)).tolist()):
            drawn[(places == place).to(self.device)] = self._draw_label(count, place)
        return drawn

    def _draw_label(self, n: int, place: int) -> Tensor:
        label = torch.full((n,), self.code.labels[place], device=self.device)
        return torch.cat([self.code.bits(label).float(), self._priors[place].sample(n)], 1)

    def _parts(self, bits: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the bits [m_k, n] of each label, without it, and their shares float64 [labels].

        Raises:
            ValueError: a label has no bits, or bits have no label.
        """
        shares = shares_of(bits, self.code)
        places, rest = self.code.places_of(bits), bits[:, self.code.n_bits :]
        return [rest[places == place] for place in range(len(shares))], shares
