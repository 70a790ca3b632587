"""Boltzmann machines as priors: the restricted one of the classical AAN, and the quantum one."""

from __future__ import annotations

import math
from itertools import combinations, pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from qcaan.bits import BitsLike, all_bitstrings, as_bits, target_probabilities
from qcaan.checks import number, whole
from qcaan.priors.base import MAX_HISTOGRAM_BITS, BitPrior, TabulatedPrior
from qcaan.priors.report import FitReport, compare, lowers

# 2**10 x 2**10 matrices are diagonalised in each step of a fit
_MAX_QUANTUM_BITS = 10
# Gibbs sweeps before new samples are measured, so that they do not depend on the last ones
_MEASURING_SWEEPS = 100
# chains and temperatures of annealed importance sampling
_ANNEALED_CHAINS, _TEMPERATURES = 500, 1000


class RBM(BitPrior):
    """Restricted Boltzmann machine p(v) ~ exp(b v) prod_j (1 + exp(c_j + W_j v)).

    It is the prior of the classical AAN (Arici and Celikyilmaz, arXiv:1611.06953). It is trained by
    persistent contrastive divergence (Tieleman, ICML 2008): its Markov chains continue from step to
    step and from fit to fit, and samples are drawn from them. The loss is the exact NLL up to 16
    bits, for which the partition function can be enumerated. For more bits the loss is the negative
    log-pseudo-likelihood.

    Args:
        n_bits, dither, noise_dims: see `BitPrior`.
        n_hidden: number of hidden units.
        steps: number of minibatches in a fit.
        lr: learning rate, above 0, which falls linearly to zero within a fit.
        n_chains: number of chains, and size of the minibatches.
        sweeps: number of Gibbs sweeps of every chain per minibatch, and between two draws of
            samples.
        seed: seed of the weights, the chains, the fits and the draws; default torch's global random
            state.

    Raises:
        ValueError: one of these is out of range.
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
        *,
        n_hidden: int = 64,
        steps: int = 500,
        lr: float = 0.5,
        n_chains: int = 500,
        sweeps: int = 2,
        seed: int | None = None,
    ) -> None:
        super().__init__(n_bits, dither, noise_dims, seed=seed)
        self.steps = whole("steps", steps)
        self.lr = number("lr", lr, above=0)
        self.sweeps = whole("sweeps", sweeps)
        size = (whole("n_hidden", n_hidden), n_bits)
        with self._random() as (_, generator):
            weight = 0.3 * torch.randn(size, generator=generator, dtype=torch.float64)
            chains = torch.randint(2, (whole("n_chains", n_chains), n_bits), generator=generator)
        self.register_buffer("weight", weight)
        self.register_buffer("visible_bias", torch.zeros(n_bits, dtype=torch.float64))
        self.register_buffer("hidden_bias", torch.zeros(n_hidden, dtype=torch.float64))
        self.register_buffer("chains", chains.double())

    def free_energy(self, visible: Tensor) -> Tensor:
        """Return minus the log of the unnormalised probability [m] of bits float64 [m, n_bits]."""
        inputs = self.hidden_bias + visible @ self.weight.T  # (m, n_hidden)
        return -visible @ self.visible_bias - F.softplus(inputs).sum(-1)

    def log_partition(self) -> Tensor:
        """Return the log of the partition function [].

        Up to 16 bits all bitstrings are enumerated. For more bits it is an estimate by annealed
        importance sampling (Salakhutdinov and Murray, ICML 2008), always from the same draws. The
        estimate tends to be too low, so that log-probabilities tend to be too high.
        """
        if self.dim <= MAX_HISTOGRAM_BITS:
            return torch.logsumexp(-self.free_energy(self._all_bits()), 0)
        return self._annealed_log_partition()

    def _annealed_log_partition(self) -> Tensor:
        """Return the estimate for `log_partition`, from fair bits to those of the machine."""
        generator = torch.Generator().manual_seed(0)
        visible = _bernoulli(self.weight.new_full((_ANNEALED_CHAINS, self.dim), 0.5), generator)
        logs = self.weight.new_zeros(_ANNEALED_CHAINS)
        for cold, warm in pairwise(torch.linspace(0, 1, _TEMPERATURES + 1).tolist()):
            inputs = self.hidden_bias + visible @ self.weight.T  # (chains, n_hidden)
            logs += (warm - cold) * (visible @ self.visible_bias)
            logs += (F.softplus(warm * inputs) - F.softplus(cold * inputs)).sum(-1)
            hidden = _bernoulli(torch.sigmoid(warm * inputs), generator)
            inputs = self.visible_bias + hidden @ self.weight
            visible = _bernoulli(torch.sigmoid(warm * inputs), generator)
        n_units = self.dim + len(self.hidden_bias)
        return n_units * math.log(2) + torch.logsumexp(logs, 0) - math.log(_ANNEALED_CHAINS)

    def log_prob(self, bits: BitsLike) -> Tensor:
        """Return the log-probabilities float64 [m] of bits [m, n_bits], in nats.

        They are exact up to 16 bits; for more, see `log_partition`.
        """
        visible = as_bits(bits, self.dim, self.device).to(self.weight)
        return -self.free_energy(visible) - self.log_partition()

    def probabilities(self) -> Tensor:
        """Return the distribution float64 [2**n_bits], by enumerating all bitstrings."""
        return (-self.free_energy(self._all_bits()) - self.log_partition()).exp()

    def _fit(self, bits: Tensor) -> FitReport:
        data = bits.to(self.weight)
        before = self.loss(data)
        saved = {name: value.clone() for name, value in self.named_buffers()}
        with self._random() as (device, generator):
            for step in range(self.steps):
                rate = self.lr * (1 - step / self.steps)
                chosen = torch.randint(
                    len(data), (len(self.chains),), generator=generator, device=device
                )
                real = data[chosen.to(data.device)]
                self.chains = self._swept(self.chains, self.sweeps, device, generator)
                model = self.chains
                hidden_real = torch.sigmoid(self.hidden_bias + real @ self.weight.T)  # (m, hidden)
                hidden_model = torch.sigmoid(self.hidden_bias + model @ self.weight.T)
                self.weight += rate * (hidden_real.T @ real - hidden_model.T @ model) / len(real)
                self.visible_bias += rate * (real - model).mean(0)
                self.hidden_bias += rate * (hidden_real - hidden_model).mean(0)
        after = self.loss(data)
        if not lowers(before, after):
            # a fit that is no better is not taken, as with the QCBM
            for name, value in self.named_buffers():
                if name != "_random_state":
                    value.copy_(saved[name])
            after = before
        return FitReport(before, after)

    def loss(self, data: Tensor) -> float:
        """Return the mean loss of bits float64 [m, n_bits], in nats per bitstring.

        It is the NLL up to 16 bits, and the negative log-pseudo-likelihood for more bits.
        """
        if self.dim <= MAX_HISTOGRAM_BITS:
            return float(self.free_energy(data).mean() + self.log_partition())
        inputs = self.hidden_bias + data @ self.weight.T  # (m, n_hidden)
        hidden = F.softplus(inputs).sum(-1)
        total = data.new_zeros(())
        for bit, weights in enumerate(self.weight.T):
            change = 1 - 2 * data[:, bit]  # of the bit, if it is flipped
            flipped = F.softplus(inputs + change[:, None] * weights).sum(-1)
            total += F.softplus(flipped - hidden + change * self.visible_bias[bit]).mean()
        return float(total)

    def distances(self, bits: BitsLike) -> dict[str, Any]:
        if self.dim > MAX_HISTOGRAM_BITS:
            return {}
        bits = as_bits(bits, self.dim, self.device)
        return compare(target_probabilities(bits, 1), self.probabilities()[None], bits)

    def _draw(self, n: int) -> Tensor:
        """Draw bits float32 [n, n_bits] from the chains.

        A draw takes a bitstring of each chain, and some sweeps lie between two draws.
        """
        self.chains, drawn = self._drawn(n, 0)
        return drawn

    def _measure(self, n: int) -> Tensor:
        """Draw from copies of the chains, which themselves stay where they are."""
        return self._drawn(n, _MEASURING_SWEEPS)[1]

    def _drawn(self, n: int, first_sweeps: int) -> tuple[Tensor, Tensor]:
        """Return the chains after a draw of n bitstrings, and the bitstrings."""
        draws = []
        with self._random() as (device, generator):
            chains = self._swept(self.chains, first_sweeps, device, generator)
            for _ in range(0, n, len(chains)):
                chains = self._swept(chains, self.sweeps, device, generator)
                draws.append(chains)
        return chains, torch.cat(draws)[:n].float()

    def _swept(
        self, chains: Tensor, n: int, device: torch.device, generator: torch.Generator | None
    ) -> Tensor:
        """Return chains [m, n_bits] after n Gibbs sweeps."""
        for _ in range(n):
            inputs = torch.sigmoid(self.hidden_bias + chains @ self.weight.T)
            hidden = torch.bernoulli(inputs.to(device), generator=generator).to(inputs)
            inputs = torch.sigmoid(self.visible_bias + hidden @ self.weight)
            chains = torch.bernoulli(inputs.to(device), generator=generator).to(inputs)
        return chains

    def _all_bits(self) -> Tensor:
        return all_bitstrings(self.dim, self.weight.device).to(self.weight)


def _bernoulli(probs: Tensor, generator: torch.Generator) -> Tensor:
    """Return bits of these probabilities, of their dtype and on their device."""
    return torch.bernoulli(probs.cpu(), generator=generator).to(probs)


class QBM(TabulatedPrior):
    """Quantum Boltzmann machine p(x) = <x| exp(-H) |x> / Z (Amin et al., arXiv:1601.02036).

    H = -sum w_ij Z_i Z_j - sum b_i Z_i - sum g_i X_i. It is trained on the quantum relative entropy
    to the pure state sum_x sqrt(p(x)) |x> (Kieferova and Wiebe, arXiv:1612.05204). The gradient of
    that entropy is the difference of the terms' expectations between the model and the data. With
    the mixed state, which is their other choice, the transverse fields g would only shrink to zero.
    All is exact: H is diagonalised.

    Args:
        n_bits: width of the bitstrings, from 1 to 10.
        dither, noise_dims, seed: see `BitPrior`.
        steps: number of steps of Adam in a fit.
        lr: learning rate of Adam, above 0.

    Raises:
        ValueError: one of these is out of range.
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
        *,
        steps: int = 100,
        lr: float = 0.05,
        seed: int | None = None,
    ) -> None:
        if whole("n_bits", n_bits) > _MAX_QUANTUM_BITS:
            raise ValueError(
                f"`n_bits` must be at most {_MAX_QUANTUM_BITS} for a quantum Boltzmann machine, "
                f"got {n_bits}"
            )
        super().__init__(n_bits, dither, noise_dims, seed=seed)
        self.steps, self.lr = whole("steps", steps), number("lr", lr, above=0)
        pairs = list(combinations(range(n_bits), 2))
        signs = 1 - 2 * all_bitstrings(n_bits).double()  # (2**n, n)
        products = [signs[:, i] * signs[:, j] for i, j in pairs]
        diagonals = torch.stack([*products, *signs.unbind(1)], 1)  # (2**n, pairs + n)
        self.register_buffer("_diagonals", diagonals, persistent=False)
        self.register_buffer("couplings", torch.zeros(len(pairs), dtype=torch.float64))
        self.register_buffer("fields", torch.zeros(n_bits, dtype=torch.float64))
        self.register_buffer("transverse", torch.full((n_bits,), 0.5, dtype=torch.float64))
        self.probs.copy_(self._state()[0].diagonal())

    def _fit(self, bits: Tensor) -> FitReport:
        target = target_probabilities(bits, 1)[0]
        amplitudes = target.sqrt()
        data = torch.cat([target @ self._diagonals, self._flips(amplitudes[:, None] * amplitudes)])
        terms = torch.cat([self.couplings, self.fields, self.transverse])
        optimizer = torch.optim.Adam([terms], self.lr)
        best, least, before = terms, torch.inf, torch.inf
        for step in range(self.steps + 1):
            state, log_partition = self._state(terms)
            # S(data || model) of a pure data state
            value = float(log_partition - terms @ data)
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
        return FitReport(before, least)

    def _state(self, terms: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the thermal state, real [2**n, 2**n], and log Z []."""
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
        """Return <X_i> of every qubit [n] in a real state [2**n, 2**n]."""
        index = torch.arange(len(state), device=state.device)
        return torch.stack([state[index, index ^ (1 << bit)].sum() for bit in range(self.dim)])
