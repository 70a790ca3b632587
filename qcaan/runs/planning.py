"""What a run would ask of a device, by a rehearsal: its circuits go to a sampler that counts and draws at random."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
import torch
from qiskit.primitives import (
    BaseSamplerV2,
    PrimitiveJob,
    PrimitiveResult,
    SamplerPubResult,
    StatevectorSampler,
)
from qiskit.primitives.containers import SamplerPubLike
from qiskit.primitives.containers.sampler_pub import SamplerPub

from qcaan.priors.base import Prior
from qcaan.priors.qcbm import QCBM
from qcaan.samplers.jobs import Budget, Limits, Vendor, split_jobs, split_shots
from qcaan.samplers.names import MakeSampler, is_device, make_sampler
from qcaan.samplers.simulators import finished, pub_result

MakeVendor: TypeAlias = "Callable[[str, np.random.Generator], Vendor]"


@dataclass(frozen=True)
class Counts:
    """Jobs, circuits (one for each parameter set and cut of its shots) and shots."""

    jobs: int = 0
    circuits: int = 0
    shots: int = 0

    def plus(self, other: Counts, times: int = 1) -> Counts:
        return Counts(
            *(a + times * b for a, b in zip(vars(self).values(), vars(other).values(), strict=True))
        )


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
        for what, most in budget.most(self.paid).items():
            if most is not None and getattr(self.run, what) > most:
                raise ValueError(
                    f"the run plans {getattr(self.run, what):,} {what} on {self.name}, --max-{what} is {most:,}; "
                    "plan less (fewer shots, evaluations, steps or epochs on it) or allow more"
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
                pub_result(
                    pub,
                    self._rng.integers(256, size=(pub.size, pub.shots, n_bytes), dtype=np.uint8),
                )
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
        native = self.vendor.native(
            pub.circuit.assign_parameters(row) if self.vendor.binds else pub.circuit
        )
        self.two_qubit_gates = max(self.two_qubit_gates, native.num_nonlocal_gates())
        self.depth = max(self.depth, native.depth())


class _StandIn(StatevectorSampler):
    """In the place of a simulator with noise, which is slow and nobody pays for, and as wide as that."""

    def __init__(self, simulator: BaseSamplerV2, rng: np.random.Generator) -> None:
        super().__init__(seed=rng)
        self.n_qubits = getattr(simulator, "n_qubits", None)


class _Stage:
    """Makes the samplers of a rehearsal, and counts what is asked of the device among them, where there is one."""

    def __init__(self, make_vendor: MakeVendor) -> None:
        self._make_vendor = make_vendor
        self.device: Rehearsal | None = None

    def __call__(self, name: str, rng: np.random.Generator) -> BaseSamplerV2:
        if not is_device(name):
            return _StandIn(make_sampler(name, rng), rng)
        rehearsal = Rehearsal(self._make_vendor(name, rng), rng)
        self.device = self.device or rehearsal
        return rehearsal

    def spent(self, action: Callable[[], object]) -> Counts:
        assert self.device is not None
        before = self.device.counts
        action()
        return self.device.counts.plus(before, -1)

    def plan(self, epoch: Counts, run: Counts) -> Plan:
        assert self.device is not None
        vendor = self.device.vendor
        gates, depth = self.device.two_qubit_gates, self.device.depth
        return Plan(vendor.name, vendor.limits, vendor.paid, epoch, run, gates, depth)


def plan_prior(
    make_prior: Callable[[MakeSampler], Prior],
    make_vendor: MakeVendor,
    epochs: int,
    switch_at: int | None,
    draws: int,
) -> Plan | None:
    """The plan of a run of `epochs`, of whose prior a device has a part; None where it has none.

    Args:
        make_prior: the run's prior, from what makes its samplers.
        make_vendor: the devices, by name.
        switch_at: epochs after which the device takes over, see `QCBM`.
        draws: shots per basis drawn after the run, for scores.
    """
    stage = _Stage(make_vendor)
    prior = make_prior(stage)
    if stage.device is None:
        return None
    assert isinstance(prior, QCBM)
    bits = torch.randint(2, (1000, prior.dim), generator=torch.Generator().manual_seed(0))
    total = stage.spent(partial(prior.sample, 1))  # the bank of the first epoch
    phases = (
        [(0, min(switch_at, epochs)), (switch_at, epochs - switch_at)]
        if switch_at
        else [(0, epochs)]
    )
    epoch = Counts()
    for fits, length in phases:
        for place in range(min(length, 2)):  # the first may measure readout errors once for all
            prior.fits.fill_(fits + place)
            epoch = stage.spent(partial(prior.fit, bits))
            total = total.plus(epoch, max(1, length - 1) if place else 1)
    if draws:
        total = total.plus(stage.spent(partial(prior.measure, draws)))
    return stage.plan(epoch, total)


def plan_steps(
    start: Callable[[MakeSampler], tuple[Callable[[], object], ...]],
    make_vendor: MakeVendor,
    epochs: int,
    steps_per_epoch: int,
    switch_at: int | None,
) -> Plan | None:
    """The plan of a run whose steps ask a device each; None where they ask none.

    Args:
        start: from what makes samplers, what on them makes a training step, what ends an epoch, and what ends the run.
        make_vendor: the devices, by name.
        switch_at: steps after which the device takes over.
    """
    stage = _Stage(make_vendor)
    actions = start(stage)
    if stage.device is None:
        return None
    step, shown, scored = (stage.spent(action) for action in actions)
    switched = switch_at or 0
    total = scored.plus(step, epochs * steps_per_epoch - switched).plus(
        shown, epochs - switched // steps_per_epoch
    )
    return stage.plan(shown.plus(step, steps_per_epoch), total)
