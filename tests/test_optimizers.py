from __future__ import annotations

import numpy as np
import pytest
import torch

from qcaan.optimizers import OPTIMIZERS


class Cosines:
    """Sum of 1 - cos(theta - minimum) over 20 angles, with noise if asked for; counts what it is asked for."""

    def __init__(self, minimum, noise):
        self.noisy, self.gradient_evaluations = noise > 0, 1
        self.minimum, self.noise, self.asked = minimum, noise, 0
        self.generator = torch.Generator().manual_seed(0)

    def exact(self, theta):
        return (1 - (theta - self.minimum).cos()).sum(-1)

    def __call__(self, theta):
        self.asked += len(theta)
        return self.exact(theta) + self.noise * torch.randn(len(theta), generator=self.generator)

    def gradient(self, theta):
        self.asked += 1
        slope = (theta - self.minimum).sin()
        return self.exact(theta), slope + self.noise * torch.randn(
            len(theta), generator=self.generator
        )


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("noise", [0, 0.01])
def test_comes_near_the_minimum_within_the_budget(optimizer, noise):
    rng = np.random.default_rng(0)
    objective = Cosines(torch.from_numpy(rng.uniform(-0.5, 0.5, 20)), noise)
    start = torch.zeros(20, dtype=torch.float64)
    theta = optimizer(objective, start, 600, rng)
    assert objective.asked <= 600
    assert objective.exact(theta) < 0.3 * objective.exact(start)
    assert torch.equal(start, torch.zeros(20, dtype=torch.float64))


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_noise_alone_carries_nothing_away(optimizer):
    """At the minimum the luckiest value is worse than it looks: what is returned must stay near."""
    objective = Cosines(torch.zeros(20, dtype=torch.float64), 0.01)
    theta = optimizer(objective, objective.minimum, 600, np.random.default_rng(0))
    assert objective.exact(theta) < 0.15


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_numpys_global_random_state_is_left_alone(optimizer):
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    objective = Cosines(torch.ones(20, dtype=torch.float64), 0.01)
    optimizer(objective, torch.zeros(20).double(), 100, np.random.default_rng(0))
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002
