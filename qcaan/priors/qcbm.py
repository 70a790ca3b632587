"""The quantum prior: a quantum circuit Born machine fitted to bits."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from qcaan.bits import BitsLike, as_bits, bits_to_index, index_to_bits, target_probabilities
from qcaan.checks import check_memory, one_of, whole
from qcaan.circuits.ansatz import AnsatzName, Basis, make_ansatz
from qcaan.circuits.born import BornMachine, mitigated
from qcaan.priors.bank import CircuitPrior
from qcaan.priors.fitting import EXACTLY, FitOptions, Fitting, OptimizerChoice
from qcaan.priors.labels import LabelCode, draw_labelled, pair_shots
from qcaan.priors.marginals import angles_at_marginals
from qcaan.priors.objective import BornObjective, FitLoss, Measurements
from qcaan.priors.report import FitReport, compare, lowers
from qcaan.priors.schedule import Schedule
from qcaan.priors.starts import EXACT_FIT, LAST, RANDOM, Point, Search, Target, random_angles
from qcaan.samplers.names import EXACT, EngineLike, MakeSampler, is_device, open_engine

Initial = Literal["marginals", "random"]


class QCBM(CircuitPrior):
    """Quantum circuit Born machine: measured bits of a circuit whose angles are fitted.

    Benedetti et al., arXiv:1801.07686; as the prior of an associative adversarial network Rudolph
    et al., arXiv:2012.03924. With several measurement bases the same state is measured in each,
    which gives `len(bases) * n_qubits` bits. Shots of different bases are independent and paired
    at random, and the loss is the sum over the bases.

    With labels, the circuit has as many more qubits as tell the labels apart, and learns the joint
    distribution of label and bits. The label qubits come first and are measured in z in every
    basis. Shots of different bases are paired at random among those of equal label, so that their
    bits are independent only given the label. Engines with exact probabilities draw from these,
    given that the string is that of a label. From shots, those without a label or a partner are
    left out.

    Args:
        n_qubits: number of qubits, at least 1, without those of the label.
        n_layers: number of layers of the ansatz, counted as its paper counts them.
        ansatz: name of the ansatz, see `qcaan.make_ansatz`.
        bases: measurement bases, different ones of z, o, t.
        sampler: engine that draws: `exact` (our engine: gradients, shots on the device), a name of
            `qcaan.make_sampler`, a `BaseSamplerV2` or a Qiskit backend.
        optimizer: name of the optimiser of the angles. auto: cobyla for exact probabilities, twin
            for a sampler with noise whose circuit our engine holds (20 qubits), else roto.
        fit_loss: loss of the circuit's distribution against the target. From shots, kl and nll are
            those of the circuit's distribution mixed with 20 % of the uniform one, and mmd is
            unbiased.
        shots: number of shots per basis and evaluation; 0 for exact probabilities by our engine
            or, for Aer's samplers and Qiskit's reference, by Aer. Default: 0 if the engine of the
            fits has them, else what the optimiser does best with (`qcaan.optimizers.SHOTS`).
        fit_evals: maximum number of evaluations in a fit: parameter sets whose distribution the
            optimiser asks for. Default: 300 of exact probabilities, or 6 for each angle of cobyla
            if that is more; from shots, as many as make 100,000 shots per basis.
        fit_shots: maximum number of shots in a fit, of all bases together. Default: no limit but
            `fit_evals`.
        device_steps: number of evaluations of a fit on a sampler with noise that corrects a fit by
            our exact engine. Default: fits on such a sampler use nothing else.
        bank_shots: number of shots per basis in the bank, from which `sample` draws with
            replacement.
        initial: start of the first fit: the target's `marginals` (the fitted product, so that the
            fit is about correlations) or `random` angles. The report's `starts` name all starts of
            a fit. With `ry-rx`, whose CX cannot be zero, the start is the product only if
            `n_layers` is at least the least power of two that is not below `n_qubits`.
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
        labels: labels that samples can be asked for; default none.

    Attributes:
        rng: random state of the angles, the shots, their pairing and the optimiser.
        schedule: which engine fits and which draws in each epoch.

    Raises:
        ValueError: one of these is out of range; the message names the allowed values.
    """

    theta: Tensor
    readout: Tensor
    schedule: Schedule[BornMachine]

    def __init__(
        self,
        n_qubits: int = 8,
        n_layers: int = 4,
        *,
        ansatz: AnsatzName = "ion-trap",
        bases: tuple[Basis, ...] = ("z",),
        sampler: EngineLike = "aer",
        optimizer: OptimizerChoice = "auto",
        fit_loss: FitLoss = "kl",
        shots: int | None = None,
        fit_evals: int | None = None,
        fit_shots: int | None = None,
        device_steps: int | None = None,
        bank_shots: int = 20_000,
        initial: Initial = "marginals",
        dither: float = 0.0,
        noise_dims: int = 0,
        seed: int | None = None,
        train_sampler: EngineLike | None = None,
        switch_after_epochs: int | None = None,
        mitigate_readout: bool = False,
        make_sampler: MakeSampler | None = None,
        labels: Sequence[int] = (),
    ) -> None:
        n_labels = LabelCode(labels).n_bits
        n_all = n_labels + whole("n_qubits", n_qubits)
        check_memory(n_all)  # before the bank is made
        super().__init__(
            n_labels + n_qubits * len(bases),
            dither,
            noise_dims,
            bank_shots=bank_shots,
            n_bases=len(bases),
            labels=labels,
        )
        options = FitOptions(
            optimizer=optimizer,
            fit_loss=fit_loss,
            shots=shots,
            fit_evals=fit_evals,
            fit_shots=fit_shots,
            device_steps=device_steps,
        )
        self.initial = one_of("initial", initial, get_args(Initial))
        # samplers and optimisers draw from it too, so its state is the prior's
        self.rng = np.random.default_rng(seed)
        self.schedule = self._make_schedule(
            lambda engine: BornMachine(
                make_ansatz(ansatz, n_all, n_layers),
                tuple(bases),
                open_engine(engine, self.rng, make_sampler),
                self.rng,
                n_labels,
            ),
            sampler,
            train_sampler,
            switch_after_epochs,
        )
        self.born = self.schedule.late
        self._fittings = {id(born): options.fitting(born) for born in self.schedule.fitters}
        self.fit_summaries = tuple(fitting.summary for fitting in self.fittings)
        if device_steps is not None and all(born.is_ideal for born in self.schedule.fitters):
            raise ValueError(
                "`device_steps` is for fits on samplers without exact probabilities, "
                f"and {self.schedule.early.engine.name} has them"
            )
        if mitigate_readout and self.born.is_ideal:
            raise ValueError(
                "`mitigate_readout` is for samplers with noise, "
                f"and {self.born.engine.name} has none"
            )
        self.mitigate_readout = mitigate_readout
        if initial == "marginals":
            _, theta = angles_at_marginals(self.born, None, self.rng)
        else:
            theta = random_angles(self.born.n_params, self.rng)
        self.register_buffer("theta", theta)
        self.register_buffer("fits", torch.tensor(0))
        # zeros: not measured yet
        readout = torch.zeros(len(bases), n_all, 2, 2, dtype=torch.float64)
        self.register_buffer("readout", readout)

    @staticmethod
    def _make_schedule(
        machine: Callable[[EngineLike], BornMachine],
        sampler: EngineLike,
        train_sampler: EngineLike | None,
        switch_after_epochs: int | None,
    ) -> Schedule[BornMachine]:
        if switch_after_epochs is not None:
            whole("switch_after_epochs", switch_after_epochs)
        late = machine(sampler)
        first = train_sampler or (sampler if switch_after_epochs is None else EXACT)
        early = late if first is sampler else machine(first)
        fits_switch = switch_after_epochs is not None and train_sampler is None
        return Schedule(early, late, switch_after_epochs or 0, fits_switch)

    def fit(self, bits: BitsLike) -> FitReport:
        """Fit the angles to bits {0, 1} [m, dim], from where the last fit ended.

        The bits of the label come first, then those of each basis.
        A fit starts anew if its last angles are worse than a new start. If its start is one that
        the optimiser cannot leave, it tries random angles, within the same budget. The report's
        `starts` name all of them. The best angles are kept; from shots, the new ones unless they
        are worse beyond the noise (see `qcaan.priors.starts.Search`). The bank is then out of date:
        call `draw_bank`. On a device, a fit submits jobs that may be paid for.

        Warns:
            UserWarning: the loss is flat where the fit started, so the optimiser could not move;
                or the target has only correlations of many bits, and no start led to them.
        """
        return super().fit(bits)

    @property
    def fittings(self) -> tuple[Fitting, ...]:
        """How the angles are fitted: before a change of engine, and after it."""
        return tuple(self._fittings.values())

    def _fit(self, bits: Tensor) -> FitReport:
        bits = self.by_basis(bits)
        targets = target_probabilities(bits, self.n_bases)  # (n_bases, 2**n)
        born = self.schedule.fitter(int(self.fits))
        fitting = self._fittings[id(born)]
        calibrated = bool(self.readout.any())

        def new_start() -> tuple[str, Tensor]:
            if self.initial == "random":
                return RANDOM, random_angles(born.n_params, self.rng).to(self.theta)
            name, theta = angles_at_marginals(self.born, bits, self.rng)
            return name, theta.to(self.theta)

        def searched(born: BornMachine, fitting: Fitting) -> tuple[Search, Point]:
            search = self._search(born, fitting, bits, targets)
            if self.fits:
                return search, search.run(LAST, self.theta.clone(), new_start)
            if self.initial == "random":
                return search, search.run(RANDOM, self.theta.clone(), None)
            return search, search.run(*new_start(), None)

        if fitting.corrects:
            simulated = BornMachine(born.ansatz, born.bases, EXACT, self.rng, born.z_qubits)
            _, start = searched(simulated, EXACTLY)
            search = self._search(born, fitting, bits, targets)
            best = search.run(EXACT_FIT, start.theta, None)
        else:
            search, best = searched(born, fitting)
        objective, target = search.objective, search.target
        first = search.points[0]
        flat = not best.below(first) and lowers(first.loss, target.least_loss)
        if flat and (cause := objective.why_flat()):
            warnings.warn(f"{fitting.optimizer} could not move the angles: {cause}", stacklevel=4)
        elif target.blind and target.holds(best):
            warnings.warn(
                "the target's correlations are of three or more bits, and no start of this fit "
                f"({', '.join(search.starts)}) led below the product of its marginals; exact "
                "probabilities, adam or more evaluations may",
                stacklevel=4,
            )
        self.theta.copy_(best.theta)
        self.fits += 1
        self.banked.fill_(False)
        if self.mitigate_readout and self.drawer is self.born:
            self._measure_readout()
        calibrations = 2 if self.readout.any() and not calibrated else 0
        return FitReport(
            first.loss,
            best.loss,
            objective.n_evaluations,
            executions=(objective.n_evaluations + calibrations) * self.n_bases,
            shots=(objective.n_evaluations * fitting.shots + calibrations * self.bank_shots)
            * self.n_bases,
            jobs=objective.n_jobs + (calibrations > 0),
            optimizer=fitting.optimizer,
            error_before=first.error,
            error_after=best.error,
            starts=tuple(search.starts),
        )

    def _search(self, born: BornMachine, fitting: Fitting, bits: Tensor, targets: Tensor) -> Search:
        measurements = Measurements(born, fitting.shots, fitting.evaluations)
        objective = BornObjective(measurements, targets, fitting.fit_loss, self._read, self.rng)
        target = Target(bits, targets, objective.loss)
        return Search(objective, fitting.optimizer, target, self.rng, fitting.evaluations)

    def _distances_after_fit(self, bits: Tensor) -> dict[str, Any]:
        # on a device, distances need a bank of shots, which a fit does not draw
        return self.distances(bits) if self.drawer.is_ideal else {}

    def distances(self, bits: BitsLike) -> dict[str, Any]:
        """Return `kl`, `kl_product` and `tvd` to bits [m, dim], see `FitReport`.

        They are exact on ideal engines, and elsewhere those of the bank's shots. If the bank is
        out of date, a new one is drawn, which may submit jobs that are paid for.
        """
        bits = self.by_basis(as_bits(bits, self.dim, self.device))
        return compare(target_probabilities(bits, self.n_bases), self.all_probabilities(), bits)

    def distributions(self, bits: BitsLike) -> dict[str, np.ndarray]:
        """Return `bases`, `target` and `model`, distributions [n_bases, 2**n] of bits [m, dim].

        The model's are those of `probabilities`.
        """
        bits = self.by_basis(as_bits(bits, self.dim, self.device))
        return {
            "bases": np.array(self.born.bases),
            "target": target_probabilities(bits, self.n_bases).cpu().numpy(),
            "model": self.all_probabilities().cpu().numpy(),
        }

    def by_basis(self, bits: Tensor) -> Tensor:
        """Return bits [m, dim] as those of the circuit in each basis [m, n_bases * n_qubits].

        The bits of the label, if there are any, are measured in each of them.
        """
        label, rest = bits.tensor_split([self.code.n_bits], 1)
        halves = rest.chunk(self.n_bases, 1)
        return torch.cat([part for half in halves for part in (label, half)], 1)

    def _measure(self, n: int) -> Tensor:
        return self._measure_kept(n)[0]

    def _measure_kept(self, n: int) -> tuple[Tensor, float]:
        """Measure n new shots of the circuit, one per basis, paired at random.

        With labels, engines with exact probabilities draw from these.
        """
        if not self.code.labels:
            return self.drawer.sample(self.theta, n).float(), 1.0
        if self.drawer.is_ideal:
            probs = self.all_probabilities()
            return self._bits_of(draw_labelled(probs, n, self.code, self.rng)), 1.0
        shots = self.drawer.shots(self.theta[None], n)[:, 0]  # (n_bases, n)
        index, kept = pair_shots(shots, self.code, self.rng)
        return self._bits_of(index), kept

    def _draw_label(self, n: int, place: int) -> Tensor:
        """Draw bits of one label, exactly if the engine has exact probabilities."""
        if not self.drawer.is_ideal:
            return super()._draw_label(n, place)
        return self._bits_of(draw_labelled(self.all_probabilities(), n, self.code, self.rng, place))

    def _bits_of(self, index: Tensor) -> Tensor:
        """Return the bits float32 [n, dim] of indices [n_bases, n] of equal label."""
        bits = index_to_bits(index, self.born.n_qubits).float()  # (n_bases, n, n_qubits)
        return torch.cat([bits[0, :, : self.code.n_bits], *bits[..., self.code.n_bits :]], 1)

    def label_shares(self) -> dict[int, float]:
        """Return the probability of each label: exact if the engine has probabilities."""
        if not (self.code.labels and self.drawer.is_ideal):
            return super().label_shares()
        shares = self._by_label(self.all_probabilities())[0, : len(self.code.labels)]
        return dict(zip(self.code.labels, (shares / shares.sum()).tolist(), strict=True))

    def _by_label(self, probs: Tensor) -> Tensor:
        """Return the probabilities [n_bases, 2**label bits] of the label's bits."""
        return probs.unflatten(1, (-1, 1 << self.code.n_bits)).sum(1)

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

    def log_prob(self, bits: BitsLike) -> Tensor:
        """Return the log-probabilities float64 [m] of bits [m, dim], in nats; -inf for 0.

        Those of several bases add up, since their shots are independent, given the label if there
        are labels. The probabilities are those of `probabilities`, given that there is a label.
        """
        parts = self.by_basis(as_bits(bits, self.dim, self.device)).chunk(self.n_bases, 1)
        index = torch.stack([bits_to_index(part) for part in parts])  # (n_bases, m)
        probs = self.all_probabilities()
        found = probs.gather(1, index).log().sum(0)
        if self.code.labels:
            places, by_label = self.code.places(index[0]), self._by_label(probs)
            labelled = by_label[0, : len(self.code.labels)].sum()
            given = found - by_label[1:, places].log().sum(0) - labelled.log()
            possible = (places < len(self.code.labels)) & found.isfinite()
            found = torch.where(possible, given, -torch.inf)
        return found

    def all_probabilities(self) -> Tensor:
        """Return the distributions float64 [n_bases, 2**n_qubits] of `probabilities`."""
        if self.drawer.is_ideal:
            return self.drawer.probabilities(self.theta[None])[0]
        if not self.banked:
            self.draw_bank()
        return self.corrected(target_probabilities(self.by_basis(self.bank), self.n_bases))

    def corrected(self, frequencies: Tensor) -> Tensor:
        """Correct frequencies [..., 2**n] of the bank's shots for readout errors, if asked to."""
        return self._read(self.drawer, frequencies)

    @property
    def drawer(self) -> BornMachine:
        """The Born machine that draws now."""
        return self.schedule.drawer(int(self.fits))

    @property
    def is_drawn_on_device(self) -> bool:
        return is_device(self.drawer.engine.name)

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
