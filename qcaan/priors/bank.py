"""Priors over measured bits, which are drawn from a bank of shots."""

from __future__ import annotations

import torch
from torch import Tensor

from qcaan.checks import whole
from qcaan.priors.base import BitPrior, check_draws


class BankedPrior(BitPrior):
    """A prior over measured bits, which batches resample from a bank of shots.

    Args:
        n_bits, dither, noise_dims: see `BitPrior`.
        bank_shots: number of shots per basis in the bank.
        n_bases: number of measurement bases.

    Attributes:
        bank: the shots uint8 [bank_shots, n_bits].
        banked: whether the bank was drawn since the last fit.
    """

    bank: Tensor
    banked: Tensor

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
        return self.bank_shots * self.n_bases

    def _draw(self, n: int) -> Tensor:
        """Draw bits with replacement from the bank of measured shots, or from a new one."""
        if not self.banked:
            self.draw_bank()
        return self.bank[torch.randint(len(self.bank), (n,), device=self.bank.device)].float()
