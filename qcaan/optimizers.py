"""Optimisers of circuit angles, all with one signature: minimise a loss from a start within a budget of evaluations.

A loss maps K parameter sets [K, P] to K values [K], so that an optimiser that asks for many points at once can send them
to a device as one job.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

Floats = NDArray[np.float64]
Loss = Callable[[Floats], Floats]


def cobyla(loss: Loss, theta: Floats, evaluations: int, trust_radius: float) -> tuple[Floats, int]:
    """Powell's COBYLA from SciPy: linear models on a simplex of P + 1 points inside a shrinking trust region.

    Building the simplex alone takes P + 1 evaluations; SciPy asks for P + 2 at least.

    Args:
        loss: [K, P] to [K].
        theta: start [P], radians.
        evaluations: the most calls of the loss.
        trust_radius: first step, radians; large for noisy losses, small to keep what a warm start has learnt.

    Returns:
        The best angles seen [P] and the number of evaluations used.
    """
    result = minimize(
        lambda point: float(loss(point[None])[0]),
        theta,
        method="COBYLA",
        options={"maxiter": evaluations, "rhobeg": trust_radius, "tol": 1e-4},
    )
    return np.asarray(result.x, dtype=np.float64), int(result.nfev)


OPTIMIZERS: dict[str, Callable[[Loss, Floats, int, float], tuple[Floats, int]]] = {"cobyla": cobyla}
