from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.linalg import expm

from qcaan import losses
from qcaan.bits import histogram, index_to_bits
from qcaan.priors.boltzmann import QBM, RBM


@pytest.fixture
def bits():
    rng = np.random.default_rng(0)
    first = rng.random(3000) < 0.4
    columns = [
        first,
        first ^ (rng.random(3000) < 0.1),
        rng.random(3000) < 0.2,
        rng.random(3000) < 0.5,
    ]
    return torch.from_numpy(np.stack(columns, 1).astype(np.uint8))


def test_rbms_partition_function_is_the_sum_over_both_kinds_of_units():
    torch.manual_seed(0)
    rbm = RBM(3, n_hidden=2)
    for buffer in (rbm.weight, rbm.visible_bias, rbm.hidden_bias):
        buffer.normal_()
    total = 0.0
    for units in itertools.product((0.0, 1.0), repeat=5):
        v, h = torch.tensor(units[:3]).double(), torch.tensor(units[3:]).double()
        total += float((h @ rbm.weight @ v + rbm.visible_bias @ v + rbm.hidden_bias @ h).exp())
    assert rbm.log_partition().exp().item() == pytest.approx(total)


def test_rbm_learns_correlations_and_its_chains_draw_what_it_has_learnt(bits):
    torch.manual_seed(0)
    rbm = RBM(4, n_hidden=8, seed=0)
    report = rbm.fit(bits)
    assert report.loss_after < report.loss_before
    assert report.kl < 0.2 * report.kl_product
    assert losses.tvd(histogram(bits), histogram(rbm.measure(20_000).long())).item() < 0.05


def test_above_16_bits_rbm_uses_the_pseudo_likelihood():
    torch.manual_seed(0)
    first = torch.randint(2, (1000, 1))
    rbm = RBM(17, n_hidden=8, steps=400, seed=0)
    rbm.weight *= 1e-9
    report = rbm.fit(first.expand(-1, 17))
    assert report.loss_before == pytest.approx(17 * np.log(2))
    assert report.loss_after < 0.5 * report.loss_before
    assert report.kl is None
    strings = torch.eye(17).double()  # every other string of one bit flipped
    flipped = (strings + strings[:, None]) % 2  # (bit, m, 17)
    change = rbm.free_energy(strings) - rbm.free_energy(flipped)
    assert rbm.loss(strings) == pytest.approx(change.exp().log1p().mean(1).sum().item())


def test_above_16_bits_the_partition_function_is_estimated_by_annealing():
    """Of independent units Z is a product: of 1 + 3 for a visible one, of 2 for a hidden one."""
    rbm = RBM(20, n_hidden=3, seed=0)
    rbm.weight.zero_()
    rbm.visible_bias.fill_(math.log(3))
    exact = 20 * math.log(1 + 3) + 3 * math.log(2)
    assert rbm.log_partition().item() == pytest.approx(exact, abs=0.01)
    zeros = torch.zeros(2, 20)
    assert rbm.log_prob(zeros).tolist() == pytest.approx([20 * math.log(1 / 4)] * 2, abs=0.01)
    before = torch.get_rng_state()
    assert rbm.log_partition() == rbm.log_partition()
    assert torch.equal(torch.get_rng_state(), before)


def test_annealing_finds_the_partition_function_of_a_fitted_machine(bits):
    rbm = RBM(4, n_hidden=8, seed=0)
    rbm.fit(bits)
    assert rbm._annealed_log_partition().item() == pytest.approx(
        rbm.log_partition().item(), abs=0.05
    )


def test_qbms_state_is_the_thermal_state_of_its_hamiltonian():
    torch.manual_seed(0)
    qbm = QBM(3)
    for buffer in (qbm.couplings, qbm.fields, qbm.transverse):
        buffer.normal_()
    x, z, one = np.array([[0, 1], [1, 0]]), np.diag([1, -1]), np.eye(2)

    def on(pauli, *qubits):  # qubit 0 is the rightmost factor
        factors = [pauli if q in qubits else one for q in reversed(range(3))]
        return np.kron(np.kron(factors[0], factors[1]), factors[2])

    hamiltonian = -sum(
        float(w) * on(z, i, j)
        for w, (i, j) in zip(qbm.couplings, ((0, 1), (0, 2), (1, 2)), strict=True)
    )
    hamiltonian = hamiltonian - sum(float(b) * on(z, q) for q, b in enumerate(qbm.fields))
    hamiltonian = hamiltonian - sum(float(g) * on(x, q) for q, g in enumerate(qbm.transverse))
    state = expm(-hamiltonian)
    ours, log_partition = qbm._state()
    np.testing.assert_allclose(ours, state / np.trace(state), atol=1e-10)
    assert log_partition.item() == pytest.approx(np.log(np.trace(state)))


def test_qbm_learns_correlations_and_draws_from_its_diagonal(bits):
    torch.manual_seed(0)
    qbm = QBM(4)
    report = qbm.fit(bits)
    assert report.loss_after < report.loss_before
    assert report.kl < 0.3 * report.kl_product
    assert qbm.probs.sum().item() == pytest.approx(1)
    torch.testing.assert_close(qbm.probs, qbm._state()[0].diagonal())
    assert losses.tvd(qbm.probs, histogram(qbm.sample(20_000).long())).item() < 0.05


def test_qbm_is_refused_above_ten_bits():
    with pytest.raises(
        ValueError, match="`n_bits` must be at most 10 for a quantum Boltzmann machine, got 11"
    ):
        QBM(11)
    assert index_to_bits(torch.tensor(5), 3).tolist() == [1, 0, 1]


@pytest.mark.parametrize("machine", [RBM, QBM])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_bits": 0}, "`n_bits` must be at least 1, got 0"),
        ({"n_bits": 2.5}, "`n_bits` must be a whole number of at least 1, got 2.5"),
        ({"steps": 0}, "`steps` must be at least 1, got 0"),
        ({"lr": 0.0}, "`lr` must be above 0, got 0.0"),
        ({"lr": float("nan")}, "`lr` must be finite, got nan"),
        ({"lr": float("inf")}, "`lr` must be finite, got inf"),
        ({"dither": float("nan")}, "`dither` must be finite, got nan"),
        ({"noise_dims": -1}, "`noise_dims` must be at least 0, got -1"),
    ],
)
def test_bad_options_are_named(machine, options, message):
    with pytest.raises(ValueError, match=message):
        machine(**options)


@pytest.mark.parametrize("name", ["n_hidden", "n_chains", "sweeps"])
def test_an_rbm_has_at_least_one_of_everything(name):
    with pytest.raises(ValueError, match=f"`{name}` must be at least 1, got 0"):
        RBM(**{name: 0})
    with pytest.raises(ValueError, match="`seed` must be at least 0"):
        RBM(seed=-1)


def test_an_rbms_probabilities_sum_to_one():
    assert RBM(3, n_hidden=2, seed=0).probabilities().sum().item() == pytest.approx(1)
