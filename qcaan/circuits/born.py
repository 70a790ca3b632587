"""Born machines: from the angles of an ansatz to probabilities and bits, on any engine.

The order of bits and of probabilities is stated in `qcaan.bits`. Angles come as tensors, NumPy
arrays or lists; results are tensors on the device of the angles.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from qiskit import QuantumCircuit
from qiskit_aer import AerSimulator
from qiskit_aer.backends.aer_compiler import assemble_circuits, generate_aer_config
from torch import Tensor

from qcaan.bits import bits_to_index, index_to_bits
from qcaan.checks import SEEDS, as_tensor, check_finite, whole
from qcaan.circuits.ansatz import ROTATIONS, Ansatz, basis_params, check_bases
from qcaan.circuits.statevector import all_probabilities, as_angles
from qcaan.samplers.names import EngineLike, open_engine
from qcaan.samplers.simulators import ReadoutCircuit, aer_threads

# steps of the correction of readout errors; more would fit the noise of the shots
_UNFOLDINGS = 100


class BornMachine:
    """Distributions |<x| V_basis U(theta) |0>|^2 over bitstrings x, one for each measurement basis.

    Args:
        ansatz: the circuit U.
        bases: names of measurement bases; `t` adds n_qubits angles to the end of theta.
        engine: `exact` for our differentiable engine, which draws shots on theta's device; or a
            name of `qcaan.make_sampler`, a `BaseSamplerV2`, a Qiskit backend, or an `Engine`.
        rng: random state of the exact engine's shots, of named samplers and of the pairing of
            shots.
        z_qubits: number of the first qubits that are measured in z in every basis.

    Attributes:
        n_params: number of angles, those of basis `t` included.
        is_ideal: whether `probabilities` are available. Those of a device are unknown, and so is
            the noise of a sampler object.
        is_differentiable: whether autograd goes through `probabilities`.

    Every engine gives an empty result for no parameter sets, without asking its sampler, and
    refuses angles that are not finite, with a ValueError.

    Raises:
        ValueError: the sampler is unknown, bases are unknown or repeated, or the qubits need more
            memory than there is.
    """

    def __init__(
        self,
        ansatz: Ansatz,
        bases: tuple[str, ...],
        engine: EngineLike,
        rng: np.random.Generator,
        z_qubits: int = 0,
    ) -> None:
        check_bases(bases)
        self.ansatz = ansatz
        self.bases = bases
        self.n_qubits = ansatz.n_qubits
        self.z_qubits = z_qubits
        self.n_params = ansatz.n_params + basis_params(ansatz.n_qubits - z_qubits, bases)
        self.engine = open_engine(engine, rng, n_qubits=ansatz.n_qubits)
        self.is_ideal, self.is_differentiable = self.engine.is_ideal, self.engine.is_exact
        self._rng = rng
        if self.engine.sampler is not None:
            self._circuits = [_measured(ansatz.to_circuit(basis, z_qubits)) for basis in bases]
        options = self.engine.aer_options
        self._aer = (
            None if options is None else _AerProbabilities(ansatz, bases, z_qubits, **options)
        )

    def probabilities(self, theta: Tensor | ArrayLike) -> Tensor:
        """Return exact probabilities [K, n_bases, 2**n] of K parameter sets [K, n_params].

        Raises:
            ValueError: the engine has none: it is a device, or a sampler object; or theta has
                another shape or dtype or is not finite.
        """
        angles = check_angles(theta, self.n_params)
        if self.is_differentiable:
            return self.simulated(theta)
        if self._aer is None:
            raise ValueError(
                f"exact probabilities are not available from {self.engine.name}; ask for shots"
            )
        return torch.from_numpy(self._aer(angles.detach().cpu().numpy())).to(angles)

    def simulated(self, theta: Tensor | ArrayLike) -> Tensor:
        """Return the probabilities [K, n_bases, 2**n] by our exact engine, whatever the engine."""
        return all_probabilities(self.ansatz, theta, self.bases, self.z_qubits)

    def shots(self, theta: Tensor | ArrayLike, shots: int) -> Tensor:
        """Measure bitstrings of K parameter sets [K, n_params], in one job that may be paid for.

        Returns their indices int64 [n_bases, K, shots]. Nothing is submitted for 0 shots or for no
        parameter sets.

        Raises:
            ValueError: `shots` is negative, or theta has another shape or dtype or is not finite.
        """
        theta = check_angles(theta, self.n_params)
        if whole("shots", shots, 0) == 0 or not len(theta):
            shape = len(self.bases), len(theta), shots
            return torch.zeros(shape, dtype=torch.int64, device=theta.device)
        if self.engine.sampler is None:
            probs = self.simulated(theta.detach())  # (K, n_bases, 2**n)
            rng = torch.Generator(theta.device).manual_seed(int(self._rng.integers(SEEDS)))
            drawn = torch.multinomial(probs.flatten(0, 1), shots, replacement=True, generator=rng)
            return drawn.unflatten(0, (len(theta), -1)).transpose(0, 1)
        values = theta.detach().cpu().numpy()
        pubs = [(circuit, values[:, : circuit.num_parameters], shots) for circuit in self._circuits]
        bits = np.stack(self.engine.draw(pubs))
        return bits_to_index(torch.from_numpy(bits).to(theta.device))

    def frequencies(self, theta: Tensor | ArrayLike, shots: int) -> Tensor:
        """Return frequencies [K, n_bases, 2**n] of `shots` shots per basis and parameter set.

        The shots of all K parameter sets [K, n_params] are one job, which may be paid for.

        Raises:
            ValueError: `shots` is below 1, or theta has another shape or dtype or is not finite.
        """
        theta = check_angles(theta, self.n_params)
        index = self.shots(theta, whole("shots", shots)).transpose(0, 1)  # (K, n_bases, shots)
        counts = theta.new_zeros(*index.shape[:2], 2**self.n_qubits)
        return counts.scatter_add_(-1, index, torch.ones_like(index, dtype=theta.dtype)) / shots

    def sample(self, theta: Tensor | ArrayLike, n: int) -> Tensor:
        """Return bits uint8 [n, n_bases * n_qubits] of one parameter set [n_params]; n may be 0.

        Shots of different circuits are independent, so those of different bases are paired at
        random: the order in which a device returns them adds no correlation. The shots are one
        job, which may be paid for.
        """
        index = self.shots(as_tensor("theta", theta)[None], n)[:, 0]  # (n_bases, n)
        orders = [torch.from_numpy(self._rng.permutation(n)).to(index.device) for _ in self.bases]
        paired = [basis[order] for basis, order in zip(index, orders, strict=True)]
        return torch.cat([index_to_bits(basis, self.n_qubits) for basis in paired], dim=1)

    def one_qubit_angles(self, qubit: int) -> list[int]:
        """Return the places in theta of the angles that turn one qubit alone, in order.

        Only layers on all qubits count.
        """
        places, start = [], 0
        for gate, size in zip(self.ansatz.layers, self.ansatz.layer_sizes, strict=True):
            if gate in ROTATIONS:
                places.append(start + qubit)
            start += size
        turned = "t" in self.bases and qubit >= self.z_qubits
        return places + ([start + qubit - self.z_qubits] if turned else [])

    def one_qubit_marginals(self, qubit: int, angles: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return P(bit = 1) in each basis [K, n_bases] of one qubit without entanglers.

        The qubit is turned as a point of the Bloch sphere. `angles` [K, ...] are those of
        `one_qubit_angles`.
        """
        columns = iter(angles.T)
        x, y, z = np.zeros(len(angles)), np.zeros(len(angles)), np.ones(len(angles))
        for gate in self.ansatz.layers:
            if gate == "h":
                x, y, z = z, -y, x
            elif gate == "rx":
                y, z = _rotated(y, z, next(columns))
            elif gate == "ry":
                z, x = _rotated(z, x, next(columns))
            elif gate == "rz":
                x, y = _rotated(x, y, next(columns))
        turns = {"o": np.pi / 2, "t": next(columns, 0.0)}
        if qubit < self.z_qubits:
            turns = dict.fromkeys(turns, 0.0)
        heights = [_rotated(y, z, turns.get(basis, 0.0))[1] for basis in self.bases]
        return (1 - np.stack(heights, 1)) / 2

    def readout_errors(self, shots: int) -> Tensor:
        """Measure P(read | prepared) of every qubit in every basis, float64 [n_bases, n, 2, 2].

        The circuits of different bases may end on different qubits of a device, so for each basis
        all zeros and all ones are prepared on its qubits. The 2 * n_bases circuits of so many shots
        are one job, which may be paid for.
        """
        assert self.engine.sampler is not None, "the exact engine has no readout errors"
        pubs = []
        for circuit in self._circuits:
            for bit in range(2):
                prepared = ReadoutCircuit(circuit)
                if bit:
                    prepared.x(range(self.n_qubits))
                pubs.append((_measured(prepared), None, shots))
        ones = [bits.mean(0) for bits in self.engine.draw(pubs)]
        read_one = torch.from_numpy(np.stack(ones).reshape(len(self.bases), 2, -1)).mT
        return torch.stack([1 - read_one, read_one], 2)  # from (n_bases, n, prepared)


def _rotated(
    one: NDArray[np.float64], other: NDArray[np.float64], angle: NDArray[np.float64] | float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return two coordinates after a rotation by an angle from the first one to the second."""
    cos, sin = np.cos(angle), np.sin(angle)
    return one * cos - other * sin, one * sin + other * cos


def check_angles(theta: Tensor | ArrayLike, n_params: int) -> Tensor:
    """Return angles [K, n_params] as a tensor float32 or float64, those of 16 bits as float32.

    Raises:
        ValueError: theta has another shape or dtype, or is not finite.
    """
    theta = as_angles(theta)
    if theta.shape[1] != n_params:
        raise ValueError(f"`theta` must have shape [K, {n_params}], got {list(theta.shape)}")
    check_finite("theta", theta)
    return theta


def parameter_shift(
    values: Callable[[Tensor], Tensor],
    angles: Tensor,
    places: NDArray[np.int64] | None = None,
    *,
    repeats: int = 1,
) -> tuple[Tensor, Tensor]:
    """Return values [...] at angles [P] and their derivatives [p, ...] by the parameter-shift rule.

    f' = (f(+s) - f(-s)) / 2 with s = pi / 2 (Mitarai et al., arXiv:1803.00745). For the angles of
    RX, RY, RZ, RXX and RZZ, each of one gate, both are as exact as the values.

    Args:
        values: function from K sets of angles [K, P] to [K, ...]. It is called once, with all
            2 p + repeats sets.
        angles: angles [P] in radians.
        places: the p places in them of the derivatives; default all.
        repeats: number of sets whose mean gives the values at the angles.
    """
    shifts = math.pi / 2 * torch.eye(len(angles), dtype=angles.dtype, device=angles.device)
    if places is not None:
        shifts = shifts[torch.from_numpy(places).to(angles.device)]
    found = values(torch.cat([angles.repeat(repeats, 1), angles + shifts, angles - shifts]))
    here, up, down = found.tensor_split([repeats, repeats + len(shifts)])
    return here.mean(0), (up - down) / 2


def mitigated(frequencies: Tensor, errors: Tensor) -> Tensor:
    """Return the distributions [..., 2**n] that were read as frequencies of that shape.

    They approach the most likely ones by iterative Bayesian unfolding, from the uniform
    distribution (Nachman et al., arXiv:1910.01969). So no element is negative, and a qubit that is
    read badly does not multiply the noise of the shots, as the inverse of its errors would. The
    errors of different qubits are taken as independent (Bravyi et al., arXiv:2006.14044).

    Args:
        frequencies: frequencies [..., 2**n].
        errors: P(read | prepared) [..., n, 2, 2], one for all of them or one for each.
    """
    found, errors = frequencies.double(), errors.double()
    truth = torch.full_like(found, 1 / found.shape[-1])
    for _ in range(_UNFOLDINGS):
        expected = _on_each_qubit(errors, truth).clamp_min(torch.finfo(truth.dtype).tiny)
        truth = truth * _on_each_qubit(errors.mT, found / expected)
    return truth.to(frequencies)


def _on_each_qubit(matrices: Tensor, values: Tensor) -> Tensor:
    """Apply matrices [..., n, 2, 2], one for each qubit, to values [..., 2**n]."""
    for qubit, matrix in enumerate(matrices.unbind(-3)):
        split = values.unflatten(-1, (-1, 2, 2**qubit))  # (..., higher, 2, lower)
        values = (matrix[..., None, :, :] @ split).flatten(-3)
    return values


class _AerProbabilities:
    """Exact probabilities by Aer's `save_probabilities`.

    The state is computed once, and rotated into each basis and back. Aer's own form of the circuit
    is kept: `AerSimulator.run` makes it anew at each call, which takes longer than the simulation.
    """

    def __init__(
        self, ansatz: Ansatz, bases: tuple[str, ...], z_qubits: int, **options: str
    ) -> None:
        n = ansatz.n_qubits
        self._made_from = partial(_AerProbabilities, ansatz, bases, z_qubits, **options)
        self._bases = bases
        # Basis t stands last in the parameter vector, so its circuit gives every angle its place.
        trained = "t" in bases
        self._circuit = ansatz.to_circuit("t" if trained else "z", z_qubits)
        self._parameters = list(self._circuit.parameters)
        if trained:
            self._circuit.save_probabilities(label="t")
            for qubit, angle in enumerate(self._parameters[z_qubits - n :], z_qubits):
                self._circuit.rx(-angle, qubit)
        if "z" in bases:
            self._circuit.save_probabilities(label="z")
        if "o" in bases:
            self._circuit.rx(np.pi / 2, range(z_qubits, n))
            self._circuit.save_probabilities(label="o")
        self._simulator = AerSimulator(**aer_threads(n), **options)
        basis_gates = self._simulator.configuration().basis_gates
        self._native, self._places = assemble_circuits([self._circuit], basis_gates)

    def __reduce__(self) -> tuple[Callable[[], _AerProbabilities], tuple[()]]:
        return self._made_from, ()  # Aer's form of a circuit cannot be copied

    def __call__(self, theta: NDArray[np.float64]) -> NDArray[np.float64]:
        if not len(theta):  # Aer would crash
            return np.zeros((0, len(self._bases), 2**self._circuit.num_qubits))
        binds = [dict(zip(self._parameters, theta.T.tolist(), strict=True))]
        places = self._simulator._convert_binds([self._circuit], binds, self._places)
        config = generate_aer_config(
            [self._circuit], self._simulator.options, shots=1, parameterizations=places
        )
        result = self._simulator._execute_circuits(self._native, None, config)
        if not result["success"]:
            raise RuntimeError(f"Aer failed: {result['status']}")
        # without parameters the circuit ran once for all
        results = result["results"]
        saved = [results[k if self._parameters else 0]["data"] for k in range(len(theta))]
        return np.array([[data[basis] for basis in self._bases] for data in saved])


def _measured(circuit: QuantumCircuit) -> QuantumCircuit:
    # before transpiling, so that classical bit i stays qubit i wherever that qubit is placed
    circuit.measure_all()
    return circuit
