"""Priors of a generator: what is fitted to the discriminator's latent bits, and what latent vectors are drawn from."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from qiskit.primitives import BaseSamplerV2
from scipy.optimize import least_squares
from torch import Tensor, nn

from qcaan import losses
from qcaan.ansatz import make_ansatz
from qcaan.born import BornMachine, Floats, histogram, product_probabilities
from qcaan.optimizers import OPTIMIZERS
from qcaan.samplers import make_sampler

INDEPENDENT = 0.05  # nats: a product distribution this near to the target means that its bits are independent
_MAX_HISTOGRAM_BITS = 16


@dataclass(frozen=True)
class FitReport:
    """What a fit did. Losses before and after are those of fresh evaluations, not the optimiser's best draw.

    `kl` is KL(target || prior) in nats and `tvd` the total variation distance, both summed over the measurement bases;
    `kl_product` is the KL of the product of the target's marginals, the fit that needs no circuit. None where the prior
    has no distribution over bitstrings to compare.
    """

    loss_before: float | None = None
    loss_after: float | None = None
    evaluations: int = 0
    shots: int = 0
    seconds: float = 0.0
    kl: float | None = None
    kl_product: float | None = None
    tvd: float | None = None

    def summary(self) -> str:
        """One clause for the console."""
        text = "prior is fixed" if self.loss_before is None else f"loss {self.loss_before:.4f} -> {self.loss_after:.4f}"
        if self.loss_before is not None and self.loss_after is not None and self.loss_after >= self.loss_before:
            text += " (the fit did NOT lower the loss)"
        if self.kl is not None and self.kl_product is not None:
            text += f", KL {self.kl:.3f} (product of marginals {self.kl_product:.3f}"
            text += ": the latent bits are independent)" if self.kl_product < INDEPENDENT else ")"
        return text


class Prior(nn.Module, ABC):
    """A distribution over latent vectors [dim] that can be fitted to bits and drawn from.

    `state_dict()` holds all that a resumed run needs, random state included.
    """

    dim: int
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
        """Samples [n, dim] to the generator's input [n, dim]."""

    def measure(self, n: int) -> Tensor:
        """As `sample`, but never from a store of earlier draws: what pictures and scores are made from."""
        return self.sample(n)

    def distances(self, bits: Tensor) -> dict[str, Any]:
        """`kl`, `kl_product` and `tvd` to bits [m, dim], see `FitReport`; empty where there is nothing to compare."""
        return {}

    def reseed(self, seed: int) -> None:
        """Start the prior's own random state anew, if it has one besides torch's."""


class Gaussian(Prior):
    """Standard normal latents, as in the DCGAN paper's successors; its fit is a no-op."""

    def __init__(self, dim: int = 64) -> None:
        super().__init__()
        self.dim = _positive("dim", dim)
        self.n_bits = None
        self.register_buffer("_anchor", torch.empty(0), persistent=False)

    def fit(self, bits: Tensor) -> FitReport:
        return FitReport()

    def sample(self, n: int) -> Tensor:
        return torch.randn(n, self.dim, device=self._anchor.device)

    def embed(self, samples: Tensor) -> Tensor:
        return samples


class BitPrior(Prior):
    """A prior over bitstrings: {0, 1} become {-1, +1} at the generator's door, plus Gaussian dither if asked for."""

    def __init__(self, n_bits: int, dither: float) -> None:
        super().__init__()
        self.dim = self.n_bits = _positive("n_bits", n_bits)
        if dither < 0:
            raise ValueError(f"dither must be at least 0, got {dither}")
        self.dither = dither

    def embed(self, samples: Tensor) -> Tensor:
        """Bits {0, 1} [n, n_bits] to 2 bits - 1 + dither * N(0, 1), so that one bitstring draws more than one picture."""
        signs = 2 * samples - 1
        return signs + self.dither * torch.randn_like(signs) if self.dither else signs


class Bernoulli(BitPrior):
    """Independent fair bits; its fit is a no-op that reports how far the target is from uniform."""

    def __init__(self, n_bits: int = 16, dither: float = 0.0) -> None:
        super().__init__(n_bits, dither)
        self.register_buffer("_anchor", torch.empty(0), persistent=False)

    def fit(self, bits: Tensor) -> FitReport:
        _check_bits(bits, self.dim)
        return replace(FitReport(), **self.distances(bits))

    def distances(self, bits: Tensor) -> dict[str, Any]:
        if self.dim > _MAX_HISTOGRAM_BITS:
            return {}
        target = target_probabilities(bits, 1)
        return _distances(target, np.full_like(target, 0.5**self.dim), bits)

    def sample(self, n: int) -> Tensor:
        return torch.randint(2, (n, self.dim), device=self._anchor.device).float()


class QCBM(BitPrior):
    """Quantum circuit Born machine: bits measured from a parametrised circuit, its angles fitted to a target.

    Benedetti et al., arXiv:1801.07686; as the prior of an associative adversarial network Rudolph et al.,
    arXiv:2012.03924. With several measurement bases the same state is measured in each, which gives
    `len(bases) * n_qubits` bits; shots of different bases are independent and paired at random, and the loss is the sum
    over the bases.

    Args:
        n_qubits, n_layers, ansatz: the circuit, see `qcaan.ansatz`.
        bases: measurement bases, different ones of z, o, t.
        sampler: a name (`qcaan.samplers.SAMPLERS`) or any `BaseSamplerV2`.
        optimizer: `cobyla`.
        loss: `kl`, `nll` or `mmd`, of the target against the circuit's distribution.
        shots: per basis and evaluation; 0 for exact probabilities, by Qiskit Aer, where the sampler is a named ideal one.
        fit_evals: the most evaluations of the loss in one fit; at least two more than there are angles.
        bank_shots: shots per basis drawn after each fit, from which `sample` draws with replacement.
        initial: at the first fit, start from the target's `marginals` (the fitted product, so that the fit is about
            correlations) or from `random` angles.
        dither: standard deviation of the noise that `embed` adds to the signs.
        seed: of the angles, the shots and the optimiser.

    Raises:
        ValueError: any of these out of range, with the allowed values.
    """

    theta: Tensor
    bank: Tensor
    fitted: Tensor
    banked: Tensor

    def __init__(
        self,
        n_qubits: int = 8,
        n_layers: int = 4,
        ansatz: str = "ion-trap",
        bases: tuple[str, ...] = ("z",),
        sampler: str | BaseSamplerV2 = "aer",
        optimizer: str = "cobyla",
        loss: str = "kl",
        shots: int = 2000,
        fit_evals: int = 1000,
        bank_shots: int = 20_000,
        initial: str = "marginals",
        dither: float = 0.0,
        seed: int | None = None,
    ) -> None:
        super().__init__(_positive("n_qubits", n_qubits) * len(bases), dither)
        self._optimizer = _choice("optimizer", optimizer, OPTIMIZERS)
        self._loss = _choice("loss", loss, losses.BIT_LOSSES)
        if initial not in ("marginals", "random"):
            raise ValueError(f"unknown initial {initial!r}; choose from marginals, random")
        if shots < 0:
            raise ValueError(f"shots must be at least 0 (0 = exact probabilities), got {shots}")
        self.shots = shots
        self.fit_evals = fit_evals
        self.bank_shots = _positive("bank_shots", bank_shots)
        self.initial = initial
        self._rng = np.random.default_rng(seed)  # the named samplers draw from it too, so its state is the prior's
        named = isinstance(sampler, str)
        self.born = BornMachine(
            make_ansatz(ansatz, n_qubits, n_layers),
            tuple(bases),
            make_sampler(sampler, self._rng) if isinstance(sampler, str) else sampler,
            exact=named,
        )
        if shots == 0 and not named:
            raise ValueError(
                "shots 0 asks for exact probabilities, which a sampler object does not give; name a number"
            )
        if fit_evals < self.born.n_params + 2:  # COBYLA's simplex alone takes one more than there are angles
            raise ValueError(
                f"fit_evals must be at least {self.born.n_params + 2} for {self.born.n_params} angles, got {fit_evals}"
            )
        if initial == "marginals":
            theta = self._angles_at_marginals(np.full((len(bases), n_qubits), 0.5))
        else:  # large angles: from small ones uniform marginals are a critical point that parities are not found from
            theta = self._rng.normal(0, 1.5, self.born.n_params)
        self.register_buffer("theta", torch.from_numpy(theta))
        self.register_buffer("bank", torch.zeros(bank_shots, self.dim, dtype=torch.uint8))
        self.register_buffer("fitted", torch.tensor(False))
        self.register_buffer("banked", torch.tensor(False))

    def fit(self, bits: Tensor) -> FitReport:
        """Fit the angles to bits {0, 1} [m, n_bases * n_qubits] from where the last fit ended, and draw a new bank.

        Angles that are no better than those before, at a fresh evaluation of both, are not taken.
        """
        _check_bits(bits, self.dim)
        start = time.perf_counter()
        n_bases = len(self.born.bases)
        targets = torch.from_numpy(target_probabilities(bits, n_bases))  # (n_bases, 2**n)
        n_evaluations = 0

        def loss(theta: Floats) -> Floats:  # [K, P] -> [K]
            nonlocal n_evaluations
            n_evaluations += len(theta)
            probs = torch.from_numpy(self._distribution(theta))  # (K, n_bases, 2**n)
            return torch.stack([self._loss(targets[b], probs[:, b]) for b in range(n_bases)]).sum(0).numpy()

        before = self.theta.cpu().numpy()
        loss_before = float(loss(before[None])[0])
        theta = before
        if self.initial == "marginals" and not self.fitted:
            theta = self._angles_at_marginals(bits.double().mean(0).cpu().numpy().reshape(n_bases, -1))
        # shots drown small steps; exact probabilities resolve them, and they keep what earlier epochs have learnt
        theta, _ = self._optimizer(loss, theta, self.fit_evals, 0.5 if self.shots else 0.1)
        loss_after = float(loss(theta[None])[0])
        if loss_after < loss_before:
            self.theta.copy_(torch.from_numpy(theta))
        else:
            loss_after = loss_before
        self.fitted.fill_(True)
        self.draw_bank()
        shots = (n_evaluations * self.shots + self.bank_shots) * n_bases
        seconds = time.perf_counter() - start
        report = FitReport(loss_before, loss_after, n_evaluations, shots, seconds)
        return replace(report, **self.distances(bits))

    def distances(self, bits: Tensor) -> dict[str, Any]:
        return _distances(target_probabilities(bits, len(self.born.bases)), self._all_probabilities(), bits)

    def sample(self, n: int) -> Tensor:
        """Bits [n, dim] float32 in {0, 1}, drawn with replacement from the bank of measured shots."""
        if not self.banked:
            self.draw_bank()
        return self.bank[torch.randint(len(self.bank), (n,), device=self.bank.device)].float()

    def measure(self, n: int) -> Tensor:
        """n fresh shots of the circuit [n, dim] float32 in {0, 1}, one per basis, paired at random."""
        bits = self.born.sample(self.theta.cpu().numpy(), n, self._rng)
        return torch.from_numpy(bits).to(self.bank.device).float()

    def draw_bank(self) -> None:
        """Measure a new bank of shots, from which `sample` draws until the next fit."""
        self.bank.copy_(self.measure(self.bank_shots))
        self.banked.fill_(True)

    def probabilities(self, basis: str = "z") -> Floats:
        """The circuit's distribution [2**n_qubits] in `basis`, float64, qubit 0 the lowest bit of the index.

        Exact on a named ideal simulator, otherwise frequencies of `bank_shots` shots.

        Raises:
            ValueError: a basis that this prior does not measure.
        """
        if basis not in self.born.bases:
            raise ValueError(f"basis {basis!r} is not measured; choose from {', '.join(self.born.bases)}")
        return self._all_probabilities()[self.born.bases.index(basis)]

    def _all_probabilities(self) -> Floats:
        theta = self.theta.cpu().numpy()[None]
        if self.born.exact:
            return self.born.probabilities(theta)[0]
        return self.born.frequencies(theta, self.bank_shots)[0]

    def _distribution(self, theta: Floats) -> Floats:
        return self.born.frequencies(theta, self.shots) if self.shots else self.born.probabilities(theta)

    def _angles_at_marginals(self, marginals: Floats) -> Floats:
        """Angles at which every qubit has its P(1) of `marginals` [n_bases, n] in every basis, or the nearest it allows.

        With all entanglers at zero the circuit is n circuits of one qubit each, whose few angles are solved for from
        random ones: what the marginals leave free stays random, since zeros there would be a dead point of the gradient.
        A qubit's state meets <Z>^2 + <Y>^2 <= 1, so marginals in z and o can be out of reach together.
        """
        theta = np.zeros(self.born.n_params)
        for qubit in range(self.born.n_qubits):
            places = self.born.one_qubit_angles(qubit)

            def residuals(angles: Floats, qubit: int = qubit) -> Floats:
                return self.born.one_qubit_marginals(angles) - marginals[:, qubit]

            starts = [self._rng.uniform(-np.pi, np.pi, len(places)) for _ in range(4)]
            solutions = [least_squares(residuals, s) for s in starts]
            theta[places] = min(solutions, key=lambda solution: solution.cost).x
        return theta

    def reseed(self, seed: int) -> None:
        """Start anew the generator that shots and pairings are drawn from."""
        self._rng.bit_generator.state = np.random.default_rng(seed).bit_generator.state

    def get_extra_state(self) -> dict[str, Any]:
        return {"rng": self._rng.bit_generator.state}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self._rng.bit_generator.state = state["rng"]


def target_probabilities(bits: Tensor, n_bases: int) -> Floats:
    """Bits {0, 1} [m, n_bases * n] to their observed distribution in each basis [n_bases, 2**n]."""
    return np.stack([histogram(part) for part in np.split(bits.cpu().numpy(), n_bases, axis=1)])


def _distances(target: Floats, model: Floats, bits: Tensor) -> dict[str, Any]:
    """KL, TVD and the product's KL, summed over the bases, of [n_bases, 2**n] against the same."""
    marginals = bits.double().mean(0).cpu().numpy().reshape(len(target), -1)
    product = np.stack([product_probabilities(m) for m in marginals])
    t, m, p = (torch.from_numpy(array) for array in (target, model, product))
    return {
        "kl": sum(float(losses.kl(t[b], m[b])) for b in range(len(t))),
        "kl_product": sum(float(losses.kl(t[b], p[b])) for b in range(len(t))),
        "tvd": sum(float(losses.tvd(t[b], m[b])) for b in range(len(t))),
    }


def _check_bits(bits: Tensor, dim: int) -> None:
    if bits.ndim != 2 or bits.shape[1] != dim or len(bits) == 0:
        raise ValueError(f"bits must have shape [m, {dim}] with m >= 1, got {list(bits.shape)}")
    if not ((bits == 0) | (bits == 1)).all():
        raise ValueError("bits must be 0 or 1")


def _positive(name: str, value: int) -> int:
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
    return value


def _choice(name: str, value: str, table: dict[str, Any]) -> Any:
    if value not in table:
        raise ValueError(f"unknown {name} {value!r}; choose from {', '.join(table)}")
    return table[value]
