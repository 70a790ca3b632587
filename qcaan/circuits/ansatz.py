"""Parametrised circuits as a short list of layers, and the bases in which their state is measured.

A layer is the name of one gate. `h`, `rx`, `ry`, `rz` act on every qubit, the rotations by one angle each; `rxx` and `rzz`
on every pair i < j by one angle each; `cx` and `cz` on the chain (0,1), (1,2), ..., `cx-ring` and `cz-ring` on (n-1,0) and
then the chain, as Qiskit's circular entanglement, `cx-pairs` and `cz-pairs` on (0,1), (2,3), ... alone. `ry/2`, `cz/4` and so
on act as if there were only every second, every fourth qubit: 1, 3, 5, ...; 3, 7, 11, ... Angles are numbered layer by layer
and, inside a layer, by qubit or by pair (0,1), (0,2), ..., (n-2,n-1). Angles are in radians: RX(a) = exp(-i a X / 2),
RXX(a) = exp(-i a XX / 2).

Bases: `z` measures the state as it is; `o` applies RX(pi/2) to every qubit first, which reads Y; `t` applies RX with one
trained angle per qubit first (Rudolph et al., arXiv:2012.03924).

One more layer, `real-state`, can only come first: from |0...0> it makes any state of real amplitudes, by 2**n - 1 RY and
by CX between them (Mottonen et al., quant-ph/0407010). `qcaan.circuits.statevector.preparation_angles` tells its angles.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise

from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit

BASES = ("z", "o", "t")
ROTATIONS = ("rx", "ry", "rz")
COUPLINGS = ("rxx", "rzz")
GATES = ("h", *ROTATIONS, *COUPLINGS, "cx", "cz", "cx-ring", "cz-ring", "cx-pairs", "cz-pairs")
PREPARATION = "real-state"


@dataclass(frozen=True)
class Ansatz:
    """A circuit family U(theta) on `n_qubits` qubits that starts in |0...0>: its layers, in order of application."""

    n_qubits: int
    layers: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.n_qubits < 1:
            raise ValueError(f"n_qubits must be at least 1, got {self.n_qubits}")
        for layer in self.layers[self.layers[:1] == (PREPARATION,) :]:
            gate, slash, stride = layer.partition("/")
            if gate == PREPARATION:
                raise ValueError(
                    f"{PREPARATION} can only be the first layer, got {' '.join(self.layers)}"
                )
            if gate not in GATES:
                raise ValueError(f"unknown layer {layer!r}; choose from {', '.join(GATES)}")
            if slash and (
                gate == "h" or not stride.isdecimal() or not 1 <= int(stride) <= self.n_qubits
            ):
                raise ValueError(
                    f"layer {layer!r}: what follows / must be from 1 to {self.n_qubits}, and h acts on all"
                )

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """Number of angles of each layer."""
        sizes = []
        for layer in self.layers:
            gate, qubits = acted_on(layer, self.n_qubits)
            n = len(qubits)
            sizes.append(
                n if gate in ROTATIONS
                else math.comb(n, 2) if gate in COUPLINGS
                else 2**n - 1 if gate == PREPARATION
                else 0
            )  # fmt: skip
        return tuple(sizes)

    @property
    def n_params(self) -> int:
        """Number of angles of the circuit, without those of a trained basis."""
        return sum(self.layer_sizes)

    def to_circuit(self, basis: str = "z") -> QuantumCircuit:
        """The circuit with its change to `basis`, not yet measured.

        Its parameters are the elements of one vector in the order of theta, so a vector theta that ends with the n angles
        of basis `t` binds the circuit of any basis by its first `circuit.num_parameters` elements.
        """
        check_bases((basis,))
        n = self.n_qubits
        theta = iter(ParameterVector("θ", self.n_params + basis_params(n, (basis,))))
        circuit = QuantumCircuit(n)
        for layer in self.layers:
            gate, qubits = acted_on(layer, n)
            if gate == "h":
                circuit.h(qubits)
            elif gate in ROTATIONS:
                for i in qubits:
                    getattr(circuit, gate)(next(theta), i)
            elif gate in COUPLINGS:
                for i, j in combinations(qubits, 2):
                    getattr(circuit, gate)(next(theta), i, j)
            elif gate == PREPARATION:
                for i in reversed(qubits):
                    _multiplexed_ry(circuit, theta, range(i + 1, n), i)
            else:
                for i, j in fixed_pairs(layer, n):
                    getattr(circuit, gate[:2])(i, j)
        if basis != "z":
            for i in range(n):
                circuit.rx(math.pi / 2 if basis == "o" else next(theta), i)
        return circuit


def _multiplexed_ry(
    circuit: QuantumCircuit, theta: Iterator[Parameter], controls: range, target: int
) -> None:
    """RY on `target` by an angle for each setting c of k `controls`: the sum over s of (-1)^(c . s) theta[s]."""
    if not controls:
        circuit.ry(next(theta), target)
        return
    for _ in range(2):  # between two CX an RY turns the other way where the control is 1
        _multiplexed_ry(circuit, theta, controls[:-1], target)
        circuit.cx(controls[-1], target)


def acted_on(layer: str, n_qubits: int) -> tuple[str, range]:
    """The gate of a layer, and the qubits that it acts on."""
    gate, _, stride = layer.partition("/")
    step = int(stride or 1)
    return gate, range(step - 1, n_qubits, step)


def fixed_pairs(layer: str, n_qubits: int) -> list[tuple[int, int]]:
    """Qubit pairs of a layer of `cx` or `cz`, chain, ring or pairs, in order of application; control first."""
    gate, qubits = acted_on(layer, n_qubits)
    chain = list(pairwise(qubits))
    if gate.endswith("-pairs"):
        return chain[::2]
    return (
        [(qubits[-1], qubits[0]), *chain] if gate.endswith("-ring") and len(qubits) > 2 else chain
    )


def check_bases(bases: tuple[str, ...]) -> None:
    """Raise ValueError unless `bases` is a non-empty sequence of different known bases."""
    if not bases or len(set(bases)) != len(bases) or not set(bases) <= set(BASES):
        raise ValueError(
            f"bases must be different ones of {', '.join(BASES)}, got {' '.join(bases) or 'none'}"
        )


def basis_params(n_qubits: int, bases: tuple[str, ...]) -> int:
    """Number of angles that `bases` add to theta: n_qubits if one of them is trained."""
    return n_qubits if "t" in bases else 0


def seed_ansatz(n_qubits: int, n_layers: int) -> Ansatz:
    """H on all, then `n_layers` blocks [RX RZ | RXX on all pairs], as in the repository seba2390/WorkingQiskitAAN.

    88 angles for 8 qubits and 2 layers.
    """
    return Ansatz(n_qubits, ("h",) + ("rx", "rz", "rxx") * n_layers)


def ion_trap_ansatz(n_qubits: int, n_layers: int) -> Ansatz:
    """The ion-trap circuit of Zhu et al., arXiv:1812.08862, with layers counted as Rudolph et al., arXiv:2012.03924, do.

    One-qubit layers and all-pairs RXX layers alternate: [RX RZ], RXX, [RX RZ], RXX, ...; an odd count ends on [RZ RX];
    from four layers on, the one-qubit layer before the last RXX is [RX RZ RX]; a single layer is RX alone.
    44, 60, 96, 112 angles for 8 qubits and 2, 3, 4, 5 layers.
    """
    if n_layers == 1:
        return Ansatz(n_qubits, ("rx",))
    layers: list[str] = []
    last_entangler = n_layers - 1 if n_layers % 2 == 0 else n_layers - 2
    for index in range(n_layers):
        if index % 2 == 1:
            layers += ["rxx"]
        elif index == n_layers - 1:
            layers += ["rz", "rx"]
        elif index == last_entangler - 1 and index > 0:
            layers += ["rx", "rz", "rx"]
        else:
            layers += ["rx", "rz"]
    return Ansatz(n_qubits, tuple(layers))


def ry_rx_ansatz(n_qubits: int, n_layers: int) -> Ansatz:
    """`n_layers` blocks [RY RX | CX on the chain], as in hybrid generators of one-dimensional distributions."""
    return Ansatz(n_qubits, ("ry", "rx", "cx") * n_layers)


def hardware_efficient_ansatz(n_qubits: int, n_layers: int) -> Ansatz:
    """`n_layers` blocks [RX RY RZ | CX on the chain] and a last RY, as in the published image QGAN."""
    return Ansatz(n_qubits, (*("rx", "ry", "rz", "cx") * n_layers, "ry"))


def qcnn_ansatz(n_qubits: int) -> Ansatz:
    """Quantum convolutions and poolings by turns, until one qubit is left, the last, to be measured (arXiv:1810.03787).

    A convolution is [RY RZ | CZ on the chain | RY]. A pooling halves the qubits: CX from each that is dropped to the neighbour
    that is kept, which is what measuring it and flipping the neighbour on a one comes to.

    Raises:
        ValueError: n_qubits is not a power of two.
    """
    if n_qubits < 2 or n_qubits & (n_qubits - 1):
        raise ValueError(
            f"a quantum convolutional network needs 2, 4, 8, 16, ... qubits, got {n_qubits}"
        )
    layers: list[str] = []
    stride = 1
    while stride < n_qubits:
        layers += [f"{gate}/{stride}" for gate in ("ry", "rz", "cz", "ry", "cx-pairs")]
        stride *= 2
    return Ansatz(n_qubits, (*layers, f"ry/{n_qubits}"))


ANSATZE: dict[str, Callable[[int, int], Ansatz]] = {
    "seed": seed_ansatz,
    "ion-trap": ion_trap_ansatz,
    "ry-rx": ry_rx_ansatz,
    "hardware-efficient": hardware_efficient_ansatz,
}


def make_ansatz(name: str, n_qubits: int, n_layers: int) -> Ansatz:
    """The named ansatz, one of `ANSATZE`.

    Raises:
        ValueError: unknown name, n_qubits < 1 or n_layers < 1.
    """
    if name not in ANSATZE:
        raise ValueError(f"unknown ansatz {name!r}; choose from {', '.join(ANSATZE)}")
    if n_layers < 1:
        raise ValueError(f"n_layers must be at least 1, got {n_layers}")
    return ANSATZE[name](n_qubits, n_layers)
