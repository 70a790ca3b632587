"""Draws whose bits are known, for tests of devices."""

from __future__ import annotations

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter


def turned(n_sets=3):
    """Return a circuit, and parameter sets of which number k gives the bits 1 and k % 2."""
    angle = Parameter("a")
    circuit = QuantumCircuit(2)
    circuit.x(0)
    circuit.rx(angle, 1)
    circuit.measure_all()
    return circuit, np.pi * (np.arange(n_sets)[:, None] % 2)


def draw(sampler, n_sets=3, shots=50):
    """Return the bits [n_sets, shots, 2] that a sampler draws for `turned`, after a check."""
    circuit, values = turned(n_sets)
    result = sampler.run([(circuit, values, shots)]).result()[0]
    drawn = result.join_data().to_bool_array(order="little")
    assert drawn.shape == (n_sets, shots, 2)
    assert drawn[:, :, 0].all()
    assert (drawn[:, :, 1] == (np.arange(n_sets)[:, None] % 2 == 1)).all()
    return drawn
