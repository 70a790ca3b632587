"""Where circuits meet arrays: an ansatz, its measurement bases and an engine, from angles to probabilities and bits.

Conventions, for the whole package: column i of a bit array = qubit i = classical bit i; with several bases column
b * n_qubits + i = qubit i in basis b, in the order of the bases. Index k of a probability vector has qubit 0 as its
lowest bit. Tensors stay on the device of the angles.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.primitives import BaseSamplerV2
from qiskit_aer import AerSimulator
from torch import Tensor

from qcaan.bits import bits_to_index, index_to_bits
from qcaan.checks import check_memory
from qcaan.circuits.ansatz import ROTATIONS, Ansatz, basis_params, check_bases
from qcaan.circuits.statevector import all_probabilities
from qcaan.samplers.names import IDEAL, MakeSampler, aer_options, check_width, make_sampler

EXACT = "exact"  # the name, among those of samplers, of our own engine in torch
SamplerLike: TypeAlias = "str | BaseSamplerV2 | Callable[[np.random.Generator], BaseSamplerV2]"


class BornMachine:
    """Distributions |<x| V_basis U(theta) |0>|^2 over bitstrings x, one for each measurement basis.

    Args:
        ansatz: the circuit U.
        bases: names of measurement bases; `t` adds n_qubits angles to the end of theta.
        sampler: `exact` for our differentiable engine, which draws shots on theta's device from torch's global random
            state; or a name of `qcaan.samplers.names.SAMPLERS`, or any `BaseSamplerV2`, or what makes one of `rng`.
        rng: random state of the named samplers and of the pairing of shots.

    Attributes:
        n_params: number of angles, those of basis `t` included.
        ideal: whether `probabilities` exist: those of a device are not known, nor is what a sampler object does.
        differentiable: whether autograd goes through `probabilities`.

    Raises:
        ValueError: unknown sampler, unknown or repeated bases, or more qubits than memory holds.
    """

    def __init__(
        self, ansatz: Ansatz, bases: tuple[str, ...], sampler: SamplerLike, rng: np.random.Generator
    ) -> None:
        check_bases(bases)
        check_memory(ansatz.n_qubits)
        self.ansatz = ansatz
        self.bases = bases
        self.n_qubits = ansatz.n_qubits
        self.n_params = ansatz.n_params + basis_params(ansatz.n_qubits, bases)
        self.ideal = isinstance(sampler, str) and is_ideal(sampler)
        self.differentiable = isinstance(sampler, str) and sampler == EXACT
        self._rng = rng
        if self.differentiable:
            return
        name = sampler if isinstance(sampler, str) else ""
        if isinstance(sampler, str):
            sampler = make_sampler(sampler, rng)
        self._sampler: BaseSamplerV2 = sampler if hasattr(sampler, "run") else sampler(rng)
        check_width(self._sampler, ansatz.n_qubits)
        self._circuits = [_measured(ansatz.to_circuit(basis)) for basis in bases]
        self._aer = _AerProbabilities(ansatz, bases, **aer_options(name)) if self.ideal else None

    def probabilities(self, theta: Tensor) -> Tensor:
        """Exact probabilities [K, n_bases, 2**n] of K parameter sets [K, n_params], by our engine or by Qiskit Aer.

        Raises:
            ValueError: the sampler is a device or an object, not a named ideal simulator.
        """
        if self.differentiable:
            return all_probabilities(self.ansatz, theta, self.bases)
        if self._aer is None:
            raise ValueError("this sampler has no exact probabilities; ask for shots")
        return torch.from_numpy(self._aer(theta.detach().cpu().numpy())).to(theta)

    def shots(self, theta: Tensor, shots: int) -> Tensor:
        """Indices int64 [n_bases, K, shots] of measured bitstrings of K parameter sets [K, n_params], in one job."""
        if self.differentiable:
            probs = all_probabilities(self.ansatz, theta.detach(), self.bases)  # (K, n_bases, 2**n)
            drawn = torch.multinomial(probs.flatten(0, 1), shots, replacement=True)
            return drawn.unflatten(0, (len(theta), -1)).transpose(0, 1)
        values = theta.detach().cpu().numpy()
        pubs = [(circuit, values[:, : circuit.num_parameters], shots) for circuit in self._circuits]
        result = self._sampler.run(pubs).result()
        bits = np.stack([pub.join_data().to_bool_array(order="little") for pub in result])
        return bits_to_index(torch.from_numpy(bits).to(theta.device))

    def frequencies(self, theta: Tensor, shots: int) -> Tensor:
        """Observed frequencies [K, n_bases, 2**n] of `shots` shots per basis and parameter set [K, n_params]."""
        index = self.shots(theta, shots).transpose(0, 1)  # (K, n_bases, shots)
        counts = theta.new_zeros(*index.shape[:2], 2**self.n_qubits)
        return counts.scatter_add_(-1, index, torch.ones_like(index, dtype=theta.dtype)) / shots

    def sample(self, theta: Tensor, n: int) -> Tensor:
        """Bits uint8 [n, n_bases * n_qubits] of one parameter set [n_params].

        Shots of different circuits are independent, so those of different bases are paired at random: any order in
        which a device returns them carries no correlation into the result.
        """
        index = self.shots(theta[None], n)[:, 0]  # (n_bases, n)
        paired = [
            basis[torch.from_numpy(self._rng.permutation(n)).to(basis.device)] for basis in index
        ]
        return torch.cat([index_to_bits(basis, self.n_qubits) for basis in paired], dim=1)

    def one_qubit_angles(self, qubit: int) -> list[int]:
        """Places in theta of the angles that turn `qubit` alone, of layers on all qubits, in order of application."""
        places, start = [], 0
        for gate, size in zip(self.ansatz.layers, self.ansatz.layer_sizes, strict=True):
            if gate in ROTATIONS:
                places.append(start + qubit)
            start += size
        return places + ([start + qubit] if "t" in self.bases else [])

    def one_qubit_marginals(self, angles: Tensor) -> Tensor:
        """P(bit = 1) in each basis [K, n_bases] of one qubit under its `angles` [K, ...] (see above), no entanglers."""
        alone = Ansatz(1, tuple(gate for gate in self.ansatz.layers if gate in ("h", *ROTATIONS)))
        return all_probabilities(alone, angles, self.bases)[..., 1]

    def readout_errors(self, shots: int) -> Tensor:
        """Measured P(read | prepared) of every qubit, float64 [n, 2, 2], by one job that prepares all zeros and all ones."""
        circuits = [QuantumCircuit(self.n_qubits), QuantumCircuit(self.n_qubits)]
        circuits[1].x(range(self.n_qubits))
        result = self._sampler.run(
            [(_measured(circuit), None, shots) for circuit in circuits]
        ).result()
        ones = [
            pub.join_data().to_bool_array(order="little").mean(0) for pub in result
        ]  # prepared 0, prepared 1
        read_one = torch.from_numpy(np.stack(ones, -1))  # (n, 2)
        return torch.stack([1 - read_one, read_one], 1)


def parameter_shift(values: Callable[[Tensor], Tensor], angles: Tensor) -> tuple[Tensor, Tensor]:
    """Values [...] at angles [P] and their derivatives [P, ...], of `values`, which takes K sets of angles [K, P] to [K, ...].

    Of the angles of RX, RY, RZ, RXX and RZZ, each of one gate, both are as exact as the values: f' = (f(+s) - f(-s)) / 2 with
    s = pi / 2 (Mitarai et al., arXiv:1803.00745). All 2 P + 1 sets are asked for at once.
    """
    shifts = math.pi / 2 * torch.eye(len(angles), dtype=angles.dtype, device=angles.device)
    found = values(torch.cat([angles[None], angles + shifts, angles - shifts]))
    up, down = found[1:].chunk(2)
    return found[0], (up - down) / 2


def is_ideal(sampler: str) -> bool:
    """Whether a named sampler has no noise, so that its exact probabilities can be had."""
    return sampler in (EXACT, *IDEAL)


def open_sampler(name: str, make: MakeSampler, rng: np.random.Generator) -> str | BaseSamplerV2:
    """A sampler by name as `BornMachine` takes it: an ideal one by its name, another as `make` makes it."""
    return name if is_ideal(name) else make(name, rng)


def mitigated(frequencies: Tensor, errors: Tensor) -> Tensor:
    """Frequencies [..., 2**n] as they would be read without readout errors [n, 2, 2]: their inverse, clipped at zero.

    The errors of different qubits are taken as independent (Bravyi et al., arXiv:2006.14044).
    """
    result = frequencies
    for qubit, inverse in enumerate(torch.linalg.inv(errors)):
        result = torch.einsum(
            "ab,...hbl->...hal", inverse.to(result), result.unflatten(-1, (-1, 2, 2**qubit))
        ).flatten(-3)
    result = result.clamp(min=0)
    return result / result.sum(-1, keepdim=True)


class _AerProbabilities:
    """Exact probabilities by Aer's `save_probabilities`: one run of the state, rotated into each basis and back."""

    def __init__(self, ansatz: Ansatz, bases: tuple[str, ...], **options: str) -> None:
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
        self._simulator = (
            AerSimulator(max_parallel_threads=1, **options) if n < 14 else AerSimulator(**options)
        )

    def __call__(self, theta: NDArray[np.float64]) -> NDArray[np.float64]:
        binds = [dict(zip(self._parameters, theta.T.tolist(), strict=True))]
        result = self._simulator.run([self._circuit], parameter_binds=binds, shots=1).result()
        if not result.success:
            raise RuntimeError(f"Aer failed: {result.status}")
        saved = [result.data(k) for k in range(len(theta))]
        return np.array([[data[basis] for basis in self._bases] for data in saved])


def _measured(circuit: QuantumCircuit) -> QuantumCircuit:
    circuit.measure_all()  # before transpiling, so that classical bit i stays qubit i wherever that one is placed
    return circuit
