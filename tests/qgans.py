"""QGANs of the binomial distribution, for the tests of their parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qcaan import QGAN, Ansatz, load_samples

BINOMIAL = load_samples("binomial", 1000, 1)
ROTATIONS = Ansatz(2, ("ry",))  # product distributions
DEFAULT = Ansatz(2, ("h", "ry", "cz-ring", "ry"))


def binomial(**options):
    return QGAN(
        BINOMIAL,
        **{
            "bounds": [0, 3],
            "n_qubits": [2],
            "batch_size": 250,
            "n_epochs": 50,
            "seed": 1,
            **options,
        },
    )


def assert_same(one, other):
    np.testing.assert_array_equal(one.generator.parameter_values, other.generator.parameter_values)
    np.testing.assert_array_equal(one.discriminator.params, other.discriminator.params)
    assert (one.d_loss, one.g_loss, one.rel_entr) == (other.d_loss, other.g_loss, other.rel_entr)


class Scripted:
    """A discriminator with scripted answers that counts its updates."""

    params = None

    def __init__(self):
        self.updates, self.points = 0, None

    def update(self, points, real, fake):
        self.updates += 1
        self.points = points
        assert real.sum() == pytest.approx(1) and fake.sum() == pytest.approx(1)
        return float(self.updates)

    def slope(self, points):
        return 10.0 * self.updates + torch.zeros(len(points), dtype=torch.float64)

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        self.updates = 0
