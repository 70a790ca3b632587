from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit.quantum_info import Pauli, Statevector

from qcaan.circuits.ansatz import ANSATZE, BASES, GATES, Ansatz, make_ansatz
from qcaan.circuits.statevector import (
    all_probabilities,
    amplitudes,
    expectations,
    preparation_angles,
    probabilities,
)


def parameters(ansatz, basis, seed, k=2):
    n_params = ansatz.n_params + (ansatz.n_qubits if basis == "t" else 0)
    return np.random.default_rng(seed).normal(0, 2, (k, n_params))


def assert_equals_qiskit(ansatz, basis, seed):
    theta = parameters(ansatz, basis, seed)
    expected = [
        Statevector(ansatz.to_circuit(basis).assign_parameters(t)).probabilities() for t in theta
    ]
    double = probabilities(ansatz, torch.from_numpy(theta), basis)
    single = probabilities(ansatz, torch.from_numpy(theta).float(), basis)
    in_numpy = probabilities(ansatz, theta, basis)
    assert (double.dtype, single.dtype) == (torch.float64, torch.float32)
    assert in_numpy.dtype == torch.float64
    np.testing.assert_allclose(double, expected, atol=1e-10)
    np.testing.assert_allclose(in_numpy, expected, atol=1e-10)
    np.testing.assert_allclose(single, expected, atol=1e-6)


@settings(deadline=None, max_examples=60)
@given(
    name=st.sampled_from(sorted(ANSATZE)),
    n=st.integers(1, 10),
    n_layers=st.integers(1, 5),
    basis=st.sampled_from(BASES),
    seed=st.integers(0, 999),
)
def test_every_ansatz_and_basis_equals_qiskits_statevector(name, n, n_layers, basis, seed):
    assert_equals_qiskit(make_ansatz(name, n, n_layers), basis, seed)


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(1, 6),
    layers=st.lists(st.tuples(st.sampled_from(GATES), st.integers(1, 6)), max_size=8),
    basis=st.sampled_from(BASES),
    seed=st.integers(0, 999),
)
def test_any_sequence_of_layers_equals_qiskits_statevector(n, layers, basis, seed):
    names = [
        gate if gate == "h" or stride == 1 else f"{gate}/{min(stride, n)}"
        for gate, stride in layers
    ]
    assert_equals_qiskit(Ansatz(n, tuple(names)), basis, seed)


@settings(deadline=None, max_examples=30)
@given(
    n=st.integers(1, 5),
    layers=st.lists(st.sampled_from(GATES), max_size=4),
    seed=st.integers(0, 999),
)
def test_any_real_state_can_come_before_the_other_layers(n, layers, seed):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(0, 3, (2, 2**n)) * (rng.random((2, 2**n)) < 0.6)
    vectors[:, rng.integers(2**n)] = -1
    ansatz = Ansatz(n, ("real-state", *layers))
    angles = preparation_angles(torch.from_numpy(vectors))
    theta = torch.cat(
        [angles, torch.from_numpy(parameters(Ansatz(n, tuple(layers)), "z", seed))], 1
    )
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(
        amplitudes(Ansatz(n, ("real-state",)), angles), vectors / lengths, atol=1e-12
    )
    expected = [Statevector(ansatz.to_circuit().assign_parameters(t.numpy())).data for t in theta]
    np.testing.assert_allclose(amplitudes(ansatz, theta), expected, atol=1e-10)


@settings(deadline=None, max_examples=30)
@given(
    n=st.integers(1, 5),
    layers=st.lists(st.sampled_from(GATES), max_size=5),
    cut=st.integers(0, 5),
    seed=st.integers(0, 99),
)
def test_a_circuit_goes_on_from_any_state(n, layers, cut, seed):
    parts = Ansatz(n, tuple(layers[:cut])), Ansatz(n, tuple(layers[cut:]))
    before, after = (torch.from_numpy(parameters(part, "z", seed, k=3)) for part in parts)
    whole = Ansatz(n, tuple(layers))
    state = amplitudes(parts[0], before)
    # one state or one parameter set is for all of the other
    for first, rest in ((state, after), (state, after[:1]), (state[:1], after)):
        k = max(len(first), len(rest))
        theta = torch.cat([before[: len(first)].expand(k, -1), rest.expand(k, -1)], 1)
        torch.testing.assert_close(amplitudes(parts[1], rest, first), amplitudes(whole, theta))


@settings(deadline=None, max_examples=15)
@given(name=st.sampled_from(sorted(ANSATZE)), n=st.integers(1, 4), seed=st.integers(0, 999))
def test_gradients_equal_parameter_shifts_and_finite_differences(name, n, seed):
    ansatz = make_ansatz(name, n, 3)
    theta = torch.from_numpy(parameters(ansatz, "t", seed, k=1))[0]
    weight = torch.from_numpy(np.random.default_rng(seed).normal(0, 1, 2**n))

    def value(points):
        return probabilities(ansatz, points, "t") @ weight

    point = theta.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value(point[None])[0], point)
    basis_vectors = torch.eye(len(theta), dtype=torch.float64)
    for step, scale in ((np.pi / 2, 2), (1e-5, 2e-5)):
        shifted = (
            value(theta + step * basis_vectors) - value(theta - step * basis_vectors)
        ) / scale
        torch.testing.assert_close(gradient, shifted, atol=1e-8, rtol=1e-6)


def test_second_derivatives_exist():
    ansatz = make_ansatz("seed", 3, 1)
    theta = torch.from_numpy(parameters(ansatz, "t", 0)).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda t: all_probabilities(ansatz, t, ("z", "t")), theta)


def test_several_bases_are_those_measured_one_by_one():
    ansatz = make_ansatz("ion-trap", 4, 4)
    theta = torch.from_numpy(parameters(ansatz, "t", 0))
    together = all_probabilities(ansatz, theta, ("t", "z", "o"))
    for b, basis in enumerate(("t", "z", "o")):
        torch.testing.assert_close(together[:, b], probabilities(ansatz, theta, basis))


@settings(deadline=None, max_examples=20)
@given(n=st.integers(1, 6), seed=st.integers(0, 99))
def test_expectations_are_those_of_pauli_z(n, seed):
    ansatz = make_ansatz("seed", n, 1)
    theta = parameters(ansatz, "z", seed, k=1)
    state = Statevector(ansatz.to_circuit().assign_parameters(theta[0]))
    expected = [
        state.expectation_value(Pauli("I" * (n - 1 - q) + "Z" + "I" * q)).real for q in range(n)
    ]
    np.testing.assert_allclose(
        expectations(probabilities(ansatz, torch.from_numpy(theta)))[0], expected, atol=1e-12
    )


def test_angles_come_as_arrays_and_lists_too():
    ansatz = make_ansatz("ion-trap", 2, 2)
    theta = parameters(ansatz, "z", 0)
    expected = probabilities(ansatz, torch.from_numpy(theta))
    for given_as in (theta, theta.tolist()):
        torch.testing.assert_close(probabilities(ansatz, given_as), expected, rtol=0, atol=1e-15)
    with pytest.raises(ValueError, match="`theta` must be an array of numbers"):
        probabilities(ansatz, [["a"] * 5])


def test_twenty_qubits_fit():
    ansatz = make_ansatz("seed", 20, 1)
    probs = probabilities(ansatz, torch.from_numpy(parameters(ansatz, "z", 0, k=1)).float())
    assert probs.shape == (1, 2**20)
    assert probs.sum().item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("theta", "basis", "message"),
    [
        (torch.zeros(1, 3), "z", "`theta` must have 5 angles for bases z, got 3"),
        (torch.zeros(1, 5, dtype=torch.int64), "z", "`theta` must be float32 or float64"),
        (torch.zeros(5), "z", "`theta` must be float32 or float64"),
        (torch.zeros(1, 5), "t", "`theta` must have 7 angles for bases t, got 5"),
        (torch.zeros(1, 5), "y", "`bases` must be different ones of z, o, t"),
    ],
)
def test_bad_arguments_are_named(theta, basis, message):
    with pytest.raises(ValueError, match=message):
        probabilities(make_ansatz("ion-trap", 2, 2), theta, basis)


def test_more_than_memory_holds_is_refused():
    ansatz = make_ansatz("ion-trap", 40, 1)
    with pytest.raises(ValueError, match=r"40 qubits .* GiB"):
        probabilities(ansatz, torch.zeros(1, ansatz.n_params))


def test_a_program_that_inference_mode_compiled_still_gives_gradients():
    ansatz = Ansatz(3, ("h", "rx", "rxx", "cz-ring", "cx-pairs", "ry"))  # in no other test
    theta = torch.from_numpy(parameters(ansatz, "z", 0))
    with torch.inference_mode():
        expected = probabilities(ansatz, theta)
    probs = probabilities(ansatz, theta.requires_grad_())
    assert torch.equal(probs, expected)
    (gradient,) = torch.autograd.grad(probs[:, 0].sum(), theta)
    assert gradient.abs().max() > 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_equals_the_cpu():
    ansatz = make_ansatz("ion-trap", 6, 4)
    theta = torch.from_numpy(parameters(ansatz, "t", 0))
    on_gpu = probabilities(ansatz, theta.cuda(), "t")
    assert on_gpu.is_cuda
    torch.testing.assert_close(on_gpu.cpu(), probabilities(ansatz, theta, "t"))
