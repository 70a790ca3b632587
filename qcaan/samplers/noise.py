"""Noise models for Aer: of IBM's fake devices, cut to the qubits that are used, and of an ion trap from published figures."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from qiskit.circuit import Measure, Parameter
from qiskit.circuit.library import RGate, RXXGate, RZGate
from qiskit.primitives import BaseSamplerV2
from qiskit.primitives.containers import SamplerPubLike
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.quantum_info import average_gate_fidelity
from qiskit.transpiler import CouplingMap, InstructionProperties, Target
from qiskit_aer.noise import NoiseModel, ReadoutError, depolarizing_error, thermal_relaxation_error
from qiskit_aer.noise.device import basic_device_gate_errors, basic_device_readout_errors

from qcaan.samplers.simulators import AerSampler, Transpiler, finished


@dataclass(frozen=True)
class IonTrap:
    """An ion trap: average gate fidelities, mean fidelity of preparation and readout, times in seconds."""

    n_qubits: int
    fidelity_1q: float
    fidelity_2q: float
    fidelity_readout: float
    t1: float
    t2: float
    time_1q: float
    time_2q: float


ION_TRAPS = {
    # system timing and fidelity of IonQ Aria as given at learn.microsoft.com/azure/quantum/provider-ionq; T1 is 10 to 100 s
    "ionq-aria": IonTrap(25, 0.9995, 0.996, 0.9961, 10.0, 1.0, 135e-6, 600e-6),
}


class NoisySampler(BaseSamplerV2):
    """Shots from Aer under the noise of a device, with circuits transpiled to its gates and couplings.

    Idle qubits are taken as noiseless. The model is built once for each number of qubits.

    Raises:
        ValueError: unknown device, or more qubits than it has.
    """

    def __init__(self, device: str, rng: np.random.Generator) -> None:
        self._device = device
        self._rng = rng
        self._target = None if device in ION_TRAPS else fake_device(device).target
        self.n_qubits = (
            ION_TRAPS[device].n_qubits if self._target is None else self._target.num_qubits
        )  # at most
        self._built: dict[int, tuple[Transpiler, AerSampler]] = {}

    def run(self, pubs: Iterable[SamplerPubLike], *, shots: int | None = None):
        results = []
        for pub in (SamplerPub.coerce(pub, shots or 1024) for pub in pubs):
            native, sampler = self._model(pub.circuit.num_qubits)
            job = sampler.run([(native(pub.circuit), pub.parameter_values, pub.shots)])
            results.append(job.result()[0])
        return finished(results)

    def _model(self, n_qubits: int) -> tuple[Transpiler, AerSampler]:
        if n_qubits not in self._built:
            if self._target is None:
                target, noise = ion_trap(ION_TRAPS[self._device], n_qubits)
            else:
                target = cut(self._target, n_qubits)
                noise = from_target(target)
            self._built[n_qubits] = (
                Transpiler(target=target),
                AerSampler(self._rng, noise_model=noise),
            )
        return self._built[n_qubits]


def fake_devices() -> dict[str, Any]:
    """IBM's fake devices by their names."""
    from qiskit_ibm_runtime.fake_provider import FakeProviderForBackendV2

    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", UserWarning
        )  # that the properties of one of them are not typical
        return {backend.name: backend for backend in FakeProviderForBackendV2().backends()}


def fake_device(name: str) -> Any:
    """IBM's fake device `fake_NAME`.

    Raises:
        ValueError: there is none of that name.
    """
    backends = fake_devices()
    if name not in backends:
        raise ValueError(
            f"unknown device {name!r}; choose from {', '.join(ION_TRAPS)}, or a fake device of IBM such as fake_guadalupe "
            "(scripts/backends.py lists them)"
        )
    return backends[name]


def cut(target: Target, n_qubits: int) -> Target:
    """The target of n connected qubits of a larger one: those with the most couplings, then the best readout."""
    coupling = target.build_coupling_map()
    if n_qubits > target.num_qubits:
        raise ValueError(f"the device has {target.num_qubits} qubits, the circuit {n_qubits}")
    edges = {frozenset(edge) for edge in coupling.get_edges()}
    neighbours = {
        q: sorted(other for edge in edges if q in edge for other in edge - {q})
        for q in range(target.num_qubits)
    }
    errors = {q: target["measure"][(q,)].error or 0.0 for q in range(target.num_qubits)}

    def grown(start: int) -> list[int]:
        found = [start]
        for qubit in found:  # breadth first: the list grows as it is read
            found += [q for q in neighbours[qubit] if q not in found][: n_qubits - len(found)]
        return found

    def worth(qubits: Iterable[int]) -> tuple[int, float]:
        chosen = set(qubits)
        inside = sum(q in chosen for qubit in chosen for q in neighbours[qubit])
        return inside, -sum(errors[q] for q in chosen)

    candidates = [found for found in map(grown, neighbours) if len(found) == n_qubits]
    if not candidates:
        raise ValueError(f"the device has no {n_qubits} qubits that hang together")
    kept = {qubit: place for place, qubit in enumerate(sorted(max(candidates, key=worth)))}
    small = Target(
        num_qubits=n_qubits,
        dt=target.dt,
        qubit_properties=[target.qubit_properties[q] for q in kept],
    )
    for name in target.operation_names:
        properties = target[name]
        if properties is None or None in properties:
            continue  # control flow, which our circuits have none of
        inside = {
            tuple(kept[q] for q in qubits): value
            for qubits, value in properties.items()
            if set(qubits) <= set(kept)
        }
        if inside:
            small.add_instruction(target.operation_from_name(name), inside)
    return small


def from_target(target: Target) -> NoiseModel:
    """Readout, depolarising and relaxation errors of a target's instruction properties, as Aer makes them of a device."""
    noise = NoiseModel(
        basis_gates=[
            name for name in target.operation_names if name not in ("measure", "reset", "delay")
        ]
    )
    for qubits, readout in basic_device_readout_errors(target=target):
        noise.add_readout_error(readout, qubits)
    for name, qubits, error in basic_device_gate_errors(target=target):
        noise.add_quantum_error(error, name, qubits)
    return noise


def ion_trap(trap: IonTrap, n_qubits: int) -> tuple[Target, NoiseModel]:
    """Target (r, rz, and rxx on all pairs) and noise of an ion trap; rz is a change of phase in software, and perfect.

    Relaxation during a gate is as T1 and T2 say; depolarisation makes up the rest of the published infidelity.
    """
    if n_qubits > trap.n_qubits:
        raise ValueError(f"the device has {trap.n_qubits} qubits, the circuit {n_qubits}")
    theta, phi = Parameter("θ"), Parameter("φ")
    target = Target(num_qubits=n_qubits)
    singles = [(q,) for q in range(n_qubits)]
    target.add_instruction(
        RGate(theta, phi), {q: InstructionProperties(trap.time_1q) for q in singles}
    )
    target.add_instruction(RZGate(theta), {q: InstructionProperties(0.0) for q in singles})
    target.add_instruction(Measure(), {q: InstructionProperties() for q in singles})
    if n_qubits > 1:
        pairs = CouplingMap.from_full(n_qubits).get_edges()
        target.add_instruction(
            RXXGate(theta), {tuple(pair): InstructionProperties(trap.time_2q) for pair in pairs}
        )
    relax_1q = thermal_relaxation_error(trap.t1, trap.t2, trap.time_1q)
    relax_2q = thermal_relaxation_error(trap.t1, trap.t2, trap.time_2q)
    noise = NoiseModel(basis_gates=["r", "rz", "rxx"])
    for name, relaxation, fidelity in (
        ("r", relax_1q, trap.fidelity_1q),
        ("rxx", relax_2q.tensor(relax_2q), trap.fidelity_2q),
    ):
        n = relaxation.num_qubits
        left = max(
            0.0, average_gate_fidelity(relaxation) - fidelity
        )  # to first order infidelities add up
        noise.add_all_qubit_quantum_error(
            relaxation.compose(depolarizing_error(left / (1 - 2**-n), n)), [name]
        )
    flip = 1 - trap.fidelity_readout
    noise.add_all_qubit_readout_error(ReadoutError([[1 - flip, flip], [flip, 1 - flip]]))
    return target, noise
