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
    """Qiskit lists operations, and adds up their errors, in another order in each process."""
    code = """
from qiskit import qasm3
from qcaan.circuits.ansatz import make_ansatz
from qcaan.samplers.copies import CopyingTranspiler
from qcaan.samplers.ibm import IBM
from qcaan.samplers.noise import cut, fake_device
from qcaan.samplers.simulators import Transpiler
lagos, guadalupe = fake_device("fake_lagos").target, fake_device("fake_guadalupe").target
for ansatz, basis in ("ion-trap", "o"), ("hardware-efficient", "z"):
    circuit = make_ansatz(ansatz, 5, 2).to_circuit(basis)
    circuit.measure_all()
    for native in (
        Transpiler(target=cut(lagos, 5)),
        Transpiler(target=cut(guadalupe, 5), least_errors=True),
        IBM("fake_lagos", "job", 60).native,
        CopyingTranspiler(guadalupe, "auto", "guadalupe"),
    ):
        print(qasm3.dumps(native(circuit)))
"""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("0", "1")
    ]
    found = {process.communicate()[0] for process in processes}
    assert not any(process.returncode for process in processes)
    assert len(found) == 1 and "measure" in found.pop()
