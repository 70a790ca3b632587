"""COBYLA without constraints."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Function = Callable[[Floats], float]

# How PRIMA changes the trust region: shares of the predicted gain up to which it shrinks and beyond
# which it grows, the factors of both, and the multiple of the resolution up to which it is that.
_POOR, _GOOD, _SHRINK, _GROW, _NEAR = 0.1, 0.7, 0.5, 2.0, 1.5
# largest error of an inverse that is updated, before it is computed anew, and of any inverse
_UPDATED_ERROR, _MOST_ERROR = 0.1, 1.0


def minimize(
    function: Function, start: Floats, radius: float, resolution: float, evaluations: int
) -> Floats:
    """Minimise a function of n numbers by Powell's linear models on n + 1 points.

    Powell, Advances in Optimization and Numerical Analysis, 51 (1994), with the trust region of
    PRIMA (Zhang, doi:10.5281/zenodo.8052654), which SciPy has from 1.16 on. Without constraints the
    linear programs of COBYLA are a step of steepest descent on the model. SciPy solves them all the
    same, in milliseconds at 96 numbers. The points are SciPy's but for rounding.

    Args:
        function: from a point [n] to its value.
        start: first point [n].
        radius: length of the first steps.
        resolution: length of the last steps.
        evaluations: maximum number of points whose values are asked for; at least n + 2.

    Returns:
        The best point [n].
    """
    simplex = _Simplex(function, start, radius, 1e-4 * resolution)
    delta = rho = radius  # the trust region, and how fine the search is
    while simplex.n_values < evaluations:
        slope = simplex.slope()
        steepness = float(np.linalg.norm(slope))
        adequate = simplex.is_within(2 * delta)
        tried, gain = 0.0, 0.0
        if steepness > 0:
            tried = delta
            step = -delta / steepness * slope
            value = simplex.value_at(step)
            gain = simplex.value - value
            share = gain / (delta * steepness)
            delta *= _SHRINK if share <= _POOR else 1 if share <= _GOOD else _GROW
        else:
            delta *= 0.1
        if delta <= _NEAR * rho:
            delta = rho
        if tried and not simplex.take(step, value, max(rho, delta / 10)):
            break
        if gain > 0 or simplex.n_values >= evaluations:
            continue
        if not adequate:
            if not simplex.is_within(2 * delta) and not simplex.improve(delta / 2):
                break
        elif max(delta, tried) <= rho:
            if rho <= resolution:
                break
            finer = _finer(rho, resolution)
            delta, rho = max(rho / 2, finer), finer
    return simplex.best


def _finer(rho: float, resolution: float) -> float:
    """Return the next smaller rho."""
    ratio = rho / resolution
    if ratio <= 16:
        return resolution
    return 0.1 * rho if ratio > 250 else float(np.sqrt(ratio)) * resolution


class _Simplex:
    """A point and n others, with their values. The point is the best of them.

    Attributes:
        best: the best point [n].
        value: its value.
        n_values: number of values that were asked for.
    """

    def __init__(self, function: Function, start: Floats, radius: float, same: float) -> None:
        n = len(start)
        self._function, self._same = function, same
        self.best = start.astype(np.float64)
        self.value = function(self.best)
        # rows from the best point to the others, the inverse of the matrix, and values
        self._edges = radius * np.eye(n)
        self._values = np.zeros(n)
        for k in range(n):
            point = self.best.copy()
            point[k] += radius
            self._values[k] = function(point)
            if self._values[k] < self.value:
                self._values[k], self.value = self.value, self._values[k]
                self.best = point
                self._edges[: k + 1, k] = -radius
        self._inverse = np.linalg.inv(self._edges)
        self.n_values = n + 1

    def slope(self) -> Floats:
        """Return the slope [n] of the linear function through all points."""
        return self._inverse @ (self._values - self.value)

    def is_within(self, radius: float) -> bool:
        """Return whether all points are at most so far from the best one."""
        return bool((self._lengths() <= radius**2).all())

    def value_at(self, step: Floats) -> float:
        """Return the value a step [n] from the best point. It is asked for if it is not known."""
        distances = self._distances(step)
        nearest = int(distances.argmin())
        if distances[nearest] <= self._same**2:
            return float(np.append(self._values, self.value)[nearest])
        self.n_values += 1
        return self._function(self.best + step)

    def take(self, step: Floats, value: float, near: float) -> bool:
        """Put the point after a step in the place of one that is far or costs little volume.

        Returns whether the simplex still has a volume. Points up to `near` count as near.
        """
        shares = step @ self._inverse  # of the edges in the step, which tell how the volume changes
        if value < self.value:
            distances = self._distances(step)
            scores = np.abs(np.append(shares, 1 - shares.sum()))
        else:
            distances, scores = self._lengths(), np.abs(shares)
        scores = scores * np.maximum(1, distances / near**2)
        return not scores.max() > 0 or self._replace(int(scores.argmax()), step, value)

    def improve(self, length: float) -> bool:
        """Put a point so far away, in the direction that gives volume, in the farthest one's place.

        Returns whether the simplex still has a volume.
        """
        farthest = int(self._lengths().argmax())
        direction = self._inverse[:, farthest]
        step = length / np.linalg.norm(direction) * direction
        if step @ self.slope() > 0:
            step = -step
        return self._replace(farthest, step, self.value_at(step))

    def _lengths(self) -> Floats:
        """Return the squares [n] of the distances from the best point."""
        return (self._edges**2).sum(1)

    def _distances(self, step: Floats) -> Floats:
        """Return the squares [n + 1] of the distances from a step; the last is the best point's."""
        return np.append(((self._edges - step) ** 2).sum(1), step @ step)

    def _replace(self, place: int, step: Floats, value: float) -> bool:
        """Put the point after a step in a place; place n is that of the best point."""
        edges, inverse = self._edges, self._inverse
        if place == len(step):
            shares = step @ inverse
            self.best = self.best + step
            edges -= step
            inverse += np.outer(inverse.sum(1) / (1 - shares.sum()), shares)
            self.value = value
        else:
            edges[place] = step
            column = inverse[:, place] / (step @ inverse[:, place])
            inverse -= np.outer(column, step @ inverse)
            inverse[:, place] = column
            self._values[place] = value
            if value < self.value:
                self.best = self.best + step
                edges[place] = 0
                edges -= step
                inverse[:, place] = -inverse.sum(1)
                self._values[place], self.value = self.value, value
        return self._is_regular()

    def _is_regular(self) -> bool:
        """Return whether the edges have an inverse, which is computed anew if it is bad."""
        unit = np.eye(len(self._edges))
        error = np.abs(self._edges @ self._inverse - unit).max()
        if not error <= _UPDATED_ERROR:
            try:
                self._inverse = np.linalg.inv(self._edges)
            except np.linalg.LinAlgError:
                return False
            error = np.abs(self._edges @ self._inverse - unit).max()
        return bool(error <= _MOST_ERROR)
