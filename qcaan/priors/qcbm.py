"""The quantum prior: a quantum circuit Born machine fitted to bits."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from qcaan import losses
from qcaan.bits import BitsLike, as_bits, target_probabilities
from qcaan.checks import one_of, whole
from qcaan.circuits.ansatz import AnsatzName, Basis, make_ansatz
from qcaan.circuits.born import BornMachine, mitigated
from qcaan.optimizers import OPTIMIZERS, OptimizerName, fewest_evaluations
from qcaan.priors.base import BankedPrior, FitReport, compare
from qcaan.priors.marginals import angles_at_marginals
from qcaan.priors.objective import BornObjective, gradient_evaluations
from qcaan.priors.schedule import Schedule
from qcaan.samplers.names import EXACT, EngineLike, MakeSampler, open_engine
from qcaan.training import reseed

FitLoss = Literal["kl", "nll", "mmd"]
Initial = Literal["marginals", "random"]

# number of shots of an evaluation if none is named
FIT_SHOTS = 2000

# number of evaluations from shots averaged for the losses before and after a fit
_REPEATS = 5


class QCBM(BankedPrior):
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
            returns, are corrected for readout errors. They are measured once, in the first fit
            after which `sampler` draws, by 2 circuits of `bank_shots` shots per basis.
        make_sampler: maker of named samplers; default a new one, without a journal.

    Attributes:
        rng: random state of the angles, the shots, their pairing and the optimiser.
        schedule: which engine fits and which draws in each epoch.

    Raises:
        ValueError: one of these is out of range; the message names the allowed values.
    """

    theta: Tensor
    fits: Tensor
    readout: Tensor
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
        shots: int = FIT_SHOTS,
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
        super().__init__(
            whole("n_qubits", n_qubits) * len(bases),
            dither,
            noise_dims,
            bank_shots=bank_shots,
            n_bases=len(bases),
        )
        self.optimizer = one_of("optimizer", optimizer, OPTIMIZERS)
        self._loss = losses.BIT_LOSSES[one_of("fit_loss", fit_loss, losses.BIT_LOSSES)]
        self.initial = one_of("initial", initial, get_args(Initial))
        self.shots = whole("shots", shots, 0)
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
        per_gradient = gradient_evaluations(self.schedule.early, shots)
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
        self.register_buffer("fits", torch.tensor(0))
        # zeros: not measured yet
        readout = torch.zeros(len(bases), n_qubits, 2, 2, dtype=torch.float64)
        self.register_buffer("readout", readout)

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
        calibrated = bool(self.readout.any())
        objective = BornObjective(born, targets, self._loss, self.shots, self._read)

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
        if self.mitigate_readout and self.drawer is self.born:
            self._measure_readout()
        calibrations = 2 if self.readout.any() and not calibrated else 0
        return FitReport(
            loss_before,
            loss_after,
            objective.n_evaluations,
            executions=(objective.n_evaluations + calibrations) * self.n_bases,
            shots=(objective.n_evaluations * self.shots + calibrations * self.bank_shots)
            * self.n_bases,
        )

    def _distances_after_fit(self, bits: Tensor) -> dict[str, Any]:
        # on a device, distances need a bank of shots, which a fit does not draw
        return self.distances(bits) if self.drawer.is_ideal else {}

    def distances(self, bits: BitsLike) -> dict[str, Any]:
        """Return `kl`, `kl_product` and `tvd` to bits [m, dim], see `FitReport`.

        They are exact on ideal engines, and elsewhere those of the bank's shots. If the bank is
        out of date, a new one is drawn, which may submit jobs that are paid for.
        """
        bits = as_bits(bits, self.dim, self.device)
        return compare(target_probabilities(bits, self.n_bases), self.all_probabilities(), bits)

    def distributions(self, bits: BitsLike) -> dict[str, np.ndarray]:
        """Return `bases`, `target` and `model`, distributions [n_bases, 2**n] of bits [m, dim].

        The model's are those of `probabilities`.
        """
        bits = as_bits(bits, self.dim, self.device)
        return {
            "bases": np.array(self.born.bases),
            "target": target_probabilities(bits, self.n_bases).cpu().numpy(),
            "model": self.all_probabilities().cpu().numpy(),
        }

    def measure(self, n: int) -> Tensor:
        """Measure n new shots of the circuit [n, dim] float32 in {0, 1}.

        They are one per basis, paired at random. On a device they are jobs that may be paid for.
        """
        return self.drawer.sample(self.theta, n).float()

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
        return self.all_probabilities()[self.born.bases.index(basis)].cpu().numpy()

    def all_probabilities(self) -> Tensor:
        """Return the distributions float64 [n_bases, 2**n_qubits] of `probabilities`."""
        if self.drawer.is_ideal:
            return self.drawer.probabilities(self.theta[None])[0]
        if not self.banked:
            self.draw_bank()
        return self.corrected(target_probabilities(self.bank, self.n_bases))

    def corrected(self, frequencies: Tensor) -> Tensor:
        """Correct frequencies [..., 2**n] of the bank's shots for readout errors, if asked to."""
        return self._read(self.drawer, frequencies)

    @property
    def drawer(self) -> BornMachine:
        """The Born machine that draws now."""
        return self.schedule.drawer(int(self.fits))

    def _read(self, born: BornMachine, frequencies: Tensor) -> Tensor:
        """Correct frequencies [..., 2**n] of `born` for its readout errors, if asked to."""
        if not self.mitigate_readout or born is not self.born:
            return frequencies
        self._measure_readout()
        return mitigated(frequencies, self.readout)

    def _measure_readout(self) -> None:
        """Measure the readout errors, unless they are known."""
        if not self.readout.any():
            self.readout.copy_(self.born.readout_errors(self.bank_shots))

    def resume_at(self, n_fits: int) -> None:
        self.fits.fill_(n_fits)

    def reseed(self, seed: int) -> None:
        """Reseed the generator that shots and pairings are drawn from."""
        reseed(self.rng, seed)

    def get_extra_state(self) -> dict[str, Any]:
        return {"rng": self.rng.bit_generator.state}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.rng.bit_generator.state = state["rng"]
