"""Copies of a circuit side by side on one chip, so that each shot of the chip is several shots."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from qiskit import QuantumCircuit
from qiskit.transpiler import Target

from qcaan.samplers.devices import Copies
from qcaan.samplers.noise import connected_parts, couplings, estimated_fidelity, part
from qcaan.samplers.simulators import ReadoutCircuit, Transpiler, check_width

# largest difference of a copy's estimated fidelity to the best copy's, under `auto`
FIDELITY_MARGIN = 0.05


@dataclass(frozen=True)
class Region:
    """One copy of a circuit on a connected part of a chip.

    Attributes:
        part: the chip's qubits that the transpiler could choose from, in order.
        native: transpiler for this part; qubit i of its circuits is `part[i]`.
        used: the chip's qubits on which the copy has gates.
        fidelity: estimated fidelity of the copy, in [0, 1].
    """

    part: tuple[int, ...]
    native: Transpiler
    used: frozenset[int]
    fidelity: float


class CopyingTranspiler:
    """Transpiles each circuit once, to one wide circuit that holds disjoint copies of it.

    The circuit is transpiled for each connected part of the chip that is free. The copy with the
    highest estimated fidelity is kept, and its qubits and their neighbours are free no longer. The
    neighbours stay idle, because calibration data do not tell how much gates on coupled qubits
    disturb each other. This repeats until there are enough copies, or no part is large enough.

    In the wide circuit of a circuit of n classical bits, bit c * n + i is bit i of copy c.

    Args:
        target: the chip, with its calibration data. Qubits and couplings of error 1 are left out.
        copies: number of copies. `auto` keeps those whose estimated fidelity is at most
            `FIDELITY_MARGIN` below the best copy's, so that the distribution hardly changes.
        name: name of the device, for messages.
    """

    def __init__(self, target: Target, copies: Copies, name: str) -> None:
        self._target, self._copies, self._name = target, copies, name
        self._neighbours = couplings(target)
        self._parts = [tuple(sorted(found)) for found in connected_parts(self._neighbours)]
        # by the id of a circuit: the circuit, which must stay alive, its copies, and all in one
        self._done: dict[int, tuple[QuantumCircuit, list[Region], QuantumCircuit]] = {}

    def __call__(self, circuit: QuantumCircuit) -> QuantumCircuit:
        """Return the wide circuit.

        Raises:
            ValueError: the chip has not enough qubits for the circuit, or for so many copies.
        """
        return self._transpiled(circuit)[2]

    def regions(self, circuit: QuantumCircuit) -> list[Region]:
        """Return the copies of a circuit, the one of the highest fidelity first.

        Raises:
            ValueError: the chip has not enough qubits for the circuit, or for so many copies.
        """
        return self._transpiled(circuit)[1]

    def _transpiled(
        self, circuit: QuantumCircuit
    ) -> tuple[QuantumCircuit, list[Region], QuantumCircuit]:
        if id(circuit) not in self._done:
            if isinstance(circuit, ReadoutCircuit):
                regions = self.regions(circuit.like)
            else:
                regions = self._choose(circuit)
            n_bits = circuit.num_clbits
            wide = QuantumCircuit(self._target.num_qubits, len(regions) * n_bits)
            for copy, region in enumerate(regions):
                bits = range(copy * n_bits, (copy + 1) * n_bits)
                wide.compose(region.native(circuit), region.part, bits, inplace=True)
            self._done[id(circuit)] = (circuit, regions, wide)
        return self._done[id(circuit)]

    def _choose(self, circuit: QuantumCircuit) -> list[Region]:
        """Return the copies of a circuit; see the class."""
        check_width(circuit.num_qubits, max(map(len, self._parts), default=0), self._name)
        chosen: list[Region] = []
        free = list(self._laid(circuit, self._parts))
        while free and len(chosen) != self._copies:
            best = max(free, key=lambda region: region.fidelity)
            highest = max((region.fidelity for region in chosen), default=0.0)
            if self._copies == "auto" and best.fidelity < highest - FIDELITY_MARGIN:
                break
            chosen.append(best)
            free.remove(best)
            beside = {other for qubit in best.used for other in self._neighbours[qubit]}
            left = set(best.part) - best.used - beside
            inside = {
                qubit: [other for other in self._neighbours[qubit] if other in left]
                for qubit in sorted(left)
            }
            free += self._laid(circuit, connected_parts(inside))
        if self._copies not in ("auto", len(chosen)):
            raise ValueError(
                f"`copies` must be at most {len(chosen)} for this circuit of {circuit.num_qubits} "
                f"qubits on {self._name}, got {self._copies}"
            )
        return chosen

    def _laid(self, circuit: QuantumCircuit, parts: Iterable[Iterable[int]]) -> Iterator[Region]:
        """Yield a copy of a circuit on each part of the chip that has enough qubits."""
        for found in parts:
            qubits = tuple(sorted(found))
            if len(qubits) >= circuit.num_qubits:
                small = part(self._target, qubits)
                transpiler = Transpiler(target=small, least_errors=True)
                native = transpiler(circuit)
                places = {native.find_bit(qubit).index for step in native for qubit in step.qubits}
                used = frozenset(qubits[place] for place in places)
                yield Region(qubits, transpiler, used, estimated_fidelity(native, small))
