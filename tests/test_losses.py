from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qcaan import losses


def distribution(n_bits: int, seed: int) -> torch.Tensor:
    return torch.rand(
        2**n_bits, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    ).softmax(0)


def test_losses_of_a_discriminator_that_cannot_tell_are_two_ln_2_and_ln_2():
    zeros = torch.zeros(5)
    assert losses.discriminator_loss(zeros, zeros).item() == pytest.approx(2 * math.log(2))
    assert losses.generator_loss(zeros).item() == pytest.approx(math.log(2))


def test_divergences_by_hand():
    target, model = torch.tensor([0.5, 0.5, 0, 0]).double(), torch.tensor([0.25] * 4).double()
    assert losses.kl(target, model).item() == pytest.approx(math.log(2))
    assert losses.nll(target, model).item() == pytest.approx(math.log(4))
    assert losses.tvd(target, model).item() == 0.5
    assert losses.kl(target, torch.tensor([1.0, 0, 0, 0]).double()).item() == pytest.approx(
        0.5 * math.log(0.5) + 0.5 * math.log(0.5 / 1e-6)
    )


@settings(deadline=None, max_examples=20)
@given(n=st.integers(1, 5), one=st.integers(0, 99), other=st.integers(0, 99))
def test_mmd_is_the_quadratic_form_of_its_kernel(n, one, other):
    p, q = distribution(n, one), distribution(n, other)
    strings = torch.tensor([[index >> i & 1 for i in range(n)] for index in range(2**n)])
    distance = (strings[:, None] != strings).sum(-1).double()
    kernel = sum(torch.exp(-distance / (2 * s)) for s in (0.5, 1.0, 2.0)) / 3
    assert losses.mmd(p, q).item() == pytest.approx(((p - q) @ kernel @ (p - q)).item(), abs=1e-12)


def test_losses_of_fits_are_listed_as_they_are_asked_for():
    assert list(losses.BIT_LOSSES) == ["kl", "nll", "mmd"]


def test_losses_take_a_batch_of_models():
    target, models = distribution(3, 0), torch.stack([distribution(3, 0), distribution(3, 1)])
    for loss in losses.BIT_LOSSES.values():
        values = loss(target, models)
        assert values.shape == (2,)
        assert values[0] < values[1]


def test_associative_loss_is_zero_for_sure_and_right_features_and_ln_2_for_none():
    bits = torch.tensor([[1.0, 0.0]])
    assert losses.associative_loss(torch.tensor([[1.0, -1.0]]), bits).item() == pytest.approx(0)
    assert losses.associative_loss(torch.zeros(1, 2), bits).item() == pytest.approx(math.log(2))


def test_wasserstein_losses_are_differences_of_means():
    real, fake = torch.tensor([1.0, 3.0]), torch.tensor([0.0, 1.0])
    assert losses.wasserstein_critic_loss(real, fake).item() == pytest.approx(-1.5)
    assert losses.wasserstein_generator_loss(fake).item() == pytest.approx(-0.5)


def test_gradient_penalties_by_hand():
    real, fake = torch.tensor([[1.0], [2.0]]), torch.tensor([[0.0], [0.0]])

    def penalty(slope, one_sided):
        return losses.gradient_penalty(
            lambda x: slope * x[:, 0], real, fake, torch.rand(2), one_sided=one_sided
        ).item()

    for slope, two_sided, one_sided in ((3, 4, 4), (-3, 4, 4), (0.5, 0.25, 0), (1, 0, 0)):
        assert penalty(slope, False) == pytest.approx(two_sided)
        assert penalty(slope, True) == pytest.approx(one_sided)
    # D(x) = x^2 / 2 has slope x: at 0.25 * 1 and 0.75 * 2
    mixed = losses.gradient_penalty(
        lambda x: x[:, 0] ** 2 / 2, real, fake, torch.tensor([0.25, 0.75])
    )
    assert mixed.item() == pytest.approx((0.75**2 + 0.5**2) / 2)


def test_gradient_penalty_is_of_a_pictures_whole_gradient_and_moves_the_critics_weights():
    weights = torch.full((3, 2, 2), 2.0).requires_grad_()
    pictures = torch.rand(5, 3, 2, 2)
    penalty = losses.gradient_penalty(
        lambda x: (x * weights).sum((1, 2, 3)), pictures, -pictures, torch.rand(5)
    )
    assert penalty.item() == pytest.approx((2 * 12**0.5 - 1) ** 2, rel=1e-5)
    penalty.backward()
    # 2 (|w| - 1) w / |w|
    torch.testing.assert_close(weights.grad, torch.full((3, 2, 2), 2 * (2 * 12**0.5 - 1) / 12**0.5))


def test_only_the_one_sided_penalty_lets_a_slope_of_the_wrong_sign_turn():
    slopes = {}
    for one_sided in (True, False):
        slope = torch.tensor(-1.0, requires_grad=True)
        real, fake = torch.full((8, 1), 0.5), torch.zeros(8, 1)
        for _ in range(400):
            scores = losses.wasserstein_critic_loss(slope * real, slope * fake)
            penalty = losses.gradient_penalty(
                lambda x, a=slope: a * x[:, 0], real, fake, torch.rand(8), one_sided=one_sided
            )
            (gradient,) = torch.autograd.grad(scores + 10 * penalty, slope)
            slope = (slope - 0.02 * gradient).detach().requires_grad_()
        slopes[one_sided] = slope.item()
    # minima of -0.5 a + 10 (|a| - 1)^2: a = 1.025 and, on the wrong side, -0.975
    assert slopes[True] == pytest.approx(1.025, abs=0.001)
    assert slopes[False] == pytest.approx(-0.975, abs=0.001)


def test_gradient_penalty_of_a_linear_critic_is_known():
    weights = torch.tensor([3.0, 4.0])
    real, fake = torch.randn(2, 5, 2, generator=torch.Generator().manual_seed(0))
    mix = torch.full((5,), 0.3)
    assert losses.gradient_penalty(lambda x: x @ weights, real, fake, mix).item() == pytest.approx(
        (5 - 1) ** 2
    )
    flat = [
        float(losses.gradient_penalty(lambda x: x @ weights / 10, real, fake, mix, one_sided=o))
        for o in (False, True)
    ]
    assert flat == [pytest.approx((0.5 - 1) ** 2), 0]
    # |x|^2 / 2 has slope |x|: the penalty is taken at the mixed points
    at_real = losses.gradient_penalty(lambda x: x.square().sum(1) / 2, real, fake, torch.ones(5))
    torch.testing.assert_close(at_real, (real.norm(dim=1) - 1).square().mean())


def test_kl_of_equal_distributions_is_zero_at_any_width():
    for n in (4, 12, 16, 20):
        probs = torch.rand(2**n, dtype=torch.float64, generator=torch.Generator().manual_seed(n))
        probs = probs.log().neg()  # exponential, as the probabilities of random circuits
        probs = probs / probs.sum()
        assert losses.kl(probs, probs).item() == pytest.approx(0, abs=1e-4)


def test_mmd_from_shots_has_the_mean_of_the_exact_one():
    rng = np.random.default_rng(0)
    target, model = (torch.from_numpy(rng.dirichlet(np.ones(16))) for _ in range(2))
    for shots in (2, 20):
        drawn = torch.from_numpy(rng.multinomial(shots, model.numpy(), 40_000) / shots)
        found = losses.mmd(target, drawn, shots=shots)
        error = float(found.std()) / 200
        assert float(found.mean()) == pytest.approx(float(losses.mmd(target, model)), abs=4 * error)
        plug_in = losses.mmd(target, drawn)
        assert plug_in.mean() - found.mean() > 10 * error
        assert (found <= plug_in + 1e-12).all()
