"""Priors over measured bits, which are drawn from a bank of shots."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qcaan.checks import whole
from qcaan.priors.base import BitPrior, check_draws
from qcaan.training import reseed


class BankedPrior(BitPrior):
    """A prior over measured bits, which batches resample from a bank of shots.

    Args:
        n_bits, dither, noise_dims, labels: see `BitPrior`.
        bank_shots: number of shots per basis in the bank.
        n_bases: number of measurement bases.

    Attributes:
        bank: the shots uint8 [bank_shots, n_bits].
        banked: whether the bank was drawn since the last fit.
        kept: share of the last bank's shots that have a label, and a partner of equal label in the
            other bases; 1 without labels. In place of the rest, some of them occur again.
        rng: random state of the order in which `draw` takes shots from the bank.
    """

    bank: Tensor
    banked: Tensor
    rng: np.random.Generator
    # places in the bank that `draw` takes next; None: all of them, in an order not drawn yet
    _undrawn: Tensor | None = None

    def __init__(
        self,
        n_bits: int,
        dither: float,
        noise_dims: int,
        *,
        bank_shots: int,
        n_bases: int,
        labels: Sequence[int] = (),
    ) -> None:
        super().__init__(n_bits, dither, noise_dims, labels=labels)
        check_draws("bank_shots", whole("bank_shots", bank_shots), n_bits)
        self.bank_shots, self.n_bases = bank_shots, n_bases
        self.register_buffer("bank", torch.zeros(bank_shots, n_bits, dtype=torch.uint8))
        self.register_buffer("banked", torch.tensor(False))

    def draw_bank(self) -> int:
        """Measure a new bank of shots, from which `sample` draws until the next fit.

        On a device this submits jobs that may be paid for. Returns the number of shots.
        """
        bits, self.kept = self._measure_kept(self.bank_shots)
        self.bank.copy_(bits)
        self.banked.fill_(True)
        self._undrawn = None
        return self.bank_shots * self.n_bases

    def _draw(self, n: int) -> Tensor:
        """Draw bits with replacement from the bank of measured shots, or from a new one."""
        if not self.banked:
            self.draw_bank()
        return self.bank[torch.randint(len(self.bank), (n,), device=self.bank.device)].float()

    def _measure_kept(self, n: int) -> tuple[Tensor, float]:
        """Measure bits [n, n_bits] for a bank, and return them and the share `kept`."""
        return self._measure(n), 1.0

    @property
    @abstractmethod
    def is_drawn_on_device(self) -> bool:
        """Whether the shots of the bank come from a device."""

    @property
    def n_undrawn(self) -> int:
        if not (self.banked and self.is_drawn_on_device):
            return 0
        return len(self.bank if self._undrawn is None else self._undrawn)

    def draw(self, n: int, label: int | None = None) -> Tensor:
        place = None if label is None else self.code.place(label)
        if not (self._count(n) and self.banked and self.is_drawn_on_device):
            return super().draw(n, label)
        if self._undrawn is None:
            self._undrawn = torch.from_numpy(self.rng.permutation(len(self.bank)))
        wanted = torch.ones(len(self._undrawn), dtype=torch.bool)
        if place is not None:
            wanted = self.code.places_of(self.bank).cpu()[self._undrawn] == place
            if (found := int(wanted.sum())) < n:
                raise ValueError(
                    f"{n} samples of label {label} are asked for, and the bank holds {found} shots "
                    "of it that were not drawn; ask for fewer, or use more --bank-shots"
                )
        wanted &= wanted.cumsum(0) <= n
        taken, self._undrawn = self._undrawn[wanted], self._undrawn[~wanted]
        bits = self.bank[taken.to(self.device)].float()
        return bits if len(bits) == n else torch.cat([bits, self.measure(n - len(bits))])

    def label_shares(self) -> dict[int, float]:
        """Return the share of each label among the bank's shots; empty without labels."""
        if self.code.labels and not self.banked:
            self.draw_bank()
        places = self.code.places_of(self.bank)
        return {
            label: float((places == place).double().mean())
            for place, label in enumerate(self.code.labels)
        }

    def _draw_label(self, n: int, place: int) -> Tensor:
        """Draw bits of one label with replacement from the bank."""
        if not self.banked:
            self.draw_bank()
        (found,) = (self.code.places_of(self.bank) == place).nonzero(as_tuple=True)
        if not len(found):
            label = self.code.labels[place]
            raise ValueError(f"the bank holds no shots of label {label}; use more --bank-shots")
        chosen = torch.randint(len(found), (n,), device=found.device)
        return self.bank[found[chosen]].float()

    def reseed(self, seed: int) -> None:
        reseed(self.rng, seed)
        self._undrawn = None


class CircuitPrior(BankedPrior):
    """A prior over the measured bits of one circuit, whose engine may change during a run.

    Attributes:
        fits: number of finished fits, by which the engine is chosen.
        rng: random state of all that it draws, which is saved with it.
    """

    fits: Tensor

    def resume_at(self, n_fits: int) -> None:
        self.fits.fill_(n_fits)

    def get_extra_state(self) -> dict[str, Any]:
        return {"rng": self.rng.bit_generator.state}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.rng.bit_generator.state = state["rng"]
