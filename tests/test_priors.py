from __future__ import annotations

import numpy as np
import pytest
import torch

from qcaan import losses
from qcaan.born import index_to_bits, product_probabilities
from qcaan.priors import Bernoulli, Gaussian
from qcaan.qcbm import QCBM
from qcaan.samplers import make_sampler


def correlated_bits(m: int = 4000) -> torch.Tensor:
    """Three bits, the first two mostly equal, the third rare."""
    rng = np.random.default_rng(0)
    first = rng.random(m) < 0.5
    return torch.from_numpy(np.stack([first, first ^ (rng.random(m) < 0.1), rng.random(m) < 0.2], 1).astype(np.uint8))


def small_qcbm(**options):
    return QCBM(**{"n_qubits": 3, "n_layers": 4, "fit_evals": 60, "bank_shots": 500, "shots": 0, "seed": 0, **options})


PRIORS = {
    "gaussian": lambda: Gaussian(3),
    "bernoulli": lambda: Bernoulli(3, dither=0.1),
    "qcbm": small_qcbm,
    "qcbm-shots-mmd": lambda: small_qcbm(shots=500, loss="mmd"),
    "qcbm-seed": lambda: small_qcbm(ansatz="seed", n_layers=2),
}


@pytest.mark.parametrize("make", PRIORS.values(), ids=PRIORS)
class TestContract:
    def test_samples_have_the_shape_dtype_and_support(self, make):
        prior = make()
        prior.fit(correlated_bits())
        for samples in (prior.sample(200), prior.measure(200)):
            assert samples.shape == (200, prior.dim)
            assert samples.dtype == torch.float32
            if prior.n_bits:
                assert set(samples.unique().tolist()) <= {0.0, 1.0}
        assert prior.embed(prior.sample(7)).shape == (7, prior.dim)

    def test_state_dict_brings_back_the_same_draws(self, make):
        prior, other = make(), make()
        prior.fit(correlated_bits())
        other.load_state_dict(prior.state_dict())
        for draw in (lambda p: p.sample(50), lambda p: p.measure(50)):
            torch.manual_seed(3)
            expected = draw(prior)
            torch.manual_seed(3)
            assert torch.equal(draw(other), expected)

    def test_a_fit_lowers_its_own_loss_or_leaves_the_prior_alone(self, make):
        report = make().fit(correlated_bits())
        if report.loss_before is not None:
            assert report.loss_after < report.loss_before


def test_bits_become_signs_at_the_generators_door_and_dither_spreads_them():
    bits = torch.tensor([[0.0, 1.0]]).repeat(2000, 1)
    assert Bernoulli(2).embed(bits[:1]).tolist() == [[-1, 1]]
    spread = Bernoulli(2, dither=0.3).embed(bits)
    assert spread.mean(0).tolist() == pytest.approx([-1, 1], abs=0.04)
    assert spread.std(0).tolist() == pytest.approx([0.3, 0.3], abs=0.03)


def test_report_counts_what_was_spent_and_compares_with_the_product():
    bits = correlated_bits()
    report = small_qcbm(fit_evals=300).fit(bits)
    assert 100 < report.evaluations <= 302
    assert report.shots == 500  # the bank alone: the fit was exact
    target = np.bincount(bits.numpy() @ [1, 2, 4], minlength=8) / len(bits)
    product = product_probabilities(bits.numpy().mean(0))
    expected = losses.kl(torch.from_numpy(target), torch.from_numpy(product)).item()
    assert report.kl_product == pytest.approx(expected)
    assert report.kl < 0.3 * report.kl_product


def test_marginals_start_at_the_fitted_product_and_not_at_a_dead_point():
    bits = correlated_bits()
    prior = small_qcbm(fit_evals=30)
    prior._optimizer = lambda loss, theta, *_: theta
    report = prior.fit(bits)
    assert report.kl == pytest.approx(report.kl_product, abs=1e-6)
    theta = prior.theta.numpy()
    shifted = np.concatenate([theta + 0.1 * np.eye(len(theta)), theta - 0.1 * np.eye(len(theta))])
    up, down = np.split(prior.born.probabilities(shifted)[:, 0], 2)
    target = torch.from_numpy(np.bincount(bits.numpy() @ [1, 2, 4], minlength=8) / len(bits))
    slope = (losses.kl(target, torch.from_numpy(up)) - losses.kl(target, torch.from_numpy(down))) / 0.2
    assert slope.abs().max() > 0.01


def test_an_unfitted_qcbm_with_marginals_is_uniform():
    np.testing.assert_allclose(small_qcbm(bases=("z", "o")).probabilities("o"), np.full(8, 1 / 8), atol=1e-6)


@pytest.mark.parametrize("shape", ["ghz", "parity"])
def test_qcbm_learns_what_no_product_can(shape):
    n = 4
    strings = index_to_bits(np.arange(2**n), n)
    chosen = strings[(strings.sum(1) % n == 0) if shape == "ghz" else (strings.sum(1) % 2 == 0)]
    bits = torch.from_numpy(np.repeat(chosen, 10, axis=0))
    reports = []
    for seed in range(8):
        prior = QCBM(n_qubits=n, n_layers=4, shots=0, fit_evals=1500, bank_shots=1, initial="random", seed=seed)
        reports.append(prior.fit(bits))
        if reports[-1].tvd <= 0.05:
            break
    assert min(report.tvd for report in reports) <= 0.05
    target = torch.from_numpy(np.bincount(bits.numpy() @ [1, 2, 4, 8], minlength=16) / len(bits))
    product = torch.from_numpy(product_probabilities(bits.numpy().mean(0)))
    assert losses.tvd(target, product) >= 0.4


def test_halves_of_two_bases_follow_their_own_targets():
    rng = np.random.default_rng(0)
    bits = torch.from_numpy((rng.random((3000, 6)) < [0.9, 0.5, 0.2, 0.5, 0.1, 0.5]).astype(np.uint8))
    prior = small_qcbm(bases=("z", "o"), bank_shots=4000)
    prior.fit(bits)
    torch.manual_seed(0)
    assert prior.sample(4000).mean(0).tolist() == pytest.approx([0.9, 0.5, 0.2, 0.5, 0.1, 0.5], abs=0.08)


def test_a_sampler_object_serves_as_well_as_a_name_and_gives_frequencies():
    prior = QCBM(
        n_qubits=2, n_layers=2, sampler=make_sampler("statevector", 0), fit_evals=20, shots=200, bank_shots=1000
    )
    report = prior.fit(torch.tensor([[0, 1]] * 9 + [[1, 0]]))
    assert report.kl is not None
    assert prior.probabilities().sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_qubits": 0}, "n_qubits must be at least 1, got 0"),
        ({"n_qubits": 60}, "n_qubits must be at most"),
        ({"sampler": "warp"}, "unknown sampler 'warp'"),
        ({"loss": "hinge"}, "unknown loss 'hinge'; choose from mmd, kl, nll"),
        ({"optimizer": "magic"}, "unknown optimizer 'magic'; choose from cobyla"),
        ({"ansatz": "ring"}, "unknown ansatz 'ring'"),
        ({"bases": ("q",)}, "bases must be different ones of z, o, t, got q"),
        ({"shots": -1}, "shots must be at least 0"),
        ({"fit_evals": 22}, "fit_evals must be at least 23 for 21 angles, got 22"),
        ({"initial": "zero"}, "unknown initial 'zero'; choose from marginals, random"),
        ({"dither": -0.1}, "dither must be at least 0, got -0.1"),
        ({"sampler": make_sampler("statevector")}, "shots 0 asks for exact probabilities"),
    ],
)
def test_bad_options_are_named_with_what_is_allowed(options, message):
    with pytest.raises(ValueError, match=message):
        small_qcbm(**options)


@pytest.mark.parametrize("bits", [torch.zeros(5, 2), torch.zeros(0, 3), torch.full((2, 3), 2)])
def test_bad_bits_are_refused(bits):
    with pytest.raises(ValueError, match="bits must"):
        small_qcbm().fit(bits)
