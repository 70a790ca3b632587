"""Jobs on devices: split to a target's limits, recorded before they are paid for, retried, waited for and joined again."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import stamina
from qiskit import QuantumCircuit
from qiskit.primitives import BaseSamplerV2, PrimitiveJob, PrimitiveResult, SamplerPubResult
from qiskit.primitives.containers import SamplerPubLike
from qiskit.primitives.containers.sampler_pub import SamplerPub

from qcaan.samplers.simulators import finished, pub_result

_SECRETS = (
    "QISKIT_IBM_TOKEN",
    "IONQ_API_KEY",
    "IONQ_API_TOKEN",
    "QISKIT_IONQ_API_TOKEN",
    "AQT_TOKEN",
)
_TRANSIENT_NAMES = {
    "IonQRetriableError",
    "ConnectionError",
    "Timeout",
    "TransportError",
    "AQTRequestError",
}
IBM_MODES = ("job", "batch", "session")
_FIRST_POLL, _LONGEST_POLL = (
    0.05,
    20.0,
)  # seconds between two looks at a job, growing by half each time

log = logging.getLogger(__name__)


class JobError(RuntimeError):
    """A job of a device failed, was cancelled, lost or not allowed; `job_id` is its id, where it has one."""

    def __init__(self, message: str, job_id: str | None = None) -> None:
        super().__init__(scrubbed(message))
        self.job_id = job_id


class JobFailed(JobError):
    """The device says that a job ended without a result: fetching it again is of no use."""


class Unsearchable(JobError):
    """The vendor does not tell which jobs carry a tag."""


@dataclass(frozen=True)
class Limits:
    """What a target takes: qubits, and shots per circuit and circuits per job (None: no limit is known)."""

    n_qubits: int
    shots: int | None = None
    circuits: int | None = None


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a run may ask of a device: options of every configuration that can use one."""

    ibm_mode: str = "job"
    """How IBM runs the jobs: job, batch or session."""
    max_jobs: int | None = None
    """Most jobs of the run on a device, resumed parts included; default: 1,000 where they are paid for."""
    max_shots: int | None = None
    """Most shots of the run on a device, resumed parts included; default: 1,000,000 where they are paid for."""
    job_timeout: float = 12 * 3600.0
    """Longest wait for one job, in seconds."""

    def __post_init__(self) -> None:
        if self.ibm_mode not in IBM_MODES:
            raise ValueError(
                f"unknown ibm_mode {self.ibm_mode!r}; choose from {', '.join(IBM_MODES)}"
            )
        for name in ("max_jobs", "max_shots"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not self.job_timeout > 0:
            raise ValueError(f"job_timeout must be above 0, got {self.job_timeout}")

    def most(self, paid: bool) -> dict[str, int | None]:
        """Most jobs and most shots on a target; None: any number."""
        free = not paid
        return {
            "jobs": self.max_jobs if self.max_jobs or free else 1000,
            "shots": self.max_shots if self.max_shots or free else 1_000_000,
        }


class Vendor(Protocol):
    """What differs between devices. Its circuits are native ones; its results packed bits as in `BitArray.array`."""

    name: str
    limits: Limits
    gates: tuple[str, ...]  # native ones
    local: bool  # jobs run in this process, cost nothing and end with it
    paid: bool
    binds: bool  # takes no parameters: every parameter set is a circuit of its own

    def native(self, circuit: QuantumCircuit) -> QuantumCircuit: ...

    def submit(self, pubs: Sequence[SamplerPub], tag: str) -> str:
        """Send one job; its id."""

    def find(self, tag: str) -> str | None:
        """The id of the job that carries the tag; raises `Unsearchable` where that cannot be asked."""

    def fetch(self, job_id: str, pubs: Sequence[SamplerPub]) -> list[np.ndarray] | None:
        """Packed bits [K, shots, bytes] of each pub; None while the job is under way; raises `JobFailed`."""


@dataclass
class Entry:
    """A job's line in the journal."""

    tag: str
    epoch: int | None
    index: int
    fingerprint: str
    circuits: int
    shots: int
    job_id: str | None = None
    failed: bool = False


class Journal:
    """`jobs.jsonl` of a run: a line with a job's tag before it is submitted, one with its id right after, one at its end.

    The jobs of an epoch are numbered. A resumed run repeats its epoch from the start, and asks for the same jobs in the same
    order, so a job that was submitted before is found here by its number and what it asks, and is fetched, not paid again.

    Args:
        path: the file; None keeps nothing.
        replay: False for draws that must be fresh, which are recorded all the same.
    """

    def __init__(self, path: Path | None = None, replay: bool = True) -> None:
        self._path = path
        self._replay = replay
        self._entries: dict[str, Entry] = {}
        self._epoch: int | None = None
        self._index = 0
        self._torn = False  # whether the last line was cut short by a crash; what it announced was never sent
        if path is not None and path.is_file():
            text = path.read_text()
            self._torn = bool(text) and not text.endswith("\n")
            for line in text.splitlines():
                try:
                    record = json.loads(line)
                except ValueError:
                    continue
                if "fingerprint" in record:
                    self._entries[record["tag"]] = Entry(**record)
                elif record["tag"] in self._entries:
                    vars(self._entries[record["tag"]]).update(record)

    @property
    def spent(self) -> tuple[int, int]:
        """Jobs and shots so far, of this run and the parts that it resumes."""
        return len(self._entries), sum(entry.shots for entry in self._entries.values())

    def begin(self, epoch: int) -> None:
        """Number the jobs from zero: those that follow are of the epoch after `epoch` finished ones."""
        self._epoch, self._index = epoch, 0

    def find(self, fingerprint: str) -> Entry | None:
        """What this place of the epoch asked before, if it asked the same and did not fail."""
        if self._replay:
            for entry in self._entries.values():
                place = (entry.epoch, entry.index, entry.fingerprint)
                if place == (self._epoch, self._index, fingerprint) and not entry.failed:
                    self._index += 1
                    return entry
        return None

    def announce(self, fingerprint: str, circuits: int, shots: int) -> Entry:
        """A new job: its tag is written down before anything is sent."""
        entry = Entry(
            f"qcaan-{uuid.uuid4()}", self._epoch, self._index, fingerprint, circuits, shots
        )
        self._index += 1
        self._entries[entry.tag] = entry
        self._write(vars(entry))
        return entry

    def note(self, entry: Entry, **news: Any) -> None:
        """Write down an entry's `job_id`, or that it `failed`."""
        vars(entry).update(news)
        self._write({"tag": entry.tag, **news})

    def _write(self, record: dict[str, Any]) -> None:
        if self._path is None:
            return
        with self._path.open("a") as file:
            file.write(("\n" if self._torn else "") + json.dumps(record) + "\n")
            self._torn = False
            file.flush()
            os.fsync(file.fileno())  # it must not be lost with the machine either


class DeviceSampler(BaseSamplerV2):
    """Runs pubs on a vendor's device in as few jobs as its limits allow."""

    def __init__(
        self, vendor: Vendor, journal: Journal | None = None, budget: Budget | None = None
    ) -> None:
        self.vendor = vendor
        self._journal = journal or Journal()
        self._budget = budget or Budget()

    def run(
        self, pubs: Iterable[SamplerPubLike], *, shots: int | None = None
    ) -> PrimitiveJob[PrimitiveResult[SamplerPubResult]]:
        coerced = [SamplerPub.coerce(pub, shots or 1024) for pub in pubs]
        tasks = [self._tasks(pub) for pub in coerced]
        flat = [task for some in tasks for task in some]
        done: dict[int, np.ndarray] = {}
        for job in split_jobs([task.shots for task in flat], self.vendor.limits):
            done.update(zip(job, self._run_job([flat[place] for place in job]), strict=True))
        parts = iter([done[place] for place in range(len(flat))])
        results = []
        for pub, some in zip(coerced, tasks, strict=True):
            n_cuts = len(split_shots(pub.shots, self.vendor.limits))
            bits = [next(parts) for _ in some]  # by parameter set and, inside, by cut of the shots
            rows = [
                np.concatenate(bits[k : k + n_cuts], axis=1) for k in range(0, len(bits), n_cuts)
            ]
            results.append(pub_result(pub, np.concatenate(rows)))
        return finished(results)

    def _tasks(self, pub: SamplerPub) -> list[SamplerPub]:
        """What the target is asked for a pub: its parameter sets, one by one where it binds, cut to the limit of shots."""
        vendor = self.vendor
        if pub.circuit.num_qubits > vendor.limits.n_qubits:
            raise ValueError(
                f"{vendor.name} has {vendor.limits.n_qubits} qubits, the circuit {pub.circuit.num_qubits}"
            )
        values = pub.parameter_values.ravel().as_array(list(pub.circuit.parameters))  # (K, P)
        if vendor.binds:
            asked = [(vendor.native(pub.circuit.assign_parameters(row)), None) for row in values]
        else:
            asked = [(vendor.native(pub.circuit), values)]
        cuts = split_shots(pub.shots, vendor.limits)
        return [
            SamplerPub.coerce((circuit, angles, shots))
            for circuit, angles in asked
            for shots in cuts
        ]

    def _run_job(self, pubs: list[SamplerPub]) -> list[np.ndarray]:
        vendor, journal = self.vendor, self._journal
        circuits = sum(pub.size for pub in pubs)
        asked = fingerprint(pubs)
        entry = journal.find(asked)
        known = entry is not None
        if entry is None:
            self._check_budget(circuits * pubs[0].shots)
            entry = journal.announce(asked, circuits, circuits * pubs[0].shots)
        job_id = (
            None if vendor.local else entry.job_id
        )  # local jobs ended with the process that ran them
        try:
            job_id = job_id or self._submit(entry, pubs, known)
            return self._wait(job_id, pubs)
        except JobFailed:
            journal.note(entry, failed=True)
            raise
        except JobError:
            raise
        except Exception as error:  # whatever the vendor's client raises
            raise JobError(
                f"{vendor.name} refused a request ({type(error).__name__}: {error})", job_id
            ) from None

    def _check_budget(self, shots: int) -> None:
        jobs_spent, shots_spent = self._journal.spent
        totals = {"jobs": jobs_spent + 1, "shots": shots_spent + shots}
        for what, most in self._budget.most(self.vendor.paid).items():
            if most is not None and totals[what] > most:
                raise JobError(
                    f"the next job would make {totals[what]:,} {what} on {self.vendor.name}; --max-{what} is {most:,}"
                )

    def _submit(self, entry: Entry, pubs: list[SamplerPub], known: bool) -> str:
        job_id = None
        for attempt in _attempts():
            with attempt:
                if (
                    known or attempt.num > 1
                ) and not self.vendor.local:  # it may have arrived all the same
                    job_id = self.vendor.find(entry.tag)
                job_id = job_id or self.vendor.submit(pubs, entry.tag)
        assert job_id is not None
        self._journal.note(entry, job_id=job_id)
        return job_id

    def _wait(self, job_id: str, pubs: list[SamplerPub]) -> list[np.ndarray]:
        deadline = time.monotonic() + self._budget.job_timeout
        pause = _FIRST_POLL
        while True:
            for attempt in _attempts():
                with attempt:
                    bits = self.vendor.fetch(job_id, pubs)
            if bits is not None:
                return bits
            if time.monotonic() + pause > deadline:
                raise JobError(
                    f"job {job_id} on {self.vendor.name} did not end within {self._budget.job_timeout:g} s; "
                    "it may still do so, and --resume fetches it",
                    job_id,
                )
            time.sleep(pause)
            pause = min(1.5 * pause, _LONGEST_POLL)


def split_shots(shots: int, limits: Limits) -> list[int]:
    """Shots of a circuit in parts that the limits allow."""
    return _cut(shots, limits.shots)


def split_jobs(shots: Sequence[int], limits: Limits) -> Iterable[list[int]]:
    """Places of circuits with these shots, in jobs of equal shots and of no more circuits than the limits allow."""
    for number in dict.fromkeys(shots):
        equal = [place for place, other in enumerate(shots) if other == number]
        for length in _cut(len(equal), limits.circuits):
            yield equal[:length]
            del equal[:length]


def _cut(total: int, most: int | None) -> list[int]:
    most = most or total
    return [most] * (total // most) + ([total % most] if total % most else [])


def fingerprint(pubs: Sequence[SamplerPub]) -> str:
    """What a job asks: its circuits gate by gate, the values of their angles, and the shots."""
    digest = hashlib.sha256()
    for pub in pubs:
        for step in pub.circuit.data:
            qubits = [pub.circuit.find_bit(qubit).index for qubit in step.qubits]
            digest.update(
                repr(
                    (step.operation.name, qubits, [str(angle) for angle in step.operation.params])
                ).encode()
            )
        digest.update(pub.parameter_values.as_array(list(pub.circuit.parameters)).tobytes())
        digest.update(str(pub.shots).encode())
    return digest.hexdigest()


def scrubbed(text: str) -> str:
    """A text without the credentials of the environment."""
    for name in _SECRETS:
        if secret := os.environ.get(name):
            text = text.replace(secret, f"<{name}>")
    return text


def is_transient(error: BaseException) -> bool:
    """Whether the same request may succeed a moment later: too many requests, a server's or the network's trouble."""
    status = getattr(error, "status_code", None) or getattr(
        getattr(error, "response", None), "status_code", None
    )
    if status is not None:
        return status in (408, 429) or status >= 500
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    return any(kind.__name__ in _TRANSIENT_NAMES for kind in type(error).__mro__)


def _attempts() -> Any:
    return stamina.retry_context(
        on=is_transient, attempts=8, timeout=180, wait_initial=0.2, wait_max=30
    )


def _say_retry(details: stamina.instrumentation.RetryDetails) -> None:
    log.warning(
        "a request to the device failed (%s); attempt %d in %.1f s",
        scrubbed(str(details.caused_by)),
        details.retry_num + 1,
        details.wait_for,
    )


stamina.instrumentation.set_on_retry_hooks(
    [_say_retry]
)  # its own would log the whole error, credentials and all
