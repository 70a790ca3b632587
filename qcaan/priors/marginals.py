"""The start of a fit: angles at which a circuit has the marginals of its target."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from qcaan.circuits.ansatz import ROTATIONS, Ansatz, acted_on, fixed_pairs
from qcaan.circuits.born import BornMachine

# name of a start at the product of the target's marginals, and of the nearest one to it
MARGINALS, PARITIES = "marginals", "marginals of parities"
# half the sum of squared errors of marginals that are reached
_REACHED = 1e-12


def angles_at_marginals(
    born: BornMachine, bits: Tensor | None, rng: np.random.Generator
) -> tuple[str, Tensor]:
    """Return a name and angles [n_params] at which every qubit has the marginals of its bits.

    With all entanglers at zero the circuit is n circuits of one qubit each, whose few angles are
    solved for from random starts. Angles that the marginals leave free stay random, since zeros
    would be a critical point of the loss. The state of a qubit obeys <Z>^2 + <Y>^2 <= 1, so
    marginals in z and o can be out of reach together.

    CX cannot be zero. It does nothing to |0...0>, so qubits turn after the last CX, or before CX
    that undo each other. The ansatz `ry-rx` ends with a CX chain; if its chains do not undo each
    other, the bits of basis z are parities of independent bits. These have the marginals of the
    target's parities, which is the nearest such start.

    Args:
        born: the circuit.
        bits: the target [m, n_bases * n_qubits] uint8; None for fair bits.
        rng: random state of the starts.
    """
    from scipy.optimize import least_squares

    free, undone = _free_layers(born.ansatz)
    wanted = torch.full((len(born.bases), born.n_qubits), 0.5, dtype=torch.float64)
    if bits is not None:
        parts = dict(zip(born.bases, bits.chunk(len(born.bases), 1), strict=True))
        if "z" in parts:
            parts["z"] = _before(undone, parts["z"])
        wanted = torch.stack([part.double().mean(0) for part in parts.values()]).cpu()
    theta = torch.zeros(born.n_params, dtype=torch.float64)
    kinds = [gate for layer in born.ansatz.layers if (gate := acted_on(layer, 1)[0]) in ROTATIONS]
    for qubit in range(born.n_qubits):
        places = np.array(born.one_qubit_angles(qubit))
        # the angle of basis t, at the end, is always free
        solved = np.array([*free[:, qubit], *[True] * (len(places) - len(kinds))])
        fixed = np.zeros(len(places))
        for layer in range(int(solved.argmax())):
            if kinds[layer] == "rz":  # |0> does not change, but the slopes of other angles do
                fixed[layer] = rng.uniform(-np.pi, np.pi)
        goal = wanted[:, qubit].numpy()

        def reached(
            angles: np.ndarray,
            qubit: int = qubit,
            fixed: np.ndarray = fixed,
            solved: np.ndarray = solved,
        ) -> np.ndarray:  # [K, ...] -> [K, n_bases]
            full = np.tile(fixed, (len(angles), 1))
            full[:, solved] = angles
            return born.one_qubit_marginals(qubit, full)

        def residuals(angles: np.ndarray, goal: np.ndarray = goal) -> np.ndarray:
            return reached(angles[None])[0] - goal

        shifts = math.pi / 2 * np.eye(int(solved.sum()))

        def jacobian(angles: np.ndarray, shifts: np.ndarray = shifts) -> np.ndarray:
            up, down = np.split(reached(np.concatenate([angles + shifts, angles - shifts])), 2)
            return (up - down).T / 2

        starts = [rng.uniform(-np.pi, np.pi, len(shifts)) for _ in range(4)]
        solutions = []
        for start in starts:
            solutions.append(least_squares(residuals, start, jacobian))
            if solutions[-1].cost <= _REACHED:
                break
        fixed[solved] = min(solutions, key=lambda solution: solution.cost).x
        theta[places] = torch.from_numpy(fixed)
    return (PARITIES if undone else MARGINALS), theta


def _free_layers(ansatz: Ansatz) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Return which angles may turn each qubit [layers of rotations, n_qubits], the others at zero.

    Also returned are the CX whose effect on independent bits remains, in order of application.
    """
    n = ansatz.n_qubits
    # the fixed gates after a layer, from the last layer on
    after: list[list[tuple[str, int, int]]] = [[]]
    rotations: list[int] = []  # the number of layers of fixed gates after each layer of rotations
    for layer in reversed(ansatz.layers):
        gate = acted_on(layer, n)[0]
        if gate in ROTATIONS:
            rotations.insert(0, len(after) - 1)
        elif gate.startswith(("cx", "cz")):
            after.append([(gate[:2], *pair) for pair in fixed_pairs(layer, n)] + after[-1])
    # a qubit is clean if its bit does not spread to others
    clean = [_clean_qubits(gates, n) for gates in after]
    early = max(range(1, len(after)), key=lambda k: (clean[k].sum(), -k), default=0)
    tail = 0 in rotations
    free = [
        np.full(n, True) if k == 0 or (k == early and not tail)
        else clean[k] if k == early
        else np.full(n, False)
        for k in rotations
    ]  # fmt: skip
    left = [] if tail or clean[early].all() else after[early]
    return np.stack(free), [(control, target) for gate, control, target in left if gate == "cx"]


def _clean_qubits(gates: list[tuple[str, int, int]], n: int) -> np.ndarray:
    """Return which qubits [n] keep a product state if all others are |0> before the gates."""
    spread = np.eye(n, dtype=bool)  # row j: the bits that are flipped by a flip of bit j
    touched = np.full(n, False)
    for gate, control, target in gates:
        if gate == "cx":
            spread[:, target] ^= spread[:, control]
        else:
            touched[[control, target]] = True
    return (spread == np.eye(n, dtype=bool)).all(1) & ~touched


def _before(gates: list[tuple[int, int]], bits: Tensor) -> Tensor:
    """Return the bits [m, n] that CX gates turn into the given ones."""
    bits = bits.clone()
    for control, target in reversed(gates):
        bits[:, target] ^= bits[:, control]
    return bits
