"""Optimisers of circuit angles, all with one signature: minimise a loss from a start within a budget of evaluations.

A loss maps K parameter sets [K, P] to K values [K], so that an optimiser that asks for many points at once can send them
to a device as one job.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

Floats = NDArray[np.float64]
Loss = Callable[[Floats], Floats]
Optimizer = Callable[[Loss, Floats, int, bool, np.random.Generator], Floats]

_BLOCK = 12  # angles that a noisy loss is minimised over at a time
_CONFIRM = 3  # fresh evaluations of a noisy loss that each side of a comparison is the mean of


def cobyla(loss: Loss, theta: Floats, evaluations: int, noisy: bool, rng: np.random.Generator) -> Floats:
    """Powell's COBYLA from SciPy: linear models on a simplex of P + 1 points inside a shrinking trust region.

    An exact loss is minimised over all angles at once. With a noisy one that does nothing: over P angles the model's slope
    has P times the noise's variance. So it is minimised over small random blocks of the angles in turn, by larger steps,
    and a block's new angles are taken only if they are better at fresh evaluations, since COBYLA's own best value is
    its luckiest.

    Args:
        loss: [K, P] to [K].
        theta: start [P], radians.
        evaluations: the most values of the loss asked for; SciPy needs at least P + 2 for a simplex.
        noisy: whether two evaluations at the same angles differ.
        rng: source of the blocks.

    Returns:
        The best angles found [P].
    """
    if not noisy:  # the first step is short: it keeps what a warm start has learnt
        return _minimize(loss, theta, np.arange(len(theta)), evaluations, 0.1, 1e-4)[0]
    left = evaluations
    while True:
        for block in np.array_split(rng.permutation(len(theta)), math.ceil(len(theta) / _BLOCK)):
            budget = min(left - 2 * _CONFIRM, 4 * len(block))
            if budget < len(block) + 2:
                return theta
            moved, used = _minimize(loss, theta, block, budget, 0.3, 0.06)
            left -= used + 2 * _CONFIRM
            values = loss(np.repeat([theta, moved], _CONFIRM, axis=0)).reshape(2, _CONFIRM).mean(1)
            if values[1] < values[0]:
                theta = moved


def _minimize(
    loss: Loss, theta: Floats, places: NDArray[np.int64], evaluations: int, radius: float, tolerance: float
) -> tuple[Floats, int]:
    """SciPy's COBYLA over `theta[places]`, the other angles held: the new theta [P] and the evaluations used."""

    def moved(point: Floats) -> Floats:
        angles = theta.copy()
        angles[places] = point
        return angles

    result = minimize(
        lambda point: float(loss(moved(point)[None])[0]),
        theta[places],
        method="COBYLA",
        options={"maxiter": evaluations, "rhobeg": radius, "tol": tolerance},
    )
    return moved(result.x), int(result.nfev)


OPTIMIZERS: dict[str, Optimizer] = {"cobyla": cobyla}
