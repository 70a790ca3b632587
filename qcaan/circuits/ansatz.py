"""Parametrised circuits as a short list of layers, and the bases in which their state is measured.

A layer is the name of a gate, which acts as follows:

- `h` on every qubit; `rx`, `ry`, `rz` on every qubit, by one angle each;
- `rxx`, `rzz` on every pair i < j, by one angle each;
- `cx`, `cz` on the chain (0,1), (1,2), ...; `cx-ring`, `cz-ring` on (n-1,0) and then on the chain,
  as Qiskit's circular entanglement; `cx-pairs`, `cz-pairs` on (0,1), (2,3), ...;
- `ry/2`, `cz/4` and so on as if there were only every second or every fourth qubit: 1, 3, 5, ... or
  3, 7, 11, ...;
- `real-state`, as the first layer only, makes any state of real amplitudes from |0...0>, by
  2**n - 1 RY and by CX between them (Mottonen et al., quant-ph/0407010). The function
  `qcaan.circuits.statevector.preparation_angles` returns its angles.

Angles are in radians: RX(a) = exp(-i a X / 2), RXX(a) = exp(-i a XX / 2). They are numbered layer
by layer and, inside a layer, by qubit or by pair (0,1), (0,2), ..., (n-2,n-1).

Bases: `z` measures the state as it is. `o` applies RX(pi/2) to every qubit first, so that Y is
measured. `t` applies RX by one trained angle to every qubit first (Rudolph et al.,
arXiv:2012.03924). The first `z_qubits` qubits may be left as they are in every basis.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, pairwise
from typing import Literal, get_args

from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit

from qcaan.checks import check_fields, one_of, whole

AnsatzName = Literal["ion-trap", "seed", "ry-rx", "hardware-efficient"]
Basis = Literal["z", "o", "t"]
BASES = get_args(Basis)
ROTATIONS = ("rx", "ry", "rz")
COUPLINGS = ("rxx", "rzz")
GATES = ("h", *ROTATIONS, *COUPLINGS, "cx", "cz", "cx-ring", "cz-ring", "cx-pairs", "cz-pairs")
PREPARATION = "real-state"


@dataclass(frozen=True)
class Ansatz:
    """A circuit family U(theta) that starts in |0...0>.

    Attributes:
        n_qubits: number of qubits, at least 1.
        layers: names of the layers, in order of application.

    Raises:
        ValueError: the number of qubits is out of range, or a layer is unknown or out of place.
    """

    n_qubits: int
    layers: tuple[str, ...]

    def __post_init__(self) -> None:
        check_fields(self)
        whole("n_qubits", self.n_qubits)
        prepared = self.layers[:1] == (PREPARATION,)
        for layer in self.layers[prepared:]:
            gate, slash, stride = layer.partition("/")
            if gate == PREPARATION:
                raise ValueError(
                    f"{PREPARATION} can only be the first layer, got {' '.join(self.layers)}"
                )
            one_of("layer", gate, GATES)
            if slash and (
                gate == "h" or not stride.isdecimal() or not 1 <= int(stride) <= self.n_qubits
            ):
                raise ValueError(
                    f"layer {layer!r}: the number after / must be from 1 to {self.n_qubits}, "
                    "and h acts on all qubits"
                )

    @cached_property
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

    @cached_property
    def n_params(self) -> int:
        """Number of angles of the circuit, without those of a trained basis."""
        return sum(self.layer_sizes)

    def to_circuit(self, basis: str = "z", z_qubits: int = 0) -> QuantumCircuit:
        """Return the circuit with its change to `basis`, without a measurement.

        Its parameters are the elements of one vector, in the order of theta. So a vector that ends
        with the angles of basis `t` binds the circuit of any basis by its first
        `circuit.num_parameters` elements.

        Args:
            basis: name of the basis.
            z_qubits: number of the first qubits that are measured in z in every basis.

        Raises:
            ValueError: the basis is unknown.
        """
        check_bases((basis,))
        n = self.n_qubits
        theta = iter(ParameterVector("θ", self.n_params + basis_params(n - z_qubits, (basis,))))
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
            for i in range(z_qubits, n):
                circuit.rx(math.pi / 2 if basis == "o" else next(theta), i)
        return circuit


def acted_on(layer: str, n_qubits: int) -> tuple[str, range]:
    """Return the gate of a layer, and the qubits that it acts on."""
    gate, _, stride = layer.partition("/")
    step = int(stride or 1)
    return gate, range(step - 1, n_qubits, step)


def fixed_pairs(layer: str, n_qubits: int) -> list[tuple[int, int]]:
    """Return the qubit pairs of a layer of `cx` or `cz`, in order of application, control first."""
    gate, qubits = acted_on(layer, n_qubits)
    chain = list(pairwise(qubits))
    if gate.endswith("-pairs"):
        return chain[::2]
    if gate.endswith("-ring") and len(qubits) > 2:
        return [(qubits[-1], qubits[0]), *chain]
    return chain


def check_bases(bases: tuple[str, ...]) -> None:
    """Check that `bases` are one or more different known bases.

    Raises:
        ValueError: they are not.
    """
    if not bases or len(set(bases)) != len(bases) or not set(bases) <= set(BASES):
        raise ValueError(
            f"`bases` must be different ones of {', '.join(BASES)}, got {' '.join(bases) or 'none'}"
        )


def basis_params(n_turned: int, bases: tuple[str, ...]) -> int:
    """Return the number of angles that bases of so many qubits add: as many with `t`, else 0."""
    return n_turned if "t" in bases else 0


def seed_ansatz(n_qubits: int, n_layers: int) -> Ansatz:
    """Return H on all qubits, then `n_layers` blocks [RX RZ | RXX on all pairs].

    So does the repository seba2390/WorkingQiskitAAN. 8 qubits and 2 layers have 88 angles.
    """
    return Ansatz(n_qubits, ("h",) + ("rx", "rz", "rxx") * n_layers)


def ion_trap_ansatz(n_qubits: int, n_layers: int) -> Ansatz:
    """Return the ion-trap circuit of Zhu et al., arXiv:1812.08862.

    Layers are counted as Rudolph et al., arXiv:2012.03924, count them. Layers on one qubit and RXX
    on all pairs alternate: [RX RZ], RXX, [RX RZ], RXX, ... An odd count ends with [RZ RX]. From
    four layers on, the one-qubit layer before the last RXX is [RX RZ RX]. One layer is only RX.
    8 qubits and 2, 3, 4, 5 layers have 44, 60, 96, 112 angles.
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
    """Return `n_layers` blocks [RY RX | CX on the chain].

    Hybrid generators of one-dimensional distributions use it.
    """
    return Ansatz(n_qubits, ("ry", "rx", "cx") * n_layers)


def hardware_efficient_ansatz(n_qubits: int, n_layers: int) -> Ansatz:
    """Return `n_layers` blocks [RX RY RZ | CX on the chain] and a last RY.

    The published image QGAN uses it.
    """
    return Ansatz(n_qubits, (*("rx", "ry", "rz", "cx") * n_layers, "ry"))


def qcnn_ansatz(n_qubits: int) -> Ansatz:
    """Return quantum convolutions and poolings that alternate until one qubit is left, the last.

    That qubit is the one to measure (Cong et al., arXiv:1810.03787). A convolution is
    [RY RZ | CZ on the chain | RY]. A pooling halves the qubits: CX from each qubit that is dropped
    to the neighbour that is kept. This equals measuring it, and flipping the neighbour on a one.

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


ANSATZE: dict[AnsatzName, Callable[[int, int], Ansatz]] = {
    "seed": seed_ansatz,
    "ion-trap": ion_trap_ansatz,
    "ry-rx": ry_rx_ansatz,
    "hardware-efficient": hardware_efficient_ansatz,
}


def make_ansatz(name: AnsatzName, n_qubits: int, n_layers: int) -> Ansatz:
    """Return the named ansatz.

    Args:
        name: ion-trap, seed, ry-rx or hardware-efficient.
        n_qubits: number of qubits, at least 1.
        n_layers: number of layers or blocks, at least 1, as each ansatz counts them.

    Raises:
        ValueError: unknown name, or a number below 1.
    """
    one_of("ansatz", name, ANSATZE)
    return ANSATZE[name](whole("n_qubits", n_qubits), whole("n_layers", n_layers))


def _multiplexed_ry(
    circuit: QuantumCircuit, theta: Iterator[Parameter], controls: range, target: int
) -> None:
    """Add RY on `target`, by an angle for each setting c of k control qubits.

    The angle is the sum over s of (-1)^(c . s) theta[s].
    """
    if not controls:
        circuit.ry(next(theta), target)
        return
    # between two CX, an RY turns the other way if the control is 1
    for _ in range(2):
        _multiplexed_ry(circuit, theta, controls[:-1], target)
        circuit.cx(controls[-1], target)
