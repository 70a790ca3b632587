"""Where circuits meet arrays: an ansatz, its measurement bases and an engine, from angles to probabilities and bits.

Conventions, for the whole package: column i of a bit array = qubit i = classical bit i; with several bases column
b * n_qubits + i = qubit i in basis b, in the order of the bases. Index k of a probability vector has qubit 0 as its
lowest bit.
"""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.primitives import BaseSamplerV2
from qiskit_aer import AerSimulator

from qcaan.ansatz import Ansatz, basis_params, check_bases

Floats = NDArray[np.float64]
Bits = NDArray[np.uint8]


class BornMachine:
    """Distributions |<x| V_basis U(theta) |0>|^2 over bitstrings x, one for each measurement basis.

    Args:
        ansatz: the circuit U.
        bases: names of measurement bases; `t` adds n_qubits angles to the end of theta.
        sampler: draws shots of the measured circuits.
        exact: whether the sampler is an ideal simulator, so that `probabilities` says what it draws from.

    Raises:
        ValueError: unknown or repeated bases, or more qubits than memory holds.
    """

    def __init__(self, ansatz: Ansatz, bases: tuple[str, ...], sampler: BaseSamplerV2, exact: bool) -> None:
        check_bases(bases)
        check_memory(ansatz.n_qubits)
        self.ansatz = ansatz
        self.bases = bases
        self.n_qubits = ansatz.n_qubits
        self.n_params = ansatz.n_params + basis_params(ansatz.n_qubits, bases)
        self.exact = exact
        self._sampler = sampler
        self._circuits = [_measured(ansatz.to_circuit(basis)) for basis in bases]
        self._aer = _AerProbabilities(ansatz, bases) if exact else None

    def probabilities(self, theta: Floats) -> Floats:
        """Exact probabilities [K, n_bases, 2**n] of K parameter sets [K, n_params], by Qiskit Aer.

        Raises:
            ValueError: the sampler is not an ideal simulator.
        """
        if self._aer is None:
            raise ValueError("this sampler has no exact probabilities; ask for shots")
        return self._aer(theta)

    def shots(self, theta: Floats, shots: int) -> NDArray[np.bool_]:
        """Measured bits [n_bases, K, shots, n] of K parameter sets [K, n_params], in one job."""
        pubs = [(circuit, theta[:, : circuit.num_parameters], shots) for circuit in self._circuits]
        result = self._sampler.run(pubs).result()
        return np.stack([pub.join_data().to_bool_array(order="little") for pub in result])

    def frequencies(self, theta: Floats, shots: int) -> Floats:
        """Observed frequencies [K, n_bases, 2**n] of `shots` shots per basis and parameter set [K, n_params]."""
        bits = self.shots(theta, shots)  # (n_bases, K, shots, n)
        return np.stack([[histogram(sample) for sample in basis] for basis in bits], axis=1)

    def sample(self, theta: Floats, n: int, rng: np.random.Generator) -> Bits:
        """Bits [n, n_bases * n_qubits] of one parameter set [n_params].

        Shots of different circuits are independent, so those of different bases are paired at random: any order in
        which a device returns them carries no correlation into the result.
        """
        bits = self.shots(theta[None], n)[:, 0].astype(np.uint8)  # (n_bases, n, n_qubits)
        return np.concatenate([rng.permutation(basis) for basis in bits], axis=1)

    def one_qubit_angles(self, qubit: int) -> list[int]:
        """Places in theta of the angles that turn `qubit` alone, in order of application."""
        places, start = [], 0
        for gate, size in zip(self.ansatz.layers, self.ansatz.layer_sizes, strict=True):
            if size == self.n_qubits and gate != "rxx":
                places.append(start + qubit)
            start += size
        return places + ([start + qubit] if "t" in self.bases else [])

    def one_qubit_marginals(self, angles: Floats) -> Floats:
        """P(bit = 1) in each basis [n_bases] of one qubit under its `angles` (see above), entanglers left out."""
        remaining = iter(angles)
        state = np.array([1, 0], dtype=np.complex128)
        for gate in self.ansatz.layers:
            if gate == "h":
                state = np.array([state[0] + state[1], state[0] - state[1]]) / np.sqrt(2)
            elif gate != "rxx":
                state = _rotation(gate, next(remaining)) @ state
        turns = {"z": 0.0, "o": np.pi / 2, "t": angles[-1]}
        return np.array([abs((_rotation("rx", turns[basis]) @ state)[1]) ** 2 for basis in self.bases])


def _rotation(gate: str, angle: float) -> NDArray[np.complex128]:
    """RX, RY or RZ of `angle` radians as a matrix [2, 2]."""
    pauli = {"rx": [[0, 1], [1, 0]], "ry": [[0, -1j], [1j, 0]], "rz": [[1, 0], [0, -1]]}[gate]
    return np.cos(angle / 2) * np.eye(2) - 1j * np.sin(angle / 2) * np.array(pauli)


class _AerProbabilities:
    """Exact probabilities by Aer's `save_probabilities`: one run of the state, rotated into each basis and back."""

    def __init__(self, ansatz: Ansatz, bases: tuple[str, ...]) -> None:
        n = ansatz.n_qubits
        self._bases = bases
        # basis t last in the parameter vector, so building on its circuit gives every angle its place in theta
        trained = "t" in bases
        self._circuit = ansatz.to_circuit("t" if trained else "z")
        self._parameters = list(self._circuit.parameters)
        if trained:
            self._circuit.save_probabilities(label="t")
            for qubit, angle in enumerate(self._parameters[-n:]):
                self._circuit.rx(-angle, qubit)
        if "z" in bases:
            self._circuit.save_probabilities(label="z")
        if "o" in bases:
            self._circuit.rx(np.pi / 2, range(n))
            self._circuit.save_probabilities(label="o")
        # 14 qubits: below, Aer's threads cost more than the simulation
        self._simulator = AerSimulator(max_parallel_threads=1) if n < 14 else AerSimulator()

    def __call__(self, theta: Floats) -> Floats:
        binds = [dict(zip(self._parameters, theta.T.tolist(), strict=True))]
        result = self._simulator.run([self._circuit], parameter_binds=binds, shots=1).result()
        if not result.success:
            raise RuntimeError(f"Aer failed: {result.status}")
        saved = [result.data(k) for k in range(len(theta))]
        return np.array([[data[basis] for basis in self._bases] for data in saved])


def _measured(circuit: QuantumCircuit) -> QuantumCircuit:
    circuit.measure_all()  # before transpiling, so that classical bit i stays qubit i wherever that one is placed
    return circuit


def bits_to_index(bits: NDArray) -> NDArray[np.int64]:
    """Bits [..., n] to their indices [...] in a probability vector."""
    return bits.astype(np.int64) @ (1 << np.arange(bits.shape[-1]))


def index_to_bits(index: NDArray[np.int64], n_qubits: int) -> Bits:
    """Indices [...] to bits [..., n_qubits], the inverse of `bits_to_index`."""
    return (index[..., None] >> np.arange(n_qubits) & 1).astype(np.uint8)


def histogram(bits: NDArray) -> Floats:
    """Frequencies [2**n] of bitstrings [m, n]."""
    return np.bincount(bits_to_index(bits), minlength=1 << bits.shape[-1]) / len(bits)


def product_probabilities(marginals: Floats) -> Floats:
    """The product distribution [2**n] of independent bits with P(bit i = 1) = marginals[i]."""
    probs = np.ones(1)
    for p in marginals:  # qubit 0 first, so that it ends up as the lowest bit
        probs = np.concatenate([probs * (1 - p), probs * p])
    return probs


def check_memory(n_qubits: int) -> None:
    """Raise ValueError if a state of `n_qubits` with its probabilities needs over half of the machine's memory."""
    needed = 64 * 2**n_qubits  # complex128 amplitudes, and the probabilities copied twice on their way to NumPy
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory / 2:
        most = (memory // 128).bit_length() - 1
        raise ValueError(f"n_qubits must be at most {most} on this machine ({memory / 2**30:.0f} GiB), got {n_qubits}")
