"""Jobs on devices: split to a device's limits, recorded, repeated, waited for, and joined again."""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Iterable, Sequence

import numpy as np
from qiskit import QuantumCircuit
from qiskit.primitives import (
    BaseSamplerV2,
    BitArray,
    PrimitiveJob,
    PrimitiveResult,
    SamplerPubResult,
)
from qiskit.primitives.containers import SamplerPubLike
from qiskit.primitives.containers.sampler_pub import SamplerPub

from qcaan.samplers.credentials import scrub, shown
from qcaan.samplers.devices import DeviceOptions, Limits, Vendor
from qcaan.samplers.journal import Entry, Journal, fingerprint
from qcaan.samplers.prices import Task
from qcaan.samplers.requests import (
    JobError,
    JobFailed,
    TransientError,
    repeated,
    request,
    within,
)
from qcaan.samplers.simulators import (
    check_width,
    checked_pubs,
    empty_result,
    finished,
    pub_result,
)

# seconds between two looks at a job, growing by half each time
_FIRST_POLL, _LONGEST_POLL = 0.05, 20.0
# seconds for which a list of jobs may lag behind, and between two looks at it
_LIST_LAG, _LIST_PAUSE = 30.0, 1.0


class DeviceSampler(BaseSamplerV2):
    """Runs pubs on a vendor's device, in as few jobs as its limits allow.

    Each run submits jobs that may be paid for.

    Args:
        vendor: the device.
        rng: random state of jobs that run in this process.
        journal: record of the jobs; default in memory.
        options: limits of what may be asked of the device.

    Raises:
        ValueError: the options limit the cost, and that of the device is not known.
    """

    def __init__(
        self,
        vendor: Vendor,
        rng: np.random.Generator,
        *,
        journal: Journal | None = None,
        options: DeviceOptions | None = None,
    ) -> None:
        self.vendor = vendor
        self.n_qubits = vendor.limits.n_qubits
        self._rng = rng
        self._journal = journal or Journal()
        self._options = options or DeviceOptions()
        self._options.check_price(vendor)

    def run(
        self, pubs: Iterable[SamplerPubLike], *, shots: int | None = None
    ) -> PrimitiveJob[PrimitiveResult[SamplerPubResult]]:
        limits = self.vendor.limits
        coerced = checked_pubs(pubs, shots)
        requests = [self._requests(pub) for pub in coerced]
        flat = [part for parts in requests for part in parts]
        done: dict[int, np.ndarray] = {}
        for job in split_jobs([part.shots for part in flat], limits):
            done.update(zip(job, self._run_job([flat[place] for place in job]), strict=True))
        bits = iter([done[place] for place in range(len(flat))])
        results = []
        for pub, parts in zip(coerced, requests, strict=True):
            if not parts:
                results.append(empty_result(pub))
                continue
            n_cuts = len(paid_shots(pub, parts[0].circuit, limits))
            cuts = [next(bits) for _ in parts]  # by parameter set and, inside, by cut of the shots
            starts = range(0, len(cuts), n_cuts)
            rows = [np.concatenate(cuts[start : start + n_cuts], axis=1) for start in starts]
            copies = n_copies(pub.circuit, parts[0].circuit)
            results.append(pub_result(pub, self._pooled(np.concatenate(rows), pub, copies)))
        return finished(results)

    def _pooled(self, packed: np.ndarray, pub: SamplerPub, copies: int) -> np.ndarray:
        """Return the shots that a pub asks, of all copies, from packed bits [K, shots, bytes].

        They are in random order, so that no place in the order belongs to one copy.
        """
        if copies == 1:
            return packed
        n_bits = pub.circuit.num_clbits
        wide = BitArray(packed, copies * n_bits)
        starts = range(0, copies * n_bits, n_bits)
        each = [wide.slice_bits(range(start, start + n_bits)) for start in starts]
        joined = BitArray.concatenate_shots(each).array
        places = np.tile(np.arange(joined.shape[1]), (len(joined), 1))
        order = self._rng.permuted(places, axis=1)[:, : pub.shots]
        return np.take_along_axis(joined, order[:, :, None], axis=1)

    def _requests(self, pub: SamplerPub) -> list[SamplerPub]:
        """Return native circuits for a pub, its shots cut to the limit.

        A device that binds gets each parameter set as a circuit of its own, and so does every
        device if the circuit has no parameters.
        """
        vendor = self.vendor
        check_width(pub.circuit.num_qubits, self.n_qubits, vendor.name)
        if not pub.size:
            return []
        values = pub.parameter_values.ravel().as_array(list(pub.circuit.parameters))  # (K, P)
        asked: list[tuple[QuantumCircuit, np.ndarray | None]]
        if not pub.circuit.parameters:
            asked = [(vendor.native(pub.circuit), None)] * pub.size
        elif vendor.binds:
            asked = [(vendor.native(pub.circuit.assign_parameters(row)), None) for row in values]
        else:
            asked = [(vendor.native(pub.circuit), values)]
        cuts = paid_shots(pub, asked[0][0], vendor.limits)
        return [SamplerPub.coerce((*task, shots)) for task in asked for shots in cuts]

    def _run_job(self, pubs: list[SamplerPub]) -> list[np.ndarray]:
        """Return packed bits [K, shots, bytes] of each pub, by one job that may be paid for."""
        vendor, journal = self.vendor, self._journal
        circuits = sum(pub.size for pub in pubs)
        asked = fingerprint(pubs)
        entry = journal.find(asked)
        known = entry is not None
        if entry is None:
            shots = circuits * pubs[0].shots
            usd = vendor.cost(Task(pub.circuit, pub.size, pub.shots) for pub in pubs).usd
            self._check_limits(shots, usd)
            entry = journal.announce(asked, circuits, shots, usd)
        deadline = time.monotonic() + self._options.job_timeout
        # local jobs ended with the process that ran them
        job_id = None if vendor.local else entry.job_id
        try:
            job_id = job_id or self._submit(entry, pubs, known, deadline)
            bits = self._wait(job_id, pubs, deadline)
        except JobFailed:
            journal.note(entry, failed=True)
            raise
        self._check_results(bits, pubs, job_id)
        return bits

    def _check_results(self, bits: list[np.ndarray], pubs: list[SamplerPub], job_id: str) -> None:
        """Check that results are shots of the circuits that were asked, before they are used."""
        found = [(array.dtype, array.shape) for array in bits]
        asked = [
            (np.dtype(np.uint8), (pub.size, pub.shots, -(-pub.circuit.num_clbits // 8)))
            for pub in pubs
        ]
        if found != asked:
            raise JobError(
                f"job {job_id} on {self.vendor.name} holds impossible results: shots of other "
                "shapes than those that were asked",
                job_id,
            )
        for array, pub in zip(bits, pubs, strict=True):
            highest = array[..., 0]  # the first byte holds the highest bits
            if (highest >> ((pub.circuit.num_clbits - 1) % 8 + 1)).any():
                raise JobError(
                    f"job {job_id} on {self.vendor.name} holds impossible results: bitstrings of "
                    f"more than {pub.circuit.num_clbits} bits",
                    job_id,
                )

    def _check_limits(self, shots: int, usd: float) -> None:
        jobs_spent, shots_spent = self._journal.spent
        totals = {"jobs": jobs_spent + 1, "shots": shots_spent + shots}
        for what, most in self._options.limits(self.vendor.paid).items():
            if most is not None and totals[what] > most:
                raise JobError(
                    f"the next job would make {totals[what]:,} {what} on {self.vendor.name}; "
                    f"--max-{what} is {most:,}"
                )
        total, most_usd = self._journal.usd + usd, self._options.max_cost
        if most_usd is not None and total > most_usd:
            raise JobError(
                f"the next job would make the cost ${total:,.2f} on {self.vendor.name}; "
                f"--max-cost is ${most_usd:,.2f}"
            )

    def _submit(self, entry: Entry, pubs: list[SamplerPub], known: bool, deadline: float) -> str:
        """Submit a job unless it arrived before, note its id, and return the id."""
        vendor = self.vendor
        may_be_there = known

        def send() -> str:
            return vendor.submit(pubs, entry.tag, self._rng)

        def attempt(seconds: float) -> str:
            nonlocal may_be_there
            # Looked for and submitted in turn: a look that was given up never submits later.
            if may_be_there and (job_id := self._look_for(entry.tag, seconds)):
                return job_id
            left = deadline - time.monotonic()
            if left <= 0:
                raise TransientError(f"no time is left to submit {entry.tag}")
            may_be_there = True
            try:
                return within(left, vendor.name, send)
            except TransientError as error:
                may_be_there = error.arrived
                raise

        left = deadline - time.monotonic()
        try:
            job_id = send() if vendor.local else repeated(attempt, seconds=left)
        except TransientError as error:
            if time.monotonic() < deadline:  # an outage that lasts
                raise
            raise JobError(
                f"{vendor.name} did not confirm the job {entry.tag} within "
                f"{self._options.job_timeout:g} s ({error}); --resume looks for it again"
            ) from None
        # an id becomes a part of addresses and messages
        if not isinstance(job_id, str) or not re.fullmatch(r"[\w.:-]{1,200}", scrub(job_id)):
            raise JobError(f"{vendor.name} gave {shown(job_id)} as the id of the job {entry.tag}")
        self._journal.note(entry, job_id=job_id)
        return job_id

    def _look_for(self, tag: str, seconds: float) -> str | None:
        """Return the id of the job with a tag; look again for a while, since lists lag behind."""
        vendor, deadline = self.vendor, time.monotonic() + seconds
        # counted from the first answer: during an outage, nothing can be listed
        end: float | None = None
        while True:
            left = max(deadline - time.monotonic(), 0.01)
            job_id = request(vendor.name, lambda: vendor.find(tag), seconds=left)
            now = time.monotonic()
            end = now + _LIST_LAG if end is None else end
            if job_id is not None or now >= end:
                return job_id
            if now >= deadline:
                raise TransientError(f"the list of jobs does not hold {tag} yet")
            time.sleep(_LIST_PAUSE)

    def _wait(self, job_id: str, pubs: list[SamplerPub], deadline: float) -> list[np.ndarray]:
        """Return packed bits of each pub when the job has ended."""
        vendor = self.vendor
        if vendor.local:  # computes here, and waits for nobody
            bits = vendor.fetch(job_id, pubs, self._rng)
            assert bits is not None
            return bits

        def fetch() -> tuple[list[np.ndarray] | None, np.random.Generator]:
            # a copy, since a fetch that was given up may draw later
            rng = copy.deepcopy(self._rng)
            return vendor.fetch(job_id, pubs, rng), rng

        pause = _FIRST_POLL
        while (left := deadline - time.monotonic()) > 0:
            try:
                bits, rng = request(vendor.name, fetch, seconds=left, job_id=job_id)
            except TransientError:
                if time.monotonic() < deadline:  # an outage that lasts
                    raise
                break
            if bits is not None:
                self._rng.bit_generator.state = rng.bit_generator.state
                return bits
            time.sleep(max(min(pause, deadline - time.monotonic()), 0))
            pause = min(1.5 * pause, _LONGEST_POLL)
        raise JobError(
            f"job {job_id} on {vendor.name} did not end within "
            f"{self._options.job_timeout:g} s; it may still do so, and --resume fetches it",
            job_id,
        )


def n_copies(circuit: QuantumCircuit, native: QuantumCircuit) -> int:
    """Return the number of copies of a circuit that its native form holds."""
    return native.num_clbits // circuit.num_clbits if circuit.num_clbits else 1


def paid_shots(pub: SamplerPub, native: QuantumCircuit, limits: Limits) -> list[int]:
    """Return the shots of a pub's native circuit in parts that the limits allow.

    A shot of the native circuit is a shot of each copy in it.
    """
    return split_shots(-(-pub.shots // n_copies(pub.circuit, native)), limits)


def split_shots(shots: int, limits: Limits) -> list[int]:
    """Return the shots of a circuit in parts that the limits allow."""
    return _cut(shots, limits.shots)


def split_jobs(shots: Sequence[int], limits: Limits) -> Iterable[list[int]]:
    """Yield the places of circuits with these shots, a list for each job.

    The circuits of a job have equal shots and are no more than the limits allow.
    """
    for n_shots in dict.fromkeys(shots):
        equal = [place for place, other in enumerate(shots) if other == n_shots]
        for length in _cut(len(equal), limits.circuits):
            yield equal[:length]
            del equal[:length]


def _cut(total: int, most: int | None) -> list[int]:
    most = most or total
    return [most] * (total // most) + ([total % most] if total % most else [])
