"""A sampler that counts the circuits of a run without running them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from qiskit import QuantumCircuit
from qiskit.primitives import (
    BaseSamplerV2,
    PrimitiveJob,
    PrimitiveResult,
    SamplerPubResult,
)
from qiskit.primitives.containers import SamplerPubLike
from qiskit.primitives.containers.sampler_pub import SamplerPub

from qcaan.samplers.devices import DeviceOptions, Limits, Vendor
from qcaan.samplers.jobs import n_copies, paid_shots, split_jobs
from qcaan.samplers.names import HasWidth, SamplerFactory, is_device, is_ideal
from qcaan.samplers.noise import estimated_fidelity
from qcaan.samplers.prices import NO_PRICE, Price, Task, about
from qcaan.samplers.simulators import (
    ReferenceSampler,
    checked_pubs,
    empty_result,
    finished,
    pub_result,
)


@dataclass(frozen=True)
class Counts:
    """Numbers of jobs, circuits (one per parameter set and cut of its shots) and shots.

    Their cost is in US dollars by the list price, and in seconds of QPU if those are billed; zero
    if there is no price.
    """

    jobs: int = 0
    circuits: int = 0
    shots: int = 0
    usd: float = 0.0
    seconds: float = 0.0

    def plus(self, other: Counts, times: int = 1) -> Counts:
        """Return these counts and `times` the others."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Counts(*(mine + times * theirs for mine, theirs in pairs))


@dataclass(frozen=True)
class Plan:
    """Plan of a run on a device: the counts of one epoch and of the whole run, scoring included.

    `two_qubit_gates` and `depth` are those of its largest circuit in native gates, all copies
    included; `copies` is the largest number of copies in a circuit. `fidelity` is the estimated
    fidelity of one copy of the worst circuit, None if the device gives no calibration data.
    """

    name: str
    limits: Limits
    paid: bool
    epoch: Counts
    run: Counts
    two_qubit_gates: int
    depth: int
    copies: int = 1
    fidelity: float | None = None
    price: Price | None = None
    no_price: str = NO_PRICE

    def priced(self, counts: Counts) -> str:
        """Return the cost of counts in words, with the list price that it is of."""
        if not self.paid:
            return "nothing is paid"
        if self.price is None:
            return self.no_price
        seconds = f"about {about(counts.seconds)} s of QPU, " if counts.seconds else ""
        return f"{seconds}about ${about(counts.usd)} ({self.price})"

    def check(
        self, options: DeviceOptions, spent: tuple[int, int] = (0, 0), usd: float = 0.0
    ) -> None:
        """Check that the run stays within the limits of its options.

        Args:
            options: the limits.
            spent: numbers of jobs and shots that count too, since they were asked before.
            usd: cost of those jobs in US dollars.

        Raises:
            ValueError: it does not, or it is not known whether it does.
        """
        options.check_price(self)
        before = dict(zip(("jobs", "shots"), spent, strict=True))
        for what, most in options.limits(self.paid).items():
            planned = before[what] + getattr(self.run, what)
            if most is not None and planned > most:
                done = f" ({before[what]:,} of them done)" if before[what] else ""
                raise ValueError(
                    f"the run plans {planned:,} {what}{done} on {self.name}, --max-{what} is "
                    f"{most:,}; plan less (fewer draws, shots, evaluations, steps or epochs on it) "
                    "or allow more"
                )
        total = usd + self.run.usd
        if options.max_cost is not None and total > options.max_cost:
            done = f" (${usd:,.2f} of them spent)" if usd else ""
            raise ValueError(
                f"the run plans ${total:,.2f}{done} on {self.name} ({self.price}), --max-cost is "
                f"${options.max_cost:,.2f}; plan less (fewer draws, shots, evaluations, steps or "
                "epochs on it) or allow more"
            )


class Rehearsal(BaseSamplerV2):
    """Counts the requests to a device and answers with random bits; nothing is submitted."""

    def __init__(self, vendor: Vendor, rng: np.random.Generator) -> None:
        self.vendor = vendor
        self.n_qubits = vendor.limits.n_qubits
        self.counts = Counts()
        self.two_qubit_gates = self.depth = 0
        self.copies = 1
        self.fidelity: float | None = None
        self._rng = rng
        # by the id of a circuit: the circuit, which must stay alive, and its native form
        self._native: dict[int, tuple[QuantumCircuit, QuantumCircuit]] = {}

    def run(
        self, pubs: Iterable[SamplerPubLike], *, shots: int | None = None
    ) -> PrimitiveJob[PrimitiveResult[SamplerPubResult]]:
        coerced = checked_pubs(pubs, shots)
        limits = self.vendor.limits
        tasks: list[Task] = []  # the device's circuits
        circuits = paid = 0
        results = []
        for pub in coerced:
            if not pub.size:
                results.append(empty_result(pub))
                continue
            native = self._measured(pub)
            cuts = paid_shots(pub, native, limits)
            apart = self.vendor.binds or not pub.circuit.parameters
            repeats, sets = (pub.size, 1) if apart else (1, pub.size)
            tasks += [Task(native, sets, n) for n in cuts] * repeats
            circuits += pub.size * len(cuts)
            paid += pub.size * sum(cuts)
            shape = (pub.size, pub.shots, -(-pub.circuit.num_clbits // 8))
            results.append(pub_result(pub, self._rng.integers(256, size=shape, dtype=np.uint8)))
        jobs = list(split_jobs([task.shots for task in tasks], limits))
        costs = [self.vendor.cost(tasks[place] for place in job) for job in jobs]
        self.counts = self.counts.plus(
            Counts(
                jobs=len(jobs),
                circuits=circuits,
                shots=paid,
                usd=sum(cost.usd for cost in costs),
                seconds=sum(cost.seconds for cost in costs),
            )
        )
        return finished(results)

    def _measured(self, pub: SamplerPub) -> QuantumCircuit:
        """Return the native circuit of a pub, at angles of which no gate vanishes.

        It is measured when it is first seen.
        """
        circuit = pub.circuit
        if id(circuit) in self._native:
            return self._native[id(circuit)][1]
        if self.vendor.binds:
            circuit = circuit.assign_parameters(np.linspace(0.3, 0.7, circuit.num_parameters))
        native = self.vendor.native(circuit)
        self.two_qubit_gates = max(self.two_qubit_gates, native.num_nonlocal_gates())
        self.depth = max(self.depth, native.depth())
        copies = n_copies(circuit, native)
        self.copies = max(self.copies, copies)
        if self.vendor.target is not None:
            fidelity = estimated_fidelity(native, self.vendor.target) ** (1 / copies)
            self.fidelity = min(fidelity, 1.0 if self.fidelity is None else self.fidelity)
        self._native[id(pub.circuit)] = pub.circuit, native
        return native


class _FastStandIn(ReferenceSampler):
    """Stands in for a simulator with noise of the same width."""

    def __init__(self, n_qubits: int, rng: np.random.Generator) -> None:
        super().__init__(seed=rng)
        self.n_qubits = n_qubits


class Stage:
    """Makes the samplers of a rehearsal, and counts the requests to the device among them.

    Simulators with noise are replaced by a fast one without: they are slow, and cost nothing.

    Args:
        samplers: the factory of the real run, which opens the vendor.
    """

    def __init__(self, samplers: SamplerFactory) -> None:
        self._samplers = samplers
        self.device: Rehearsal | None = None

    def __call__(self, name: str, rng: np.random.Generator) -> BaseSamplerV2:
        if is_ideal(name):
            return self._samplers(name, rng)
        if not is_device(name):
            noisy = self._samplers(name, rng)
            assert isinstance(noisy, HasWidth)
            return _FastStandIn(noisy.n_qubits, rng)
        vendor = self._samplers.vendor(name)
        if self.device is not None and self.device.vendor is vendor:
            return self.device
        rehearsal = Rehearsal(vendor, rng)
        self.device = self.device or rehearsal
        return rehearsal

    def spent(self, action: Callable[[], object]) -> Counts:
        """Return the requests to the device during an action."""
        assert self.device is not None
        before = self.device.counts
        with warnings.catch_warnings():
            # they would be about random answers
            warnings.simplefilter("ignore", UserWarning)
            action()
        return self.device.counts.plus(before, -1)

    def plan(self, epoch: Counts, run: Counts) -> Plan:
        """Return the plan of a run on the device with these counts."""
        assert self.device is not None
        device, vendor = self.device, self.device.vendor
        return Plan(
            vendor.name,
            vendor.limits,
            vendor.paid,
            epoch,
            run,
            device.two_qubit_gates,
            device.depth,
            device.copies,
            device.fidelity,
            vendor.price,
            vendor.no_price,
        )
