from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit.primitives import BaseSamplerV2
from qiskit.quantum_info import Statevector

from qcaan.bits import histogram
from qcaan.circuits.ansatz import ANSATZE, make_ansatz
from qcaan.circuits.born import BornMachine
from qcaan.samplers.names import EXACT, make_sampler


def machine(name="ion-trap", n_qubits=3, n_layers=2, bases=("z",), seed=0, sampler="aer"):
    return BornMachine(
        make_ansatz(name, n_qubits, n_layers), bases, sampler, np.random.default_rng(seed)
    )


ENGINES = (EXACT, "aer", "aer:single", "statevector")


@pytest.mark.parametrize("sampler", ENGINES)
def test_qubit_0_is_column_0_and_the_lowest_bit(sampler):
    born = machine(n_qubits=3, n_layers=1, sampler=sampler)
    theta = torch.tensor([np.pi, 0, 0], dtype=torch.float64)  # X on qubit 0
    assert born.sample(theta, 5).tolist() == [[1, 0, 0]] * 5
    assert born.probabilities(theta[None])[0, 0].argmax() == 1
    assert histogram(torch.tensor([[1, 0, 0]]))[1] == 1


@settings(deadline=None, max_examples=15)
@given(
    name=st.sampled_from(sorted(ANSATZE)),
    n=st.integers(1, 5),
    n_layers=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_aers_probabilities_are_those_of_qiskits_statevector_in_every_basis(
    name, n, n_layers, seed
):
    born = machine(name, n, n_layers, bases=("o", "t", "z"))
    theta = np.random.default_rng(seed).normal(0, 2, (2, born.n_params))
    probs = born.probabilities(torch.from_numpy(theta))
    assert probs.shape == (2, 3, 2**n)
    for k in range(2):
        for b, basis in enumerate(born.bases):
            circuit = born.ansatz.to_circuit(basis)
            exact = Statevector(
                circuit.assign_parameters(theta[k, : circuit.num_parameters])
            ).probabilities()
            np.testing.assert_allclose(probs[k, b], exact, atol=1e-12)


@pytest.mark.parametrize("sampler", ENGINES)
def test_frequencies_approach_probabilities_in_the_order_of_parameter_sets_and_bases(sampler):
    born = machine(n_qubits=3, n_layers=4, bases=("t", "z"), sampler=sampler)
    theta = torch.from_numpy(np.random.default_rng(1).normal(0, 1, (2, born.n_params)))
    # TVD of 20,000 shots on 8 outcomes: about 0.005
    assert abs(born.frequencies(theta, 20_000) - born.probabilities(theta)).sum(-1).max() / 2 < 0.02


def test_shots_of_different_bases_are_paired_at_random():
    class InOrder(BaseSamplerV2):
        """A device that returns shots sorted, as a counts dictionary does."""

        def __init__(self, sampler):
            self.sampler = sampler

        def run(self, pubs, *, shots=None):
            job = self.sampler.run(pubs)

            class Job:
                def result(self):
                    return [Sorted(pub) for pub in job.result()]

            return Job()

    class Sorted:
        def __init__(self, pub):
            self.pub = pub

        def join_data(self):
            return self

        def to_bool_array(self, order):
            bits = self.pub.join_data().to_bool_array(order=order)
            return np.sort(bits, axis=1)

    # |+i> in z is a fair coin, and RX(0) leaves it one in t: they must be independent
    born = BornMachine(
        make_ansatz("ion-trap", 1, 1),
        ("z", "t"),
        InOrder(make_sampler("aer", 0)),
        np.random.default_rng(0),
    )
    bits = born.sample(torch.tensor([np.pi / 2, 0.0], dtype=torch.float64), 4000)
    assert np.corrcoef(bits.numpy().T)[0, 1] == pytest.approx(0, abs=0.08)


def test_exact_probabilities_are_refused_where_the_sampler_has_none():
    born = BornMachine(
        make_ansatz("seed", 2, 1), ("z",), make_sampler("aer"), np.random.default_rng()
    )
    with pytest.raises(
        ValueError, match="exact probabilities are not available from TranspiledSampler"
    ):
        born.probabilities(torch.zeros(1, born.n_params))


@pytest.mark.parametrize("bases", [(), ("z", "z"), ("x",)])
def test_bad_bases_are_refused(bases):
    with pytest.raises(ValueError, match=r"bases.? must be different ones of z, o, t"):
        machine(bases=bases)


@pytest.mark.parametrize("sampler", ["exact", "aer"])
def test_angles_come_as_tensors_arrays_or_lists(sampler):
    born = machine(n_qubits=2, n_layers=2, sampler=sampler)
    theta = [[0.1 * k for k in range(born.n_params)], [0.3] * born.n_params]
    expected = born.probabilities(torch.tensor(theta, dtype=torch.float64))
    for angles in (theta, np.array(theta), tuple(map(tuple, theta))):
        torch.testing.assert_close(born.probabilities(angles), expected, rtol=0, atol=1e-15)
        assert born.frequencies(angles, 10).shape == (2, 1, 4)
    assert born.sample(theta[0], 5).shape == (5, 2)
    with pytest.raises(ValueError, match="`theta` must be an array of numbers, got str"):
        born.probabilities("angles")


@settings(max_examples=20)
@given(
    name=st.sampled_from(["ion-trap", "seed"]), z_qubits=st.integers(0, 2), seed=st.integers(0, 99)
)
def test_a_qubit_without_entanglers_turns_as_a_point_of_the_bloch_sphere(name, z_qubits, seed):
    rng = np.random.default_rng(seed)
    born = BornMachine(make_ansatz(name, 3, 4), ("t", "z", "o"), EXACT, rng, z_qubits)
    theta = np.zeros((2, born.n_params))
    places = [born.one_qubit_angles(qubit) for qubit in range(3)]
    for columns in places:
        theta[:, columns] = rng.normal(0, 2, (2, len(columns)))
    probs = born.probabilities(theta).unflatten(2, (2, 2, 2))  # the highest qubit first
    for qubit, columns in enumerate(places):
        others = [2 + axis for axis in range(3) if axis != 2 - qubit]
        found = born.one_qubit_marginals(qubit, theta[:, columns])
        np.testing.assert_allclose(found, probs.sum(others)[..., 1], atol=1e-12)


def test_a_machine_on_aer_can_be_copied():
    born = BornMachine(make_ansatz("ion-trap", 3, 2), ("z", "o"), "aer", np.random.default_rng(0))
    theta = torch.linspace(-2, 2, born.n_params, dtype=torch.float64)[None]
    copied = copy.deepcopy(born)
    assert torch.equal(copied.probabilities(theta), born.probabilities(theta))
