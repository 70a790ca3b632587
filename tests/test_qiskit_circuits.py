"""Qiskit circuits as distributions: values, shifts, samplers, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from qiskit import QuantumCircuit
from qiskit.circuit import Gate, Parameter, ParameterVector
from qiskit.circuit.library import StatePreparation, efficient_su2, n_local
from qiskit.primitives import StatevectorSampler
from qiskit.providers.basic_provider import BasicSimulator
from qiskit.quantum_info import Statevector
from qiskit_aer import AerSimulator

from qcaan.circuits.ansatz import Ansatz, make_ansatz
from qcaan.circuits.qiskit_circuits import (
    CircuitMachine,
    distribution,
    make_machine,
    ordered_parameters,
    probabilities_and_slopes,
)
from qcaan.samplers.names import open_engine

A, B = Parameter("a"), Parameter("b")


def repeated():
    """Return a circuit with parameters in several rotations, scaled, inside two-qubit gates."""
    circuit = QuantumCircuit(3)
    circuit.h(0)
    circuit.crx(A, 0, 1)
    circuit.p(2 * B + A, 1)
    circuit.rxx(A * B, 0, 2)
    circuit.u(A, B, 0.3, 2)
    circuit.ryy(B.sin(), 1, 2)
    circuit.cp(A, 0, 2)
    circuit.h(range(3))
    return circuit


def prepared():
    circuit = QuantumCircuit(2)
    circuit.initialize([0.5, 0.5, 0.1**0.5, 0.4**0.5])
    circuit.append(StatePreparation([0.6, 0.8]), [1])
    circuit.ry(A, 0)
    circuit.swap(0, 1)
    return circuit


@pytest.mark.parametrize(
    "circuit",
    [repeated(), prepared(), n_local(3, "ry", "cz", "circular", 2), efficient_su2(2, reps=1)],
)
def test_values_are_qiskits_and_shifts_equal_finite_differences(circuit):
    machine = make_machine(circuit, "exact", np.random.default_rng(0))
    theta = torch.from_numpy(np.random.default_rng(1).normal(0, 1, machine.n_params))
    probs, jacobian = probabilities_and_slopes(machine, theta, 0)
    values = dict(zip(ordered_parameters(circuit), theta.tolist(), strict=True))
    np.testing.assert_allclose(
        probs, Statevector(circuit.assign_parameters(values)).probabilities(), atol=1e-12
    )
    step = 1e-5 * torch.eye(len(theta), dtype=torch.float64)
    differences = (
        distribution(machine, theta + step, 0) - distribution(machine, theta - step, 0)
    ) / 2e-5
    np.testing.assert_allclose(jacobian, differences, atol=1e-8)
    assert jacobian.abs().max() > 0.01


def test_an_ansatz_and_its_circuit_agree_and_shifts_equal_autograd():
    ansatz = make_ansatz("ion-trap", 3, 4)
    theta = torch.from_numpy(np.random.default_rng(0).normal(0, 1, ansatz.n_params))
    rng = np.random.default_rng(0)
    engine, built, aer = (
        make_machine(circuit, sampler, rng)
        for circuit, sampler in ((ansatz, "exact"), (ansatz.to_circuit(), "exact"), (ansatz, "aer"))
    )
    point = theta.clone().requires_grad_()
    by_autograd = torch.autograd.functional.jacobian(
        lambda t: distribution(engine, t[None], 0)[0], point
    )
    for machine in (engine, built, aer):
        probs, jacobian = probabilities_and_slopes(machine, theta, 0)
        torch.testing.assert_close(probs, distribution(engine, theta[None], 0)[0])
        torch.testing.assert_close(jacobian, by_autograd.T)


@pytest.mark.parametrize("circuit", [prepared(), Ansatz(1, ("ry",))])
def test_angles_may_be_of_any_kind(circuit):
    machine = make_machine(circuit, "aer", np.random.default_rng(0))
    expected = distribution(machine, torch.tensor([[0.5]], dtype=torch.float64), 0)
    for theta in ([[0.5]], np.array([[0.5]])):
        assert torch.equal(distribution(machine, theta, 0), expected)
        assert distribution(machine, theta, 100).sum() == pytest.approx(1)
        torch.testing.assert_close(probabilities_and_slopes(machine, theta[0], 0)[0], expected[0])


def test_numbers_in_names_count_by_value():
    vector = QuantumCircuit(1)
    for angle in ParameterVector("θ", 12):
        vector.ry(angle, 0)
    names = QuantumCircuit(1)
    for index in (10, 2, 1):
        names.ry(Parameter(f"w{index}"), 0)
    assert [p.name for p in ordered_parameters(vector)] == [f"θ[{i}]" for i in range(12)]
    assert [p.name for p in ordered_parameters(names)] == ["w1", "w2", "w10"]


@pytest.mark.parametrize(
    "device",
    [
        "aer",
        "statevector",
        StatevectorSampler(seed=np.random.default_rng(0)),
        AerSimulator(),
        BasicSimulator(),
    ],
    ids=["aer", "statevector", "object", "Aer backend", "basic backend"],
)
@pytest.mark.parametrize(
    "circuit", [Ansatz(2, ("ry", "cx", "ry")), n_local(2, "ry", "cx", "linear", 1)]
)
def test_shots_approach_probabilities_and_derivatives_and_no_two_runs_are_the_same(device, circuit):
    rng = np.random.default_rng(0)
    machine = make_machine(circuit, open_engine(device, rng), rng)
    theta = torch.tensor([0.4, 1.1, -0.7, 2.0], dtype=torch.float64)
    exact, slopes = probabilities_and_slopes(make_machine(circuit, "exact", rng), theta, 0)
    probs, jacobian = probabilities_and_slopes(machine, theta, 4000)
    again, _ = probabilities_and_slopes(machine, theta, 4000)
    assert (probs - exact).abs().max() < 0.03  # four standard deviations
    assert (jacobian - slopes).abs().max() < 0.03
    assert (probs != again).any()


def test_simulator_backends_are_seeded_by_the_generator_they_get():
    circuit, theta = Ansatz(2, ("ry",)), torch.tensor([[0.4, 1.1]], dtype=torch.float64)
    runs = []
    for _ in range(2):
        rng = np.random.default_rng(5)
        machine = make_machine(circuit, open_engine(AerSimulator(), rng), rng)
        runs.append([distribution(machine, theta, 200) for _ in range(2)])
    assert all(torch.equal(one, other) for one, other in zip(*runs, strict=True))


def with_ry(build):
    circuit = QuantumCircuit(2)
    circuit.ry(A, 0)
    build(circuit)
    return circuit


@pytest.mark.parametrize(
    ("circuit", "message"),
    [
        (QuantumCircuit(2), "must have parameters to train, got none"),
        (with_ry(lambda c: c.reset(0)), "RX, RY, RZ, CX to be shifted, got reset"),
        (with_ry(lambda c: c.measure_all()), "RX, RY, RZ, CX to be shifted, got measure"),
        (with_ry(lambda c: c.append(Gate("odd", 1, [B]), [0])), 'does not decompose to .* "odd"'),
        (with_ry(lambda c: c.ry(1j * B, 0)), "must have real angles, got a complex one"),
    ],
)
def test_what_cannot_be_shifted_is_refused(circuit, message):
    with pytest.raises(ValueError, match=message):
        CircuitMachine(circuit, "exact", np.random.default_rng(0))


def test_unknown_devices_and_probabilities_of_sampler_objects_are_refused():
    rng = np.random.default_rng(0)
    for device in ("warp", 3):
        with pytest.raises(
            ValueError, match=f"unknown `sampler` {device!r}; choose from exact, aer, "
        ):
            open_engine(device, rng)
    machine = make_machine(prepared(), StatevectorSampler(), rng)
    with pytest.raises(
        ValueError, match="exact probabilities are not available from StatevectorSampler"
    ):
        machine.probabilities(torch.zeros(1, 1, dtype=torch.float64))
