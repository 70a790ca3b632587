"""What a run would ask of a device, by a rehearsal: the prior is fitted with a sampler that counts and draws at random."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from qiskit.primitives import BaseSamplerV2, PrimitiveJob, PrimitiveResult, SamplerPubResult
from qiskit.primitives.containers import SamplerPubLike
from qiskit.primitives.containers.sampler_pub import SamplerPub

from qcaan.jobs import Budget, Limits, Vendor, split_jobs, split_shots
from qcaan.priors import Prior
from qcaan.qcbm import QCBM
from qcaan.samplers import is_device, make_sampler
from qcaan.simulators import finished, pub_result


@dataclass(frozen=True)
class Counts:
    """Jobs, circuits (one for each parameter set and cut of its shots) and shots."""

    jobs: int = 0
    circuits: int = 0
    shots: int = 0

    def plus(self, other: Counts, times: int = 1) -> Counts:
        return Counts(*(a + times * b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))


@dataclass(frozen=True)
class Plan:
    """Counts of one epoch on the device and of the whole run, scoring included; gates and depth of its widest circuit."""

    name: str
    limits: Limits
    paid: bool
    epoch: Counts
    run: Counts
    two_qubit_gates: int
    depth: int

    def check(self, budget: Budget) -> None:
        """Raise ValueError if the run would pass the budget."""
        allowed = budget.of(self.paid)
        for what in ("jobs", "shots"):
            most = getattr(allowed, what)
            if most is not None and getattr(self.run, what) > most:
                raise ValueError(
                    f"the run plans {getattr(self.run, what):,} {what} on {self.name}, --max-{what} is {most:,}; "
                    "plan less (--fit-evals, --shots, --bank-shots, --epochs, --train-sampler exact) or allow more"
                )


class Rehearsal(BaseSamplerV2):
    """Counts what a vendor's device would be asked, and answers with random bits."""

    def __init__(self, vendor: Vendor, rng: np.random.Generator) -> None:
        self.vendor = vendor
        self.counts = Counts()
        self.two_qubit_gates = self.depth = 0
        self._rng = rng
        self._seen: set[int] = set()

    def run(
        self, pubs: Iterable[SamplerPubLike], *, shots: int | None = None
    ) -> PrimitiveJob[PrimitiveResult[SamplerPubResult]]:
        coerced = [SamplerPub.coerce(pub, shots or 1024) for pub in pubs]
        limits = self.vendor.limits
        sizes = []  # of the device's circuits, in shots
        results = []
        for pub in coerced:
            self._look_at(pub)
            sizes += split_shots(pub.shots, limits) * (pub.size if self.vendor.binds else 1)
            n_bytes = -(-pub.circuit.num_clbits // 8)
            results.append(
                pub_result(pub, self._rng.integers(256, size=(pub.size, pub.shots, n_bytes), dtype=np.uint8))
            )
        self.counts = self.counts.plus(
            Counts(
                jobs=sum(1 for _ in split_jobs(sizes, limits)),
                circuits=sum(pub.size * len(split_shots(pub.shots, limits)) for pub in coerced),
                shots=sum(pub.size * pub.shots for pub in coerced),
            )
        )
        return finished(results)

    def _look_at(self, pub: SamplerPub) -> None:
        if id(pub.circuit) in self._seen:
            return
        self._seen.add(id(pub.circuit))
        row = pub.parameter_values.ravel().as_array(list(pub.circuit.parameters))[0]
        native = self.vendor.native(pub.circuit.assign_parameters(row) if self.vendor.binds else pub.circuit)
        self.two_qubit_gates = max(self.two_qubit_gates, native.num_nonlocal_gates())
        self.depth = max(self.depth, native.depth())


def plan(
    make_prior: Callable[[Callable[[str, np.random.Generator], BaseSamplerV2]], Prior],
    make_vendor: Callable[[str, np.random.Generator], Vendor],
    epochs: int,
    switch_at: int | None,
    draws: int,
) -> Plan | None:
    """The plan of a run of `epochs`, of which a device has a part; None where it has none.

    Args:
        make_prior: the run's prior, from what makes its samplers.
        make_vendor: the devices, by name.
        switch_at: epochs after which the device takes over, see `QCBM`.
        draws: shots per basis drawn after the run, for scores.
    """
    rehearsals: list[Rehearsal] = []

    def rehearse(name: str, rng: np.random.Generator) -> BaseSamplerV2:
        if not is_device(name):
            return make_sampler("statevector", rng)  # in the place of a simulator with noise, which nobody pays for
        rehearsals.append(Rehearsal(make_vendor(name, rng), rng))
        return rehearsals[-1]

    prior = make_prior(rehearse)
    if not rehearsals:
        return None
    assert isinstance(prior, QCBM)
    device = rehearsals[0]

    def spent(action: Callable[[], object]) -> Counts:
        before = device.counts
        action()
        return device.counts.plus(before, -1)

    bits = torch.randint(2, (1000, prior.dim), generator=torch.Generator().manual_seed(0))
    total = spent(partial(prior.sample, 1))  # the bank of the first epoch
    phases = [(0, min(switch_at, epochs)), (switch_at, epochs - switch_at)] if switch_at else [(0, epochs)]
    epoch = Counts()
    for fits, length in phases:
        for place in range(min(length, 2)):  # the first may measure readout errors once for all
            prior.fits.fill_(fits + place)
            epoch = spent(partial(prior.fit, bits))
            total = total.plus(epoch, max(1, length - 1) if place else 1)
    if draws:
        total = total.plus(spent(partial(prior.measure, draws)))
    vendor = device.vendor
    return Plan(vendor.name, vendor.limits, vendor.paid, epoch, total, device.two_qubit_gates, device.depth)
