"""AQT's ion traps, and its simulators in this process."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
from qiskit import QuantumCircuit, transpile
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.providers import BackendV2, JobStatus
from qiskit_aqt_provider import AQTProvider

from qcaan.samplers.jobs import Limits
from qcaan.samplers.requests import JobFailed, Unsearchable, scrub
from qcaan.samplers.simulators import native_gates, shuffled_shots


class AQT:
    """A resource of AQT's cloud, or its offline simulator `ideal` or `noisy`.

    Args:
        device: `ideal`, `noisy`, or the id of a resource, alone or as WORKSPACE/RESOURCE.

    Raises:
        ValueError: there is no account, or no such resource.
    """

    binds = True  # a parametrised circuit cannot be transpiled for AQT

    def __init__(self, device: str) -> None:
        self.name = f"aqt:{device}"
        self.local = device in ("ideal", "noisy")
        self.paid = not self.local
        self._jobs: dict[str, Any] = {}
        provider = AQTProvider()
        if self.local:
            self._backend: Any = getattr(provider.offline, device)()
        else:
            self._backend = _resource(provider, device)
        self.limits = Limits(
            self._backend.num_qubits, self._backend.MAX_SHOTS, self._backend.max_circuits
        )
        self.gates = native_gates(self._backend)

    def native(self, circuit: QuantumCircuit) -> QuantumCircuit:
        """Return the circuit in native gates."""
        return transpile(circuit, self._backend, optimization_level=1)

    def submit(self, pubs: Sequence[SamplerPub], tag: str, rng: np.random.Generator) -> str:
        """Submit one job, which may be paid for, and return its id."""
        circuits = [pub.circuit for pub in pubs]
        if self.local:
            # a fixed seed would draw the same shots at every run
            seed = int(rng.integers(2**31))
            job = self._backend.run(circuits, shots=pubs[0].shots, seed_simulator=seed)
            job_id = str(uuid.uuid4())
        else:
            job = self._backend.run(circuits, shots=pubs[0].shots)
            job.persist()  # a later process can read only the results of saved jobs
            job_id = str(job.job_id())
        self._jobs[job_id] = job
        return job_id

    def find(self, tag: str) -> str | None:
        """Raise `Unsearchable`: AQT stores no tags."""
        raise Unsearchable(
            f"a job for {self.name} was announced as {tag}, and AQT does not tell whether it "
            f'arrived. Look it up there and add {{"tag": "{tag}", "job_id": ...}} to jobs.jsonl, '
            f'or {{"tag": "{tag}", "failed": true}} to send it again'
        )

    def fetch(
        self, job_id: str, pubs: Sequence[SamplerPub], rng: np.random.Generator
    ) -> list[np.ndarray] | None:
        """Return packed bits [1, shots, bytes] of each pub, or None while the job is running."""
        job = self._jobs.get(job_id) or self._backend.restore_job(job_id)
        if not self.local:
            status = job.status()
            if status in (JobStatus.ERROR, JobStatus.CANCELLED):
                raise JobFailed(f"job {job_id} on {self.name} ended {status.name.lower()}", job_id)
            if status != JobStatus.DONE:
                return None
        result = job.result()
        self._jobs.pop(job_id, None)
        drawn = []
        for place, pub in enumerate(pubs):
            keys = result.get_counts(place)
            counts = {int(key.replace(" ", ""), 2): n for key, n in keys.items()}
            drawn.append(shuffled_shots(counts, pub.circuit.num_clbits, rng)[None])
        return drawn


def _resource(provider: Any, device: str) -> BackendV2:
    """Return the backend of a resource of the account; see `AQT`."""
    try:
        cloud = provider.cloud()
        cloud.log_in()
        for workspace in cloud.fetch_workspaces():
            for resource in workspace.list_backends():
                if device in (resource.id, f"{workspace.id}/{resource.id}"):
                    return workspace.get_backend(resource.id)
    # the client raises many kinds of errors: for accounts, networks and names
    except Exception as error:
        raise ValueError(f"aqt:{device} is not available: {scrub(str(error))}") from None
    raise ValueError(
        f"unknown AQT resource {device!r}; choose from ideal, noisy, and those of your account"
    )
