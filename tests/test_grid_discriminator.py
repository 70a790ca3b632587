"""`GridDiscriminator`: its losses and slopes, and the points that it sees."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from qgans import Scripted
from torch import nn

from qcaan import QGAN
from qcaan.gans.distribution.discriminator import GridDiscriminator


def test_losses_are_those_of_the_paper():
    class Logits(nn.Module):
        def __init__(self):
            super().__init__()
            self.shift = nn.Parameter(torch.zeros(()))

        def forward(self, samples):
            return samples[:, 0] + self.shift

    points = torch.tensor([[-1.0], [0.0], [2.0]])
    real, fake = torch.tensor([0.2, 0.3, 0.5]).double(), torch.tensor([0.6, 0.4, 0.0]).double()
    labels = torch.sigmoid(points[:, 0]).double()
    discriminator = GridDiscriminator(Logits(), optimizer=partial(torch.optim.SGD, lr=0.0))
    loss = discriminator.update(points, real, fake)
    assert loss == pytest.approx(
        -float(real @ labels.log() + fake @ (1 - labels).log()) / 2, abs=1e-6
    )
    torch.testing.assert_close(discriminator.slope(points), -labels.log())
    critic = GridDiscriminator(Logits(), "wgan-gp", optimizer=partial(torch.optim.SGD, lr=0.0))
    # its slope is 1 everywhere, so there is no penalty
    assert critic.update(points, real, fake) == pytest.approx(
        float((fake - real) @ points[:, 0].double()), abs=1e-5
    )
    torch.testing.assert_close(critic.slope(points), -points[:, 0].double())


def test_a_discriminator_sees_points_not_columns():
    data = np.random.default_rng(0).uniform(0, 1, (100, 2)) * [1, 100]
    qgan = QGAN(
        data,
        [[0, 1], [0, 100]],
        [1, 2],
        batch_size=50,
        n_epochs=1,
        discriminator=Scripted(),
    )
    qgan.run()
    np.testing.assert_allclose(qgan.discriminator.points, qgan.grid.points)
    assert qgan.discriminator.points[:, 0].max() == 1
