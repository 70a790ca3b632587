from __future__ import annotations

import numpy as np
import pytest
import torch
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import Parameter

from qcaan.circuits.ansatz import make_ansatz
from qcaan.circuits.born import BornMachine, mitigated
from qcaan.circuits.statevector import probabilities
from qcaan.samplers.names import make_sampler

IDEAL = ("aer", "aer:single", "statevector", "aqt:ideal", "ionq:simulator", "ionq:qpu.forte-1")
NOISY = ("aer-noise:fake_guadalupe", "aer-noise:ionq-aria", "ibm:fake_guadalupe", "aqt:noisy")


def bits(sampler, circuit, *rest, shots=200):
    pub = sampler.run([(circuit, *rest)], shots=shots).result()[0]
    return pub.join_data().to_bool_array(order="little")


@pytest.mark.parametrize("name", [*IDEAL, *NOISY])
@pytest.mark.usefixtures("ionq")
class TestContract:
    def test_x_on_a_qubit_lands_in_its_column(self, name):
        circuit = QuantumCircuit(9)  # more than one byte of bits
        circuit.x([0, 2])
        circuit.measure_all()
        expected = [1, 0, 1, 0, 0, 0, 0, 0, 0]
        drawn = bits(make_sampler(name, 0), circuit)
        assert drawn.shape == (200, 9)
        assert drawn.mean(0).tolist() == pytest.approx(expected, abs=0 if name in IDEAL else 0.12)

    def test_columns_are_classical_bits_over_several_registers(self, name):
        circuit = QuantumCircuit(
            QuantumRegister(3), ClassicalRegister(1, "a"), ClassicalRegister(2, "b")
        )
        circuit.x(2)
        circuit.measure([0, 1, 2], [0, 1, 2])
        drawn = bits(make_sampler(name, 0), circuit)
        assert drawn.mean(0).tolist() == pytest.approx([0, 0, 1], abs=0 if name in IDEAL else 0.12)

    def test_parameter_sets_broadcast_in_order(self, name):
        angle = Parameter("a")
        circuit = QuantumCircuit(2)
        circuit.rx(angle, 1)
        circuit.measure_all()
        drawn = bits(
            make_sampler(name, 0), circuit, np.array([[0.0], [np.pi], [np.pi / 2]]), shots=1000
        )
        assert drawn.shape == (3, 1000, 2)
        slack = 0 if name in IDEAL else 0.1
        assert drawn[:, :, 0].mean() <= slack
        assert drawn[:2, :, 1].mean(1).tolist() == pytest.approx([0, 1], abs=slack)
        assert drawn[2, :, 1].mean() == pytest.approx(0.5, abs=0.08)  # five standard deviations

    def test_ghz_gives_its_two_strings_in_random_order(self, name):
        circuit = QuantumCircuit(3)
        circuit.h(0)
        circuit.cx(0, 1)
        circuit.cx(0, 2)
        circuit.measure_all()
        drawn = bits(make_sampler(name, 1), circuit, shots=1000)
        assert (drawn == drawn[:, :1]).all(1).mean() >= (1 if name in IDEAL else 0.8)
        flips = (drawn[1:, 0] != drawn[:-1, 0]).mean()
        # shots that were expanded from counts in order would flip once
        assert flips == pytest.approx(0.5, abs=0.08)

    def test_draws_differ_within_a_sampler_and_agree_between_equal_seeds(self, name):
        circuit = QuantumCircuit(4)
        circuit.h(range(4))
        circuit.measure_all()
        one, other = make_sampler(name, 7), make_sampler(name, 7)
        first, second = bits(one, circuit), bits(one, circuit)
        assert (first != second).any()
        assert (first == bits(other, circuit)).all()
        assert (second == bits(other, circuit)).all()

    def test_equal_parameter_sets_of_one_run_get_different_shots(self, name):
        angle = Parameter("a")
        circuit = QuantumCircuit(4)
        circuit.h(range(4))
        circuit.rz(angle, 0)
        circuit.measure_all()
        drawn = bits(make_sampler(name, 7), circuit, np.zeros((2, 1)))
        assert (drawn[0] != drawn[1]).any()

    def test_a_gradient_by_parameter_shifts_agrees_with_the_exact_one(self, name):
        ansatz = make_ansatz("ion-trap", 2, 2)
        theta = torch.from_numpy(np.random.default_rng(0).normal(0, 1, ansatz.n_params))
        weight = torch.tensor([0.0, 1.0, -1.0, 0.5], dtype=torch.float64)
        point = theta.clone().requires_grad_()
        (exact,) = torch.autograd.grad(
            (probabilities(ansatz, point[None])[0] * weight).sum(), point
        )
        born = BornMachine(ansatz, ("z",), make_sampler(name, 0), np.random.default_rng(0))
        shift = np.pi / 2 * torch.eye(len(theta), dtype=torch.float64)
        up, down = (
            born.frequencies(torch.cat([theta + shift, theta - shift]), 4000)[:, 0] @ weight
        ).chunk(2)
        torch.testing.assert_close(
            (up - down) / 2, exact, atol=0.05 if name in IDEAL else 0.12, rtol=0
        )


def test_aer_on_a_gpu_says_what_it_needs():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(
        ValueError,
        match="`sampler` 'aer-gpu' needs a CUDA GPU, and qiskit-aer-gpu instead of qiskit-aer",
    ):
        make_sampler("aer-gpu")


@pytest.mark.parametrize(
    "name", ["aqt:ideal", "aer-noise:ionq-aria", "aer-noise:fake_guadalupe", "ibm:fake_guadalupe"]
)
def test_more_qubits_than_a_device_has_are_refused(name):
    circuit = QuantumCircuit(30)
    circuit.measure_all()
    with pytest.raises(ValueError, match=rf"`n_qubits` must be at most \d+ on {name}, got 30"):
        make_sampler(name, 0).run([(circuit,)])


@pytest.mark.parametrize("device", ["fake_guadalupe", "ionq-aria"])
def test_mitigation_of_readout_errors_lowers_the_distance_to_the_exact_distribution(device):
    # without couplings, nearly all errors are those of the readout
    circuit = make_ansatz("ion-trap", 4, 1)
    born = BornMachine(circuit, ("z",), f"aer-noise:{device}", np.random.default_rng(0))
    theta = torch.full((1, circuit.n_params), 2.6, dtype=torch.float64)
    exact, read = probabilities(circuit, theta), born.frequencies(theta, 50_000)[:, 0]
    (errors,) = born.readout_errors(50_000)
    assert errors.sum(1).tolist() == [pytest.approx([1, 1])] * 4
    distance, after = (float((f - exact).abs().sum() / 2) for f in (read, mitigated(read, errors)))
    assert after < 0.6 * distance
    assert after < 0.02


def test_mitigation_undoes_known_errors():
    errors = torch.tensor(
        [[[0.9, 0.2], [0.1, 0.8]], [[0.99, 0.05], [0.01, 0.95]]], dtype=torch.float64
    )
    truth = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)  # qubit 0 the lowest bit
    read = torch.kron(errors[1], errors[0]) @ truth
    torch.testing.assert_close(mitigated(read[None, None], errors)[0, 0], truth)
