from __future__ import annotations

import numpy as np
import pytest
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import Parameter

from qcaan.samplers import SAMPLERS, make_sampler


def bits(sampler, circuit, *rest, shots=200):
    pub = sampler.run([(circuit, *rest)], shots=shots).result()[0]
    return pub.join_data().to_bool_array(order="little")


@pytest.mark.parametrize("name", SAMPLERS)
class TestContract:
    def test_x_on_qubit_0_lands_in_column_0(self, name):
        circuit = QuantumCircuit(9)  # more than one byte of bits
        circuit.x(0)
        circuit.measure_all()
        assert bits(make_sampler(name, 0), circuit).tolist() == [[True] + [False] * 8] * 200

    def test_columns_are_classical_bits_over_several_registers(self, name):
        circuit = QuantumCircuit(QuantumRegister(3), ClassicalRegister(1, "a"), ClassicalRegister(2, "b"))
        circuit.x(2)
        circuit.measure([0, 1, 2], [0, 1, 2])
        assert bits(make_sampler(name, 0), circuit)[0].tolist() == [False, False, True]

    def test_parameter_sets_broadcast_in_order(self, name):
        angle = Parameter("a")
        circuit = QuantumCircuit(2)
        circuit.rx(angle, 1)
        circuit.measure_all()
        drawn = bits(make_sampler(name, 0), circuit, np.array([[0.0], [np.pi], [np.pi / 2]]), shots=1000)
        assert drawn.shape == (3, 1000, 2)
        assert not drawn[:, :, 0].any()
        assert drawn[:2, :, 1].mean(1).tolist() == [0, 1]
        assert drawn[2, :, 1].mean() == pytest.approx(0.5, abs=0.08)  # five standard deviations

    def test_ghz_gives_only_its_two_strings_in_random_order(self, name):
        circuit = QuantumCircuit(3)
        circuit.h(0)
        circuit.cx(0, 1)
        circuit.cx(0, 2)
        circuit.measure_all()
        drawn = bits(make_sampler(name, 1), circuit, shots=1000)
        assert (drawn == drawn[:, :1]).all()
        flips = (drawn[1:, 0] != drawn[:-1, 0]).mean()
        assert flips == pytest.approx(0.5, abs=0.08)  # shots expanded from counts in order would flip once

    def test_draws_differ_within_a_sampler_and_agree_between_equal_seeds(self, name):
        circuit = QuantumCircuit(4)
        circuit.h(range(4))
        circuit.measure_all()
        one, other = make_sampler(name, 7), make_sampler(name, 7)
        first, second = bits(one, circuit), bits(one, circuit)
        assert (first != second).any()
        assert (first == bits(other, circuit)).all()
        assert (second == bits(other, circuit)).all()

    def test_equal_parameter_sets_of_one_run_get_different_shots(self, name):
        angle = Parameter("a")
        circuit = QuantumCircuit(4)
        circuit.h(range(4))
        circuit.rz(angle, 0)
        circuit.measure_all()
        drawn = bits(make_sampler(name, 7), circuit, np.zeros((2, 1)))
        assert (drawn[0] != drawn[1]).any()


def test_unknown_sampler_lists_the_names():
    with pytest.raises(ValueError, match="unknown sampler 'warp'; choose from aer, statevector"):
        make_sampler("warp")
