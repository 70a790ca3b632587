"""How a circuit is fitted: by which optimiser, to which loss, from how many shots."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import Literal, get_args

from qcaan.checks import one_of, whole
from qcaan.circuits.born import BornMachine
from qcaan.optimizers import OPTIMIZERS, SHOTS, OptimizerName, fewest_evaluations
from qcaan.priors.objective import FitLoss, Measurements

OptimizerChoice = Literal["auto", OptimizerName]

# if nothing is named: evaluations of a fit to exact probabilities, and fewest of cobyla for each
# angle, whose first models take one; shots per basis of a fit from shots
FIT_EVALS, EVALS_PER_ANGLE, FIT_SHOTS = 300, 6, 100_000
# qubits of the widest circuit whose slopes our engine computes in a moment
TWIN_QUBITS = 20
# optimisers that learn from shots as well as any that we know
_LEARN_FROM_SHOTS = ("roto", "twin")


@dataclass(frozen=True)
class Fitting:
    """How the angles of one Born machine are fitted.

    Attributes:
        optimizer: name of the optimiser.
        fit_loss: name of the loss.
        shots: number of shots per basis in an evaluation; 0 for exact probabilities.
        evaluations: maximum number of evaluations in a fit.
        corrects: whether it corrects a fit by our exact engine, `EXACTLY`.
        summary: a clause for the console that says which and why.
    """

    optimizer: OptimizerName
    fit_loss: FitLoss
    shots: int
    evaluations: int
    corrects: bool = False
    summary: str = field(default="", compare=False)


# the fit by our exact engine that one on a device corrects
EXACTLY = Fitting("adam", "kl", 0, FIT_EVALS)


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """Options of the fits of a circuit; what is None is filled in by `fitting`."""

    optimizer: OptimizerChoice = "auto"
    """Optimiser of the angles. auto: cobyla for exact probabilities; twin for a sampler with noise
    or a device, if our engine holds the circuit (20 qubits); else roto."""
    fit_loss: FitLoss = "kl"
    """Loss of the fits, summed over the bases. From shots, kl and nll are those of the circuit's
    distribution mixed with 20 % of the uniform one, and mmd is unbiased."""
    shots: int | None = None
    """Number of shots per basis in one evaluation of the loss; 0 for exact probabilities. Default:
    0 if the engine of the fits has them, else 1,000 (adam: 25, cobyla: 100)."""
    fit_evals: int | None = None
    """Maximum number of evaluations in an epoch's fit: parameter sets whose distribution is
    computed or measured. Default: 300 of exact probabilities, or 6 for each angle of cobyla if that
    is more; from shots, as many as make 100,000 shots per basis; 200 steps of iqp."""
    fit_shots: int | None = None
    """Maximum number of shots in an epoch's fit, of all bases together. Default: no limit but
    --fit-evals."""
    device_steps: int | None = None
    """Number of evaluations in an epoch's fit on a device, after a fit by our exact engine, which
    they correct. Default: no exact fit."""

    def __post_init__(self) -> None:
        one_of("optimizer", self.optimizer, ("auto", *OPTIMIZERS))
        one_of("fit_loss", self.fit_loss, get_args(FitLoss))
        if self.shots is not None:
            whole("shots", self.shots, 0)
        for name in ("fit_evals", "fit_shots", "device_steps"):
            if getattr(self, name) is not None:
                whole(name, getattr(self, name))
        if self.fit_shots is not None and self.shots == 0:
            raise ValueError("`fit_shots` limits shots, and `shots` 0 asks for none; leave one out")

    def fitting(self, born: BornMachine) -> Fitting:
        """Return how a Born machine is fitted, with everything filled in.

        Raises:
            ValueError: its engine has no exact probabilities and 0 shots are asked; an optimiser
                needs more evaluations than the budget has; or mmd is asked from single shots.
        """
        name, n_qubits = born.engine.name, born.n_qubits
        exact = born.is_ideal and not self.shots and self.fit_shots is None
        drawn = "shots are asked for" if born.is_ideal else "it has no exact probabilities"
        optimizer: OptimizerName
        if self.optimizer != "auto":
            optimizer, why = self.optimizer, "as asked"
        elif exact:
            optimizer, why = "cobyla", "it has exact probabilities"
        elif not born.is_ideal and n_qubits <= TWIN_QUBITS:
            optimizer, why = "twin", f"{drawn}, and our engine holds its {n_qubits} qubits"
        else:
            optimizer, why = "roto", drawn
        if self.shots is None:
            shots = 0 if exact else SHOTS[optimizer]
        else:
            shots = self.shots
            born.engine.check_shots(shots)
        learns = optimizer in _LEARN_FROM_SHOTS
        if optimizer == "twin":
            _check_exact_engine("optimizer", n_qubits)
        if self.fit_loss == "mmd" and shots == 1:
            raise ValueError("`shots` must be at least 2 for `fit_loss` mmd, got 1")
        evaluations = self._evaluations(optimizer, born, shots)
        corrects = self.device_steps is not None and not born.is_ideal
        if self.device_steps is not None and corrects:
            _check_exact_engine("device_steps", n_qubits)
            evaluations = min(evaluations, self.device_steps)
        self._check_budget(born, optimizer, shots, evaluations)
        what = f"{evaluations:,} evaluations"
        what += f" of {shots:,} shots per basis" if shots else " of exact probabilities"
        text = f"{optimizer} on {name} ({why}), {self.fit_loss}, {what}"
        if shots and not learns:
            better = "roto" if born.is_ideal or n_qubits > TWIN_QUBITS else "twin"
            text += f"; from shots, --optimizer {better} learns more"
        if corrects:
            text += ", after a fit by our exact engine"
        return Fitting(optimizer, self.fit_loss, shots, evaluations, corrects, text)

    def _evaluations(self, optimizer: OptimizerName, born: BornMachine, shots: int) -> int:
        if not shots:
            per_angle = EVALS_PER_ANGLE if optimizer == "cobyla" else 0
            return self.fit_evals or max(FIT_EVALS, per_angle * born.n_params)
        if self.fit_shots is None:
            return self.fit_evals or max(1, FIT_SHOTS // shots)
        affordable = self.fit_shots // (shots * len(born.bases))
        return min(affordable, self.fit_evals or affordable)

    def _check_budget(
        self, born: BornMachine, optimizer: OptimizerName, shots: int, evaluations: int
    ) -> None:
        def enough(evaluations: int) -> bool:
            measurements = Measurements(born, shots, evaluations)
            fewest = fewest_evaluations(
                optimizer, born.n_params, measurements.cost, noisy=shots > 0
            )
            return evaluations - (2 * measurements.of_a_loss if shots else 0) >= fewest

        if enough(evaluations):
            return
        fewest = next(filter(enough, count(evaluations)))
        detail = f"for {optimizer} on {born.n_params} angles"
        if self.fit_shots is not None and (self.fit_evals or fewest) >= fewest:
            n_bases = len(born.bases)
            raise ValueError(
                f"`fit_shots` must be at least {fewest * shots * n_bases:,} {detail}, with "
                f"{shots:,} shots per basis in an evaluation, got {self.fit_shots:,}"
            )
        raise ValueError(f"`fit_evals` must be at least {fewest} {detail}, got {evaluations}")


def _check_exact_engine(name: str, n_qubits: int) -> None:
    """Check that our exact engine holds circuits of so many qubits.

    Raises:
        ValueError: it does not; the message names the option that asks for it.
    """
    if n_qubits > TWIN_QUBITS:
        raise ValueError(
            f"`{name}` asks for a simulation of the circuit, of at most {TWIN_QUBITS} qubits, got "
            f"{n_qubits}; roto needs none"
        )
