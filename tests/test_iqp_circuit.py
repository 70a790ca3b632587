"""IQP circuits: probabilities, correlators and shots, against Qiskit's state vector."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit.quantum_info import Statevector

from qcaan.bits import all_bitstrings, bits_to_index, histogram
from qcaan.circuits.iqp import IQPCircuit
from qcaan.losses import tvd

REACHES = (1, 2, 3, 4, 7, 9, "all")


def angles(circuit, seed=0, scale=1.0):
    drawn = np.random.default_rng(seed).normal(0, scale, circuit.n_params)
    return torch.from_numpy(drawn)


def reference(circuit, theta):
    """The distribution of `to_circuit()` by Qiskit, in the order of indices."""
    bound = circuit.to_circuit().assign_parameters(theta.numpy())
    bound.remove_final_measurements()
    return torch.from_numpy(Statevector(bound).probabilities())


@pytest.mark.parametrize("reach", REACHES)
def test_probabilities_are_those_of_qiskits_state_vector(reach):
    circuit = IQPCircuit(10, reach)
    theta, bits = angles(circuit), all_bitstrings(10)
    expected = reference(circuit, theta)
    for dtype, error in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
        found = circuit.log_probs(theta.to(dtype), bits)
        assert found.dtype == dtype
        torch.testing.assert_close(found.exp().double(), expected, atol=error, rtol=0)
        assert float(found.double().exp().sum()) == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close(circuit.probabilities(theta), expected, atol=1e-12, rtol=0)


@settings(max_examples=20)
@given(st.integers(2, 8), st.data())
def test_any_circuit_is_normalised_and_agrees_with_its_state_vector(n, data):
    reach = data.draw(st.one_of(st.integers(1, n - 1), st.just("all")))
    circuit = IQPCircuit(n, reach)
    theta = angles(circuit, data.draw(st.integers(0, 99)), data.draw(st.floats(0.01, 5)))
    found = circuit.log_probs(theta, all_bitstrings(n)).exp()
    torch.testing.assert_close(found, circuit.probabilities(theta), atol=1e-11, rtol=0)
    assert float(found.sum()) == pytest.approx(1, abs=1e-11)


@pytest.mark.parametrize("reach", [1, 3, "all"])
def test_autograd_gives_the_slopes_of_log_probabilities_and_correlators(reach):
    circuit = IQPCircuit(5, reach)
    theta = angles(circuit).requires_grad_()
    subsets = torch.tensor([[0, 2], [1, 4]])
    bits = all_bitstrings(5)[[0, 7, 30]]
    assert torch.autograd.gradcheck(lambda t: circuit.log_probs(t, bits), theta)
    assert torch.autograd.gradcheck(lambda t: circuit.correlators(t, subsets), theta)


@pytest.mark.parametrize("reach", [1, 3, "all"])
@pytest.mark.parametrize("order", [1, 2, 3, 5, 8])
def test_correlators_are_those_of_the_state_vector(reach, order):
    circuit = IQPCircuit(8, reach)
    theta = angles(circuit)
    rng = np.random.default_rng(1)
    subsets = torch.from_numpy(np.stack([rng.permutation(8)[:order] for _ in range(4)]))
    signs = 1 - 2 * all_bitstrings(8).double()
    expected = reference(circuit, theta) @ signs[:, subsets].prod(-1)
    found = circuit.correlators(theta, subsets)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    assert circuit.correlators(theta, subsets[:0]).shape == (0,)


@pytest.mark.parametrize("reach", [1, 3, 6, "all"])
def test_shots_are_as_near_to_the_distribution_as_ideal_shots_are(reach):
    circuit, shots = IQPCircuit(10, reach), 20_000
    for seed in range(5):
        rng = np.random.default_rng(seed)
        theta = angles(circuit, seed, 0.7)
        expected = reference(circuit, theta)
        ideal = [rng.multinomial(shots, expected / expected.sum()) / shots for _ in range(20)]
        noise = np.array([float(tvd(torch.from_numpy(drawn), expected)) for drawn in ideal])
        found = float(tvd(histogram(circuit.sample(theta, shots, rng)), expected))
        assert abs(found - noise.mean()) < 5 * noise.std()


def test_a_thousand_qubits_are_sampled_exactly_and_their_likelihood_is_finite():
    circuit = IQPCircuit(1000, 3)
    theta = angles(circuit, scale=0.6)
    bits = circuit.sample(theta, 2000, np.random.default_rng(0))
    assert bits.shape == (2000, 1000) and bits.dtype == torch.uint8
    neighbours = torch.arange(999)[:, None] + torch.tensor([0, 1])
    exact = circuit.correlators(theta, neighbours)
    signs = 1 - 2 * bits.double()
    found = (signs[:, :-1] * signs[:, 1:]).mean(0)
    # each squared error in units of its variance is 1 on average
    errors = (found - exact).square() / ((1 - exact.square()).clamp_min(1e-3) / 2000)
    assert float(errors.mean()) == pytest.approx(1, abs=0.2)
    exact = circuit.log_probs(theta, bits[:50])
    assert exact.isfinite().all() and float(exact.max()) < 0
    single = circuit.log_probs(theta.float(), bits[:50]).double()
    torch.testing.assert_close(single, exact, atol=0.01, rtol=0)


def test_strings_that_cannot_occur_have_probability_zero_and_are_not_drawn():
    circuit = IQPCircuit(20, 2)
    theta = torch.zeros(circuit.n_params, dtype=torch.float64)
    theta[3] = math.pi  # qubit 3 turns to 1 for sure
    bits = circuit.sample(theta, 100, np.random.default_rng(0))
    assert bits.sum(0).tolist() == [100 if qubit == 3 else 0 for qubit in range(20)]
    assert float(circuit.log_probs(theta, bits[:1])) == pytest.approx(0, abs=1e-12)
    zeros = torch.zeros(1, 20)
    assert float(circuit.log_probs(0 * theta, zeros)) == 0
    assert float(circuit.log_probs(0 * theta, 1 - zeros)) == -math.inf


@pytest.mark.parametrize("reach", [2, "all"])
def test_no_bitstrings_and_no_shots_are_empty(reach):
    circuit = IQPCircuit(np.int64(5), reach)
    theta = angles(circuit)
    assert circuit.log_probs(theta, torch.zeros(0, 5, dtype=torch.uint8)).shape == (0,)
    assert circuit.sample(theta, 0, np.random.default_rng(0)).shape == (0, 5)


def test_gates_of_a_banded_circuit_stand_side_by_side():
    circuit = IQPCircuit(100, 2)
    built = circuit.to_circuit()
    assert built.num_parameters == circuit.n_params == 100 + 99 + 98
    assert dict(built.count_ops()) == {
        "h": 200,
        "rz": 100,
        "rzz": 197,
        "barrier": 1,
        "measure": 100,
    }
    assert built.depth(lambda step: step.operation.name == "rzz") == 4
    assert IQPCircuit(5, "all").pairs == IQPCircuit(5, 4).pairs
    assert IQPCircuit(4, 2).pairs == [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3)]


@pytest.mark.parametrize(
    ("n_qubits", "reach", "message"),
    [
        (1, "all", "`n_qubits` must be at least 2, got 1"),
        (8, 8, r"`reach` must be all, or at least 1 and below `n_qubits` \(8\), got 8"),
        (8, 0, "`reach` must be at least 1, got 0"),
        (8, "some", r"`reach` must be all, or at least 1 and below `n_qubits` \(8\), got 'some'"),
        (8, 2.5, "`reach` must be a whole number of at least 1, got 2.5"),
        (200, 60, r"`reach` must be at most \d+ for 200 qubits on this machine .*, or all, got 60"),
    ],
)
def test_what_no_window_holds_is_refused_by_name(n_qubits, reach, message):
    with pytest.raises(ValueError, match=message):
        IQPCircuit(n_qubits, reach)


def test_all_pairs_of_many_qubits_have_correlators_but_neither_probabilities_nor_shots():
    circuit = IQPCircuit(200, "all")
    theta = angles(circuit, scale=0.01)
    assert circuit.correlators(theta, torch.tensor([[3, 150]])).shape == (1,)
    bits = torch.zeros(1, 200)
    with pytest.raises(ValueError, match=r"`n_qubits` must be at most .* state vector, got 2"):
        circuit.log_probs(theta, bits)
    with pytest.raises(ValueError, match="`reach` all, got 200: more come only from a device"):
        circuit.sample(theta, 1, np.random.default_rng(0))


class TestLabels:
    @pytest.mark.parametrize(("n_labels", "reach"), [(1, 1), (2, 3), (2, 7), (3, 2), (2, "all")])
    def test_probabilities_are_those_of_qiskits_state_vector(self, n_labels, reach):
        circuit = IQPCircuit(10, reach, n_labels)
        theta = angles(circuit)
        expected = reference(circuit, theta)
        found = circuit.log_probs(theta, all_bitstrings(10)).exp()
        torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
        assert float(found.sum()) == pytest.approx(1, abs=1e-12)
        of_labels = expected.view(-1, 2**n_labels).sum(0)
        torch.testing.assert_close(circuit.label_probabilities(theta), of_labels)
        single = circuit.log_probs(theta.float(), all_bitstrings(10)).exp().double()
        torch.testing.assert_close(single, expected, atol=1e-6, rtol=0)

    @pytest.mark.parametrize(("n_labels", "reach"), [(1, 5), (2, 3), (3, 1), (2, "all")])
    def test_shots_of_each_label_are_as_near_to_its_distribution_as_ideal_shots_are(
        self, n_labels, reach
    ):
        circuit, shots = IQPCircuit(9, reach, n_labels), 8000
        theta = angles(circuit, 1, 0.7)
        table = reference(circuit, theta).view(-1, 2**n_labels).T  # (labels, others)
        labels = torch.arange(2**n_labels).repeat_interleave(shots)
        rng = np.random.default_rng(0)
        bits = circuit.sample(theta, len(labels), rng, labels)
        assert torch.equal(bits_to_index(bits[:, :n_labels]), labels)
        for drawn, probs in zip(bits[:, n_labels:].chunk(2**n_labels), table, strict=True):
            given = probs / probs.sum()
            ideal = [rng.multinomial(shots, given) / shots for _ in range(20)]
            noise = np.array([float(tvd(torch.from_numpy(other), given)) for other in ideal])
            assert abs(float(tvd(histogram(drawn), given)) - noise.mean()) < 5 * noise.std()

    @pytest.mark.parametrize("reach", [3, "all"])
    def test_labels_are_drawn_with_the_other_bits(self, reach):
        circuit = IQPCircuit(8, reach, 2)
        theta = angles(circuit, 3)
        expected = reference(circuit, theta)
        drawn = histogram(circuit.sample(theta, 40_000, np.random.default_rng(0)))
        noise = 0.5 * float((2 * expected / (math.pi * 40_000)).sqrt().sum())
        assert float(tvd(drawn, expected)) < 1.2 * noise

    def test_a_wide_circuit_has_the_exact_correlators_with_its_label(self):
        circuit = IQPCircuit(302, 3, 2)
        theta = angles(circuit, scale=0.6)
        # the label's angles: small, so that its correlations are large
        theta[:2], theta[302 : 302 + 301 + 300] = 1.2, 0.08 * theta[302 : 302 + 301 + 300]
        bits = circuit.sample(theta, 2000, np.random.default_rng(0))
        signs = 1 - 2 * bits.double()
        subsets = torch.tensor([[label, i, i + 1] for label in (0, 1) for i in range(2, 301)])
        exact = circuit.correlators(theta, subsets)
        found = signs[:, subsets].prod(-1).mean(0)
        errors = (found - exact).square() / ((1 - exact.square()).clamp_min(1e-3) / 2000)
        assert float(errors.mean()) == pytest.approx(1, abs=0.3)
        assert float(exact.abs().max()) > 0.15  # seven standard errors
        shares = circuit.label_probabilities(theta)
        first = circuit.correlators(theta, torch.tensor([[0]]))
        assert float(shares[0::2].sum() - shares[1::2].sum()) == pytest.approx(float(first))

    @pytest.mark.parametrize("reach", [2, "all"])
    def test_autograd_gives_the_slopes(self, reach):
        circuit = IQPCircuit(6, reach, 2)
        theta = angles(circuit).requires_grad_()
        bits = all_bitstrings(6)[[0, 7, 30, 61]]
        assert torch.autograd.gradcheck(lambda t: circuit.log_probs(t, bits), theta)
        assert torch.autograd.gradcheck(circuit.label_probabilities, theta)

    def test_they_are_coupled_to_every_qubit_in_about_one_layer_each(self):
        assert IQPCircuit(5, 1, 1).pairs == [(0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (2, 3), (3, 4)]
        circuit = IQPCircuit(66, 6, 2)
        built = circuit.to_circuit()
        assert built.num_parameters == circuit.n_params == 66 + len(circuit.pairs)
        assert built.depth(lambda step: step.operation.name == "rzz") < 66 + 2 * 6
        assert IQPCircuit(9, "all", 2).pairs == IQPCircuit(9, "all").pairs

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ((8, 2, 7), "`n_labels` must be at least 0 and below 7, got 7"),
            ((8, 2, -1), "`n_labels` must be at least 0 and below 7, got -1"),
            (
                (8, 6, 2),
                "below the number of qubits without those of the label .6., got 6",
            ),
            ((66, 30, 2), r"at most \d+ for 66 qubits with 2 label qubits .*, or all, got 30"),
            ((90, 1, 40), r"`reach` must be all for 90 qubits with 40 label qubits .*, got 1"),
        ],
    )
    def test_too_many_are_refused_by_name(self, options, message):
        with pytest.raises(ValueError, match=message):
            IQPCircuit(*options)

    @pytest.mark.parametrize("reach", [2, "all"])
    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            (torch.tensor([0, 4]), r"whole numbers \[2\] from 0 to 3, got one out of this range"),
            (torch.tensor([0.0, 1.0]), r"from 0 to 3, got torch.float32 \[2\]"),
            (torch.tensor([1]), r"from 0 to 3, got torch.int64 \[1\]"),
            (torch.tensor([0, 1]), "one that does not occur at these angles"),
        ],
    )
    def test_labels_that_are_none_are_not_drawn(self, reach, labels, message):
        circuit = IQPCircuit(6, reach, 2)
        theta = torch.zeros(circuit.n_params)
        with pytest.raises(ValueError, match=message):
            circuit.sample(theta, 2, np.random.default_rng(0), labels)
