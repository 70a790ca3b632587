from __future__ import annotations

import pytest
import torch
from torch import nn

from qcaan.networks import Discriminator, Generator, PointMLP


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 28, 28)])
def test_discriminator_mirrors_the_generator_layer_by_layer(shape):
    generator, discriminator = (
        Generator(5, shape, 8, mix=False),
        Discriminator(5, shape, 8, skip=True),
    )
    up: list[tuple[int, ...]] = []
    down: list[tuple[int, ...]] = []
    for module in generator.net:
        if isinstance(module, nn.Unflatten | nn.ConvTranspose2d):
            module.register_forward_hook(
                lambda _, inputs, output: up.append(tuple(output.shape[1:]))
            )
    for module in discriminator.trunk:
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(
                lambda _, inputs, output: down.append(tuple(output.shape[1:]))
            )
    images = generator(torch.randn(2, 5))
    logits, features = discriminator(images)
    assert images.shape == (2, *shape)
    assert images.abs().max() <= 1
    assert logits.shape == (2,)
    assert [tuple(images.shape[1:]), *down] == up[::-1]
    assert features.shape == (2, 5)
    assert features.abs().max() < 1
    assert torch.equal(discriminator.latent(images), features)


@pytest.mark.parametrize(("shape", "wide"), [((1, 28, 28), (32, 3, 3)), ((3, 32, 32), (64, 2, 2))])
def test_a_discriminator_that_refines_has_more_layers_of_its_coarsest_map(shape, wide):
    discriminator = Discriminator(5, shape, 8, skip=True, refine=2)
    plain = Discriminator(5, shape, 8, skip=True)
    convolutions = [
        [layer for layer in each.trunk if isinstance(layer, nn.Conv2d)]
        for each in (plain, discriminator)
    ]
    assert len(convolutions[1]) == len(convolutions[0]) + 3
    assert [layer.stride for layer in convolutions[1][-3:]] == [(1, 1), (1, 1), (2, 2)]
    assert discriminator.trunk[:-1](torch.zeros(2, *shape)).shape == (2, *wide)
    logits, features = discriminator(torch.zeros(2, *shape))
    assert logits.shape == (2,) and features.shape == (2, 5)


def test_without_skip_the_logit_sees_the_latent_layer_alone():
    discriminator = Discriminator(4, (1, 28, 28), 8, skip=False)
    nn.init.zeros_(discriminator.to_latent[0].weight)
    logits, _ = discriminator(torch.rand(3, 1, 28, 28))
    assert logits.unique().numel() == 1


def test_the_mixing_layer_starts_as_the_identity_and_is_trained():
    generator = Generator(6, (1, 28, 28), 8, mix=True)
    assert torch.equal(generator.net[0](torch.eye(6)), torch.eye(6))
    assert generator.net[0].weight.requires_grad


@pytest.mark.parametrize("shape", [(1, 30, 30), (1, 28, 32)])
def test_other_sizes_are_refused(shape):
    with pytest.raises(ValueError, match="images must be 28x28 or 32x32 pixels"):
        Generator(4, shape, 8, mix=False)


def test_a_critic_scores_each_sample_by_itself_and_without_bounds():
    critic = PointMLP(torch.tensor([[-1.0, 1.0]] * 3), (8, 8))
    samples = 1e4 * torch.randn(6, 3)
    scores = critic(samples)
    assert scores.shape == (6,)
    torch.testing.assert_close(critic(samples[2:3]), scores[2:3])
    assert scores.abs().max() > 100
