"""Readout errors: measured on the qubits of each basis, corrected, and counted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from some_priors import correlated_bits

from qcaan import QCBM
from qcaan.circuits.ansatz import make_ansatz
from qcaan.circuits.born import BornMachine, mitigated
from qcaan.samplers.noise import connected_qubits, cut, fake_device

SHOTS = 20_000


def test_each_basis_is_corrected_on_its_own_physical_qubits():
    ansatz = make_ansatz("ion-trap", 5, 2)
    noisy = BornMachine(ansatz, ("z", "o"), "aer-noise:fake_lagos", np.random.default_rng(0))
    exact = BornMachine(ansatz, ("z", "o"), "exact", np.random.default_rng(0))
    theta = torch.from_numpy(np.random.default_rng(3).normal(0, 1, (1, noisy.n_params)))
    truth, raw = exact.probabilities(theta)[0], noisy.frequencies(theta, SHOTS)[0]
    errors = noisy.readout_errors(SHOTS)
    assert errors.shape == (2, 5, 2, 2)
    assert torch.allclose(errors.sum(-2), torch.ones(2, 5, 2, dtype=torch.float64))
    # the transpiler ends the circuits of the two bases on different qubits of this device
    assert (errors[0] - errors[1]).abs().max() > 0.01
    before, after = ((found - truth).abs().sum(-1) / 2 for found in (raw, mitigated(raw, errors)))
    assert (after < 0.8 * before).all()


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_corrected_frequencies_are_distributions_and_undo_the_errors(seed, n):
    rng = np.random.default_rng(seed)
    flips = torch.from_numpy(rng.uniform(0, 0.1, (n, 2)))
    errors = torch.stack([1 - flips, flips], 1)  # column: prepared 0 or 1
    errors[:, :, 1] = errors[:, :, 1].flip(-1)
    truth = torch.from_numpy(rng.dirichlet(np.ones(2**n)))
    read = truth
    for qubit in range(n):
        split = read.unflatten(-1, (-1, 2, 2**qubit))
        read = torch.einsum("ab,hbl->hal", errors[qubit], split).flatten()
    corrected = mitigated(read, errors)
    assert corrected.min() >= 0 and float(corrected.sum()) == pytest.approx(1)
    assert (corrected - truth).abs().sum() <= (read - truth).abs().sum() + 1e-9
    # frequencies that no errors explain stay distributions too
    odd = mitigated(torch.eye(2**n, dtype=torch.float64)[0], errors)
    assert odd.min() >= 0 and float(odd.sum()) == pytest.approx(1)


def test_the_report_counts_the_calibration_once():
    prior = QCBM(
        3,
        2,
        sampler="aer-noise:ionq-aria",
        shots=50,
        fit_evals=50,
        optimizer="spsa",
        bank_shots=70,
        mitigate_readout=True,
        seed=0,
    )
    first, second = prior.fit(correlated_bits()), prior.fit(correlated_bits())
    assert first.executions == first.evaluations + 2
    assert first.shots == 50 * first.evaluations + 2 * 70
    assert (second.executions, second.shots) == (second.evaluations, 50 * second.evaluations)


@pytest.mark.parametrize(
    ("name", "n_qubits"), [("fake_kyoto", 1), ("fake_manhattan", 17), ("fake_manila", 5)]
)
def test_what_is_broken_is_left_out(name, n_qubits):
    target = fake_device(name).target
    assert connected_qubits(target) == n_qubits
    small = cut(target, n_qubits)
    for gate in small.operation_names:
        for qubits, properties in small[gate].items():
            assert qubits is None or properties is None or (properties.error or 0) < 1
    with pytest.raises(ValueError, match="does not have"):
        cut(target, n_qubits + 1)


@pytest.mark.parametrize("name", ["fake_hanoi", "fake_berlin", "fake_cambridge"])
def test_broken_couplings_are_not_used(name):
    target = fake_device(name).target
    small = cut(target, min(8, connected_qubits(target)))
    errors = [
        properties.error
        for gate in small.operation_names
        for properties in small[gate].values()
        if properties is not None and properties.error is not None
    ]
    assert max(errors) < 1
