"""The quantum prior: a quantum circuit Born machine fitted to bits."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from qcaan import losses
from qcaan.bits import BitsLike, as_bits, product_of_marginals, target_probabilities
from qcaan.checks import one_of, whole
from qcaan.circuits.ansatz import AnsatzName, Basis, make_ansatz
from qcaan.circuits.born import BornMachine, mitigated, parameter_shift
from qcaan.optimizers import OPTIMIZERS, OptimizerName, fewest_evaluations
from qcaan.priors.base import BitPrior, FitReport, compare
from qcaan.priors.schedule import Schedule
from qcaan.samplers.names import EXACT, EngineLike, MakeSampler, open_engine

FitLoss = Literal["kl", "nll", "mmd"]
Initial = Literal["marginals", "random"]

# number of evaluations from shots that the loss before and after a fit is the mean of
_REPEATS = 5


class QCBM(BitPrior):
    """Quantum circuit Born machine: measured bits of a circuit whose angles are fitted.

    Benedetti et al., arXiv:1801.07686; as the prior of an associative adversarial network Rudolph
    et al., arXiv:2012.03924. With several measurement bases the same state is measured in each,
    which gives `len(bases) * n_qubits` bits. Shots of different bases are independent and paired
    at random, and the loss is the sum over the bases.

    Args:
        n_qubits: number of qubits, at least 1.
        n_layers: number of layers of the ansatz, counted as its paper counts them.
        ansatz: name of the ansatz, see `qcaan.make_ansatz`.
        bases: measurement bases, different ones of z, o, t.
        sampler: engine that draws: `exact` (our engine: gradients, shots on the device), a name of
            `qcaan.make_sampler`, a `BaseSamplerV2` or a Qiskit backend.
        optimizer: name of the optimiser of the angles.
        fit_loss: loss of the circuit's distribution against the target.
        shots: number of shots per basis and evaluation; 0 for exact probabilities by our engine
            or, for Aer's samplers and Qiskit's reference, by Aer.
        fit_evals: maximum number of evaluations in a fit: parameter sets whose distribution the
            optimiser asks for.
        bank_shots: number of shots per basis in the bank, from which `sample` draws with
            replacement.
        initial: start of the first fit: the target's `marginals` (the fitted product, so that the
            fit is about correlations) or `random` angles.
        dither: standard deviation of the noise that `embed` adds to the signs.
        noise_dims: number of Gaussian coordinates that `embed` appends.
        seed: seed of the angles, the shots and the optimiser.
        train_sampler: engine of the fits, if it is not `sampler`: train on a simulator, draw from
            a device.
        switch_after_epochs: number of fits after which banks are drawn by `sampler`. Before, they
            are drawn by `train_sampler` (default `exact`). The fits change too, unless
            `train_sampler` is given.
        mitigate_readout: whether the frequencies of a fit's shots, and those that `probabilities`
            returns, are corrected for readout errors, which are measured once.
        make_sampler: maker of named samplers; default a new one, without a journal.

    Attributes:
        rng: random state of the angles, the shots, their pairing and the optimiser.
        schedule: which engine fits and which draws in each epoch.

    Raises:
        ValueError: one of these is out of range; the message names the allowed values.
    """

    theta: Tensor
    bank: Tensor
    fits: Tensor
    readout: Tensor
    banked: Tensor
    schedule: Schedule

    def __init__(
        self,
        n_qubits: int = 8,
        n_layers: int = 4,
        *,
        ansatz: AnsatzName = "ion-trap",
        bases: tuple[Basis, ...] = ("z",),
        sampler: EngineLike = "aer",
        optimizer: OptimizerName = "cobyla",
        fit_loss: FitLoss = "kl",
        shots: int = 2000,
        fit_evals: int = 1000,
        bank_shots: int = 20_000,
        initial: Initial = "marginals",
        dither: float = 0.0,
        noise_dims: int = 0,
        seed: int | None = None,
        train_sampler: EngineLike | None = None,
        switch_after_epochs: int | None = None,
        mitigate_readout: bool = False,
        make_sampler: MakeSampler | None = None,
    ) -> None:
        super().__init__(whole("n_qubits", n_qubits) * len(bases), dither, noise_dims)
        self.n_bases = len(bases)
        self.optimizer = one_of("optimizer", optimizer, OPTIMIZERS)
        self._loss = losses.BIT_LOSSES[one_of("fit_loss", fit_loss, losses.BIT_LOSSES)]
        self.initial = one_of("initial", initial, get_args(Initial))
        self.shots = whole("shots", shots, 0)
        self.bank_shots = whole("bank_shots", bank_shots)
        # samplers and optimisers draw from it too, so its state is the prior's
        self.rng = np.random.default_rng(seed)
        self.schedule = self._make_schedule(
            lambda engine: BornMachine(
                make_ansatz(ansatz, n_qubits, n_layers),
                tuple(bases),
                open_engine(engine, self.rng, make_sampler),
                self.rng,
            ),
            sampler,
            train_sampler,
            switch_after_epochs,
        )
        self.born = self.schedule.late
        for born in self.schedule.fitters:
            born.engine.check_shots(shots)
        if mitigate_readout and self.born.is_ideal:
            raise ValueError(
                "`mitigate_readout` is for samplers with noise, "
                f"and {self.born.engine.name} has none"
            )
        self.mitigate_readout = mitigate_readout
        per_gradient = _gradient_evaluations(self.schedule.early, shots)
        fewest = fewest_evaluations(optimizer, self.born.n_params, per_gradient)
        self.fit_evals = whole("fit_evals", fit_evals)
        if fit_evals < fewest:
            raise ValueError(
                f"`fit_evals` must be at least {fewest} for {optimizer} on {self.born.n_params} "
                f"angles, got {fit_evals}"
            )
        if initial == "marginals":
            fair = torch.full((len(bases), n_qubits), 0.5, dtype=torch.float64)
            theta = angles_at_marginals(self.born, fair, self.rng)
        else:
            # Large angles: with small ones, uniform marginals are a critical point from which
            # parities are not found.
            theta = torch.from_numpy(self.rng.normal(0, 1.5, self.born.n_params))
        self.register_buffer("theta", theta)
        self.register_buffer("bank", torch.zeros(bank_shots, self.dim, dtype=torch.uint8))
        self.register_buffer("fits", torch.tensor(0))
        # zeros: not measured yet
        self.register_buffer("readout", torch.zeros(n_qubits, 2, 2, dtype=torch.float64))
        self.register_buffer("banked", torch.tensor(False))

    @staticmethod
    def _make_schedule(
        machine: Callable[[EngineLike], BornMachine],
        sampler: EngineLike,
        train_sampler: EngineLike | None,
        switch_after_epochs: int | None,
    ) -> Schedule:
        if switch_after_epochs is not None:
            whole("switch_after_epochs", switch_after_epochs)
        late = machine(sampler)
        first = train_sampler or (sampler if switch_after_epochs is None else EXACT)
        early = late if first is sampler else machine(first)
        fits_switch = switch_after_epochs is not None and train_sampler is None
        return Schedule(early, late, switch_after_epochs or 0, fits_switch)

    def fit(self, bits: BitsLike) -> FitReport:
        """Fit the angles to bits {0, 1} [m, n_bases * n_qubits], from where the last fit ended.

        New angles are kept if they are better than the old ones at new evaluations of both. The
        bank is then out of date: call `draw_bank`. On a device, a fit submits jobs that may be
        paid for.

        Warns:
            UserWarning: the loss is flat where the fit started, so the optimiser could not move.
        """
        return super().fit(bits)

    def _fit(self, bits: Tensor) -> FitReport:
        targets = target_probabilities(bits, self.n_bases)  # (n_bases, 2**n)
        born = self.schedule.fitter(int(self.fits))
        objective = _Objective(born, targets, self._loss, self.shots, self._read)

        before = theta = self.theta.clone()
        if self.initial == "marginals" and not self.fits:
            marginals = bits.double().mean(0).view(self.n_bases, -1)
            theta = angles_at_marginals(self.born, marginals, self.rng).to(theta)
        moved = OPTIMIZERS[self.optimizer](objective, theta, self.fit_evals, self.rng)
        if torch.equal(moved, theta) and (cause := objective.why_flat()):
            warnings.warn(f"{self.optimizer} left all angles as they were: {cause}", stacklevel=4)
        repeats = _REPEATS if self.shots else 1
        values = objective(torch.stack([before] * repeats + [moved] * repeats)).view(2, -1).mean(1)
        loss_before, loss_after = values.tolist()
        if loss_after < loss_before:
            self.theta.copy_(moved)
        else:
            loss_after = loss_before
        self.fits += 1
        self.banked.fill_(False)
        return FitReport(
            loss_before,
            loss_after,
            objective.n_evaluations,
            executions=objective.n_evaluations * self.n_bases,
            shots=objective.n_evaluations * self.shots * self.n_bases,
        )

    def _distances_after_fit(self, bits: Tensor) -> dict[str, Any]:
        # from a device only the next bank tells them: a fit draws none
        return self.distances(bits) if self._drawer.is_ideal else {}

    def distances(self, bits: BitsLike) -> dict[str, Any]:
        """Return `kl`, `kl_product` and `tvd` to bits [m, dim], see `FitReport`.

        They are exact on ideal engines, and elsewhere those of the bank's shots. If the bank is
        out of date, a new one is drawn, which may submit jobs that are paid for.
        """
        bits = as_bits(bits, self.dim, self.device)
        return compare(target_probabilities(bits, self.n_bases), self._all_probabilities(), bits)

    def distributions(self, bits: BitsLike) -> dict[str, np.ndarray]:
        """Return `bases`, `target` and `model`, distributions [n_bases, 2**n] of bits [m, dim].

        The model's are those of `probabilities`.
        """
        bits = as_bits(bits, self.dim, self.device)
        return {
            "bases": np.array(self.born.bases),
            "target": target_probabilities(bits, self.n_bases).cpu().numpy(),
            "model": self._all_probabilities().cpu().numpy(),
        }

    def sample(self, n: int) -> Tensor:
        """Draw bits [n, dim] float32 in {0, 1}, with replacement, from the bank of measured shots.

        If the bank is out of date, a new one is drawn, which may submit jobs that are paid for.
        """
        if not self.banked:
            self.draw_bank()
        return self.bank[torch.randint(len(self.bank), (n,), device=self.bank.device)].float()

    def measure(self, n: int) -> Tensor:
        """Measure n new shots of the circuit [n, dim] float32 in {0, 1}.

        They are one per basis, paired at random. On a device they are jobs that may be paid for.
        """
        return self._drawer.sample(self.theta, n).float()

    def draw_bank(self) -> None:
        """Measure a new bank of shots, from which `sample` draws until the next fit.

        On a device this submits jobs that may be paid for.
        """
        self.bank.copy_(self.measure(self.bank_shots))
        self.banked.fill_(True)

    def probabilities(self, basis: Basis = "z") -> np.ndarray:
        """Return the circuit's distribution float64 [2**n_qubits] in a basis.

        It is exact on ideal engines, and elsewhere the frequencies of the bank's shots. If the
        bank is out of date, a new one is drawn, which may submit jobs that are paid for.

        Raises:
            ValueError: the prior does not measure this basis.
        """
        if basis not in self.born.bases:
            raise ValueError(
                f"basis {basis!r} is not measured; choose from {', '.join(self.born.bases)}"
            )
        return self._all_probabilities()[self.born.bases.index(basis)].cpu().numpy()

    def _all_probabilities(self) -> Tensor:
        if self._drawer.is_ideal:
            return self._drawer.probabilities(self.theta[None])[0]
        if not self.banked:
            self.draw_bank()
        return self._read(self._drawer, target_probabilities(self.bank, self.n_bases))

    @property
    def _drawer(self) -> BornMachine:
        return self.schedule.drawer(int(self.fits))

    def _read(self, born: BornMachine, frequencies: Tensor) -> Tensor:
        """Correct frequencies [..., 2**n] of `born` for its readout errors, if asked to."""
        if not self.mitigate_readout or born is not self.born:
            return frequencies
        if not self.readout.any():
            self.readout.copy_(born.readout_errors(self.bank_shots))
        return mitigated(frequencies, self.readout)

    def resume_at(self, n_fits: int) -> None:
        self.fits.fill_(n_fits)

    def reseed(self, seed: int) -> None:
        """Reseed the generator that shots and pairings are drawn from."""
        self.rng.bit_generator.state = np.random.default_rng(seed).bit_generator.state

    def get_extra_state(self) -> dict[str, Any]:
        return {"rng": self.rng.bit_generator.state}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.rng.bit_generator.state = state["rng"]


class _Objective:
    """The loss of a Born machine, summed over the bases, as a function of its angles.

    It counts what it asks of the engine. On a device every call is a job that may be paid for.
    """

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
        self._born, self._targets, self._loss, self._shots = born, targets, loss, shots
        self._read = read
        self._lowest, self._highest = math.inf, -math.inf
        self._steepest: float | None = None  # among the gradients that were asked for

    def __call__(self, theta: Tensor) -> Tensor:
        with torch.no_grad():
            values = self._value(self._distribution(theta))
        self._lowest = min(self._lowest, float(values.min()))
        self._highest = max(self._highest, float(values.max()))
        return values

    def gradient(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return value [] and gradient [P] at angles [P].

        The exact engine uses autograd. Other engines measure parameter shifts of probabilities in
        one broadcast run, and autograd gives the slope of the loss in the probabilities.
        """
        if self.gradient_evaluations == 1:
            point = theta.detach().requires_grad_()
            value = self._value(self._distribution(point[None]))[0]
            (gradient,) = torch.autograd.grad(value, point)
        else:
            # (n_bases, 2**n), (P, n_bases, 2**n)
            probs, slopes = parameter_shift(self._distribution, theta.detach())
            probs = probs.detach().requires_grad_()
            value = self._value(probs[None])[0]
            (slope,) = torch.autograd.grad(value, probs)
            gradient = (slopes * slope).sum((1, 2))
        self._steepest = max(self._steepest or 0.0, float(gradient.abs().max()))
        return value.detach(), gradient

    def why_flat(self) -> str:
        """Return why an optimiser could not move, or an empty string if it could have."""
        if self._steepest == 0:
            return "the gradient of the loss is zero at the start; start from random angles"
        if self._lowest == self._highest:
            return "the loss is the same at all angles (does the sampler reuse its seed?)"
        return ""

    def _distribution(self, theta: Tensor) -> Tensor:
        self.n_evaluations += len(theta)
        if self._shots:
            return self._read(self._born, self._born.frequencies(theta, self._shots))
        return self._born.probabilities(theta)

    def _value(self, probs: Tensor) -> Tensor:  # [K, n_bases, 2**n] -> [K]
        return torch.stack([self._loss(t, probs[:, b]) for b, t in enumerate(self._targets)]).sum(0)


class Shuffled(BitPrior):
    """A control: a QCBM whose measured bits keep their marginals and lose their correlations.

    The measured bits of the wrapped QCBM are permuted column by column.

    Args:
        qcbm: the QCBM that is fitted and measured.
    """

    def __init__(self, qcbm: QCBM) -> None:
        super().__init__(qcbm.dim, qcbm.dither, qcbm.noise_dims)
        self.qcbm = qcbm
        self.n_bases, self.schedule = qcbm.n_bases, qcbm.schedule

    def _fit(self, bits: Tensor) -> FitReport:
        return self.qcbm.fit(bits)

    def _distances_after_fit(self, bits: Tensor) -> dict[str, Any]:
        drawer = self.qcbm.schedule.drawer(int(self.qcbm.fits))
        return self.distances(bits) if drawer.is_ideal else {}

    def distances(self, bits: BitsLike) -> dict[str, Any]:
        bits = as_bits(bits, self.dim, self.device)
        model = torch.from_numpy(self.distributions(bits)["model"]).to(self.device)
        return compare(target_probabilities(bits, self.n_bases), model, bits)

    def distributions(self, bits: BitsLike) -> dict[str, np.ndarray]:
        found = self.qcbm.distributions(bits)
        products = [product_of_marginals(probs) for probs in torch.from_numpy(found["model"])]
        return {**found, "model": torch.stack(products).numpy()}

    def sample(self, n: int) -> Tensor:
        if not self.qcbm.banked:
            self.draw_bank()
        return self.qcbm.sample(n)

    def measure(self, n: int) -> Tensor:
        return self._permuted(self.qcbm.measure(n))

    def draw_bank(self) -> None:
        self.qcbm.draw_bank()
        self.qcbm.bank.copy_(self._permuted(self.qcbm.bank))

    def _permuted(self, bits: Tensor) -> Tensor:
        orders = [torch.from_numpy(self.qcbm.rng.permutation(len(bits))) for _ in range(self.dim)]
        return bits.gather(0, torch.stack(orders, 1).to(bits.device))

    def resume_at(self, n_fits: int) -> None:
        self.qcbm.resume_at(n_fits)

    def reseed(self, seed: int) -> None:
        self.qcbm.reseed(seed)


def angles_at_marginals(born: BornMachine, marginals: Tensor, rng: np.random.Generator) -> Tensor:
    """Return angles [n_params] at which every qubit has the given P(1) in every basis, or nearly.

    With all entanglers at zero the circuit is n circuits of one qubit each, whose few angles are
    solved for from random starts. Angles that the marginals leave free stay random, since zeros
    would be a critical point of the loss. The state of a qubit obeys <Z>^2 + <Y>^2 <= 1, so
    marginals in z and o can be out of reach together.

    Args:
        born: the circuit.
        marginals: P(bit = 1) [n_bases, n_qubits].
        rng: random state of the starts.
    """
    from scipy.optimize import least_squares

    theta = torch.zeros(born.n_params, dtype=torch.float64)
    for qubit in range(born.n_qubits):
        places = born.one_qubit_angles(qubit)
        shifts = math.pi / 2 * np.eye(len(places))
        wanted = marginals[:, qubit].cpu().numpy()

        def reached(angles: np.ndarray) -> np.ndarray:  # [K, ...] -> [K, n_bases]
            return born.one_qubit_marginals(torch.from_numpy(angles)).numpy()

        def residuals(angles: np.ndarray, wanted: np.ndarray = wanted) -> np.ndarray:
            return reached(angles[None])[0] - wanted

        def jacobian(angles: np.ndarray, shifts: np.ndarray = shifts) -> np.ndarray:
            up, down = np.split(reached(np.concatenate([angles + shifts, angles - shifts])), 2)
            return (up - down).T / 2

        starts = [rng.uniform(-np.pi, np.pi, len(places)) for _ in range(4)]
        solutions = [least_squares(residuals, start, jacobian) for start in starts]
        best = min(solutions, key=lambda solution: solution.cost)
        theta[places] = torch.from_numpy(best.x)
    return theta


def _gradient_evaluations(born: BornMachine, shots: int) -> int:
    return 1 if born.is_differentiable and shots == 0 else 2 * born.n_params + 1
