"""Times of a circuit's probabilities: on Aer, and of our exact engine beside others."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from qiskit import transpile
from qiskit.quantum_info import Statevector
from qiskit_aer import AerSimulator
from qiskit_aer.primitives import SamplerV2
from torch import Tensor

from qcaan import losses
from qcaan.circuits.ansatz import Ansatz, make_ansatz
from qcaan.circuits.born import BornMachine
from qcaan.circuits.statevector import probabilities
from qcaan.commands.benchmark.timing import (
    Goal,
    Row,
    is_installed,
    median_times,
    rows_of,
    times_of,
)

SHOTS = 2000
# numbers of qubits above which a row would take minutes or too much memory
_STATEVECTOR_QUBITS, _BACKPROP_QUBITS, _BATCH_QUBITS = 16, 10, 12
_BATCHES = (64, 512)

_OURS, _OUR_GRADIENT = "value: qcaan", "value + gradient: qcaan"
_QULACS = "value: qulacs"
_PENNYLANE_GRADIENT = "value + gradient: PennyLane default.qubit, backprop"


def cost_evaluations(repeats: int) -> list[Row]:
    """Time one evaluation of a QCBM's loss on Aer: 8 qubits, `seed` with 2 layers, 2,000 shots."""
    ansatz = make_ansatz("seed", 8, 2)
    theta = random_angles(ansatz)
    circuit = ansatz.to_circuit()
    circuit.measure_all()
    simulator = AerSimulator()
    transpiled = transpile(circuit, simulator, optimization_level=1)
    aer_sampler = SamplerV2()
    rng = np.random.default_rng(0)
    born, both = (BornMachine(ansatz, bases, "aer", rng) for bases in (("z",), ("z", "o")))

    def transpile_and_run() -> object:
        bound = transpile(circuit, simulator).assign_parameters(theta[0].numpy())
        return simulator.run(bound, shots=SHOTS).result().get_counts()

    def run_sampler() -> object:
        return aer_sampler.run([(transpiled, theta[0].numpy())], shots=SHOTS).result()

    ways: dict[str, Callable[[], object]] = {
        "transpile and run at every call": transpile_and_run,
        "Aer's SamplerV2, transpiled once": run_sampler,
        "qcaan, --sampler aer": lambda: born.frequencies(theta, SHOTS),
        "qcaan, --shots 0 (exact, by Aer)": lambda: born.probabilities(theta),
        "qcaan, --shots 0, two bases": lambda: both.probabilities(theta),
    }
    return rows_of(median_times(ways, repeats))


def exact_engines(n_qubits: int, repeats: int) -> list[Row]:
    """Time probabilities, and the gradient of a KL, of `seed` with 2 layers on one core.

    Rows of batches are times of one parameter set. qulacs and PennyLane have rows if they are
    installed (extra `bench`).
    """
    ansatz = make_ansatz("seed", n_qubits, 2)
    theta = random_angles(ansatz)
    values, gradients = _values(ansatz, theta), _gradients(ansatz, theta)
    _check_equal(values)
    _check_equal(gradients)
    times = median_times(values | gradients, repeats)
    if n_qubits <= _BATCH_QUBITS:
        for k in _BATCHES:
            batch = theta.repeat(k, 1)
            ways: dict[str, Callable[[], Any]] = {_OURS: partial(probabilities, ansatz, batch)}
            if k == _BATCHES[0]:
                ways |= _gradients(ansatz, batch)
            for what, ms in median_times(ways, repeats).items():
                times[_in_batch(what, k)] = ms / k
    return rows_of(times)


def engine_goals(rows: Sequence[Row]) -> list[Goal]:
    """Return the goals of the exact engine at 8 qubits, as far as the others are installed."""
    ms = times_of(rows)
    goals = []
    if qulacs := ms.get(_QULACS):
        in_batch = ms[_in_batch(_OURS, _BATCHES[0])]
        goals.append(Goal("one value, times qulacs'", ms[_OURS] / qulacs, "at most 1.5"))
        goals.append(Goal("one of a batch of 64, times qulacs'", in_batch / qulacs, "below 1"))
    if backprop := ms.get(_PENNYLANE_GRADIENT):
        faster = backprop / ms[_OUR_GRADIENT]
        what = "value + gradient, times faster than PennyLane's backprop"
        goals.append(Goal(what, faster, "at least 10"))
    return goals


def _values(ansatz: Ansatz, theta: Tensor) -> dict[str, Callable[[], Any]]:
    """Return ways to compute the probabilities [2**n] at angles [1, P]."""
    born = BornMachine(ansatz, ("z",), "aer", np.random.default_rng(0))
    circuit = ansatz.to_circuit()

    def statevector() -> object:
        return Statevector(circuit.assign_parameters(theta[0].numpy())).probabilities()

    values: dict[str, Callable[[], Any]] = {
        "value: Qiskit Aer, tuned": lambda: born.probabilities(theta)[0, 0]
    }
    if ansatz.n_qubits <= _STATEVECTOR_QUBITS:
        values["value: Qiskit Statevector"] = statevector
    if is_installed("qulacs"):
        values[_QULACS] = _qulacs_value(ansatz, theta[0].tolist())
    if is_installed("pennylane"):
        node = _pennylane_node(ansatz, "lightning.qubit", None)
        values["value: PennyLane lightning.qubit"] = lambda: node(theta[0])
    # angles as an optimizer that needs no gradients has them, and as a network has them
    values[_OURS] = partial(probabilities, ansatz, theta.numpy())
    values[f"{_OURS}, angles as a tensor"] = partial(probabilities, ansatz, theta)
    return values


def _gradients(ansatz: Ansatz, theta: Tensor) -> dict[str, Callable[[], Any]]:
    """Return ways to compute the gradients [K, P] of KL(uniform || circuit) at angles [K, P]."""
    n = ansatz.n_qubits
    target = torch.full((2**n,), 0.5**n, dtype=torch.float64)

    def ours(angles: Tensor) -> Tensor:
        point = angles.requires_grad_()
        values = losses.kl(target.to(angles), probabilities(ansatz, point))
        return torch.autograd.grad(values.sum(), point)[0]

    gradients: dict[str, Callable[[], Any]] = {}
    if is_installed("pennylane") and n <= _BACKPROP_QUBITS:
        node = _pennylane_node(ansatz, "default.qubit", "backprop")

        def pennylane() -> Tensor:
            point = theta.clone().requires_grad_()
            # columns are parameters, which PennyLane broadcasts
            values = losses.kl(target, node(point[0] if len(point) == 1 else point.T))
            return torch.autograd.grad(values.sum(), point)[0]

        gradients[_PENNYLANE_GRADIENT] = pennylane
    gradients[_OUR_GRADIENT] = lambda: ours(theta.clone())
    gradients[f"{_OUR_GRADIENT}, float32"] = lambda: ours(theta.float())
    return gradients


def _check_equal(ways: Mapping[str, Callable[[], Any]]) -> None:
    """Check that all ways compute the same, which is part of what is claimed."""
    results = [torch.as_tensor(way()).double() for way in ways.values()]
    assert all(torch.allclose(result, results[0], atol=1e-4) for result in results)


def _qulacs_value(ansatz: Ansatz, theta: list[float]) -> Callable[[], object]:
    """Return a function that computes the probabilities of `seed` by qulacs."""
    # qulacs reads this when it is imported; what is compared is one core
    os.environ.setdefault("QULACS_NUM_THREADS", "1")
    import qulacs

    n, circuit = ansatz.n_qubits, qulacs.ParametricQuantumCircuit(ansatz.n_qubits)
    add = {"rx": circuit.add_parametric_RX_gate, "rz": circuit.add_parametric_RZ_gate}
    for gate in ansatz.layers:
        for i in range(n):
            if gate == "h":
                circuit.add_H_gate(i)
            elif gate == "rxx":
                for j in range(i + 1, n):
                    circuit.add_parametric_multi_Pauli_rotation_gate([i, j], [1, 1], 0.0)
            else:
                add[gate](i, 0.0)
    state = qulacs.QuantumState(n)

    def value() -> object:
        for index, angle in enumerate(theta):
            circuit.set_parameter(index, -angle)  # qulacs' rotations turn the other way
        state.set_zero_state()
        circuit.update_quantum_state(state)
        return np.abs(state.get_vector()) ** 2

    return value


def _pennylane_node(ansatz: Ansatz, device: str, diff_method: str | None) -> Callable[..., Any]:
    """Return a function from angles [P] to the probabilities of `seed` by PennyLane."""
    import pennylane as qml

    n = ansatz.n_qubits
    wires = range(n - 1, -1, -1)  # PennyLane's first wire is the highest bit
    rotations = {"rx": qml.RX, "rz": qml.RZ}

    def circuit(angles: Tensor) -> object:
        values = iter(angles)
        for gate in ansatz.layers:
            for i in range(n):
                if gate == "h":
                    qml.Hadamard(i)
                elif gate == "rxx":
                    for j in range(i + 1, n):
                        qml.IsingXX(next(values), [i, j])
                else:
                    rotations[gate](next(values), i)
        return qml.probs(wires=wires)

    node: Callable[..., Any] = qml.QNode(
        circuit, qml.device(device, wires=n), interface="torch", diff_method=diff_method
    )
    return node


def random_angles(ansatz: Ansatz) -> Tensor:
    """Return angles float64 [1, P], always the same."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, ansatz.n_params, dtype=torch.float64, generator=generator)


def _in_batch(what: str, k: int) -> str:
    return f"{what}, per set in a batch of {k}"
