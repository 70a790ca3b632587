"""Times of IQP circuits: beside PennyLane where a state fits, and alone where none does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qcaan.bits import all_bitstrings
from qcaan.circuits.iqp import BATCH, IQPCircuit
from qcaan.commands.benchmark.timing import Goal, Row, is_installed, median_times, rows_of

SHOTS = 2000
# the circuit whose state is computed by both
_SMALL = IQPCircuit(12, 3)
_PENNYLANE = "value + gradient, 12 qubits, reach 3: PennyLane default.qubit, backprop"
_OURS = "value + gradient, 12 qubits, reach 3: qcaan"
_DRAWN = "2,000 exact shots, 1,000 qubits, reach 3"
_MMD = "400 correlators + gradient, 1,000 qubits, all pairs"


def iqp_circuits(repeats: int) -> list[Row]:
    """Time IQP circuits on one core.

    PennyLane has a row if it is installed (extra `bench`).
    """
    rng = np.random.default_rng(0)
    bits = torch.from_numpy(rng.integers(2, size=(BATCH, 64), dtype=np.uint8))
    pairs = torch.from_numpy(np.stack([rng.choice(1000, 2, replace=False) for _ in range(400)]))
    narrow, drawn, all_pairs = IQPCircuit(64, 8), IQPCircuit(1000, 3), IQPCircuit(1000, "all")
    drawn_at = _angles(drawn, 0.5)

    def gradient(circuit: IQPCircuit, value: Callable[[Tensor], Tensor], scale: float) -> Any:
        theta = _angles(circuit, scale).float()
        return lambda: torch.autograd.grad(value(theta.requires_grad_()), theta)

    strings = all_bitstrings(_SMALL.n_qubits)
    ways: dict[str, Callable[[], object]] = {}
    if is_installed("pennylane"):
        node = _pennylane_node(_SMALL)
        ways[_PENNYLANE] = gradient(_SMALL, lambda theta: node(theta).log().mean(), 0.5)
    ways[_OURS] = gradient(_SMALL, lambda theta: _SMALL.log_probs(theta, strings).mean(), 0.5)
    ways[f"likelihood of {BATCH} bitstrings + gradient, 64 qubits, reach 8"] = gradient(
        narrow, lambda theta: narrow.log_probs(theta, bits).mean(), 0.3
    )
    ways[_DRAWN] = lambda: drawn.sample(drawn_at, SHOTS, rng)
    ways[_MMD] = gradient(
        all_pairs, lambda theta: all_pairs.correlators(theta, pairs).square().mean(), 0.01
    )
    return rows_of(median_times(ways, repeats))


def iqp_goals(rows: Sequence[Row]) -> list[Goal]:
    """Return the goals of IQP circuits, as far as PennyLane is installed."""
    ms = {row.what: row.milliseconds for row in rows}
    goals = [Goal(f"{what} (s)", ms[what] / 1000, "at most 2") for what in (_DRAWN, _MMD)]
    if backprop := ms.get(_PENNYLANE):
        what = "value + gradient, times faster than PennyLane's backprop"
        goals.append(Goal(what, backprop / ms[_OURS], "at least 1"))
    return goals


def _angles(circuit: IQPCircuit, scale: float) -> Tensor:
    """Return angles float64 [n_params], always the same."""
    return torch.from_numpy(np.random.default_rng(0).normal(0, scale, circuit.n_params))


def _pennylane_node(circuit: IQPCircuit) -> Callable[..., Any]:
    """Return a function from angles [P] to the probabilities of a circuit by PennyLane."""
    import pennylane as qml

    n = circuit.n_qubits

    def gates(theta: Tensor) -> object:
        for qubit in range(n):
            qml.Hadamard(qubit)
            qml.RZ(theta[qubit], qubit)
        for place, pair in enumerate(circuit.pairs, n):
            qml.IsingZZ(theta[place], list(pair))
        for qubit in range(n):
            qml.Hadamard(qubit)
        return qml.probs(wires=range(n - 1, -1, -1))  # the first wire is the highest bit

    device = qml.device("default.qubit", wires=n)
    node: Callable[..., Any] = qml.QNode(gates, device, interface="torch", diff_method="backprop")
    return node
