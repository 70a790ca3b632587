"""The grid of points: order, bounds, nearest points, and distances of distributions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy

from qcaan import QGAN
from qcaan.gans.distribution.grid import make_grid


def test_dimension_0_is_the_slowest_and_bounds_are_inclusive():
    grid = make_grid([[0, 3], [10, 11]], [2, 1])
    assert grid.points.tolist() == [[a, b] for a in (0, 1, 2, 3) for b in (10, 11)]
    samples = np.array([[0, 10], [3, 11], [1.4, 10.6], [1.5, 10.5], [-1e-9, 10], [0, 11 + 1e-9]])
    assert grid.contains(samples).tolist() == [True] * 4 + [False] * 2
    assert grid.index(samples[:4]).tolist() == [
        0,
        7,
        3,
        2,
    ]  # half way between two points it is the lower one
    assert [m.tolist() for m in grid.marginals(np.arange(8) / 28)] == [
        pytest.approx([1 / 28, 5 / 28, 9 / 28, 13 / 28]), pytest.approx([12 / 28, 16 / 28]),
    ]  # fmt: skip


@given(st.lists(st.integers(1, 3), min_size=1, max_size=3), st.integers(0, 99))
def test_every_sample_goes_to_its_nearest_point(n_qubits, seed):
    rng = np.random.default_rng(seed)
    low = rng.normal(0, 5, len(n_qubits))
    grid = make_grid(np.stack([low, low + rng.uniform(0.1, 9, len(low))], 1), n_qubits)
    samples = rng.uniform(*grid.bounds.T, (50, len(low)))
    distances = abs(samples[:, None] - grid.points[None]).sum(-1)
    np.testing.assert_array_equal(grid.index(samples), distances.argmin(1))


def test_dropped_are_the_samples_outside_the_bounds_and_whole_numbers_do_not_cut_the_grid():
    qgan = QGAN([0, 1, 1, 2, 3, 9, -1], bounds=[0, 2], n_qubits=[3], batch_size=1)
    assert qgan.n_samples == 4
    np.testing.assert_allclose(qgan.grid.points[:, 0], np.arange(8) * 2 / 7)
    np.testing.assert_allclose(qgan.data_probs, [0.25, 0, 0, 0.5, 0, 0, 0, 0.25])


@pytest.mark.parametrize("k", [1, 2, 3])
def test_bounds_and_qubits_have_defaults_in_every_number_of_dimensions(k):
    data = np.random.default_rng(0).normal(0, 1, (2000, k))
    data = data[:, 0] if k == 1 else data
    qgan = QGAN(data)
    assert qgan.grid.n_qubits == (3,) * k
    np.testing.assert_allclose(
        qgan.grid.bounds, np.percentile(data.reshape(2000, k), (5, 95), axis=0).T
    )
    assert qgan.pdf().shape == (8**k,)


def test_relative_entropy_is_that_of_the_model_from_the_data_with_empty_cells_at_1e_10():
    grid = make_grid([0, 3], [2])
    data, model = np.array([0.5, 0.5, 0, 0]), np.array([0.25, 0.5, 0.25, 0])
    expected = 0.25 * math.log(0.5) + 0.25 * math.log(0.25 / 1e-10)
    assert grid.relative_entropy(model, data) == pytest.approx(expected, abs=1e-9)
    filled = np.where(data == 0, 1e-10, data)
    assert grid.relative_entropy(model, data) == pytest.approx(entropy(model, filled))
    assert grid.relative_entropy(data, data) == pytest.approx(0, abs=1e-9)


def test_a_shift_by_one_point_has_its_distance_as_wasserstein_and_its_mass_as_kolmogorov_smirnov():
    grid = make_grid([[0, 1], [0, 6]], [1, 2])
    data = np.outer([0.5, 0.5], [0.2, 0.5, 0.3, 0]).ravel()
    model = np.outer([0.5, 0.5], [0, 0.2, 0.5, 0.3]).ravel()
    distances = grid.distances(model, data)
    assert distances["wasserstein"] == pytest.approx(2)
    assert distances["ks"] == pytest.approx(0.5)
