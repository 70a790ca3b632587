"""Times of IQP circuits: beside PennyLane at widths that it takes, and alone beyond."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qcaan.bits import all_bitstrings
from qcaan.circuits.iqp import BATCH, IQPCircuit
from qcaan.commands.benchmark.timing import (
    Goal,
    Row,
    is_installed,
    median_times,
    rows_of,
    times_of,
)

SHOTS = 2000
# the circuit whose state is computed by both
_SMALL = IQPCircuit(12, 3)
_PENNYLANE = "value + gradient, 12 qubits, reach 3: PennyLane default.qubit, backprop"
_OURS = "value + gradient, 12 qubits, reach 3: qcaan"
_DRAWN = "2,000 exact shots, 1,000 qubits, reach 3"
# the circuit whose correlators are exact here, and estimates by PennyLane
_MIDDLE = IQPCircuit(100, "all")
_SAMPLES = 1000
_LABS = "400 correlators + gradient, 100 qubits, all pairs: pennylane.labs, 1,000 samples"
_OUR_CORRELATORS = "400 correlators + gradient, 100 qubits, all pairs: qcaan, exact"
_MMD = "400 correlators + gradient, 1,000 qubits, all pairs"


def iqp_circuits(repeats: int) -> list[Row]:
    """Time IQP circuits on one core.

    Rows of PennyLane say so if it, or jax, is not installed (extra `bench`).
    """
    rng = np.random.default_rng(0)
    bits = torch.from_numpy(rng.integers(2, size=(BATCH, 64), dtype=np.uint8))
    pairs, near = (
        torch.from_numpy(np.stack([rng.choice(n, 2, replace=False) for _ in range(400)]))
        for n in (1000, _MIDDLE.n_qubits)
    )
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
    if all(map(is_installed, ("jax", "pennylane", "pennylane.labs.phox"))):
        ways[_LABS] = _labs_gradient(_MIDDLE, _angles(_MIDDLE, 0.1).float(), near)
    ways[_OUR_CORRELATORS] = gradient(
        _MIDDLE, lambda theta: _MIDDLE.correlators(theta, near).square().mean(), 0.1
    )
    ways[_MMD] = gradient(
        all_pairs, lambda theta: all_pairs.correlators(theta, pairs).square().mean(), 0.01
    )
    missing = [Row(what, None, None) for what in (_PENNYLANE, _LABS) if what not in ways]
    return rows_of(median_times(ways, repeats)) + missing


def iqp_goals(rows: Sequence[Row]) -> list[Goal]:
    """Return the goals of IQP circuits, as far as PennyLane is installed."""
    ms = times_of(rows)
    goals = [Goal(f"{what} (s)", ms[what] / 1000, "at most 2") for what in (_DRAWN, _MMD)]
    if backprop := ms.get(_PENNYLANE):
        what = "value + gradient, times faster than PennyLane's backprop"
        goals.append(Goal(what, backprop / ms[_OURS], "at least 1"))
    if estimate := ms.get(_LABS):
        what = "correlators, times faster than pennylane.labs"
        goals.append(Goal(what, estimate / ms[_OUR_CORRELATORS], "at least 1"))
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


def _labs_gradient(circuit: IQPCircuit, theta: Tensor, pairs: Tensor) -> Callable[[], object]:
    """Return a function that estimates the mean squared correlator, and its gradient.

    Args:
        circuit: the circuit.
        theta: angles float32 [n_params].
        pairs: the qubits of the correlators, int64 [K, 2].
    """
    # XLA reads this before it first computes; what is compared is one core
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
    import jax
    from pennylane.labs import phox

    n = circuit.n_qubits
    qubits = [*([i] for i in range(n)), *map(list, circuit.pairs)]
    products = np.zeros((len(pairs), n), np.int32)
    products[np.arange(len(pairs))[:, None], pairs.numpy()] = 3  # Z
    key = jax.random.PRNGKey(0)
    config = phox.CircuitConfig(
        gates={place: [gate] for place, gate in enumerate(qubits)},
        observables=products,
        n_samples=_SAMPLES,
        key=key,
        n_qubits=n,
    )
    estimate = phox.build_expval_func(config)

    def loss(angles: Any, products: Any, key: Any) -> Any:
        means, errors = estimate(angles, observables=products, key=key)
        return (means**2).mean(), (means, errors)

    # what is passed is not folded into the program, which would take minutes
    step = jax.jit(jax.value_and_grad(loss, has_aux=True))
    angles = theta.numpy() / 2  # its gates turn by twice their angle
    (_, (means, errors)), _ = step(angles, products, key)
    deviations = (np.asarray(means) - circuit.correlators(theta, pairs).numpy()) / errors
    assert abs(deviations).max() < 6  # that both compute the same is part of what is claimed
    wait: Callable[..., object] = jax.block_until_ready
    return lambda: wait(step(angles, products, key))
