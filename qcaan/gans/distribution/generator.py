"""The generator of the QGAN of distributions: a circuit that is measured as points of a grid."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, Protocol, TypeAlias, get_args, runtime_checkable

import numpy as np
import torch
from numpy.typing import ArrayLike
from qiskit import QuantumCircuit
from torch import Tensor

from qcaan.checks import Floats, one_of, reals
from qcaan.circuits.ansatz import Ansatz
from qcaan.circuits.qiskit_circuits import (
    CircuitMachine,
    Machine,
    distribution,
    make_machine,
    ordered_parameters,
    probabilities_and_slopes,
)
from qcaan.gans.distribution.circuit import CircuitLike, check_circuit, is_gate
from qcaan.gans.distribution.discriminator import MakeOptimizer
from qcaan.gans.distribution.grid import Grid
from qcaan.samplers.names import EXACT, EngineLike
from qcaan.training import DecayingAdam, load_optimizer

GradientName = Literal["backprop", "parameter-shift", "spsa"]
GradientLike: TypeAlias = GradientName | Callable[[Floats], ArrayLike]
Learn: TypeAlias = Callable[[Tensor], None]

_SPSA_WIDTH = 0.2  # radians


@runtime_checkable
class Minimizer(Protocol):
    """An optimiser with the interface of Qiskit's, which minimises a function."""

    def minimize(
        self,
        fun: Callable[[Floats], float],
        x0: Floats,
        jac: Callable[[Floats], Floats] | None = None,
    ) -> Any:
        """Return a result whose `x` [P] is the best point found from x0 [P]."""


class CircuitGenerator:
    """A parametrised circuit whose measured bitstrings are the points of a grid.

    Args:
        grid: grid of the points; the circuit has as many qubits.
        circuit: an `Ansatz`, which our exact engine can run, or a Qiskit circuit without
            measurements. A circuit that cannot become a gate, because of resets, barriers or
            classical bits, is kept as the RX, RY, RZ, CX, CZ and H that it decomposes to.
        init_params: initial angles [P] in radians, those of a Qiskit circuit in the order of
            their names, with numbers by value; default uniform in ±0.1.
        optimizer: maker of a torch optimiser of [theta], such as
            `functools.partial(torch.optim.Adam, lr=0.01)`, or an optimiser with the interface of
            Qiskit's; default `DecayingAdam`.
        gradient: `backprop` (only for an `Ansatz` on the exact engine), `parameter-shift`, `spsa`
            (two evaluations; Spall 1992), or a function from theta [P] to the gradient of the loss
            [P]; default the first of them that is possible.
        rng: random state of the initial angles and of SPSA. A `QGAN` replaces it by its own.

    Attributes:
        theta: angles, a tensor float64 [P] in radians.

    Raises:
        ValueError: the circuit has another number of qubits, no parameters, or parameters that
            cannot be shifted; the angles have another number; the gradient is unknown; or the
            optimiser is not one.
    """

    def __init__(
        self,
        grid: Grid,
        circuit: CircuitLike,
        *,
        init_params: ArrayLike | None = None,
        optimizer: MakeOptimizer | Minimizer | None = None,
        gradient: GradientLike | None = None,
        rng: np.random.Generator | None = None,
    ) -> None:
        check_circuit(circuit, grid.total_qubits)
        if gradient is not None and not callable(gradient):
            one_of("gradient", gradient, get_args(GradientName))
        self.rng = rng or np.random.default_rng()
        if isinstance(circuit, QuantumCircuit):
            machine = CircuitMachine(circuit, EXACT, self.rng)  # refuses what cannot be shifted
            circuit = circuit if is_gate(circuit) else machine.gates
            self.n_params = machine.n_params
        else:
            self.n_params = circuit.n_params
        self.grid, self.ansatz = grid, circuit
        start = self.rng.uniform(-0.1, 0.1, self.n_params) if init_params is None else init_params
        self.theta = self._angles(start)
        self._gradient = gradient
        self.optimizer = optimizer
        self._machine: tuple[EngineLike, np.random.Generator, Machine] | None = None

    @property
    def optimizer(self) -> torch.optim.Optimizer | Minimizer:
        """Optimiser of the angles. Set it to a maker, a `Minimizer`, or None for the default."""
        return self._optimizer

    @optimizer.setter
    def optimizer(self, optimizer: MakeOptimizer | Minimizer | None) -> None:
        if isinstance(optimizer, Minimizer):
            self._optimizer: torch.optim.Optimizer | Minimizer = optimizer
            return
        if optimizer is not None and not callable(optimizer):
            raise ValueError(
                "`optimizer` must make a torch optimiser or have `minimize`, "
                f"got {type(optimizer).__name__}"
            )
        made: object = (optimizer or DecayingAdam)([self.theta])
        if not isinstance(made, torch.optim.Optimizer | Minimizer):
            raise ValueError(
                f"`optimizer` must make a torch optimiser, got one that makes {type(made).__name__}"
            )
        self._optimizer = made

    @property
    def parameter_values(self) -> Floats:
        """A copy of the angles, float64 [P] in radians."""
        values: Floats = self.theta.numpy().copy()
        return values

    @parameter_values.setter
    def parameter_values(self, values: ArrayLike) -> None:
        self.theta.copy_(self._angles(values))

    def circuit(self, params: ArrayLike | None = None) -> QuantumCircuit:
        """Return the circuit at the trained angles, or at `params` [P].

        It loads the distribution, and measures nothing.
        """
        theta = self.parameter_values if params is None else self._angles(params).numpy()
        circuit = self.ansatz.to_circuit() if isinstance(self.ansatz, Ansatz) else self.ansatz
        return circuit.assign_parameters(dict(zip(ordered_parameters(circuit), theta, strict=True)))

    def machine(self, engine: EngineLike, rng: np.random.Generator) -> Machine:
        """Return the machine that measures the circuit on an engine. The last one is kept."""
        if self._machine is None or self._machine[0] is not engine or self._machine[1] is not rng:
            self._machine = (engine, rng, make_machine(self.ansatz, engine, rng))
        return self._machine[2]

    def measure(self, machine: Machine, shots: int, params: ArrayLike | None = None) -> Floats:
        """Return the frequencies float64 [2**n] of the grid's points in `shots` shots.

        The shots are one job, which may be paid for. With 0 shots they are exact probabilities.

        Args:
            machine: machine of the circuit.
            shots: number of shots.
            params: angles [P] to measure at instead of the trained ones.
        """
        theta = self.theta if params is None else self._angles(params)
        probs: Floats = distribution(machine, theta[None], shots)[0].numpy()
        return probs

    def generate(self, machine: Machine, shots: int) -> tuple[Tensor, Learn]:
        """Return probabilities [2**n] of the grid's points, and a function that moves the angles.

        The function takes the derivatives [2**n] of the loss with respect to the probabilities.
        The evaluations for its gradient are in the same job, which may be paid for. With 0 shots
        the probabilities are exact.
        """
        if isinstance(self._optimizer, Minimizer):
            fake = distribution(machine, self.theta[None], shots)[0]
            return fake, partial(self._minimize, machine, shots)
        fake, gradient = self._differentiate(machine, self.theta, shots)
        return fake, partial(self._step, gradient)

    def check(self, machine: Machine, shots: int) -> None:
        """Check that the generator can be trained by so many shots on a machine.

        Raises:
            ValueError: exact probabilities, or the gradient that was asked for, are unavailable.
        """
        machine.engine.check_shots(shots)
        if self._gradient == "backprop" and not (machine.is_differentiable and shots == 0):
            raise ValueError(
                "`gradient` 'backprop' needs an Ansatz on the exact engine; "
                "choose parameter-shift or spsa"
            )

    def check_grid(self, grid: Grid) -> None:
        """Check that the generator's grid is `grid`.

        Raises:
            ValueError: it has other qubits or other bounds.
        """
        if self.grid.n_qubits != grid.n_qubits:
            raise ValueError(
                f"the generator must have {list(grid.n_qubits)} qubits, "
                f"got {list(self.grid.n_qubits)}"
            )
        if not np.array_equal(self.grid.bounds, grid.bounds):
            raise ValueError(
                f"the generator must have bounds {grid.bounds.tolist()}, "
                f"got {self.grid.bounds.tolist()}"
            )

    def state_dict(self) -> dict[str, Any]:
        """Return the angles and the state of a torch optimiser; a `Minimizer` has none."""
        optimizer = {} if isinstance(self._optimizer, Minimizer) else self._optimizer.state_dict()
        return {"theta": self.theta.clone(), "optimizer": optimizer}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state that `state_dict` returned."""
        self.parameter_values = state["theta"]
        if not isinstance(self._optimizer, Minimizer):
            load_optimizer(self._optimizer, state["optimizer"])

    def _angles(self, values: ArrayLike) -> Tensor:
        return self._finite("the generator's parameters", values)

    def _finite(self, what: str, values: ArrayLike) -> Tensor:
        """Return values [P] as a new tensor.

        Raises:
            ValueError: they are not one finite number for each angle.
        """
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
        assert isinstance(self._optimizer, torch.optim.Optimizer)
        self.theta.grad = gradient(slope)
        self._optimizer.step()

    def _minimize(self, machine: Machine, shots: int, slope: Tensor) -> None:
        def loss(theta: Floats) -> float:
            return float(distribution(machine, torch.from_numpy(theta)[None], shots)[0] @ slope)

        def gradient(theta: Floats) -> Floats:
            _, differentiate = self._differentiate(machine, torch.from_numpy(theta), shots)
            found: Floats = differentiate(slope).numpy()
            return found

        assert isinstance(self._optimizer, Minimizer)
        found = self._optimizer.minimize(loss, self.parameter_values, jac=gradient)
        self.parameter_values = found.x

    def _differentiate(
        self, machine: Machine, theta: Tensor, shots: int
    ) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Return probabilities [2**n] at theta [P], and a function that differentiates a loss.

        It takes the derivatives [2**n] of the loss with respect to the probabilities, and returns
        those with respect to theta [P].
        """
        self.check(machine, shots)
        if callable(self._gradient):
            function = self._gradient
            probs = distribution(machine, theta[None], shots)[0]
            return probs, lambda _: self._finite("the gradient", function(theta.numpy().copy()))
        if self._gradient == "spsa":
            signs = torch.from_numpy(self.rng.choice([-1.0, 1.0], self.n_params))
            points = torch.stack([theta, theta + _SPSA_WIDTH * signs, theta - _SPSA_WIDTH * signs])
            probs, up, down = distribution(machine, points, shots)
            return probs, lambda slope: (up - down) @ slope / (2 * _SPSA_WIDTH) * signs
        if self._gradient != "parameter-shift" and machine.is_differentiable and shots == 0:
            point = theta.clone().requires_grad_()
            probs = distribution(machine, point[None], 0)[0]
            return probs.detach(), lambda slope: torch.autograd.grad(probs, point, slope)[0]
        probs, jacobian = probabilities_and_slopes(machine, theta, shots)  # (2**n,), (P, 2**n)
        return probs, lambda slope: jacobian @ slope
