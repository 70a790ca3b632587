"""IonQ's ion traps and its simulator."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from qiskit import QuantumCircuit, transpile
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.providers import JobStatus
from qiskit_ionq import IonQProvider
from qiskit_ionq.exceptions import IonQJobFailureError

from qcaan.samplers.jobs import Limits
from qcaan.samplers.requests import JobError, JobFailed, scrub
from qcaan.samplers.simulators import native_gates, shuffled_shots

# IonQ's devices take 10,000 shots. No limit of the circuits in a job is published, but a request
# should stay small.
_MAX_SHOTS, _MAX_CIRCUITS = 10_000, 100


class IonQ:
    """An ion trap of IonQ, or its simulator.

    IonQ returns frequencies. Those of the simulator are exact, and shots are drawn from them here.

    Args:
        device: `simulator`, or the name of a device such as `qpu.forte-1`.

    Raises:
        ValueError: there is no account or no such device, or IonQ cannot be reached.
    """

    binds = True
    local = False

    def __init__(self, device: str) -> None:
        self.name = f"ionq:{device}"
        self._exact = device == "simulator"
        self.paid = not self._exact
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                backend: Any = IonQProvider().get_backend(f"ionq_{device}")
                # `client` asks for the credentials
                backend._client = _Unretried(backend.client)
            except Exception as error:
                raise ValueError(f"{self.name} is not available: {scrub(str(error))}") from None
        # if the address cannot be reached, IonQ's client only warns, and assumes 4 qubits
        for warning in caught:
            if f"Failed to get qubits for {device}:" in str(warning.message):
                raise ValueError(f"{self.name} cannot be reached: {scrub(str(warning.message))}")
        self._backend = backend
        self.limits = Limits(backend.num_qubits, _MAX_SHOTS, _MAX_CIRCUITS)
        self.gates = native_gates(backend)

    def native(self, circuit: QuantumCircuit) -> QuantumCircuit:
        """Return the circuit in native gates."""
        return transpile(circuit, self._backend, optimization_level=1)

    def submit(self, pubs: Sequence[SamplerPub], tag: str, rng: np.random.Generator) -> str:
        """Submit one job, which may be paid for, and return its id."""
        circuits = [pub.circuit for pub in pubs]
        metadata = {"qcaan_tag": tag}
        job = self._backend.run(circuits, shots=pubs[0].shots, name=tag, extra_metadata=metadata)
        return str(job.job_id())

    def find(self, tag: str) -> str | None:
        """Return the id of the job with a tag, or None. All pages of the list are read."""
        client = self._backend.client
        following: str | None = None
        while True:
            reply = client.get_with_retry(
                client.make_path("jobs"),
                headers=client.api_headers,
                params={"limit": 100, **({"next": following} if following else {})},
            )
            reply.raise_for_status()
            page = reply.json()
            for job in page.get("jobs", []):
                if tag in (job.get("name"), (job.get("metadata") or {}).get("qcaan_tag")):
                    return str(job["id"])
            following = page.get("next")
            if not following:
                return None

    def fetch(
        self, job_id: str, pubs: Sequence[SamplerPub], rng: np.random.Generator
    ) -> list[np.ndarray] | None:
        """Return packed bits [1, shots, bytes] of each pub, or None while the job is running."""
        try:
            with warnings.catch_warnings():
                # about a cancelled job, which is an error below
                warnings.simplefilter("ignore", UserWarning)
                job = self._backend.retrieve_job(job_id)
        except IonQJobFailureError as error:
            raise JobFailed(f"job {job_id} on {self.name} failed: {error}", job_id) from None
        status = job.status()
        if status is JobStatus.CANCELLED:
            raise JobFailed(f"job {job_id} on {self.name} was cancelled", job_id)
        if status is not JobStatus.DONE:
            return None
        results = job.result().results
        if len(results) != len(pubs):
            raise JobError(
                f"job {job_id} on {self.name} holds {len(results)} results, {len(pubs)} were asked",
                job_id,
            )
        drawn = []
        for result, pub in zip(results, pubs, strict=True):
            frequencies = {int(key, 2): p for key, p in result.data.probabilities.items()}
            counts = _counts(frequencies, pub.shots, rng, exact=self._exact)
            drawn.append(shuffled_shots(counts, pub.circuit.num_clbits, rng)[None])
        return drawn


class _Unretried:
    """IonQ's client without its own retries, some of which never end.

    Our retries are bounded, and look for the job before they submit it again.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        method = getattr(type(self._client), name, None)
        unwrapped = getattr(method, "__wrapped__", None)
        if unwrapped is not None:
            return unwrapped.__get__(self._client)
        return getattr(self._client, name)


def _counts(
    frequencies: dict[int, float], shots: int, rng: np.random.Generator, *, exact: bool
) -> dict[int, int]:
    """Return the counts of the outcomes: drawn if the frequencies are exact, else as observed."""
    weights = np.array(list(frequencies.values()))
    observed = np.rint(weights * shots).astype(int)
    # error mitigation gives weights that no number of shots has
    if exact or observed.sum() != shots:
        observed = rng.multinomial(shots, weights / weights.sum())
    return dict(zip(frequencies, observed.tolist(), strict=True))
