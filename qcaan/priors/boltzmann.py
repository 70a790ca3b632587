"""Boltzmann machines as priors: the restricted one, with which the AAN began, and the quantum one."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import combinations
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from qcaan.bits import index_to_bits, target_probabilities
from qcaan.checks import positive
from qcaan.priors.base import (
    MAX_HISTOGRAM_BITS,
    BitPrior,
    FitReport,
    TabulatedPrior,
    check_bits,
    compare,
)


class RBM(BitPrior):
    """Restricted Boltzmann machine p(v) ~ exp(b v) prod_j (1 + exp(c_j + W_j v)), the prior of the classical AAN.

    Arici and Celikyilmaz, arXiv:1611.06953. Trained by persistent contrastive divergence (Tieleman, ICML 2008): its
    chains live on from step to step and from fit to fit, and samples are drawn from them. Its loss is the exact NLL up to
    16 bits, where the partition function can be enumerated, and above the pseudo-likelihood's.

    Args:
        n_bits, dither, noise_dims: see `BitPrior`.
        n_hidden: hidden units.
        steps: minibatches of a fit.
        lr: learning rate, falling linearly to zero within a fit.
        n_chains: persistent chains.
        sweeps: Gibbs sweeps of every chain per minibatch, and between two draws of a bank.
    """

    weight: Tensor
    visible_bias: Tensor
    hidden_bias: Tensor
    chains: Tensor

    def __init__(
        self,
        n_bits: int = 16,
        dither: float = 0.0,
        noise_dims: int = 0,
        n_hidden: int = 64,
        steps: int = 500,
        lr: float = 0.5,
        n_chains: int = 500,
        sweeps: int = 2,
        seed: int | None = None,
    ) -> None:
        super().__init__(n_bits, dither, noise_dims)
        self.steps, self.lr, self.sweeps = positive("steps", steps), lr, positive("sweeps", sweeps)
        generator = torch.Generator().manual_seed(seed) if seed is not None else None
        weight = 0.3 * torch.randn(
            positive("n_hidden", n_hidden), n_bits, generator=generator, dtype=torch.float64
        )
        self.register_buffer("weight", weight)
        self.register_buffer("visible_bias", torch.zeros(n_bits, dtype=torch.float64))
        self.register_buffer("hidden_bias", torch.zeros(n_hidden, dtype=torch.float64))
        chains = torch.randint(2, (positive("n_chains", n_chains), n_bits), generator=generator)
        self.register_buffer("chains", chains.double())

    def free_energy(self, visible: Tensor) -> Tensor:
        """-log of the unnormalised probability [m] of bits [m, n_bits] float64."""
        return -visible @ self.visible_bias - F.softplus(
            self.hidden_bias + visible @ self.weight.T
        ).sum(-1)

    def log_partition(self) -> Tensor:
        """log Z, by enumerating all bitstrings."""
        return torch.logsumexp(-self.free_energy(self._all_bits()), 0)

    def fit(self, bits: Tensor) -> FitReport:
        check_bits(bits, self.dim)
        start = time.perf_counter()
        data = bits.to(self.weight)
        before = self.loss(data)
        saved = {name: value.clone() for name, value in self.named_buffers()}
        for step in range(self.steps):
            rate = self.lr * (1 - step / self.steps)
            real = data[torch.randint(len(data), (len(self.chains),), device=data.device)]
            self._sweep(self.sweeps)
            hidden_real, hidden_model = (
                torch.sigmoid(self.hidden_bias + v @ self.weight.T) for v in (real, self.chains)
            )  # (m, n_hidden)
            self.weight += rate * (hidden_real.T @ real - hidden_model.T @ self.chains) / len(real)
            self.visible_bias += rate * (real - self.chains).mean(0)
            self.hidden_bias += rate * (hidden_real - hidden_model).mean(0)
        after = self.loss(data)
        if after >= before:  # as with the QCBM: a fit that is no better is not taken
            for name, value in self.named_buffers():
                value.copy_(saved[name])
            after = before
        report = FitReport(before, after, seconds=time.perf_counter() - start)
        return replace(report, **self.distances(bits))

    def loss(self, data: Tensor) -> float:
        """NLL of bits [m, n_bits] float64 in nats per bitstring, or minus the log pseudo-likelihood above 16 bits."""
        if self.dim <= MAX_HISTOGRAM_BITS:
            return float(self.free_energy(data).mean() + self.log_partition())
        total = data.new_zeros(())
        for bit in range(self.dim):
            flipped = data.clone()
            flipped[:, bit] = 1 - flipped[:, bit]
            total += F.softplus(self.free_energy(data) - self.free_energy(flipped)).mean()
        return float(total)

    def distances(self, bits: Tensor) -> dict[str, Any]:
        if self.dim > MAX_HISTOGRAM_BITS:
            return {}
        bits = bits.to(self.weight.device)
        probs = (-self.free_energy(self._all_bits()) - self.log_partition()).exp()
        return compare(target_probabilities(bits, 1), probs[None], bits)

    def sample(self, n: int) -> Tensor:
        """Bits [n, n_bits] float32 from the persistent chains, sweeps apart."""
        draws = []
        for _ in range(0, n, len(self.chains)):
            self._sweep(self.sweeps)
            draws.append(self.chains)
        return torch.cat(draws)[:n].float()

    def measure(self, n: int) -> Tensor:
        self._sweep(100)
        return self.sample(n)

    def _sweep(self, n: int) -> None:
        for _ in range(n):
            hidden = torch.bernoulli(torch.sigmoid(self.hidden_bias + self.chains @ self.weight.T))
            self.chains = torch.bernoulli(torch.sigmoid(self.visible_bias + hidden @ self.weight))

    def _all_bits(self) -> Tensor:
        return index_to_bits(torch.arange(2**self.dim, device=self.weight.device), self.dim).to(
            self.weight
        )


class QBM(TabulatedPrior):
    """Quantum Boltzmann machine: p(x) = <x| exp(-H) |x> / Z, H = -sum w_ij Z_i Z_j - sum b_i Z_i - sum g_i X_i.

    Amin et al., arXiv:1601.02036. Trained on the quantum relative entropy to the pure state sum_x sqrt(p(x)) |x> (Kieferova
    and Wiebe, arXiv:1612.05204), whose gradient is the difference of the terms' expectations between model and data; with
    their other choice, the mixed state, the transverse fields g would only shrink to zero. Exact: H is diagonalised.

    Args:
        n_bits: at most 10.
        dither, noise_dims: see `BitPrior`.
        steps: of Adam, in a fit.
        lr: its learning rate.
    """

    _diagonals: Tensor
    couplings: Tensor
    fields: Tensor
    transverse: Tensor

    def __init__(
        self,
        n_bits: int = 8,
        dither: float = 0.0,
        noise_dims: int = 0,
        steps: int = 100,
        lr: float = 0.05,
    ) -> None:
        if n_bits > 10:
            raise ValueError(
                f"n_bits must be at most 10 for a quantum Boltzmann machine, got {n_bits}"
            )
        super().__init__(n_bits, dither, noise_dims)
        self.steps, self.lr = positive("steps", steps), lr
        pairs = list(combinations(range(n_bits), 2))
        signs = 1 - 2 * index_to_bits(torch.arange(2**n_bits), n_bits).double()  # (2**n, n)
        products = (
            torch.stack([signs[:, i] * signs[:, j] for i, j in pairs], 1) if pairs else signs[:, :0]
        )
        self.register_buffer(
            "_diagonals", torch.cat([products, signs], 1), persistent=False
        )  # (2**n, pairs + n)
        self.register_buffer("couplings", torch.zeros(len(pairs), dtype=torch.float64))
        self.register_buffer("fields", torch.zeros(n_bits, dtype=torch.float64))
        self.register_buffer("transverse", torch.full((n_bits,), 0.5, dtype=torch.float64))
        self.probs.copy_(self._state()[0].diagonal())

    def fit(self, bits: Tensor) -> FitReport:
        check_bits(bits, self.dim)
        start = time.perf_counter()
        target = target_probabilities(bits.to(self.probs.device), 1)[0]
        amplitudes = target.sqrt()
        data = torch.cat([target @ self._diagonals, self._flips(amplitudes[:, None] * amplitudes)])
        terms = torch.cat([self.couplings, self.fields, self.transverse])
        optimizer = torch.optim.Adam([terms], self.lr)
        best, least, before = terms, torch.inf, torch.inf
        for step in range(self.steps + 1):
            state, log_partition = self._state(terms)
            value = float(log_partition - terms @ data)  # S(data || model) of a pure data state
            if step == 0:
                before = value
            if value < least:
                best, least = terms.clone(), value
                self.probs.copy_(state.diagonal())
            terms.grad = torch.cat([state.diagonal() @ self._diagonals, self._flips(state)]) - data
            optimizer.step()
        parts = best.split([len(self.couplings), self.dim, self.dim])
        for buffer, part in zip((self.couplings, self.fields, self.transverse), parts, strict=True):
            buffer.copy_(part)
        report = FitReport(before, least, seconds=time.perf_counter() - start)
        return replace(report, **self.distances(bits))

    def _state(self, terms: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The thermal state [2**n, 2**n], real, and log Z."""
        if terms is None:
            terms = torch.cat([self.couplings, self.fields, self.transverse])
        diagonal, transverse = terms.split([len(terms) - self.dim, self.dim])
        hamiltonian = torch.diag(-self._diagonals @ diagonal)
        index = torch.arange(len(hamiltonian), device=hamiltonian.device)
        for bit, field in enumerate(transverse):
            hamiltonian[index, index ^ (1 << bit)] = -field
        energies, vectors = torch.linalg.eigh(hamiltonian)
        weights = torch.softmax(-energies, 0)
        return (vectors * weights) @ vectors.T, torch.logsumexp(-energies, 0)

    def _flips(self, state: Tensor) -> Tensor:
        """<X_i> of every qubit [n] in a real state [2**n, 2**n]."""
        index = torch.arange(len(state), device=state.device)
        return torch.stack([state[index, index ^ (1 << bit)].sum() for bit in range(self.dim)])
