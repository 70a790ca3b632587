"""The start of a fit: angles at which a circuit has the marginals of its target."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from qcaan.circuits.born import BornMachine


def angles_at_marginals(born: BornMachine, marginals: Tensor, rng: np.random.Generator) -> Tensor:
    """Return angles [n_params] at which every qubit has the given P(1) in every basis, or nearly.

    With all entanglers at zero the circuit is n circuits of one qubit each, whose few angles are
    solved for from random starts. Angles that the marginals leave free stay random, since zeros
    would be a critical point of the loss. The state of a qubit obeys <Z>^2 + <Y>^2 <= 1, so
    marginals in z and o can be out of reach together.

    Args:
        born: the circuit.
        marginals: P(bit = 1) [n_bases, n_qubits].
        rng: random state of the starts.
    """
    from scipy.optimize import least_squares

    theta = torch.zeros(born.n_params, dtype=torch.float64)
    for qubit in range(born.n_qubits):
        places = born.one_qubit_angles(qubit)
        shifts = math.pi / 2 * np.eye(len(places))
        wanted = marginals[:, qubit].cpu().numpy()

        def reached(angles: np.ndarray) -> np.ndarray:  # [K, ...] -> [K, n_bases]
            return born.one_qubit_marginals(torch.from_numpy(angles)).numpy()

        def residuals(angles: np.ndarray, wanted: np.ndarray = wanted) -> np.ndarray:
            return reached(angles[None])[0] - wanted

        def jacobian(angles: np.ndarray, shifts: np.ndarray = shifts) -> np.ndarray:
            up, down = np.split(reached(np.concatenate([angles + shifts, angles - shifts])), 2)
            return (up - down).T / 2

        starts = [rng.uniform(-np.pi, np.pi, len(places)) for _ in range(4)]
        solutions = [least_squares(residuals, start, jacobian) for start in starts]
        best = min(solutions, key=lambda solution: solution.cost)
        theta[places] = torch.from_numpy(best.x)
    return theta
