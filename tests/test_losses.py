from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qcaan import losses


def distribution(n_bits: int, seed: int) -> torch.Tensor:
    return torch.rand(2**n_bits, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).softmax(0)


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
