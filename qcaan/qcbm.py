"""The quantum prior: a quantum circuit Born machine fitted to bits."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from qiskit.primitives import BaseSamplerV2
from scipy.optimize import least_squares
from torch import Tensor

from qcaan import losses
from qcaan.ansatz import make_ansatz
from qcaan.born import BornMachine, Floats
from qcaan.optimizers import OPTIMIZERS
from qcaan.priors import BitPrior, FitReport, check_bits, compare, positive, target_probabilities
from qcaan.samplers import make_sampler

_REPEATS = 5  # evaluations from shots that the loss before and after a fit is the mean of


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
        super().__init__(positive("n_qubits", n_qubits) * len(bases), dither)
        self._optimizer = _choice("optimizer", optimizer, OPTIMIZERS)
        self._loss = _choice("loss", loss, losses.BIT_LOSSES)
        if initial not in ("marginals", "random"):
            raise ValueError(f"unknown initial {initial!r}; choose from marginals, random")
        if shots < 0:
            raise ValueError(f"shots must be at least 0 (0 = exact probabilities), got {shots}")
        self.shots = shots
        self.fit_evals = fit_evals
        self.bank_shots = positive("bank_shots", bank_shots)
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
        check_bits(bits, self.dim)
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
        theta = before
        if self.initial == "marginals" and not self.fitted:
            theta = self._angles_at_marginals(bits.double().mean(0).cpu().numpy().reshape(n_bases, -1))
        theta = self._optimizer(loss, theta, self.fit_evals, self.shots > 0, self._rng)
        repeats = _REPEATS if self.shots else 1
        losses_twice = loss(np.repeat([before, theta], repeats, axis=0)).reshape(2, repeats)
        loss_before, loss_after = losses_twice.mean(1).tolist()
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
        return compare(target_probabilities(bits, len(self.born.bases)), self._all_probabilities(), bits)

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


def _choice(name: str, value: str, table: dict[str, Any]) -> Any:
    if value not in table:
        raise ValueError(f"unknown {name} {value!r}; choose from {', '.join(table)}")
    return table[value]
