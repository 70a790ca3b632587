from __future__ import annotations

import numpy as np
import pytest
from qiskit.quantum_info import Operator, Statevector

from qcaan.circuits.ansatz import Ansatz, fixed_pairs, make_ansatz, qcnn_ansatz


@pytest.mark.parametrize(
    ("name", "n_layers", "n_params"),
    [
        ("ion-trap", 1, 8), ("ion-trap", 2, 44), ("ion-trap", 3, 60), ("ion-trap", 4, 96),
        ("ion-trap", 5, 112), ("seed", 2, 88),
    ],
)  # fmt: skip
def test_eight_qubits_have_the_published_number_of_angles(name, n_layers, n_params):
    ansatz = make_ansatz(name, 8, n_layers)
    assert ansatz.n_params == n_params
    assert ansatz.to_circuit().num_parameters == n_params


@pytest.mark.parametrize(
    ("n_layers", "layers"),
    [
        (1, "rx"),
        (2, "rx rz rxx"),
        (3, "rx rz rxx rz rx"),
        (4, "rx rz rxx rx rz rx rxx"),
        (5, "rx rz rxx rx rz rx rxx rz rx"),
        (6, "rx rz rxx rx rz rxx rx rz rx rxx"),
    ],
)
def test_ion_trap_layers_follow_the_published_rule(n_layers, layers):
    assert make_ansatz("ion-trap", 3, n_layers).layers == tuple(layers.split())


def test_seed_ansatz_matrix_is_the_product_of_its_gates_in_order():
    # two qubits, one block: H H, RX RX, RZ RZ, RXX with angles 0.1 ... 0.5; Qiskit's kron has qubit
    # 0 on the right
    x, z, one = np.array([[0, 1], [1, 0]]), np.diag([1, -1]), np.eye(2)
    h = (x + z) / np.sqrt(2)

    def rotation(angle, pauli):
        return np.cos(angle / 2) * np.eye(len(pauli)) - 1j * np.sin(angle / 2) * pauli

    expected = rotation(0.5, np.kron(x, x))
    expected = (
        expected
        @ np.kron(rotation(0.4, z), rotation(0.3, z))
        @ np.kron(rotation(0.2, x), rotation(0.1, x))
    )
    expected = expected @ np.kron(h, h) @ np.kron(one, one)
    circuit = make_ansatz("seed", 2, 1).to_circuit().assign_parameters([0.1, 0.2, 0.3, 0.4, 0.5])
    np.testing.assert_allclose(Operator(circuit).data, expected, atol=1e-12)


def test_basis_o_reads_y_and_basis_t_takes_its_angles_from_the_end_of_theta():
    ansatz = make_ansatz("ion-trap", 1, 1)  # RX(a)|0>
    # RX(-pi/2)|0> is +1 in Y: P(1) = 1/2 in z; RX(pi/2) brings it back to |0>
    assert Statevector(ansatz.to_circuit("z").assign_parameters([-np.pi / 2])).probabilities()[
        1
    ] == pytest.approx(0.5)
    assert Statevector(ansatz.to_circuit("o").assign_parameters([-np.pi / 2])).probabilities()[
        1
    ] == pytest.approx(0)
    assert Statevector(
        ansatz.to_circuit("t").assign_parameters([0.2, np.pi - 0.2])
    ).probabilities()[1] == pytest.approx(1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ring", 8, 2), "unknown `ansatz` 'ring'; choose from seed, ion-trap"),
        (("seed", 0, 2), "`n_qubits` must be at least 1, got 0"),
        (("seed", 8, 0), "`n_layers` must be at least 1, got 0"),
    ],
)
def test_bad_arguments_are_named_with_what_is_allowed(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_ansatz(*arguments)


def test_a_state_can_only_be_prepared_first():
    assert Ansatz(3, ("real-state", "rx")).layer_sizes == (7, 3)
    with pytest.raises(
        ValueError, match="real-state can only be the first layer, got rx real-state"
    ):
        Ansatz(3, ("rx", "real-state"))
    with pytest.raises(ValueError, match="unknown `layer` 'warp'; choose from h, rx"):
        Ansatz(3, ("real-state", "warp"))


def test_layers_on_every_second_qubit_skip_the_others():
    ansatz = Ansatz(6, ("ry/2", "cx/2", "cx-pairs", "cz-ring/2", "rxx/3"))
    assert ansatz.layer_sizes == (3, 0, 0, 0, 1)
    assert [fixed_pairs(layer, 6) for layer in ansatz.layers[1:4]] == [
        [(1, 3), (3, 5)], [(0, 1), (2, 3), (4, 5)], [(5, 1), (1, 3), (3, 5)]
    ]  # fmt: skip
    for layer in ("ry/0", "ry/7", "ry/two", "h/2"):
        with pytest.raises(
            ValueError, match=f"layer '{layer}': the number after / must be from 1 to 6"
        ):
            Ansatz(6, (layer,))


def test_a_quantum_convolutional_network_ends_on_its_last_qubit():
    circuit = qcnn_ansatz(8).to_circuit()
    last = [
        max(i for i, step in enumerate(circuit.data) if circuit.qubits[q] in step.qubits)
        for q in range(8)
    ]
    assert max(last) == last[7]  # nothing acts after the last qubit's RY
    assert qcnn_ansatz(8).layer_sizes == (8, 8, 0, 8, 0, 4, 4, 0, 4, 0, 2, 2, 0, 2, 0, 1)
    with pytest.raises(ValueError, match=r"needs 2, 4, 8, 16, \.\.\. qubits, got 6"):
        qcnn_ansatz(6)
