"""Qiskit circuits as distributions over bitstrings, with gradients by parameter shifts.

Circuits of `qcaan.circuits.ansatz` run on `BornMachine`. Circuits that were built by hand run on
`CircuitMachine`, which has the same methods.
"""

from __future__ import annotations

import re
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike
from qiskit import QuantumCircuit, transpile
from qiskit.circuit import Parameter, ParameterExpression, ParameterVector
from qiskit.exceptions import QiskitError
from qiskit.quantum_info import Statevector
from torch import Tensor

from qcaan.bits import bits_to_index
from qcaan.checks import as_tensor, whole
from qcaan.circuits.ansatz import Ansatz
from qcaan.circuits.born import BornMachine, check_angles, parameter_shift
from qcaan.samplers.names import EngineLike, open_engine

# the last two only save `Statevector` their decomposition
_BASIS = ("rx", "ry", "rz", "cx", "cz", "h")


class CircuitMachine:
    """Distribution of the bitstrings measured from a circuit of RX, RY, RZ, CX.

    Other gates are decomposed to these.

    Args:
        circuit: circuit without measurements, with at least one parameter.
        engine: `exact` for Qiskit's `Statevector`, or another engine, as of `BornMachine`.
        rng: random state of the shots.

    Attributes:
        parameters: parameters in the order of theta: by name, with numbers in the name by value,
            so that θ[2] is before θ[10].
        is_ideal: whether exact probabilities are available.
        is_differentiable: whether autograd goes through the probabilities: never.

    Raises:
        ValueError: the circuit has no parameters, or a part whose parameters cannot be shifted.
    """

    is_differentiable = False

    def __init__(
        self, circuit: QuantumCircuit, engine: EngineLike, rng: np.random.Generator
    ) -> None:
        self.engine = open_engine(engine, rng, n_qubits=circuit.num_qubits)
        self.parameters = ordered_parameters(circuit)
        if not self.parameters:
            raise ValueError("the generator circuit must have parameters to train, got none")
        self.n_params = len(self.parameters)
        self._circuit, self._angles = _rotations(circuit)
        self._rng = rng
        self._slopes = [
            (row, self.parameters.index(parameter), angle.gradient(parameter))
            for row, angle in enumerate(self._angles)
            for parameter in angle.parameters
        ]
        # refuses complex angles now
        self.angle_slopes(torch.linspace(0.1, 0.2, self.n_params, dtype=torch.float64))
        self.is_ideal = self.engine.is_ideal
        self._measured = self._circuit.copy()
        self._measured.measure_all()

    @property
    def gates(self) -> QuantumCircuit:
        """The circuit in RX, RY, RZ, CX, CZ and H alone, with its parameters.

        It is the same up to a global phase.
        """
        return self._circuit.assign_parameters(self._angles)

    def probabilities(self, theta: Tensor | ArrayLike) -> Tensor:
        """Return exact probabilities [K, 1, 2**n] of K parameter sets [K, n_params].

        Qiskit's `Statevector` computes them.

        Raises:
            ValueError: the engine has none: it is a device, or a sampler object; or theta has
                another shape or dtype or is not finite.
        """
        return self.at_angles(self._all_angles(theta), 0)[:, None]

    def frequencies(self, theta: Tensor | ArrayLike, shots: int) -> Tensor:
        """Return frequencies [K, 1, 2**n] of `shots` shots per parameter set [K, n_params].

        All shots are one job, which may be paid for.

        Raises:
            ValueError: `shots` is below 1, or theta has another shape or dtype or is not finite.
        """
        return self.at_angles(self._all_angles(theta), whole("shots", shots))[:, None]

    def at_angles(self, angles: Tensor, shots: int) -> Tensor:
        """Return frequencies [K, 2**n] at K sets [K, S] of the angles of all rotations.

        With 0 shots they are exact probabilities; else they are one job, which may be paid for.
        """
        if shots == 0 and not self.is_ideal:
            raise ValueError(
                f"exact probabilities are not available from {self.engine.name}; ask for shots"
            )
        if shots == 0 or self.engine.sampler is None or not len(angles):
            probs = np.zeros((len(angles), 2**self._circuit.num_qubits))
            for row, values in zip(probs, angles.numpy(), strict=True):
                row[:] = Statevector(self._circuit.assign_parameters(values)).probabilities()
            return torch.from_numpy(self._rng.multinomial(shots, probs) / shots if shots else probs)
        (drawn,) = self.engine.draw([(self._measured, angles.numpy(), shots)])
        bits = torch.from_numpy(drawn)  # (K, shots, n)
        counts = torch.zeros(len(angles), 2**self._circuit.num_qubits, dtype=torch.float64)
        index = bits_to_index(bits)
        return counts.scatter_add_(1, index, torch.ones_like(index, dtype=torch.float64)) / shots

    def _all_angles(self, theta: Tensor | ArrayLike) -> Tensor:
        """Return the angles [K, S] of the rotations at K parameter sets [K, n_params]."""
        theta = check_angles(theta, self.n_params)
        rows = [self.angles(point) for point in theta]
        return torch.stack(rows) if rows else theta.new_zeros(0, len(self._angles)).double()

    def angles(self, theta: Tensor) -> Tensor:
        """Return the angles [S] of the rotations that depend on theta [n_params]."""
        return torch.tensor(
            [self._bound(angle, theta) for angle in self._angles], dtype=torch.float64
        )

    def angle_slopes(self, theta: Tensor) -> Tensor:
        """Return the derivatives [S, n_params] of those angles at theta [n_params].

        A parameter may turn several rotations.
        """
        slopes = torch.zeros(len(self._angles), self.n_params, dtype=torch.float64)
        for row, column, slope in self._slopes:
            slopes[row, column] = self._bound(slope, theta)
        return slopes

    def _bound(self, value: ParameterExpression | float, theta: Tensor) -> float:
        if isinstance(value, ParameterExpression):
            value = value.bind(
                {p: float(theta[self.parameters.index(p)]) for p in value.parameters}
            ).numeric()
        if isinstance(value, complex):
            raise ValueError("the generator circuit must have real angles, got a complex one")
        return float(value)


Machine: TypeAlias = BornMachine | CircuitMachine


def make_machine(
    circuit: Ansatz | QuantumCircuit, engine: EngineLike, rng: np.random.Generator
) -> Machine:
    """Return the machine of a circuit: a `BornMachine` for an `Ansatz`, else a `CircuitMachine`."""
    if isinstance(circuit, Ansatz):
        return BornMachine(circuit, ("z",), engine, rng)
    return CircuitMachine(circuit, engine, rng)


def probabilities_and_slopes(
    machine: Machine, theta: Tensor | ArrayLike, shots: int
) -> tuple[Tensor, Tensor]:
    """Return probabilities [2**n] and their derivatives [P, 2**n] at theta [P].

    Both come from one job, which may be paid for; with 0 shots both are exact. Every rotation is
    shifted, and the derivatives of rotations that one parameter turns are added.
    """
    theta = as_tensor("theta", theta)
    if isinstance(machine, CircuitMachine):
        built = machine
        probs, by_angle = parameter_shift(
            lambda angles: built.at_angles(angles, shots), built.angles(theta)
        )
        return probs, built.angle_slopes(theta).T @ by_angle
    # each gate of an ansatz takes an angle of its own
    return parameter_shift(lambda points: distribution(machine, points, shots), theta)


def distribution(machine: Machine, theta: Tensor | ArrayLike, shots: int) -> Tensor:
    """Return frequencies [K, 2**n] of K parameter sets [K, P], or with 0 shots their probabilities.

    Shots are one job, which may be paid for.
    """
    return (machine.frequencies(theta, shots) if shots else machine.probabilities(theta))[:, 0]


def ordered_parameters(circuit: QuantumCircuit) -> list[Parameter]:
    """Return the circuit's parameters by name, with numbers by value: θ[2] before θ[10]."""

    def key(parameter: Parameter) -> list[str | int]:
        # text and numbers alternate, so that equals are compared
        parts = re.split(r"(\d+)", parameter.name)
        return [int(part) if part.isdigit() else part for part in parts]

    return sorted(circuit.parameters, key=key)


def _rotations(circuit: QuantumCircuit) -> tuple[QuantumCircuit, list[ParameterExpression]]:
    """Return the circuit in RX, RY, RZ, CX with an angle of its own in each trained rotation.

    Returns also what those angles are in the circuit's parameters.
    """
    try:
        # higher levels delete rotations before a measurement, and may permute the qubits
        basic = transpile(circuit, basis_gates=list(_BASIS), optimization_level=1)
    except QiskitError as error:
        raise ValueError(
            f"the generator circuit does not decompose to RX, RY, RZ, CX: {error.message}"
        ) from None
    count = sum(_is_trained(angle) for item in basic.data for angle in item.operation.params)
    # a name that no parameter of the circuit has
    slots = iter(ParameterVector("rotation of the circuit", count))
    plain, angles = QuantumCircuit(circuit.num_qubits), []
    used: set[int] = set()
    for item in basic.data:
        name, qubits = item.operation.name, [basic.find_bit(qubit).index for qubit in item.qubits]
        if name in _BASIS:
            trained = [angle for angle in item.operation.params if _is_trained(angle)]
            getattr(plain, name)(*([next(slots)] if trained else item.operation.params), *qubits)
            angles += trained
        elif name == "barrier" or (name == "reset" and not used & set(qubits)):
            continue  # `initialize` begins with resets
        else:
            raise ValueError(
                f"the generator circuit must consist of RX, RY, RZ, CX to be shifted, got {name}"
            )
        used.update(qubits)
    return plain, angles


def _is_trained(angle: ParameterExpression | float) -> bool:
    return isinstance(angle, ParameterExpression) and bool(angle.parameters)
