"""Noise models for Aer: of IBM's fake devices, cut to the used qubits, and of an ion trap.

The model of the ion trap is made from published figures.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import Measure, Parameter
from qiskit.circuit.library import RGate, RXXGate, RZGate
from qiskit.primitives import BaseSamplerV2, PrimitiveJob, PrimitiveResult, SamplerPubResult
from qiskit.primitives.containers import SamplerPubLike
from qiskit.quantum_info import average_gate_fidelity
from qiskit.transpiler import CouplingMap, InstructionProperties, Target
from qiskit_aer.noise import NoiseModel, ReadoutError, depolarizing_error, thermal_relaxation_error
from qiskit_aer.noise.device import basic_device_gate_errors, basic_device_readout_errors

from qcaan.samplers.simulators import (
    AerSampler,
    Transpiler,
    check_width,
    checked_pubs,
    finished,
)


@dataclass(frozen=True)
class IonTrap:
    """Published figures of an ion trap.

    Attributes:
        n_qubits: number of qubits.
        fidelity_1q, fidelity_2q: average fidelity of a gate on one qubit and on two.
        fidelity_readout: mean fidelity of preparation and readout.
        t1, t2: relaxation and coherence times, in seconds.
        time_1q, time_2q: durations of a gate on one qubit and on two, in seconds.
    """

    n_qubits: int
    fidelity_1q: float
    fidelity_2q: float
    fidelity_readout: float
    t1: float
    t2: float
    time_1q: float
    time_2q: float


ION_TRAPS = {
    # system timing and fidelity of IonQ Aria at learn.microsoft.com/azure/quantum/provider-ionq,
    # where T1 is 10 to 100 s
    "ionq-aria": IonTrap(25, 0.9995, 0.996, 0.9961, 10.0, 1.0, 135e-6, 600e-6),
}


class NoisySampler(BaseSamplerV2):
    """Draws shots from Aer under the noise of a device.

    Circuits are transpiled to the gates and couplings of the device. Qubits without gates are taken
    as noiseless. The model is built once for each number of qubits.

    Args:
        device: an ion trap of `ION_TRAPS`, or `fake_NAME`, a fake device of IBM.
        rng: random state of the shots.

    Attributes:
        n_qubits: number of connected qubits of the device that work.

    Raises:
        ValueError: the device is unknown, or a circuit has more qubits than the device.
    """

    def __init__(self, device: str, rng: np.random.Generator) -> None:
        self._device = device
        self._rng = rng
        self._target: Target | None = None
        if device in ION_TRAPS:
            self.n_qubits = ION_TRAPS[device].n_qubits
        else:
            self._target = fake_device(device).target
            self.n_qubits = connected_qubits(self._target)
        self._built: dict[int, tuple[Transpiler, AerSampler]] = {}

    def run(
        self, pubs: Iterable[SamplerPubLike], *, shots: int | None = None
    ) -> PrimitiveJob[PrimitiveResult[SamplerPubResult]]:
        results = []
        for pub in checked_pubs(pubs, shots):
            native, sampler = self._model(pub.circuit.num_qubits)
            job = sampler.run([(native(pub.circuit), pub.parameter_values, pub.shots)])
            results.append(job.result()[0])
        return finished(results)

    def _model(self, n_qubits: int) -> tuple[Transpiler, AerSampler]:
        """Return the transpiler and the sampler for circuits of n qubits."""
        check_width(n_qubits, self.n_qubits, f"aer-noise:{self._device}")
        if n_qubits not in self._built:
            if self._target is None:
                target, noise = ion_trap(ION_TRAPS[self._device], n_qubits)
            else:
                target = cut(self._target, n_qubits)
                noise = from_target(target)
            sampler = AerSampler(self._rng, noise_model=noise)
            self._built[n_qubits] = (Transpiler(target=target), sampler)
        return self._built[n_qubits]


@cache
def fake_devices() -> Mapping[str, Any]:
    """Return IBM's fake devices by their names, which begin with fake_. They are made once."""
    from qiskit_ibm_runtime.fake_provider import FakeProviderForBackendV2

    with warnings.catch_warnings():
        # one of them warns that its properties are not typical
        warnings.simplefilter("ignore", UserWarning)
        return {backend.name: backend for backend in FakeProviderForBackendV2().backends()}


def fake_device(name: str) -> Any:
    """Return IBM's fake device `fake_NAME`.

    Raises:
        ValueError: there is no fake device of that name.
    """
    backends = fake_devices()
    if name not in backends:
        raise ValueError(
            f"unknown device {name!r}; choose from {', '.join(ION_TRAPS)}, or a fake device of IBM "
            "such as fake_guadalupe (`qcaan samplers` lists them)"
        )
    return backends[name]


def cut(target: Target, n_qubits: int) -> Target:
    """Return the target of n connected qubits of a larger target.

    They are those with the most couplings, and among these the ones with the best readout. Gates
    and qubits of error 1 are broken, and left out.

    Raises:
        ValueError: the target does not have so many connected qubits that work.
    """
    neighbours = couplings(target)
    errors = {q: target["measure"][(q,)].error or 0.0 for q in neighbours}

    def worth(qubits: Iterable[int]) -> tuple[int, float]:
        chosen = set(qubits)
        inside = sum(q in chosen for qubit in chosen for q in neighbours[qubit])
        return inside, -sum(errors[q] for q in chosen)

    grown = [_grown(neighbours, start, n_qubits) for start in neighbours]
    candidates = [found for found in grown if len(found) == n_qubits]
    if not candidates:
        raise ValueError(f"the device does not have {n_qubits} connected qubits that work")
    return part(target, sorted(max(candidates, key=worth)))


def part(target: Target, qubits: Sequence[int]) -> Target:
    """Return the target of some qubits of a larger target, numbered in their order.

    Gates of error 1 are broken, and left out.
    """
    kept = {qubit: place for place, qubit in enumerate(qubits)}
    small = Target(
        num_qubits=len(kept),
        dt=target.dt,
        qubit_properties=[target.qubit_properties[q] for q in kept],
    )
    for name, found in _properties(target).items():
        inside = {
            tuple(kept[q] for q in qubits): value
            for qubits, value in found.items()
            if set(qubits) <= set(kept) and _works(value)
        }
        if inside:
            small.add_instruction(target.operation_from_name(name), inside)
    return small


def connected_qubits(target: Target) -> int:
    """Return the largest number of connected qubits of a target that work."""
    return max(map(len, connected_parts(couplings(target))), default=0)


def connected_parts(neighbours: dict[int, list[int]]) -> Iterator[list[int]]:
    """Yield the connected parts of qubits that are given with those that each is coupled to."""
    left = set(neighbours)
    while left:
        found = _grown(neighbours, left.pop(), len(neighbours))
        left -= set(found)
        yield found


def _properties(target: Target) -> dict[str, dict[tuple[int, ...], InstructionProperties | None]]:
    """Return the properties of each operation of a target by its qubits.

    Control flow, which our circuits do not have, is left out.
    """
    found = {name: target[name] for name in target.operation_names}
    return {name: where for name, where in found.items() if where and None not in where}


def couplings(target: Target) -> dict[int, list[int]]:
    """Return the qubits of a target that work, each with those that it is coupled to."""
    places = [place for found in _properties(target).values() for place in found.items()]
    broken = {qubits for qubits, gate in places if not _works(gate)}
    coupled: dict[int, set[int]] = {
        qubit: set() for qubit in range(target.num_qubits) if (qubit,) not in broken
    }
    for qubits, gate in places:
        if len(qubits) == 2 and _works(gate) and set(qubits) <= set(coupled):
            one, other = qubits
            coupled[one].add(other)
            coupled[other].add(one)
    return {qubit: sorted(others) for qubit, others in coupled.items()}


def _grown(neighbours: dict[int, list[int]], start: int, n_qubits: int) -> list[int]:
    """Return up to n connected qubits around one."""
    found = [start]
    # breadth first: the list grows while it is read
    for qubit in found:
        found += [q for q in neighbours[qubit] if q not in found][: n_qubits - len(found)]
    return found


def _works(gate: InstructionProperties | None) -> bool:
    # IBM gives what is broken an error of 1
    return gate is None or gate.error is None or gate.error < 1


def from_target(target: Target) -> NoiseModel:
    """Return the noise of a target's gates and readout, as Aer makes it for a device.

    The instruction properties give errors of readout, depolarisation and relaxation.
    """
    names = [name for name in target.operation_names if name not in ("measure", "reset", "delay")]
    noise = NoiseModel(basis_gates=names)
    for qubits, readout in basic_device_readout_errors(target=target):
        noise.add_readout_error(readout, qubits)
    for name, qubits, error in basic_device_gate_errors(target=target):
        noise.add_quantum_error(error, name, qubits)
    return noise


def estimated_fidelity(circuit: QuantumCircuit, target: Target) -> float:
    """Return the product of 1 - error over the gates and the readout of a native circuit.

    Errors that the target does not give count as 0.
    """
    fidelity = 1.0
    for step in circuit.data:
        if step.operation.name in target.operation_names:  # barriers are not
            places = tuple(circuit.find_bit(qubit).index for qubit in step.qubits)
            properties = target[step.operation.name][places]
            fidelity *= 1 - (properties.error or 0.0 if properties else 0.0)
    return fidelity


def ion_trap(trap: IonTrap, n_qubits: int) -> tuple[Target, NoiseModel]:
    """Return the target and the noise of n qubits of an ion trap.

    The gates are r, rz, and rxx on all pairs. rz is a change of phase in software, without errors.
    Relaxation during a gate follows T1 and T2, and depolarisation is the rest of the published
    infidelity.
    """
    theta, phi = Parameter("θ"), Parameter("φ")
    target = Target(num_qubits=n_qubits)
    singles = [(q,) for q in range(n_qubits)]
    gates_1q = {q: InstructionProperties(trap.time_1q) for q in singles}
    target.add_instruction(RGate(theta, phi), gates_1q)
    target.add_instruction(RZGate(theta), {q: InstructionProperties(0.0) for q in singles})
    target.add_instruction(Measure(), {q: InstructionProperties() for q in singles})
    if n_qubits > 1:
        pairs = map(tuple, CouplingMap.from_full(n_qubits).get_edges())
        gates_2q = {pair: InstructionProperties(trap.time_2q) for pair in pairs}
        target.add_instruction(RXXGate(theta), gates_2q)
    relax_1q = thermal_relaxation_error(trap.t1, trap.t2, trap.time_1q)
    relax_2q = thermal_relaxation_error(trap.t1, trap.t2, trap.time_2q)
    noise = NoiseModel(basis_gates=["r", "rz", "rxx"])
    for name, relaxation, fidelity in (
        ("r", relax_1q, trap.fidelity_1q),
        ("rxx", relax_2q.tensor(relax_2q), trap.fidelity_2q),
    ):
        n = relaxation.num_qubits
        # to first order, infidelities add up
        rest = max(0.0, average_gate_fidelity(relaxation) - fidelity)
        error = relaxation.compose(depolarizing_error(rest / (1 - 2**-n), n))
        noise.add_all_qubit_quantum_error(error, [name])
    flip = 1 - trap.fidelity_readout
    noise.add_all_qubit_readout_error(ReadoutError([[1 - flip, flip], [flip, 1 - flip]]))
    return target, noise
