"""Noise models: cut to connected qubits, and of published fidelities."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from qiskit.quantum_info import average_gate_fidelity
from qiskit_aer.noise import NoiseModel

from qcaan.samplers.noise import ION_TRAPS, cut, fake_device, ion_trap


def test_a_fake_devices_noise_is_cut_to_connected_qubits():
    target = fake_device("fake_brisbane").target
    small = cut(target, 5)
    assert small.num_qubits == 5
    assert small.build_coupling_map().is_connected()
    errors = {target["measure"][qubit].error for qubit in target["measure"]}
    assert all(small["measure"][(q,)].error in errors for q in range(5))


def test_an_ion_traps_gates_have_the_published_fidelities():
    trap = ION_TRAPS["ionq-aria"]
    _, noise = ion_trap(trap, 3)
    assert isinstance(noise, NoiseModel)
    for name, fidelity in (("r", trap.fidelity_1q), ("rxx", trap.fidelity_2q)):
        assert average_gate_fidelity(noise._default_quantum_errors[name]) == pytest.approx(
            fidelity, abs=2e-5
        )
    assert noise._default_readout_error.probabilities[0][0] == trap.fidelity_readout


def test_a_target_without_so_many_connected_qubits_is_refused():
    with pytest.raises(ValueError, match="the device does not have 6 connected qubits"):
        cut(fake_device("fake_manila").target, 6)


def test_native_circuits_are_the_same_in_every_process():
    """The targets of IBM's devices list their operations in another order in each process."""
    code = """
from qiskit import qasm3
from qcaan.circuits.ansatz import make_ansatz
from qcaan.samplers.ibm import IBM
from qcaan.samplers.noise import cut, fake_device
from qcaan.samplers.simulators import Transpiler
circuit = make_ansatz("ion-trap", 5, 2).to_circuit("o")
circuit.measure_all()
target = cut(fake_device("fake_lagos").target, 5)
transpilers = Transpiler(target=target), IBM("fake_lagos", "job", 60).native
print([qasm3.dumps(transpiler(circuit)) for transpiler in transpilers])
"""
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert len(found) == 1 and "measure" in found.pop()
