"""What every prior does: shapes, counts, seeds, saved states, and fits of odd bits."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from some_priors import PRIORS, correlated_bits

from qcaan import losses
from qcaan.bits import all_bitstrings, histogram
from qcaan.priors.boltzmann import QBM, RBM
from qcaan.priors.classical import Bernoulli, Gaussian, Histogram, Product
from qcaan.priors.tree import ChowLiu

SEEDED = {
    "gaussian": lambda seed: Gaussian(3, seed=seed),
    "bernoulli": lambda seed: Bernoulli(3, 0.1, 2, seed=seed),
    "product": lambda seed: Product(3, 0.1, 2, seed=seed),
    "tree": lambda seed: ChowLiu(3, 0.1, 2, seed=seed),
    "histogram": lambda seed: Histogram(3, seed=seed),
    "rbm": lambda seed: RBM(3, n_hidden=8, steps=20, seed=seed),
    "qbm": lambda seed: QBM(3, steps=5, seed=seed),
}

# a prior that tests share, since what is refused leaves it alone
made_once = cache(lambda make: make())


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
        assert prior.embed(prior.sample(7)).shape == (7, prior.latent_dim)

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

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
    def test_moves_to_the_device_and_draws_there(self, make):
        prior = make().cuda()
        report = prior.fit(correlated_bits().cuda())
        assert report.loss_before is None or report.loss_after < report.loss_before
        assert (
            prior.sample(5).is_cuda
            and prior.measure(5).is_cuda
            and prior.embed(prior.sample(5)).is_cuda
        )

    def test_no_samples_have_the_shape_of_samples(self, make):
        prior = make()
        for samples in (prior.sample(0), prior.measure(0)):
            assert samples.shape == (0, prior.dim) and samples.dtype == torch.float32
        assert prior.embed(prior.sample(0)).shape == (0, prior.latent_dim)

    @pytest.mark.parametrize("n", [-1, 2.0, True, "3", None, np.float64(2), 10**18])
    def test_what_is_no_count_is_refused_by_name(self, make, n):
        prior = made_once(make)
        for draw in (prior.sample, prior.measure):
            with pytest.raises(ValueError, match="`n` must be "):
                draw(n)

    @pytest.mark.parametrize(
        "bits",
        [
            [[0, 1, 1]],
            [[1, 1, 0]] * 20,
            [[0, 0, 0]] * 5,
            np.array([[0, 1, 0], [0, 0, 1], [0, 1, 1]], ">f4")[::-1],
            torch.tensor([[0.0, 1, 0], [0, 1, 1]], requires_grad=True),
            np.ma.array([[0, 1, 0], [0, 1, 1]], mask=False),
        ],
        ids=["one row", "equal rows", "zeros", "constant column", "gradient", "no mask"],
    )
    def test_few_and_constant_bits_are_fitted(self, make, bits):
        prior = make()
        report = prior.fit(bits)
        for value in (report.loss_before, report.loss_after, report.kl, report.tvd):
            assert value is None or np.isfinite(value)
        assert prior.sample(10).shape == (10, 3)

    @pytest.mark.parametrize(
        "bits",
        [
            [],
            np.zeros((0, 3)),
            torch.zeros(3),
            torch.zeros(4, 2),
            [[0, 1, 2]],
            [[0, 1, float("nan")]],
            [[0, 1], [0, 1, 1]],
            [["0", "1", "1"]],
            np.zeros((2, 3), complex),
            torch.zeros(2, 3, dtype=torch.complex64),
            np.ma.array([[0, 1, 1]], mask=[[0, 0, 1]]),
            None,
        ],
        ids=str,
    )
    def test_other_bits_are_refused_by_name(self, make, bits):
        with pytest.raises(ValueError, match="`bits` must "):
            made_once(make).fit(bits)


@pytest.mark.parametrize("name", sorted({*PRIORS} - {"gaussian", "shuffled"}))
def test_log_probabilities_are_of_all_strings_and_of_the_draws(name):
    prior, bits = PRIORS[name](), correlated_bits()
    prior.fit(bits)
    strings = all_bitstrings(3)
    probs = prior.log_prob(strings).exp()
    assert probs.shape == (8,) and probs.dtype == torch.float64
    assert probs.sum().item() == pytest.approx(1)
    torch.manual_seed(0)
    assert losses.tvd(probs, histogram(prior.measure(20_000).long())).item() < 0.03
    repeated = prior.log_prob(np.array([[1, 1, 0]] * 2))
    assert repeated.tolist() == [prior.log_prob(strings)[3].item()] * 2
    with pytest.raises(ValueError, match="`bits` must "):
        prior.log_prob([[0, 1]])


@pytest.mark.parametrize("make", SEEDED.values(), ids=SEEDED)
class TestSeed:
    def draws(self, prior):
        prior.fit(correlated_bits(100))
        return [prior.sample(20), prior.measure(20), prior.embed(prior.sample(20))]

    def test_one_seed_gives_one_result_whatever_torchs_random_state_is(self, make):
        torch.manual_seed(0)
        expected = self.draws(make(1))
        torch.manual_seed(5)
        before = torch.get_rng_state()
        for one, other in zip(self.draws(make(1)), expected, strict=True):
            assert torch.equal(one, other)
        assert torch.equal(torch.get_rng_state(), before)
        found = self.draws(make(2))
        assert not all(map(torch.equal, found, expected))

    def test_reseeding_repeats_the_measured_bits(self, make):
        prior = make(1)
        prior.reseed(7)
        first, second = prior.measure(50), prior.measure(50)
        prior.reseed(7)
        assert torch.equal(prior.measure(50), first)
        assert not torch.equal(first, second)

    def test_the_random_state_is_part_of_the_saved_state(self, make):
        prior, other = make(1), make(2)
        prior.sample(3)
        other.load_state_dict(prior.state_dict())
        assert torch.equal(other.sample(50), prior.sample(50))

    def test_without_a_seed_draws_come_from_torchs_random_state(self, make):
        prior = make(None)
        torch.manual_seed(0)
        first = prior.measure(50)
        torch.manual_seed(0)
        prior.reseed(3)
        assert torch.equal(prior.measure(50), first)
