"""Priors over measured bits, which are drawn from a bank of shots."""

from __future__ import annotations

from abc import abstractmethod
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
        n_bits, dither, noise_dims: see `BitPrior`.
        bank_shots: number of shots per basis in the bank.
        n_bases: number of measurement bases.

    Attributes:
        bank: the shots uint8 [bank_shots, n_bits].
        banked: whether the bank was drawn since the last fit.
        rng: random state of the order in which `draw` takes shots from the bank.
    """

    bank: Tensor
    banked: Tensor
    rng: np.random.Generator
    # places in the bank that `draw` takes next; None: all of them, in an order not drawn yet
    _undrawn: Tensor | None = None

    def __init__(
        self, n_bits: int, dither: float, noise_dims: int, *, bank_shots: int, n_bases: int
    ) -> None:
        super().__init__(n_bits, dither, noise_dims)
        check_draws("bank_shots", whole("bank_shots", bank_shots), n_bits)
        self.bank_shots, self.n_bases = bank_shots, n_bases
        self.register_buffer("bank", torch.zeros(bank_shots, n_bits, dtype=torch.uint8))
        self.register_buffer("banked", torch.tensor(False))

    def draw_bank(self) -> int:
        """Measure a new bank of shots, from which `sample` draws until the next fit.

        On a device this submits jobs that may be paid for. Returns the number of shots.
        """
        self.bank.copy_(self.measure(self.bank_shots))
        self.banked.fill_(True)
        self._undrawn = None
        return self.bank_shots * self.n_bases

    def _draw(self, n: int) -> Tensor:
        """Draw bits with replacement from the bank of measured shots, or from a new one."""
        if not self.banked:
            self.draw_bank()
        return self.bank[torch.randint(len(self.bank), (n,), device=self.bank.device)].float()

    @property
    @abstractmethod
    def is_drawn_on_device(self) -> bool:
        """Whether the shots of the bank come from a device."""

    @property
    def n_undrawn(self) -> int:
        if not (self.banked and self.is_drawn_on_device):
            return 0
        return len(self.bank if self._undrawn is None else self._undrawn)

    def draw(self, n: int) -> Tensor:
        if not (self._count(n) and self.n_undrawn):
            return self.measure(n)
        if self._undrawn is None:
            self._undrawn = torch.from_numpy(self.rng.permutation(len(self.bank)))
        taken, self._undrawn = self._undrawn[:n], self._undrawn[n:]
        bits = self.bank[taken.to(self.device)].float()
        return bits if len(bits) == n else torch.cat([bits, self.measure(n - len(bits))])

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
