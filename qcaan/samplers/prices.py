"""Prices of devices: dated list prices with their sources, and what a job costs by them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from qiskit import QuantumCircuit

NO_PRICE = "no published price known"
# instructions of one qubit that are no gates
_NO_GATES = ("measure", "reset", "delay", "barrier")


class Task(NamedTuple):
    """A circuit of a job in native gates, and its numbers of parameter sets and of shots."""

    circuit: QuantumCircuit
    sets: int
    shots: int


class Cost(NamedTuple):
    """Cost of jobs: in US dollars, and in seconds of QPU if those are billed."""

    usd: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True)
class Price:
    """A list price in US dollars.

    Attributes:
        seller: who publishes the price, and for which access.
        date: month of the list price, YYYY-MM.
        source: address of the page that publishes it.
    """

    seller: str
    date: str
    source: str

    def __str__(self) -> str:
        return f"{self.seller}, list price of {self.date}"


@dataclass(frozen=True)
class GateShotPrice(Price):
    """Prices of one shot of a gate, with a minimum for each circuit.

    Attributes:
        one_qubit: price of a gate on one qubit.
        two_qubit: price of a gate on two qubits.
        least: minimum price of a circuit.
        least_mitigated: minimum price of a circuit with error mitigation.
        mitigated_from: number of shots from which errors are mitigated by default.
    """

    one_qubit: float
    two_qubit: float
    least: float
    least_mitigated: float
    mitigated_from: int

    def cost(self, tasks: Iterable[Task]) -> Cost:
        """Return the cost of a job: the gates that are submitted, or the minimum if it is more.

        A gate on N > 2 qubits counts as 6 (N - 2) gates on two.
        """
        total = 0.0
        for circuit, sets, shots in tasks:
            widths = [
                step.operation.num_qubits
                for step in circuit.data
                if step.operation.name not in _NO_GATES
            ]
            ones = widths.count(1)
            twos = sum(1 if width == 2 else 6 * (width - 2) for width in widths if width > 1)
            least = self.least_mitigated if shots >= self.mitigated_from else self.least
            gates = shots * (ones * self.one_qubit + twos * self.two_qubit)
            total += sets * max(gates, least)
        return Cost(total)


@dataclass(frozen=True)
class SecondPrice(Price):
    """Price of a second of QPU."""

    second: float

    def cost(self, seconds: float) -> Cost:
        """Return the cost of a job of so many seconds."""
        return Cost(self.second * seconds, seconds)


# IonQ sets its prices on Azure Quantum, the only ones by the gate that are public. Those of an
# account at IonQ itself depend on its agreement. IonQ mitigates errors by default from 500 shots:
# https://docs.ionq.com/sdks/qiskit/error-mitigation-qiskit
_AZURE = (
    "IonQ on Azure Quantum",
    "2026-04",
    "https://learn.microsoft.com/en-us/azure/quantum/pricing",
)
_FORTE = GateShotPrice(*_AZURE, 0.0001645, 0.001121, 25.7899, 168.195, 500)

IONQ = {
    "ionq:qpu.forte-1": _FORTE,
    "ionq:qpu.forte-enterprise-1": _FORTE,
    "ionq:qpu.aria-1": GateShotPrice(*_AZURE, 0.000220, 0.000975, 12.4166, 97.50, 500),
}
IBM = SecondPrice("IBM pay-as-you-go", "2026-09", "https://www.ibm.com/quantum/pricing", 1.60)


def about(value: float) -> str:
    """Return a positive number with two digits that count, or with cents below 10."""
    return f"{float(f'{value:.2g}'):,.0f}" if value >= 10 else f"{value:.2f}"
