"""The circuit of the generator of the QGAN of distributions, and the state that it starts from."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias, get_args

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit.library import StatePreparation
from qiskit.exceptions import QiskitError
from scipy.stats import multivariate_normal

from qcaan.checks import Floats, one_of, whole
from qcaan.circuits.ansatz import Ansatz
from qcaan.gans.distribution.grid import Grid

InitialState = Literal["uniform", "normal", "random"]
# variance that is added to that of the data, in units of the data's own
_NARROW = 1e-9
CircuitLike: TypeAlias = Ansatz | QuantumCircuit


def build_circuit(
    grid: Grid,
    circuit: CircuitLike | None = None,
    *,
    initial_state: InitialState | None = None,
    n_layers: int = 1,
    data_probs: Floats | None = None,
    rng: np.random.Generator,
) -> CircuitLike:
    """Return the generator's circuit with its initial state before it.

    Args:
        grid: grid whose points it generates.
        circuit: circuit with trained angles; default RY, then `n_layers` times CZ on a ring and
            RY, which is Qiskit's `n_local(n, "ry", "cz", "circular", n_layers)`.
        initial_state: `uniform` (Hadamards; the default before the default circuit), `normal` (the
            Gaussian with mean and covariance of the data), `random` (RY by random angles), or None,
            which leaves a given circuit as it is.
        n_layers: number of layers of the default circuit, at least 0.
        data_probs: probabilities [2**n] of the grid's points in the data, which `normal` needs.
        rng: random state of the random angles.

    Raises:
        ValueError: the initial state is unknown, `n_layers` is out of range, or the circuit is of
            another kind or size.
    """
    if initial_state is not None:
        one_of("initial_state", initial_state, get_args(InitialState))
    if circuit is None:
        circuit = Ansatz(
            grid.total_qubits, ("ry", *("cz-ring", "ry") * whole("n_layers", n_layers, 0))
        )
        initial_state = initial_state or "uniform"
    check_circuit(circuit, grid.total_qubits)
    if initial_state is None:
        return circuit
    if isinstance(circuit, Ansatz):
        if initial_state == "uniform":
            return Ansatz(circuit.n_qubits, ("h", *circuit.layers))
        trained = circuit.to_circuit()
    else:
        trained = circuit
    start = QuantumCircuit(grid.total_qubits, trained.num_clbits)
    if initial_state == "uniform":
        start.h(range(grid.total_qubits))
    elif initial_state == "random":
        for qubit in range(grid.total_qubits):
            start.ry(rng.uniform(0, math.pi), qubit)
    else:
        assert data_probs is not None, "the normal state is that of data"
        start.append(StatePreparation(_normal_amplitudes(grid, data_probs)), start.qubits)
    return start.compose(trained)


def _normal_amplitudes(grid: Grid, data_probs: Floats) -> Floats:
    """Return the amplitudes [2**n] of the Gaussian with mean and covariance of the data."""
    centred = grid.points - data_probs @ grid.points
    deviations = np.sqrt(data_probs @ centred**2)
    # in units of the data, so that no dimension is lost beside a wider one
    units = np.where(deviations > 0, deviations, grid.steps)
    scaled = centred / units
    covariance = scaled.T @ (data_probs[:, None] * scaled)
    # data on a point or on a line have no density; a narrow Gaussian around them has
    covariance += _NARROW * np.eye(len(covariance))
    logs = np.atleast_1d(multivariate_normal.logpdf(scaled, cov=covariance))
    density = np.exp(logs - logs.max())
    return np.sqrt(density / density.sum())


def check_circuit(circuit: object, n_qubits: int) -> None:
    """Check that a generator's circuit has `n_qubits` qubits, and parameters to train.

    Raises:
        ValueError: it has not, or is neither an `Ansatz` nor a Qiskit circuit.
    """
    if isinstance(circuit, Ansatz):
        found, n_params = circuit.n_qubits, circuit.n_params
    elif isinstance(circuit, QuantumCircuit):
        found, n_params = circuit.num_qubits, circuit.num_parameters
    else:
        raise ValueError(
            "the generator circuit must be an Ansatz or a QuantumCircuit, "
            f"got {type(circuit).__name__}"
        )
    if found != n_qubits:
        raise ValueError(
            f"the generator circuit must have {n_qubits} qubits, as the grid has, got {found}"
        )
    if not n_params:
        raise ValueError("the generator circuit must have parameters to train, got none")


def is_gate(circuit: QuantumCircuit) -> bool:
    """Return whether a circuit can become a gate of a larger one."""
    try:
        circuit.to_gate()
    except QiskitError:
        return False
    return True
