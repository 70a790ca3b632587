from __future__ import annotations

import numpy as np
import pytest
import torch

from qcaan.optimizers import OPTIMIZERS, DecayingAdam, fewest_evaluations, load_optimizer


class Cosines:
    """Sum of 1 - cos(theta - minimum) over 20 angles, with noise if asked for.

    It counts what it is asked for.
    """

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


@pytest.mark.parametrize("n_params", [2, 12, 13, 14, 20])
@pytest.mark.parametrize("noise", [0, 1e-6])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_fewest_evaluations_move_the_angles_and_are_not_exceeded(name, noise, n_params):
    objective = Cosines(torch.ones(n_params, dtype=torch.float64), noise)
    start = torch.zeros(n_params, dtype=torch.float64)
    budget = fewest_evaluations(
        name, n_params, objective.gradient_evaluations, noisy=objective.noisy
    )
    theta = OPTIMIZERS[name](objective, start, budget, np.random.default_rng(0))
    assert objective.asked <= budget
    assert not torch.equal(theta, start)


def test_adam_ends_at_a_critical_point():
    objective = Cosines(torch.zeros(3, dtype=torch.float64), 0)
    OPTIMIZERS["adam"](objective, objective.minimum, 50, np.random.default_rng(0))
    assert objective.asked == 1


def test_the_rate_of_decaying_adam_is_halved_after_half_steps():
    weights = torch.ones(2, requires_grad=True)
    optimizer = DecayingAdam([weights], lr=0.1, half_steps=3)
    rates = []
    for _ in range(4):
        optimizer.zero_grad()
        weights.sum().backward()
        optimizer.step()
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.1, 0.075, 0.06, 0.05])


def test_the_state_of_another_kind_of_optimiser_is_refused():
    weights = [torch.ones(2, requires_grad=True)]
    decaying = DecayingAdam(weights)
    with pytest.raises(ValueError, match="of another kind"):
        load_optimizer(decaying, torch.optim.Adam(weights).state_dict())
    load_optimizer(decaying, DecayingAdam(weights, n_steps=5).state_dict())
    assert decaying.param_groups[0]["n_steps"] == 5
