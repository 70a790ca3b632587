"""Any parametrised Qiskit circuit as a distribution over bitstrings, and gradients by parameter shifts.

The circuits of `qcaan.circuits.ansatz` run on `BornMachine`; what has been built by hand runs here, with the same methods.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from qiskit import QuantumCircuit, transpile
from qiskit.circuit import Parameter, ParameterExpression, ParameterVector
from qiskit.exceptions import QiskitError
from qiskit.primitives import (
    BackendSamplerV2,
    BaseSamplerV2,
    PrimitiveJob,
    PrimitiveResult,
    SamplerPubResult,
)
from qiskit.primitives.containers import SamplerPubLike
from qiskit.providers import BackendV2
from qiskit.providers.basic_provider import BasicSimulator
from qiskit.quantum_info import Statevector
from qiskit_aer.backends.aerbackend import AerBackend
from torch import Tensor

from qcaan.bits import bits_to_index
from qcaan.checks import check_memory
from qcaan.circuits.ansatz import Ansatz
from qcaan.circuits.born import EXACT, BornMachine, is_ideal, parameter_shift
from qcaan.samplers.names import SAMPLERS, check_width, is_sampler, make_sampler
from qcaan.samplers.simulators import TranspiledSampler

Floats = NDArray[np.float64]
_BASIS = (
    "rx",
    "ry",
    "rz",
    "cx",
    "cz",
    "h",
)  # the last two only to save `Statevector` their decomposition


class CircuitMachine:
    """Distribution of the bitstrings measured from a circuit of RX, RY, RZ, CX, or of what decomposes to them.

    Args:
        circuit: without measurements, with at least one parameter.
        sampler: `exact` for Qiskit's `Statevector`, a name of `qcaan.samplers.names.SAMPLERS`, or any `BaseSamplerV2`.
        rng: random state of the named samplers.

    Attributes:
        parameters: in the order of theta: by name, numbers in it by value, so θ[2] is before θ[10].

    Raises:
        ValueError: no parameters, or something that parameters cannot be shifted in.
    """

    differentiable = False

    def __init__(
        self, circuit: QuantumCircuit, sampler: str | BaseSamplerV2, rng: np.random.Generator
    ) -> None:
        check_memory(circuit.num_qubits)
        self.parameters = ordered_parameters(circuit)
        if not self.parameters:
            raise ValueError("the generator circuit must have parameters to train, got none")
        self.n_params = len(self.parameters)
        self.ideal = isinstance(sampler, str) and is_ideal(sampler)
        self._circuit, self._angles = _rotations(circuit)
        self._slopes = [
            (row, self.parameters.index(parameter), angle.gradient(parameter))
            for row, angle in enumerate(self._angles)
            for parameter in angle.parameters
        ]
        self.angle_slopes(
            torch.linspace(0.1, 0.2, self.n_params, dtype=torch.float64)
        )  # refuses complex ones now
        self._sampler = None if sampler == EXACT else sampler
        if isinstance(self._sampler, str):
            self._sampler = make_sampler(self._sampler, rng)
        if self._sampler is not None:
            check_width(self._sampler, circuit.num_qubits)
        self._measured = self._circuit.copy()
        self._measured.measure_all()

    @property
    def gates(self) -> QuantumCircuit:
        """The circuit in RX, RY, RZ, CX, CZ and H alone, up to a global phase, with its parameters."""
        return self._circuit.assign_parameters(self._angles)

    def probabilities(self, theta: Tensor) -> Tensor:
        """Exact probabilities [K, 1, 2**n] of K parameter sets [K, n_params], by Qiskit's `Statevector`.

        Raises:
            ValueError: the sampler is an object, not a named ideal simulator.
        """
        return self.at_angles(torch.stack([self.angles(point) for point in theta]), 0)[:, None]

    def frequencies(self, theta: Tensor, shots: int) -> Tensor:
        """Observed frequencies [K, 1, 2**n] of `shots` shots per parameter set [K, n_params]."""
        return self.at_angles(torch.stack([self.angles(point) for point in theta]), shots)[:, None]

    def at_angles(self, angles: Tensor, shots: int) -> Tensor:
        """Frequencies [K, 2**n], or with 0 shots exact probabilities, at K sets [K, S] of the angles of all rotations."""
        if shots == 0:
            if not self.ideal:
                raise ValueError("this sampler has no exact probabilities; ask for shots")
            states = [Statevector(self._circuit.assign_parameters(row)) for row in angles.numpy()]
            return torch.from_numpy(np.stack([state.probabilities() for state in states]))
        assert isinstance(self._sampler, BaseSamplerV2), "the exact engine draws no shots"
        (result,) = self._sampler.run([(self._measured, angles.numpy(), shots)]).result()
        bits = torch.from_numpy(result.join_data().to_bool_array(order="little"))  # (K, shots, n)
        counts = torch.zeros(len(angles), 2**self._circuit.num_qubits, dtype=torch.float64)
        index = bits_to_index(bits)
        return counts.scatter_add_(1, index, torch.ones_like(index, dtype=torch.float64)) / shots

    def angles(self, theta: Tensor) -> Tensor:
        """Angles [S] of the rotations that depend on theta [n_params]."""
        return torch.tensor(
            [self._bound(angle, theta) for angle in self._angles], dtype=torch.float64
        )

    def angle_slopes(self, theta: Tensor) -> Tensor:
        """Derivatives [S, n_params] of those angles at theta [n_params]; a parameter may turn several rotations."""
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


def make_machine(
    circuit: Ansatz | QuantumCircuit, sampler: str | BaseSamplerV2, rng: np.random.Generator
) -> BornMachine | CircuitMachine:
    """What measures `circuit`: our own engine or `BornMachine` where it is an `Ansatz`, else Qiskit's `Statevector`."""
    if isinstance(circuit, Ansatz):
        return BornMachine(circuit, ("z",), sampler, rng)
    return CircuitMachine(circuit, sampler, rng)


class SimulatorSampler(BaseSamplerV2):
    """Shots from a simulator backend under a fresh seed at each run: under one seed all runs would draw the same."""

    def __init__(self, backend: BackendV2, rng: np.random.Generator) -> None:
        self._backend, self._rng = backend, rng

    def run(
        self, pubs: Iterable[SamplerPubLike], *, shots: int | None = None
    ) -> PrimitiveJob[PrimitiveResult[SamplerPubResult]]:
        options = {"seed_simulator": int(self._rng.integers(2**31))}
        return BackendSamplerV2(backend=self._backend, options=options).run(pubs, shots=shots)


def as_sampler(
    device: str | BaseSamplerV2 | BackendV2, rng: np.random.Generator
) -> str | BaseSamplerV2:
    """A sampler name, a sampler, or a Qiskit backend as what `make_machine` takes; simulators are seeded from `rng`.

    Raises:
        ValueError: anything else, or an unknown name.
    """
    if isinstance(device, BackendV2):
        seeded = isinstance(device, AerBackend | BasicSimulator)
        sampler = SimulatorSampler(device, rng) if seeded else BackendSamplerV2(backend=device)
        return TranspiledSampler(sampler, device)
    if isinstance(device, BaseSamplerV2) or (
        isinstance(device, str) and (device == EXACT or is_sampler(device))
    ):
        return device
    raise ValueError(
        f"unknown sampler {device!r}; choose from {', '.join((EXACT, *SAMPLERS))}, or give a BaseSamplerV2 or a backend"
    )


def probabilities_and_slopes(
    machine: BornMachine | CircuitMachine, theta: Tensor, shots: int
) -> tuple[Tensor, Tensor]:
    """Probabilities [2**n] and their derivatives [P, 2**n] at theta [P], in one job; with 0 shots both are exact.

    Every rotation is shifted, and those that a parameter turns are summed.
    """
    if isinstance(machine, CircuitMachine):
        probs, by_angle = parameter_shift(
            lambda angles: machine.at_angles(angles, shots), machine.angles(theta)
        )
        return probs, machine.angle_slopes(theta).T @ by_angle
    return parameter_shift(
        lambda points: distribution(machine, points, shots), theta
    )  # our gates take one angle each


def distribution(machine: BornMachine | CircuitMachine, theta: Tensor, shots: int) -> Tensor:
    """Frequencies [K, 2**n] of K parameter sets [K, P], or with 0 shots their probabilities."""
    return (machine.frequencies(theta, shots) if shots else machine.probabilities(theta))[:, 0]


def ordered_parameters(circuit: QuantumCircuit) -> list[Parameter]:
    """The circuit's parameters by name, with numbers in it by value: θ[2] before θ[10]."""

    def key(
        parameter: Parameter,
    ) -> list[str | int]:  # text and numbers alternate, so that like meets like
        return [
            int(part) if part.isdigit() else part for part in re.split(r"(\d+)", parameter.name)
        ]

    return sorted(circuit.parameters, key=key)


def _rotations(circuit: QuantumCircuit) -> tuple[QuantumCircuit, list[ParameterExpression]]:
    """The circuit in RX, RY, RZ, CX with an angle of its own in each trained rotation, and those angles in parameters."""
    try:  # level 1: higher levels delete rotations before a measurement, and may leave qubits permuted
        basic = transpile(circuit, basis_gates=list(_BASIS), optimization_level=1)
    except QiskitError as error:
        raise ValueError(
            f"the generator circuit does not decompose to RX, RY, RZ, CX: {error.message}"
        ) from None
    count = sum(_is_trained(angle) for item in basic.data for angle in item.operation.params)
    slots = iter(
        ParameterVector("rotation of the circuit", count)
    )  # no name that the circuit's own might have
    plain, angles = QuantumCircuit(circuit.num_qubits), []
    used: set[int] = set()
    for item in basic.data:
        name, qubits = item.operation.name, [basic.find_bit(qubit).index for qubit in item.qubits]
        if name in _BASIS:
            trained = [angle for angle in item.operation.params if _is_trained(angle)]
            getattr(plain, name)(*([next(slots)] if trained else item.operation.params), *qubits)
            angles += trained
        elif name == "barrier" or (
            name == "reset" and not used & set(qubits)
        ):  # `initialize` begins with resets
            continue
        else:
            raise ValueError(
                f"the generator circuit must consist of RX, RY, RZ, CX to be shifted, got {name}"
            )
        used.update(qubits)
    return plain, angles


def _is_trained(angle: ParameterExpression | float) -> bool:
    return isinstance(angle, ParameterExpression) and bool(angle.parameters)
