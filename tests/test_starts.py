"""Starts of fits: the product of marginals, and what a fit does if it cannot leave its start."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qcaan import losses
from qcaan.bits import all_bitstrings, product_of_marginals, product_probabilities
from qcaan.circuits.ansatz import ANSATZE, make_ansatz
from qcaan.circuits.born import BornMachine
from qcaan.optimizers import OPTIMIZERS
from qcaan.priors.marginals import angles_at_marginals
from qcaan.priors.qcbm import QCBM
from qcaan.priors.report import FitReport
from qcaan.priors.starts import Target


def parity(n: int) -> torch.Tensor:
    """All bitstrings [2**(n - 1), n] with an even number of ones."""
    strings = all_bitstrings(n)
    return strings[strings.sum(1) % 2 == 0]


def target(bits: torch.Tensor) -> Target:
    probs = torch.bincount(bits.long() @ (1 << torch.arange(bits.shape[1])), minlength=64)
    probs = probs[None].double() / len(bits)
    return Target(bits, probs, lambda models: losses.kl(probs[0], models[..., 0, :]))


# --- targets that the product of marginals cannot be left for


@pytest.mark.parametrize(
    ("bits", "blind"),
    [
        (parity(6), True),
        (parity(6)[torch.randint(32, (100,), generator=torch.Generator().manual_seed(0))], True),
        (torch.cat([parity(3).repeat(4, 1), parity(3).repeat_interleave(4, 0)], 1), True),
        (torch.tensor([[0] * 6, [1] * 6]), False),  # GHZ
        (torch.eye(6, dtype=torch.uint8), False),  # W
        (all_bitstrings(6), False),  # independent
        (torch.ones(5, 6, dtype=torch.uint8), False),
    ],
)
def test_a_target_is_blind_if_it_has_correlations_but_none_of_pairs(bits, blind):
    assert target(bits).blind is blind


@pytest.mark.parametrize(
    ("optimizer", "fit_evals", "kl"), [("adam", 100, 0.05), ("cobyla", 250, 0.4)]
)
def test_a_parity_of_six_bits_is_learnt_from_the_default_start(optimizer, fit_evals, kl):
    prior = QCBM(6, sampler="exact", optimizer=optimizer, fit_evals=fit_evals, bank_shots=1, seed=0)
    report = prior.fit(parity(6))
    assert report.kl < kl < report.kl_product
    assert report.loss_before == pytest.approx(np.log(2))
    assert report.starts == ("marginals", "random angles")
    assert report.evaluations <= fit_evals + 2
    assert "(starts: marginals, random angles)" in report.summary()


@pytest.mark.parametrize("optimizer", [name for name in OPTIMIZERS if name != "twin"])
def test_a_fit_that_no_start_helps_keeps_the_product_and_says_so(optimizer):
    prior = QCBM(
        5, 2, sampler="exact", optimizer=optimizer, fit_loss="mmd", shots=300,
        fit_evals=80, bank_shots=1, seed=0,
    )  # fmt: skip
    with pytest.warns(UserWarning, match="no start of this fit .* led below the product"):
        report = prior.fit(parity(5))
    assert report.kl == pytest.approx(report.kl_product, abs=1e-6)
    assert not report.lowered and "did NOT lower the loss beyond the error" in report.summary()
    assert report.starts[:2] == ("marginals", "random angles")
    assert report.evaluations <= 80
    assert report.shots == 300 * report.evaluations


def test_a_fit_that_ends_early_where_it_began_spends_the_rest_on_another_start():
    prior = QCBM(3, sampler="exact", optimizer="adam", fit_evals=100, initial="random", seed=0)
    prior.theta.zero_()  # |000> for sure: the slope of every angle is zero
    report = prior.fit([[0, 0, 0], [1, 1, 1], [0, 1, 0]])
    assert report.starts == ("random angles", "random angles")
    assert report.kl < report.kl_product and report.evaluations <= 102


# --- warm starts


@pytest.mark.parametrize("shots", [0, 200])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_far_target_is_fitted_from_a_new_start(optimizer, shots):
    prior = QCBM(
        3, 2, sampler="exact", optimizer=optimizer, shots=shots, fit_evals=60, bank_shots=1, seed=0
    )
    prior.fit(torch.zeros(10, 3))
    report = prior.fit(torch.ones(10, 3))
    assert report.kl < 0.05
    assert report.starts[:2] == ("last angles", "marginals")
    assert report.lowered and "(starts: last angles, marginals)" in report.summary()
    assert report.loss_before > 10 * report.loss_after
    assert report.evaluations <= 60 + (0 if shots else 2)


def test_a_warm_start_below_the_product_is_kept():
    bits = [[0, 0], [1, 1]]
    prior = QCBM(2, 2, fit_evals=60, bank_shots=1, seed=0)
    first = prior.fit(bits)
    second = prior.fit(bits)
    assert second.starts == ("last angles",)
    assert second.loss_before == pytest.approx(first.loss_after)
    assert second.loss_after <= first.loss_after


def test_without_marginals_a_far_target_is_fitted_from_new_random_angles():
    prior = QCBM(3, 2, sampler="exact", optimizer="adam", fit_evals=60, initial="random", seed=0)
    prior.fit(torch.zeros(10, 3))
    report = prior.fit(torch.ones(10, 3))
    assert report.starts == ("last angles", "random angles")
    assert report.kl < 0.5


# --- what counts as lowered


@pytest.mark.parametrize(
    ("before", "after", "error", "lowered"),
    [
        (1.0, 0.9, 0.0, True),
        (1.0, 1.0 - 1e-16, 0.0, False),
        (1e-17, 0.0, 0.0, False),
        (3.0, 3.0 - 1e-7, 0.0, False),
        (1.0, 0.9, 0.06, False),
        (1.0, 0.9, 0.04, True),
        (1.0, 1.1, 0.0, False),
        (None, None, 0.0, False),
    ],
)
def test_drops_of_rounding_and_of_noise_lower_nothing(before, after, error, lowered):
    report = FitReport(before, after, error_after=error)
    assert report.lowered is lowered
    assert ("did NOT lower" in report.summary()) is (before is not None and not lowered)


@pytest.mark.parametrize("ansatz", ANSATZE)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_first_fit_starts_at_the_product_and_its_report_says_so(optimizer, ansatz):
    rng = np.random.default_rng(0)
    bits = torch.from_numpy(rng.random((400, 2)) < [0.4, 0.2])
    bits[:, 1] ^= bits[:, 0]
    prior = QCBM(
        2, 2, ansatz=ansatz, sampler="exact", optimizer=optimizer, fit_evals=60, bank_shots=1,
        seed=0,
    )  # fmt: skip
    report = prior.fit(bits)
    assert report.loss_before == pytest.approx(report.kl_product)
    assert report.starts == ("marginals",) and report.lowered


# --- angles at the marginals


@pytest.mark.parametrize("bases", [("z",), ("o", "z"), ("z", "t")])
@pytest.mark.parametrize(("n_qubits", "n_layers"), [(1, 2), (2, 2), (4, 4), (3, 5)])
@pytest.mark.parametrize("ansatz", ANSATZE)
def test_every_ansatz_can_start_at_the_product(ansatz, n_qubits, n_layers, bases):
    rng = np.random.default_rng(1)
    means = rng.uniform(0.3, 0.7, n_qubits * len(bases))
    bits = torch.from_numpy((rng.random((200, len(means))) < means).astype(np.uint8))
    born = BornMachine(make_ansatz(ansatz, n_qubits, n_layers), bases, "exact", rng)
    name, theta = angles_at_marginals(born, bits, rng)
    wanted = [product_probabilities(part.double().mean(0)) for part in bits.chunk(len(bases), 1)]
    assert name == "marginals"
    torch.testing.assert_close(
        born.probabilities(theta[None])[0], torch.stack(wanted), atol=1e-6, rtol=0
    )


def test_without_room_for_two_bases_the_start_is_a_product_all_the_same():
    """The first of eight qubits turn only after the last CX, by RY, so <Y> stays 0."""
    rng = np.random.default_rng(0)
    born = BornMachine(make_ansatz("hardware-efficient", 8, 4), ("z", "o"), "exact", rng)
    bits = (torch.rand(500, 16, generator=torch.Generator().manual_seed(0)) < 0.4).byte()
    name, theta = angles_at_marginals(born, bits, rng)
    z, o = born.probabilities(theta[None])[0]
    assert name == "marginals"
    for probs in (z, o):
        torch.testing.assert_close(probs, product_of_marginals(probs))
    marginals = bits.double().mean(0)
    torch.testing.assert_close(z, product_probabilities(marginals[:8]), atol=1e-6, rtol=0)
    torch.testing.assert_close(
        o, product_probabilities(torch.cat([torch.full((4,), 0.5), marginals[12:]]).double()),
        atol=1e-6, rtol=0,
    )  # fmt: skip


@pytest.mark.parametrize(("n_qubits", "n_layers"), [(3, 1), (6, 4)])
def test_where_cx_is_left_the_start_has_the_marginals_of_parities_and_says_so(n_qubits, n_layers):
    bits = (torch.rand(500, n_qubits, generator=torch.Generator().manual_seed(0)) < 0.4).byte()
    prior = QCBM(
        n_qubits, n_layers, ansatz="ry-rx", sampler="exact", optimizer="adam", fit_evals=1,
        bank_shots=1, seed=0,
    )  # fmt: skip
    report = prior.fit(bits)
    assert report.starts == ("marginals of parities",)
    assert "(starts: marginals of parities)" in report.summary()
    uniform = torch.full((2**n_qubits,), 0.5**n_qubits, dtype=torch.float64)
    counts = torch.bincount(bits.long() @ (1 << torch.arange(n_qubits)), minlength=2**n_qubits)
    assert report.loss_before < losses.kl(counts.double() / 500, uniform)
