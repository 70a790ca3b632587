"""Differentiable augmentation: what moves, what is cut, and what reaches the generator."""

from __future__ import annotations

import pytest
import torch

from qcaan.augment import AUGMENTATIONS, cut, shift, shift_and_cut
from qcaan.randomness import RandomState


def test_a_shifted_image_is_the_image_elsewhere_and_black_where_nothing_was():
    images = torch.full((500, 2, 28, 28), -1.0)
    images[:, 0, 10, 14] = 1.0
    images[:, 1, 10, 15] = 0.5
    moved = shift(images, RandomState(0))
    sample, row, column = (moved[:, 0] == 1).nonzero(as_tuple=True)
    assert sample.tolist() == list(range(500))
    assert set((row - 10).tolist()) == set((column - 14).tolist()) == set(range(-4, 5))
    assert (moved[sample, 1, row, column + 1] == 0.5).all()  # channels move together
    assert (moved != -1).sum() == 1000


def test_what_leaves_an_image_is_lost():
    images = torch.full((200, 1, 32, 32), -1.0)
    images[:, :, 0] = 1.0  # the top row
    moved = shift(images, RandomState(1))
    kept = (moved == 1).any(3).any(2).any(1)
    assert 0.4 < kept.double().mean() < 0.7  # five of nine shifts


def test_a_square_of_a_third_of_the_side_is_black():
    images = torch.ones(400, 3, 28, 28)
    black = cut(images, RandomState(0)) == -1
    assert (black == black[:, :1]).all()  # in all channels
    counts = black[:, 0].sum((1, 2))
    assert counts.max() == 100  # ten pixels have their centres within 28 / 3
    assert counts.min() >= 16  # a quarter of it, in a corner
    rows = black[:, 0].any(2).double().mean(0)
    assert rows[10:18].mean() == pytest.approx(1 / 3, abs=0.05)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_gradients_reach_the_pixels_that_are_seen_and_no_others(name):
    images = torch.rand(5, 1, 28, 28, requires_grad=True)
    seen = AUGMENTATIONS[name](images, RandomState(0))
    assert seen.shape == images.shape and seen.dtype == images.dtype
    (gradient,) = torch.autograd.grad(seen.sum(), images)
    assert set(gradient.unique().tolist()) <= {0.0, 1.0}
    assert gradient.sum() == (seen > -1).sum()


def test_equal_random_states_change_alike_and_global_states_are_left_alone():
    before = torch.get_rng_state()
    images = torch.rand(20, 1, 28, 28)
    one, other = (shift_and_cut(images, RandomState(3)) for _ in range(2))
    assert torch.equal(one, other)
    torch.set_rng_state(before)
    shift_and_cut(torch.zeros(2, 1, 28, 28), RandomState(0))
    assert torch.equal(torch.get_rng_state(), before)
