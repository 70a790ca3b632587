"""Devices: their limits, the limits of a run on them, and the part that differs by vendor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from qiskit import QuantumCircuit
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.transpiler import Target

from qcaan.checks import check_fields, number, whole
from qcaan.samplers.credentials import shown
from qcaan.samplers.prices import Cost, Price, Task

IBMMode = Literal["job", "batch", "session"]
Copies = int | Literal["auto"]
_MOST_QUBITS = 100_000


@dataclass(frozen=True)
class Limits:
    """Limits of a device: qubits, shots per circuit, circuits per job. None: no limit is known."""

    n_qubits: int
    shots: int | None = None
    circuits: int | None = None


def device_qubits(name: str, value: Any) -> int:
    """Return the number of qubits that a device gives for itself.

    Raises:
        ValueError: it is none.
    """
    if type(value) is not int or not 1 <= value <= _MOST_QUBITS:
        raise ValueError(
            f"{name} is not available: its number of qubits must be from 1 to {_MOST_QUBITS:,}, "
            f"got {shown(value)}"
        )
    return value


@dataclass(frozen=True, kw_only=True)
class DeviceOptions:
    """Options of runs on devices: what they may ask of a device, and for how long they wait."""

    ibm_mode: IBMMode = "job"
    """Execution mode of jobs on IBM's devices."""
    max_jobs: int | None = None
    """Maximum number of jobs of the run on a device, resumed parts included.
    Default: 1,000 on paid devices, no limit on others."""
    max_shots: int | None = None
    """Maximum number of shots of the run on a device, resumed parts included.
    Default: 1,000,000 on paid devices, no limit on others."""
    max_cost: float | None = None
    """Maximum cost of the run on a paid device in US dollars by its list price, resumed parts
    included. Default: no limit."""
    job_timeout: float = 12 * 3600.0
    """Maximum time for one job, in seconds: to submit it, to wait for it, and to fetch it."""
    copies: Copies = 1
    """Number of copies of each circuit that share a chip of IBM, so that so many times fewer shots
    are paid; auto: as many as are nearly as good as the best. Ion traps: 1."""

    def __post_init__(self) -> None:
        check_fields(self)  # those of the configurations that inherit from this class too
        for name in ("max_jobs", "max_shots"):
            if getattr(self, name) is not None:
                whole(name, getattr(self, name))
        if self.max_cost is not None:
            number("max_cost", self.max_cost, above=0)
        number("job_timeout", self.job_timeout, above=0)
        if self.copies != "auto":
            object.__setattr__(self, "copies", whole("copies", self.copies))

    def limits(self, paid: bool) -> dict[str, int | None]:
        """Return the maximum numbers of jobs and of shots on a device; None is no limit."""
        free = not paid
        return {
            "jobs": self.max_jobs if self.max_jobs or free else 1000,
            "shots": self.max_shots if self.max_shots or free else 1_000_000,
        }

    def check_price(self, device: Priced) -> None:
        """Check that `max_cost` can be kept on a device.

        Raises:
            ValueError: the cost of its jobs is not known.
        """
        if self.max_cost is not None and device.paid and device.price is None:
            raise ValueError(
                f"--max-cost cannot be kept on {device.name}: {device.no_price}; leave it out, and "
                "limit the run by --max-jobs and --max-shots"
            )


class Priced(Protocol):
    """A device, or a plan for one, whose price may be known."""

    @property
    def name(self) -> str: ...
    @property
    def paid(self) -> bool: ...
    @property
    def price(self) -> Price | None:
        """List price; None if nothing is paid, or if the cost of a job is not known."""

    @property
    def no_price(self) -> str:
        """Reason why the cost of a paid job is not known, if it is not."""


class Vendor(Priced, Protocol):
    """The part of a device that differs between vendors.

    Circuits are native ones, results packed bits as in `BitArray.array`. Vendors hold no random
    state: jobs that run in this process draw from the generator that they are given.
    """

    limits: Limits
    gates: tuple[str, ...]
    """Names of the native gates."""
    local: bool
    """Whether jobs run in this process, cost nothing, and end with it."""
    target: Target | None
    """Its gates with their errors, from its calibration data; None if it gives none."""
    binds: bool
    """Whether the device takes no parameters, so that each parameter set is a circuit."""

    def native(self, circuit: QuantumCircuit) -> QuantumCircuit:
        """Return the circuit in native gates.

        It may hold copies of the circuit on different qubits, whose classical bits follow each
        other; see `n_copies`.
        """

    def cost(self, tasks: Iterable[Task]) -> Cost:
        """Return the cost of one job by the list price; zero if there is none."""

    def submit(self, pubs: Sequence[SamplerPub], tag: str, rng: np.random.Generator) -> str:
        """Submit one job, and return its id."""

    def find(self, tag: str) -> str | None:
        """Return the id of the job with a tag. Raise `Unsearchable` if the vendor does not tell."""

    def fetch(
        self, job_id: str, pubs: Sequence[SamplerPub], rng: np.random.Generator
    ) -> list[np.ndarray] | None:
        """Return packed bits [K, shots, bytes] of each pub, or None while the job is running.

        Raises:
            JobFailed: the job ended without a result.
        """
