"""A control of the quantum prior: its marginals without its correlations."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from qcaan.bits import BitsLike, as_bits, product_of_marginals, target_probabilities
from qcaan.priors.bank import BankedPrior
from qcaan.priors.qcbm import QCBM
from qcaan.priors.report import FitReport, compare


class Shuffled(BankedPrior):
    """A control: a QCBM whose measured bits keep their marginals and lose their correlations.

    The measured bits of the wrapped QCBM are permuted column by column. With labels they are
    permuted among the shots of equal label, so each label keeps its marginals.

    Args:
        qcbm: the QCBM that is fitted and measured; its own bank is not used.
    """

    def __init__(self, qcbm: QCBM) -> None:
        super().__init__(
            qcbm.dim,
            qcbm.dither,
            qcbm.noise_dims,
            bank_shots=qcbm.bank_shots,
            n_bases=qcbm.n_bases,
            labels=qcbm.code.labels,
        )
        self.qcbm, self.rng = qcbm, qcbm.rng
        self.schedule, self.fit_summaries = qcbm.schedule, qcbm.fit_summaries

    def _fit(self, bits: Tensor) -> FitReport:
        self.banked.fill_(False)
        return self.qcbm.fit(bits)

    def _distances_after_fit(self, bits: Tensor) -> dict[str, Any]:
        return self.distances(bits) if self.qcbm.drawer.is_ideal else {}

    def distances(self, bits: BitsLike) -> dict[str, Any]:
        """Return the distances of the product of the QCBM's marginals; see `QCBM.distances`."""
        bits = self.qcbm.by_basis(as_bits(bits, self.dim, self.device))
        return compare(target_probabilities(bits, self.n_bases), self._model(), bits)

    def distributions(self, bits: BitsLike) -> dict[str, np.ndarray]:
        """Return the target's distributions, and those of the product of the QCBM's marginals."""
        bits = self.qcbm.by_basis(as_bits(bits, self.dim, self.device))
        return {
            "bases": np.array(self.qcbm.born.bases),
            "target": target_probabilities(bits, self.n_bases).cpu().numpy(),
            "model": self._model().cpu().numpy(),
        }

    def _model(self) -> Tensor:
        """Return the products of the marginals [n_bases, 2**n]."""
        if self.qcbm.drawer.is_ideal:
            measured = self.qcbm.all_probabilities()
        else:
            if not self.banked:
                self.draw_bank()
            shots = self.qcbm.by_basis(self.bank)
            measured = self.qcbm.corrected(target_probabilities(shots, self.n_bases))
        n_labels = 1 << self.code.n_bits
        by_label = measured.unflatten(1, (-1, n_labels))  # (n_bases, 2**n, labels)
        shares = by_label.sum(1, keepdim=True)
        given = by_label / shares.clamp_min(torch.finfo(shares.dtype).tiny)
        products = [[product_of_marginals(probs) for probs in basis.T] for basis in given]
        model = torch.stack([torch.stack(rows, 1) for rows in products])
        return (model * shares).flatten(1)

    def _measure(self, n: int) -> Tensor:
        bits = self.qcbm.measure(n)
        places = self.code.places_of(bits).cpu()
        for place in places.unique():
            (rows,) = (places == place).nonzero(as_tuple=True)
            for column in range(self.code.n_bits, self.dim):
                order = torch.from_numpy(self.qcbm.rng.permutation(len(rows)))
                bits[rows, column] = bits[rows[order], column]
        return bits

    def resume_at(self, n_fits: int) -> None:
        self.qcbm.resume_at(n_fits)

    @property
    def is_drawn_on_device(self) -> bool:
        return self.qcbm.is_drawn_on_device
