"""The generator of the quantum GAN over a grid: a circuit whose measured bitstrings are its points."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import ArrayLike
from qiskit import QuantumCircuit
from qiskit.circuit.library import StatePreparation
from qiskit.exceptions import QiskitError
from qiskit.primitives import BaseSamplerV2
from qiskit.providers import BackendV2
from scipy.stats import multivariate_normal
from torch import Tensor

from qcaan.checks import reals, whole
from qcaan.circuits.ansatz import Ansatz
from qcaan.circuits.born import EXACT, BornMachine
from qcaan.circuits.qiskit_circuits import (
    CircuitMachine,
    as_sampler,
    distribution,
    make_machine,
    ordered_parameters,
    probabilities_and_slopes,
)
from qcaan.gans.distribution.grid import Floats, Grid
from qcaan.optimizers import DecayingAdam, load_optimizer

GRADIENTS = ("autograd", "parameter-shift", "spsa")
INITIAL_STATES = ("uniform", "normal", "random")
_SPSA_WIDTH = 0.2  # radians

MakeOptimizer = Callable[[list[Tensor]], torch.optim.Optimizer]
Learn = Callable[[Tensor], None]
Machine = BornMachine | CircuitMachine


@runtime_checkable
class Minimizer(Protocol):
    """An optimiser as Qiskit has them, that minimises a function within a budget of its own."""

    def minimize(
        self,
        fun: Callable[[Floats], float],
        x0: Floats,
        jac: Callable[[Floats], Floats] | None = None,
    ) -> Any:
        """A result whose `x` [P] is the best point found from x0 [P]."""


class Generator:
    """A parametrised circuit whose measured bitstrings are the points of a grid.

    Args:
        grid: its n qubits are those of the circuit.
        circuit: an `Ansatz`, for our exact engine, or a Qiskit circuit without measurements. One that is no gate, for its
            resets, barriers or classical bits, is kept as the RX, RY, RZ, CX, CZ and H that it comes to.
        init_params: initial angles [P] in radians, those of a Qiskit circuit in the order of their names, with numbers by
            value; default uniform in ±0.1.
        optimizer: makes a torch optimiser of [theta], as `functools.partial(torch.optim.Adam, lr=0.01)`, or minimises as
            Qiskit's do; default `DecayingAdam`.
        gradient: `autograd` (an `Ansatz` on the exact engine), `parameter-shift`, `spsa` (two evaluations; Spall 1992), or
            a function of theta [P] that gives the gradient of the loss [P]; default the first of them that is possible.
        rng: random state of the initial angles and of SPSA; a `QGAN` puts its own in its place.

    Raises:
        ValueError: a circuit of another number of qubits, without parameters, or whose parameters cannot be shifted; angles
            of another number; an unknown gradient; what makes no optimiser.
    """

    def __init__(
        self,
        grid: Grid,
        circuit: Ansatz | QuantumCircuit,
        init_params: ArrayLike | None = None,
        optimizer: MakeOptimizer | Minimizer | None = None,
        gradient: str | Callable[[Floats], ArrayLike] | None = None,
        rng: np.random.Generator | None = None,
    ) -> None:
        _check_circuit(circuit, grid.n_qubits)
        if gradient is not None and not callable(gradient) and gradient not in GRADIENTS:
            raise ValueError(
                f"unknown gradient {gradient!r}; choose from {', '.join(GRADIENTS)}, or give a function"
            )
        self.rng = rng or np.random.default_rng()
        if isinstance(circuit, QuantumCircuit):
            machine = CircuitMachine(circuit, EXACT, self.rng)  # refuses what cannot be shifted
            circuit = circuit if _is_gate(circuit) else machine.gates
        self.grid, self.ansatz = grid, circuit
        self.n_params = (
            circuit.n_params if isinstance(circuit, Ansatz) else len(ordered_parameters(circuit))
        )
        start = self.rng.uniform(-0.1, 0.1, self.n_params) if init_params is None else init_params
        self.theta = self._angles(start)
        self._gradient = gradient
        self.optimizer = optimizer
        self._machine: tuple[str | BaseSamplerV2, np.random.Generator, Machine] | None = None

    @property
    def optimizer(self) -> torch.optim.Optimizer | Minimizer:
        """What moves the angles; set to a maker of torch optimisers, a `Minimizer`, or None for the default."""
        return self._optimizer

    @optimizer.setter
    def optimizer(self, optimizer: MakeOptimizer | Minimizer | None) -> None:
        if not (optimizer is None or callable(optimizer) or isinstance(optimizer, Minimizer)):
            raise ValueError(
                f"the optimizer must make a torch optimiser or have `minimize`, got {type(optimizer).__name__}"
            )
        made = (
            optimizer
            if isinstance(optimizer, Minimizer)
            else (optimizer or DecayingAdam)([self.theta])
        )
        if not isinstance(made, torch.optim.Optimizer | Minimizer):
            raise ValueError(
                f"the optimizer must make a torch optimiser, got one that makes {type(made).__name__}"
            )
        self._optimizer = made

    @property
    def parameter_values(self) -> Floats:
        """The angles [P] in radians."""
        return self.theta.numpy().copy()

    @parameter_values.setter
    def parameter_values(self, values: ArrayLike) -> None:
        self.theta.copy_(self._angles(values))

    def circuit(self, params: ArrayLike | None = None) -> QuantumCircuit:
        """The circuit at the trained angles, or at `params` [P]: it loads the distribution, and nothing is measured."""
        theta = self.parameter_values if params is None else self._angles(params).numpy()
        circuit = self.ansatz.to_circuit() if isinstance(self.ansatz, Ansatz) else self.ansatz
        return circuit.assign_parameters(dict(zip(ordered_parameters(circuit), theta, strict=True)))

    def machine(self, sampler: str | BaseSamplerV2, rng: np.random.Generator) -> Machine:
        """What measures the circuit on `sampler`, made once."""
        if self._machine is None or self._machine[0] is not sampler or self._machine[1] is not rng:
            self._machine = (sampler, rng, make_machine(self.ansatz, sampler, rng))
        return self._machine[2]

    def get_output(
        self,
        quantum_instance: str | BaseSamplerV2 | BackendV2,
        params: ArrayLike | None = None,
        shots: int | None = None,
    ) -> tuple[list[list[float]], list[float]]:
        """Measured points of the grid, as lists of their k coordinates, and their frequencies, as Aqua gave them.

        Args:
            quantum_instance: sampler, its name, or a backend; `exact` gives all points with their probabilities.
            params: angles [P] to measure at instead of the trained ones.
            shots: default 1,024.
        """
        sampler = as_sampler(quantum_instance, self.rng)
        theta = self.theta if params is None else self._angles(params)
        draws = 0 if sampler == EXACT else whole("shots", 1024 if shots is None else shots, 0)
        probs = distribution(self.machine(sampler, self.rng), theta[None], draws)[0].numpy()
        seen = np.arange(len(probs)) if draws == 0 else probs.nonzero()[0]
        return self.grid.points[seen].tolist(), probs[seen].tolist()

    def generate(self, machine: Machine, shots: int) -> tuple[Tensor, Learn]:
        """Measured probabilities [2**n] of the grid's points, and what moves the angles by a loss's slope [2**n] in them.

        In one job, with the evaluations for the gradient; with 0 shots the probabilities are exact.
        """
        if isinstance(self._optimizer, Minimizer):
            return distribution(machine, self.theta[None], shots)[0], partial(
                self._minimize, machine, shots
            )
        fake, gradient = self._differentiate(machine, self.theta, shots)
        return fake, partial(self._step, gradient)

    def check(self, machine: Machine, shots: int) -> None:
        """Whether the generator can be trained by so many shots on `machine`.

        Raises:
            ValueError: there are no exact probabilities, or the gradient that was asked for cannot be had.
        """
        if shots == 0 and not machine.ideal:
            raise ValueError(
                "shots must be at least 1 on a sampler that has no exact probabilities, got 0"
            )
        if self._gradient == "autograd" and not (machine.differentiable and shots == 0):
            raise ValueError(
                "gradient 'autograd' needs an Ansatz on the exact engine; choose parameter-shift or spsa"
            )

    def state_dict(self) -> dict[str, Any]:
        """Angles and the state of a torch optimiser; a `Minimizer` has none."""
        optimizer = {} if isinstance(self._optimizer, Minimizer) else self._optimizer.state_dict()
        return {"theta": self.theta.clone(), "optimizer": optimizer}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        self.parameter_values = state["theta"].numpy()
        if not isinstance(self._optimizer, Minimizer):
            load_optimizer(self._optimizer, state["optimizer"])

    def _angles(self, values: ArrayLike) -> Tensor:
        return self._finite("the generator's parameters", values)

    def _finite(self, what: str, values: ArrayLike) -> Tensor:
        """Values [P] as a tensor of their own; refused is what is not one finite number for each angle."""
        try:
            array = reals(values)
        except (TypeError, ValueError):
            raise ValueError(
                f"{what} must be {self.n_params} finite numbers, got {type(values).__name__}"
            ) from None
        if array.shape != (self.n_params,) or not np.isfinite(array).all():
            raise ValueError(
                f"{what} must be {self.n_params} finite numbers, got shape {list(array.shape)}"
            )
        return torch.from_numpy(array)

    def _step(self, gradient: Callable[[Tensor], Tensor], slope: Tensor) -> None:
        assert not isinstance(self._optimizer, Minimizer)
        self.theta.grad = gradient(slope)
        self._optimizer.step()

    def _minimize(self, machine: Machine, shots: int, slope: Tensor) -> None:
        def loss(theta: Floats) -> float:
            return float(distribution(machine, torch.from_numpy(theta)[None], shots)[0] @ slope)

        def gradient(theta: Floats) -> Floats:
            return self._differentiate(machine, torch.from_numpy(theta), shots)[1](slope).numpy()

        assert isinstance(self._optimizer, Minimizer)
        self.parameter_values = self._optimizer.minimize(
            loss, self.parameter_values, jac=gradient
        ).x

    def _differentiate(
        self, machine: Machine, theta: Tensor, shots: int
    ) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Probabilities [2**n] at theta [P], and what takes a slope [2**n] in them to that in theta [P]."""
        self.check(machine, shots)
        if callable(self._gradient):
            function = self._gradient
            return distribution(machine, theta[None], shots)[0], lambda slope: self._finite(
                "the gradient", function(theta.numpy().copy())
            )
        if self._gradient == "spsa":
            signs = torch.from_numpy(self.rng.choice([-1.0, 1.0], self.n_params))
            points = torch.stack([theta, theta + _SPSA_WIDTH * signs, theta - _SPSA_WIDTH * signs])
            probs, up, down = distribution(machine, points, shots)
            return probs, lambda slope: (up - down) @ slope / (2 * _SPSA_WIDTH) * signs
        if self._gradient != "parameter-shift" and machine.differentiable and shots == 0:
            point = theta.clone().requires_grad_()
            probs = distribution(machine, point[None], 0)[0]
            return probs.detach(), lambda slope: torch.autograd.grad(probs, point, slope)[0]
        probs, jacobian = probabilities_and_slopes(machine, theta, shots)  # (2**n,), (P, 2**n)
        return probs, lambda slope: jacobian @ slope


def build_circuit(
    grid: Grid,
    circuit: Ansatz | QuantumCircuit | None,
    initial_state: str | None,
    reps: int,
    data: Floats,
    rng: np.random.Generator,
) -> Ansatz | QuantumCircuit:
    """The generator's circuit after its initial state.

    Args:
        grid: what it generates points of.
        circuit: default RY, and `reps` times CZ on a ring and RY: Qiskit's `n_local(n, "ry", "cz", "circular", reps)`.
        initial_state: `uniform` (Hadamards; the default before the default circuit), `normal` (the Gaussian with mean and
            covariance of the data), `random` (RY by random angles), or None, which leaves a given circuit as it is.
        reps: of the default circuit.
        data: probabilities [2**n] of the grid's points in the data.
        rng: of the random angles.

    Raises:
        ValueError: an unknown initial state, reps below 0, or a circuit of another kind or size.
    """
    if initial_state is not None and initial_state not in INITIAL_STATES:
        raise ValueError(
            f"unknown initial_state {initial_state!r}; choose from {', '.join(INITIAL_STATES)}"
        )
    if circuit is None:
        circuit = Ansatz(grid.n_qubits, ("ry", *("cz-ring", "ry") * whole("reps", reps, 0)))
        initial_state = initial_state or "uniform"
    _check_circuit(circuit, grid.n_qubits)
    if initial_state is None:
        return circuit
    if initial_state == "uniform" and isinstance(circuit, Ansatz):
        return Ansatz(circuit.n_qubits, ("h", *circuit.layers))
    trained = circuit.to_circuit() if isinstance(circuit, Ansatz) else circuit
    start = QuantumCircuit(grid.n_qubits, trained.num_clbits)
    if initial_state == "uniform":
        start.h(range(grid.n_qubits))
    elif initial_state == "random":
        for qubit in range(grid.n_qubits):
            start.ry(rng.uniform(0, math.pi), qubit)
    else:
        centred = grid.points - data @ grid.points
        covariance = centred.T @ (data[:, None] * centred)
        logs = multivariate_normal.logpdf(centred, cov=covariance, allow_singular=True)
        density = np.exp(logs - np.max(logs))
        start.append(StatePreparation(np.sqrt(density / density.sum())), range(grid.n_qubits))
    return start.compose(trained)


def _check_circuit(circuit: Ansatz | QuantumCircuit, n_qubits: int) -> None:
    if not isinstance(circuit, Ansatz | QuantumCircuit):
        raise ValueError(
            f"the generator circuit must be an Ansatz or a QuantumCircuit, got {type(circuit).__name__}"
        )
    found = circuit.n_qubits if isinstance(circuit, Ansatz) else circuit.num_qubits
    if found != n_qubits:
        raise ValueError(
            f"the generator circuit must have {n_qubits} qubits, those of the grid, got {found}"
        )
    if not (circuit.n_params if isinstance(circuit, Ansatz) else circuit.num_parameters):
        raise ValueError("the generator circuit must have parameters to train, got none")


def _is_gate(circuit: QuantumCircuit) -> bool:
    try:
        circuit.to_gate()
    except QiskitError:
        return False
    return True
