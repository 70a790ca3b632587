"""COBYLA without constraints: the points of SciPy's, and minima that are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize as scipy_minimize

from qcaan.cobyla import minimize


def waves(n: int, seed: int):
    """A smooth function of n numbers with many minima."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(n, n)) / n**0.5
    return lambda x: float(np.sin(mix @ x + 1).sum() + 0.05 * (x**2).sum()), rng.normal(size=n)


def recorded(function, points):
    def call(x):
        points.append(x.copy())
        return function(x)

    return call


def by_scipy(function, start, radius, resolution, evaluations):
    options = {"maxiter": evaluations, "rhobeg": radius, "tol": resolution}
    return scipy_minimize(function, start, method="COBYLA", options=options).x


@pytest.mark.parametrize("n", [12, 40])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_points_are_those_of_scipy(n, seed):
    function, start = waves(n, seed)
    theirs, ours = [], []
    by_scipy(recorded(function, theirs), start, 0.1, 1e-4, 100)
    minimize(recorded(function, ours), start, 0.1, 1e-4, 100)
    np.testing.assert_allclose(ours, theirs, atol=1e-9)
    assert (start == waves(n, seed)[1]).all()  # left alone


@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_values_are_those_of_scipy(n, seed):
    # of few numbers, distances are often equal, and rounding decides which point is farthest
    function, start = waves(n, seed)
    found = [function(way(function, start, 0.1, 1e-4, 300)) for way in (by_scipy, minimize)]
    assert found[1] == pytest.approx(found[0], abs=1e-4)


def test_minimum_of_a_parabola_is_found():
    centre = np.array([0.3, -1.2, 2.0, 0.0])
    best = minimize(lambda x: float(((x - centre) ** 2).sum()), np.zeros(4), 0.5, 1e-6, 1000)
    np.testing.assert_allclose(best, centre, atol=1e-5)


def test_minimum_of_a_curved_valley_is_found():
    def valley(x):
        return float((1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2)

    assert valley(minimize(valley, np.array([-1.2, 1.0]), 0.5, 1e-8, 4000)) < 1e-3


@pytest.mark.parametrize("budget", [5, 6, 7, 40])
def test_budget_is_kept_and_the_best_point_returned(budget):
    function, start = waves(3, 2)
    points = []
    best = minimize(recorded(function, points), start, 0.3, 1e-9, budget)
    assert len(points) == budget
    assert function(best) == min(map(function, points))


def test_flat_function_ends():
    points = []
    best = minimize(recorded(lambda x: 1.0, points), np.ones(3), 0.1, 1e-4, 100)
    np.testing.assert_array_equal(best, np.ones(3))
    assert len(points) < 20
