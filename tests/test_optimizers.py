from __future__ import annotations

import numpy as np
import pytest

from qcaan.optimizers import OPTIMIZERS


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("noisy", [False, True])
def test_reaches_the_minimum_within_the_budget(optimizer, noisy):
    rng = np.random.default_rng(0)
    minimum = rng.uniform(-0.5, 0.5, 20)
    asked = 0

    def loss(theta):
        nonlocal asked
        asked += len(theta)
        return (1 - np.cos(theta - minimum)).sum(1) + (rng.normal(0, 0.01, len(theta)) if noisy else 0)

    theta = optimizer(loss, np.zeros(20), 600, noisy, rng)
    assert asked <= 600
    start = (1 - np.cos(minimum)).sum()  # 0.7
    assert (1 - np.cos(theta - minimum)).sum() < (0.3 if noisy else 0.01) * start


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_noise_alone_carries_nothing_away(optimizer):
    """At the minimum the luckiest value is worse than it looks: what is returned must stay near."""
    rng = np.random.default_rng(0)
    theta = optimizer(
        lambda points: (1 - np.cos(points)).sum(1) + rng.normal(0, 0.01, len(points)), np.zeros(20), 600, True, rng
    )
    assert (1 - np.cos(theta)).sum() < 0.1
