"""AQT's ion traps, and its simulators in this process."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from aqt_connector import ArnicaConfig
from aqt_connector._infrastructure.token_repository import TokenRepository
from qiskit import QuantumCircuit
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.providers import BackendV2, JobStatus
from qiskit_aqt_provider import AQTProvider

from qcaan.samplers.credentials import keep_secret, scrub
from qcaan.samplers.devices import Limits, device_qubits
from qcaan.samplers.prices import NO_PRICE, Cost, Task
from qcaan.samplers.requests import JobError, JobFailed, Unsearchable, opened
from qcaan.samplers.simulators import native_gates, native_passes, shuffled_shots

log = logging.getLogger(__name__)


class AQT:
    """A resource of AQT's cloud, or its offline simulator `ideal` or `noisy`.

    Args:
        device: `ideal`, `noisy`, or the id of a resource, alone or as WORKSPACE/RESOURCE.
        seconds: maximum duration of opening it.

    Raises:
        ValueError: there is no account, or no such resource.
    """

    price = None
    no_price = NO_PRICE
    binds = True  # a parametrised circuit cannot be transpiled for AQT
    target = None

    def __init__(self, device: str, seconds: float) -> None:
        self.name = f"aqt:{device}"
        self.local = device in ("ideal", "noisy")
        self.paid = not self.local
        self._jobs: dict[str, Any] = {}
        if self.local:
            self._backend: Any = getattr(AQTProvider().offline, device)()
        else:
            self._backend = opened(self.name, lambda: _resource(device), seconds)
            if self._backend is None:
                raise ValueError(
                    f"unknown AQT resource {device!r}; choose from ideal, noisy, and those of your "
                    "account"
                )
        self.limits = Limits(
            device_qubits(self.name, self._backend.num_qubits),
            self._backend.MAX_SHOTS,
            self._backend.max_circuits,
        )
        self.gates = native_gates(self._backend)
        self._passes = native_passes(self._backend)

    def native(self, circuit: QuantumCircuit) -> QuantumCircuit:
        """Return the circuit in native gates."""
        return self._passes.run(circuit)

    def cost(self, tasks: Iterable[Task]) -> Cost:
        """Return zero: AQT publishes no price of its cloud."""
        return Cost()

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
            job_id = str(job.job_id())
            try:
                job.persist()  # a later process can read only the results of saved jobs
            # the job is there, whatever went wrong here
            except Exception as error:
                log.warning(
                    "job %s on %s could not be saved for later processes: %s",
                    *(job_id, self.name, scrub(str(error))),
                )
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
                message = getattr(job._latest_state, "message", "")
                told = f": {message}" if message else ""
                raise JobFailed(
                    f"job {job_id} on {self.name} ended {status.name.lower()}{told}", job_id
                )
            if status != JobStatus.DONE:
                return None
            try:  # AQT's conversion drops what is too much
                _check_samples(list(job._latest_state.result.values()), pubs)
            except ValueError as error:
                raise JobError(
                    f"job {job_id} on {self.name} holds impossible results: {error}", job_id
                ) from None
        result = job.result()
        self._jobs.pop(job_id, None)
        drawn = []
        for place, pub in enumerate(pubs):
            keys = result.get_counts(place)
            counts = {int(key.replace(" ", ""), 2): n for key, n in keys.items()}
            drawn.append(shuffled_shots(counts, pub.circuit.num_clbits, rng)[None])
        return drawn


def _check_samples(samples: list[list[list[int]]], pubs: Sequence[SamplerPub]) -> None:
    """Check the numbers of circuits and of bits of samples [circuit][shot][qubit].

    Raises:
        ValueError: they are not those of the pubs.
    """
    if len(samples) != len(pubs):
        raise ValueError(f"{len(samples)} results of {len(pubs)} circuits")
    for shots, pub in zip(samples, pubs, strict=True):
        circuit = pub.circuit
        read = [step.qubits[0] for step in circuit.data if step.operation.name == "measure"]
        fewest = 1 + max(circuit.find_bit(qubit).index for qubit in read)
        for n_bits in {len(shot) for shot in shots}:
            if not fewest <= n_bits <= circuit.num_qubits:
                raise ValueError(f"shots of {n_bits} bits of {circuit.num_qubits} qubits")


def _resource(device: str) -> BackendV2 | None:
    """Return the backend of a resource of the account, or None if there is none.

    Raises:
        JobError: there is no account.
    """
    config = ArnicaConfig()
    config.arnica_url = config.arnica_url.strip()
    config.client_id = (config.client_id or "").strip() or None
    config.client_secret = keep_secret(config.client_secret, "AQT_CLIENT_SECRET")
    folder = config._app_dir
    # the client sends the tokens in this folder with their line ends, so they are read below
    config._app_dir = folder / "none"
    cloud = AQTProvider().cloud(config)
    config._app_dir = folder
    accounts = cloud._arnica.auth_service
    accounts._token_repo = _Tokens(folder)
    token = accounts.get_or_refresh_access_token(config.store_access_token)
    if token:
        cloud._set_access_token(token)
    elif config.client_id and config.client_secret:
        cloud.log_in()
    else:  # the client would print a code to scan, and wait for it forever
        raise JobError(
            "there is no account; log in once by `qiskit_aqt_provider.AQTProvider().cloud()"
            ".log_in()`, or set AQT_CLIENT_ID and AQT_CLIENT_SECRET"
        )
    for workspace in cloud.fetch_workspaces():
        for resource in workspace.list_backends():
            if device in (resource.id, f"{workspace.id}/{resource.id}"):
                return workspace.get_backend(resource.id)
    return None


class _Tokens(TokenRepository):
    """The tokens that AQT's client keeps in files, without white space around them."""

    def _load_token(self, path: Path) -> str | None:
        return keep_secret(super()._load_token(path), f"AQT's {path.name}")
