"""The quantum prior: a quantum circuit Born machine fitted to bits."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy.optimize import least_squares
from torch import Tensor

from qcaan import losses
from qcaan.bits import shuffled, target_probabilities
from qcaan.checks import positive
from qcaan.circuits.ansatz import make_ansatz
from qcaan.circuits.born import EXACT, BornMachine, SamplerLike, mitigated, parameter_shift
from qcaan.optimizers import OPTIMIZERS, fewest_evaluations
from qcaan.priors.base import BitPrior, FitReport, check_bits, compare

_REPEATS = 5  # evaluations from shots that the loss before and after a fit is the mean of


class QCBM(BitPrior):
    """Quantum circuit Born machine: bits measured from a parametrised circuit, its angles fitted to a target.

    Benedetti et al., arXiv:1801.07686; as the prior of an associative adversarial network Rudolph et al.,
    arXiv:2012.03924. With several measurement bases the same state is measured in each, which gives
    `len(bases) * n_qubits` bits; shots of different bases are independent and paired at random, and the loss is the sum
    over the bases.

    Args:
        n_qubits, n_layers, ansatz: the circuit, see `qcaan.circuits.ansatz`.
        bases: measurement bases, different ones of z, o, t.
        sampler: `exact` (our engine: gradients, shots on the device), a name of `qcaan.samplers.names.SAMPLERS`, any
            `BaseSamplerV2`, or what makes one of a random state.
        train_sampler: what fits run on, where that is not `sampler`: train on a simulator, draw from a device.
        switch_at: fits after which banks are drawn by `sampler`, and by `train_sampler` (default `exact`) before; the
            fits follow then, unless `train_sampler` is given.
        mitigate_readout: correct the frequencies of a fit's shots, and those that `probabilities` gives, for readout
            errors, which are measured once.
        optimizer: one of `qcaan.optimizers.OPTIMIZERS`.
        loss: `kl`, `nll` or `mmd`, of the target against the circuit's distribution.
        shots: per basis and evaluation; 0 for exact probabilities by our engine or, for Aer's samplers and Qiskit's
            reference, by Aer.
        fit_evals: the most evaluations in one fit: parameter sets whose distribution the optimiser asks for.
        bank_shots: shots per basis drawn after each fit, from which `sample` draws with replacement.
        initial: at the first fit, start from the target's `marginals` (the fitted product, so that the fit is about
            correlations) or from `random` angles.
        dither: standard deviation of the noise that `embed` adds to the signs.
        noise_dims: Gaussian coordinates that `embed` appends.
        seed: of the angles, the shots and the optimiser.

    Raises:
        ValueError: any of these out of range, with the allowed values.
    """

    theta: Tensor
    bank: Tensor
    fits: Tensor
    readout: Tensor
    banked: Tensor

    def __init__(
        self,
        n_qubits: int = 8,
        n_layers: int = 4,
        ansatz: str = "ion-trap",
        bases: tuple[str, ...] = ("z",),
        sampler: SamplerLike = "aer",
        optimizer: str = "cobyla",
        loss: str = "kl",
        shots: int = 2000,
        fit_evals: int = 1000,
        bank_shots: int = 20_000,
        initial: str = "marginals",
        dither: float = 0.0,
        noise_dims: int = 0,
        seed: int | None = None,
        train_sampler: SamplerLike | None = None,
        switch_at: int | None = None,
        mitigate_readout: bool = False,
    ) -> None:
        super().__init__(positive("n_qubits", n_qubits) * len(bases), dither, noise_dims)
        self.optimizer = optimizer
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
        self._rng = np.random.default_rng(
            seed
        )  # samplers and optimisers draw from it too, so its state is the prior's
        circuit = make_ansatz(ansatz, n_qubits, n_layers)
        self.born = BornMachine(circuit, tuple(bases), sampler, self._rng)
        first = train_sampler or (sampler if switch_at is None else EXACT)
        self._trainer = (
            self.born if first is sampler else BornMachine(circuit, tuple(bases), first, self._rng)
        )
        self._follows = switch_at is not None and train_sampler is None
        self._switch_at = switch_at or 0
        for born in (self._trainer, self.born) if self._follows else (self._trainer,):
            if shots == 0 and not born.ideal:
                raise ValueError(
                    "shots 0 asks for exact probabilities, which this sampler does not have; name a number"
                )
        if mitigate_readout and self.born.ideal:
            raise ValueError("mitigate_readout is for noisy samplers; this one is ideal")
        self.mitigate_readout = mitigate_readout
        fewest = fewest_evaluations(
            optimizer, self.born.n_params, _gradient_evaluations(self._trainer, shots)
        )
        if fit_evals < fewest:
            raise ValueError(
                f"fit_evals must be at least {fewest} for {optimizer} on {self.born.n_params} angles, got {fit_evals}"
            )
        if initial == "marginals":
            theta = self._angles_at_marginals(
                torch.full((len(bases), n_qubits), 0.5, dtype=torch.float64)
            )
        else:  # large angles: from small ones uniform marginals are a critical point that parities are not found from
            theta = torch.from_numpy(self._rng.normal(0, 1.5, self.born.n_params))
        self.register_buffer("theta", theta)
        self.register_buffer("bank", torch.zeros(bank_shots, self.dim, dtype=torch.uint8))
        self.register_buffer("fits", torch.tensor(0))
        self.register_buffer(
            "readout", torch.zeros(n_qubits, 2, 2, dtype=torch.float64)
        )  # not measured yet
        self.register_buffer("banked", torch.tensor(False))

    def fit(self, bits: Tensor) -> FitReport:
        """Fit the angles to bits {0, 1} [m, n_bases * n_qubits] from where the last fit ended, and draw a new bank.

        Angles that are no better than those before, at fresh evaluations of both, are not taken.

        Warns:
            UserWarning: the loss is flat where the fit started, so that the optimiser could not move.
        """
        check_bits(bits, self.dim)
        start = time.perf_counter()
        n_bases = len(self.born.bases)
        targets = target_probabilities(bits.to(self.theta.device), n_bases)  # (n_bases, 2**n)
        born = self.born if self._follows and self.fits >= self._switch_at else self._trainer
        objective = _Objective(born, targets, self._loss, self.shots, self._read)

        before = theta = self.theta.clone()
        if self.initial == "marginals" and not self.fits:
            theta = self._angles_at_marginals(bits.double().mean(0).view(n_bases, -1)).to(theta)
        moved = self._optimizer(objective, theta, self.fit_evals, self._rng)
        if torch.equal(moved, theta) and (cause := objective.why_flat()):
            warnings.warn(f"{self.optimizer} left all angles as they were: {cause}", stacklevel=2)
        repeats = _REPEATS if self.shots else 1
        values = objective(torch.stack([before] * repeats + [moved] * repeats)).view(2, -1).mean(1)
        loss_before, loss_after = values.tolist()
        if loss_after < loss_before:
            self.theta.copy_(moved)
        else:
            loss_after = loss_before
        self.fits += 1
        self.draw_bank()
        report = FitReport(
            loss_before,
            loss_after,
            objective.n_evaluations,
            executions=(objective.n_evaluations + 1) * n_bases,
            shots=(objective.n_evaluations * self.shots + self.bank_shots) * n_bases,
            seconds=time.perf_counter() - start,
        )
        return replace(report, **self.distances(bits))

    def distances(self, bits: Tensor) -> dict[str, Any]:
        bits = bits.to(self.theta.device)
        return compare(
            target_probabilities(bits, len(self.born.bases)), self._all_probabilities(), bits
        )

    def sample(self, n: int) -> Tensor:
        """Bits [n, dim] float32 in {0, 1}, drawn with replacement from the bank of measured shots."""
        if not self.banked:
            self.draw_bank()
        return self.bank[torch.randint(len(self.bank), (n,), device=self.bank.device)].float()

    def measure(self, n: int) -> Tensor:
        """n fresh shots of the circuit [n, dim] float32 in {0, 1}, one per basis, paired at random."""
        return self._drawer.sample(self.theta, n).float()

    def draw_bank(self) -> None:
        """Measure a new bank of shots, from which `sample` draws until the next fit."""
        self.bank.copy_(self.measure(self.bank_shots))
        self.banked.fill_(True)

    def probabilities(self, basis: str = "z") -> np.ndarray:
        """The circuit's distribution [2**n_qubits] in `basis`, float64, qubit 0 the lowest bit of the index.

        Exact where the sampler is ideal, otherwise the frequencies of the bank's shots, with no shots of their own.

        Raises:
            ValueError: a basis that this prior does not measure.
        """
        if basis not in self.born.bases:
            raise ValueError(
                f"basis {basis!r} is not measured; choose from {', '.join(self.born.bases)}"
            )
        return self._all_probabilities()[self.born.bases.index(basis)].cpu().numpy()

    def _all_probabilities(self) -> Tensor:
        if self._drawer.ideal:
            return self._drawer.probabilities(self.theta[None])[0]
        if not self.banked:
            self.draw_bank()
        return self._read(self._drawer, target_probabilities(self.bank, len(self.born.bases)))

    @property
    def _drawer(self) -> BornMachine:
        """What banks are drawn by."""
        return self.born if self.fits >= self._switch_at else self._trainer

    def _read(self, born: BornMachine, frequencies: Tensor) -> Tensor:
        """Frequencies [..., 2**n] of shots of `born`, corrected for its readout errors if that is asked for."""
        if not self.mitigate_readout or born is not self.born:
            return frequencies
        if not self.readout.any():
            self.readout.copy_(born.readout_errors(self.bank_shots))
        return mitigated(frequencies, self.readout)

    def _angles_at_marginals(self, marginals: Tensor) -> Tensor:
        """Angles at which every qubit has its P(1) of `marginals` [n_bases, n] in every basis, or the nearest it allows.

        With all entanglers at zero the circuit is n circuits of one qubit each, whose few angles are solved for from
        random ones: what the marginals leave free stays random, since zeros there would be a dead point of the gradient.
        A qubit's state meets <Z>^2 + <Y>^2 <= 1, so marginals in z and o can be out of reach together.
        """
        theta = torch.zeros(self.born.n_params, dtype=torch.float64)
        for qubit in range(self.born.n_qubits):
            places = self.born.one_qubit_angles(qubit)
            shifts = math.pi / 2 * np.eye(len(places))

            def reached(angles: np.ndarray) -> np.ndarray:  # [K, ...] -> [K, n_bases]
                return self.born.one_qubit_marginals(torch.from_numpy(angles)).numpy()

            def residuals(angles: np.ndarray, qubit: int = qubit) -> np.ndarray:
                return reached(angles[None])[0] - marginals[:, qubit].cpu().numpy()

            def jacobian(angles: np.ndarray, shifts: np.ndarray = shifts) -> np.ndarray:
                up, down = np.split(reached(np.concatenate([angles + shifts, angles - shifts])), 2)
                return (up - down).T / 2

            starts = [self._rng.uniform(-np.pi, np.pi, len(places)) for _ in range(4)]
            solutions = [least_squares(residuals, s, jacobian) for s in starts]
            theta[places] = torch.from_numpy(min(solutions, key=lambda solution: solution.cost).x)
        return theta

    def reseed(self, seed: int) -> None:
        """Start anew the generator that shots and pairings are drawn from."""
        self._rng.bit_generator.state = np.random.default_rng(seed).bit_generator.state

    def get_extra_state(self) -> dict[str, Any]:
        return {"rng": self._rng.bit_generator.state}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self._rng.bit_generator.state = state["rng"]


class Shuffled(QCBM):
    """A QCBM whose measured bits are permuted column by column: its marginals without its correlations, a control."""

    def measure(self, n: int) -> Tensor:
        bits = super().measure(n)
        order = torch.stack(
            [torch.from_numpy(self._rng.permutation(n)) for _ in range(self.dim)], 1
        )
        return bits.gather(0, order.to(bits.device))

    def _all_probabilities(self) -> Tensor:
        return torch.stack([shuffled(probs) for probs in super()._all_probabilities()])


class _Objective:
    """A QCBM's loss, summed over the bases, as a function of its angles; counts what it asks for."""

    def __init__(
        self,
        born: BornMachine,
        targets: Tensor,
        loss: Callable[[Tensor, Tensor], Tensor],
        shots: int,
        read: Callable[[BornMachine, Tensor], Tensor],
    ) -> None:
        self.noisy = shots > 0
        self.gradient_evaluations = _gradient_evaluations(born, shots)
        self.n_evaluations = 0
        self._born, self._targets, self._loss, self._shots, self._read = (
            born,
            targets,
            loss,
            shots,
            read,
        )
        self._lowest, self._highest = math.inf, -math.inf
        self._steepest: float | None = None  # of the gradients asked for

    def __call__(self, theta: Tensor) -> Tensor:
        with torch.no_grad():
            values = self._value(self._distribution(theta))
        self._lowest, self._highest = (
            min(self._lowest, float(values.min())),
            max(self._highest, float(values.max())),
        )
        return values

    def gradient(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """By autograd through the exact engine; elsewhere by parameter shifts, in one broadcast run.

        They are of probabilities; the loss's own slope comes by autograd.
        """
        if self.gradient_evaluations == 1:
            point = theta.detach().requires_grad_()
            value = self._value(self._distribution(point[None]))[0]
            (gradient,) = torch.autograd.grad(value, point)
        else:
            probs, slopes = parameter_shift(
                self._distribution, theta.detach()
            )  # (n_bases, 2**n), (P, n_bases, 2**n)
            probs = probs.detach().requires_grad_()
            value = self._value(probs[None])[0]
            (slope,) = torch.autograd.grad(value, probs)
            gradient = (slopes * slope).sum((1, 2))
        self._steepest = max(self._steepest or 0.0, float(gradient.abs().max()))
        return value.detach(), gradient

    def why_flat(self) -> str:
        """Why an optimiser cannot move here; empty where it could have."""
        if self._steepest == 0:
            return "the gradient of the loss is zero at the start; start from random angles"
        if self._lowest == self._highest:
            return "the loss is the same at all angles asked for (does the sampler reuse its seed?)"
        return ""

    def _distribution(self, theta: Tensor) -> Tensor:
        self.n_evaluations += len(theta)
        if self._shots:
            return self._read(self._born, self._born.frequencies(theta, self._shots))
        return self._born.probabilities(theta)

    def _value(self, probs: Tensor) -> Tensor:  # [K, n_bases, 2**n] -> [K]
        return torch.stack([self._loss(t, probs[:, b]) for b, t in enumerate(self._targets)]).sum(0)


def _gradient_evaluations(born: BornMachine, shots: int) -> int:
    return 1 if born.differentiable and shots == 0 else 2 * born.n_params + 1


def _choice(name: str, value: str, table: dict[str, Any]) -> Any:
    if value not in table:
        raise ValueError(f"unknown {name} {value!r}; choose from {', '.join(table)}")
    return table[value]
